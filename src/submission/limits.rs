//! The bounds on what a client may do. All are settings; 0 switches one off, save for the command
//! line.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::message::structure;
use crate::units::{ByteSize, Period};

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Octets of a message, as SIZE counts them: 552 5.3.4.
    pub message_size: ByteSize,
    /// Recipients of a message: 452 4.5.3, and the client sends the rest in another one.
    pub recipients: usize,
    /// Octets that the content of all messages may take in memory, and as many for the text in it:
    /// 452 4.3.1. 0: 40 % of what this process may use.
    pub memory: ByteSize,
    /// Octets that this process may use in all, where its control group cannot be seen or allows more.
    /// 0: what that and the machine allow.
    pub available_memory: ByteSize,
    /// Octets of a message times the calls that it takes: 452 4.5.3.
    pub fan_out: ByteSize,
    /// Connections at the same time, for the whole process: 421 4.7.0.
    pub connections: usize,
    /// Connections at the same time from one IP address, or one /64 of IPv6: 421 4.7.0.
    pub connections_per_ip: usize,
    /// Messages a minute from one IP address, or one /64 of IPv6: 451 4.7.1.
    pub messages_per_minute_per_ip: u32,
    /// Messages a minute of one account, from all its addresses: 451 4.7.1.
    pub messages_per_minute_per_account: u32,
    /// Wrong passwords for one login from one IP address, or one /64 of IPv6, in five minutes, the
    /// last of which makes that login wait: 421 4.7.0.
    pub auth_failures: usize,
    /// Faults of a client in one session, the last of which ends it: 421 4.7.0.
    pub errors: u32,
    /// Octets of a command line; AUTH may have 12 288.
    pub command_line: usize,
    /// How long a session may say nothing: 421 4.4.2.
    pub idle_timeout: Period,
    /// How long mail data may pause: 421 4.4.2.
    pub data_timeout: Period,
    /// Octets a second that mail data must bring in all, beyond one such pause: 421 4.4.2.
    pub data_rate: ByteSize,
    /// How long a session may last, give or take a tenth; a message is never cut: 421 4.4.2.
    pub session_age: Period,
    /// Multiparts in multiparts: 554 5.6.0.
    pub mime_depth: usize,
    /// Parts of a message: 554 5.6.0.
    pub mime_parts: usize,
    /// Octets of the header sections: 554 5.6.0.
    pub header_size: ByteSize,
    /// `Received` fields: 554 5.4.6, the message goes round in circles.
    pub received_fields: usize,
    /// Networks to which no limit per IP address applies. It never grants sending.
    pub exempt_networks: Vec<IpNet>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: ByteSize(25 << 20),
            recipients: 100,
            memory: ByteSize(0),
            available_memory: ByteSize(0),
            fan_out: ByteSize(256 << 20),
            connections: 1000,
            connections_per_ip: 100,
            messages_per_minute_per_ip: 100,
            messages_per_minute_per_account: 0,
            auth_failures: 5,
            errors: 10,
            command_line: 512,
            idle_timeout: Period::seconds(300),
            data_timeout: Period::seconds(180),
            data_rate: ByteSize(8 << 10),
            session_age: Period::seconds(30 * 60),
            mime_depth: 10,
            mime_parts: 1000,
            header_size: ByteSize(1 << 20),
            received_fields: 50,
            exempt_networks: ["127.0.0.0/8", "::1/128"]
                .iter()
                .filter_map(|network| network.parse().ok())
                .collect(),
        }
    }
}

/// The limits as they are now: settings that change while the process runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct InForce(Arc<ArcSwap<Limits>>);

impl InForce {
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(limits)))
    }

    pub fn now(&self) -> Arc<Limits> {
        self.0.load_full()
    }

    pub(super) fn replace(&self, limits: Limits) {
        self.0.store(Arc::new(limits));
    }
}

impl Limits {
    pub fn exempts(&self, client: IpAddr) -> bool {
        let holds = |network: &IpNet| network.contains(&client);
        self.exempt_networks.iter().any(holds)
    }

    /// What a client counts as where there are limits per address; none where it is exempt.
    pub fn counted_as(&self, client: IpAddr) -> Option<IpAddr> {
        (!self.exempts(client)).then(|| network(client))
    }

    pub(super) fn structure(&self) -> structure::Limits {
        structure::Limits {
            depth: self.mime_depth,
            parts: self.mime_parts,
            header_octets: usize::try_from(self.header_size.octets()).unwrap_or(usize::MAX),
        }
    }
}

/// What counts as one client: a host has a whole /64 of IPv6 to itself.
pub fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Each is remembered, for each login that fails.
pub const MAX_AUTH_FAILURES: usize = 100;
/// RFC 5321 §4.5.3.1.4.
pub const MIN_COMMAND_LINE: usize = 512;
