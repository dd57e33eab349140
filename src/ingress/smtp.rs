//! SMTP submission: listeners, one task a connection, and the replies to what others decide.

mod connection;
mod limits_hit;
pub mod listener;
mod patience;
mod proxied;
pub mod proxy_protocol;
mod replies;
mod stream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};

use crate::auth::Authenticator;
use crate::ingress::smtp::limits_hit::LimitsHit;
use crate::smtp::framing::LoneNewlines;
use crate::smtp::reply::Reply;
use crate::smtp::session::{self, Ending};
use crate::submission::Intake;
use crate::telemetry::metrics::{LATENCY, LIFETIME, Registry};

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name in the banner and in the Message-ID fields we add. Empty: the host's own name.
    pub hostname: String,
    /// Bind address of the first listener, in place of its own.
    pub host: Option<IpAddr>,
    /// Port of the first listener, in place of its own.
    pub port: Option<u16>,
    pub listeners: Vec<ListenerConfig>,
    /// A CR or LF by itself in mail data: make it CRLF, or refuse the message.
    pub lone_newlines: LoneNewlines,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            host: None,
            port: None,
            listeners: vec![ListenerConfig::default()],
            lone_newlines: LoneNewlines::Normalise,
        }
    }
}

impl Config {
    /// The listeners, with `host` and `port` put into the first.
    pub fn listeners(&self) -> Vec<ListenerConfig> {
        let mut listeners = self.listeners.clone();
        if let Some(first) = listeners.first_mut() {
            first.host = self.host.unwrap_or(first.host);
            first.port = self.port.unwrap_or(first.port);
        }
        listeners
    }
}

/// One port: 587, 465 and 25 are settings of one type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerConfig {
    pub host: IpAddr,
    pub port: u16,
    pub tls: ListenerTls,
    pub auth: ListenerAuth,
    /// Networks of load balancers: a connection from there must begin with a PROXY header, and what
    /// that says is believed. A connection from elsewhere has none, and is its own client.
    pub proxy_networks: Vec<IpNet>,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::UNSPECIFIED.into(),
            port: 587,
            tls: ListenerTls::Starttls,
            auth: ListenerAuth::Required,
            proxy_networks: Vec::new(),
        }
    }
}

impl ListenerConfig {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        let holds = |network: &IpNet| network.contains(&peer);
        self.proxy_networks.iter().any(holds)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerTls {
    /// The session starts in clear and is upgraded (RFC 3207).
    Starttls,
    /// TLS from the first octet (RFC 8314).
    Implicit,
    /// No TLS, and so no AUTH: for trusted networks only.
    Off,
}

impl ListenerTls {
    /// As in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starttls => "starttls",
            Self::Implicit => "implicit",
            Self::Off => "off",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerAuth {
    Required,
    /// Hosts of `auth.trusted_networks` may send without; others must authenticate.
    Trusted,
}

/// What all connections share.
pub struct Service {
    pub settings: ArcSwap<session::Settings>,
    pub tls: Option<Arc<ServerConfig>>,
    pub authenticator: Authenticator,
    pub intake: Arc<Intake>,
    pub metrics: Metrics,
}

#[derive(Debug)]
pub struct Metrics {
    connections: IntCounter,
    refused_connections: IntCounterVec,
    active: IntGauge,
    duration: Histogram,
    received: IntCounter,
    replies: IntCounterVec,
    processing: Histogram,
    auth_failures: IntCounterVec,
    endings: IntCounterVec,
    handshake_failures: IntCounter,
    proxy_faults: IntCounterVec,
    limits_hit: LimitsHit,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        Self {
            connections: registry.counter("smtp_connections_total", "Connections that came in"),
            refused_connections: registry.counter_by(
                "smtp_refused_connections_total",
                "Connections over a limit, answered 421",
                "limit",
                &["connections", "connections_per_ip"],
            ),
            active: registry.gauge("smtp_active_connections", "Connections open now"),
            duration: registry.histogram(
                "smtp_connection_duration_seconds",
                "Time from connection to its end",
                LIFETIME,
            ),
            received: registry.counter(
                "smtp_emails_received_total",
                "Messages read to their end, whatever became of them",
            ),
            replies: registry.counter_by(
                "smtp_emails_answered_total",
                "Messages read to their end, by the reply: 250, 4yz, 5yz or none",
                "reply",
                &[ACCEPTED, DEFERRED, REFUSED, NONE],
            ),
            processing: registry.histogram(
                "smtp_processing_duration_seconds",
                "Time from the end of a message to its reply",
                LATENCY,
            ),
            auth_failures: registry.counter_by(
                "smtp_auth_failures_total",
                "Logins that were not let in, and passwords that the email API then refused",
                "reason",
                &["credentials", "challenge", "unavailable", "throttled"],
            ),
            endings: registry.counter_by(
                "smtp_sessions_ended_total",
                "Sessions by how they ended",
                "ending",
                &ENDINGS
                    .map(|ending| ending_label(Some(ending)))
                    .into_iter()
                    .chain([ending_label(None)])
                    .collect::<Vec<_>>(),
            ),
            handshake_failures: registry.counter(
                "smtp_tls_handshake_failures_total",
                "TLS handshakes that failed or took too long",
            ),
            proxy_faults: registry.counter_by(
                "smtp_proxy_header_faults_total",
                "Connections of load balancers without a PROXY header that can be believed",
                "fault",
                &proxied::FAULTS,
            ),
            limits_hit: LimitsHit::new(registry),
        }
    }
}

/// Counts a message by its final reply, and one that never gets any.
struct Answer<'a> {
    replies: &'a IntCounterVec,
    reply: &'static str,
}

impl<'a> Answer<'a> {
    fn none_yet(metrics: &'a Metrics) -> Self {
        Self {
            replies: &metrics.replies,
            reply: NONE,
        }
    }

    fn is(mut self, reply: &Reply) {
        self.reply = match (reply.is_positive(), reply.is_permanent()) {
            (true, _) => ACCEPTED,
            (false, true) => REFUSED,
            (false, false) => DEFERRED,
        };
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.replies.with_label_values(&[self.reply]).inc();
    }
}

const ACCEPTED: &str = "accepted";
const DEFERRED: &str = "deferred";
const REFUSED: &str = "refused";
/// It broke, or the drain dropped it.
const NONE: &str = "none";

const ENDINGS: [Ending; 10] = [
    Ending::Quit,
    Ending::TimedOut,
    Ending::Expired,
    Ending::Draining,
    Ending::Errors,
    Ending::NotSmtp,
    Ending::EarlyOctets,
    Ending::UnreadableChunk,
    Ending::LoneLineBreak,
    Ending::Refused,
];

/// `None`: the peer left without a word, or the connection broke.
fn ending_label(ending: Option<Ending>) -> &'static str {
    match ending {
        Some(Ending::Quit) => "quit",
        Some(Ending::TimedOut) => "timed_out",
        Some(Ending::Expired) => "expired",
        Some(Ending::Draining) => "draining",
        Some(Ending::Errors) => "errors",
        Some(Ending::NotSmtp) => "not_smtp",
        Some(Ending::EarlyOctets) => "early_octets",
        Some(Ending::UnreadableChunk) => "unreadable_chunk",
        Some(Ending::LoneLineBreak) => "lone_line_break",
        Some(Ending::Refused) => "refused",
        None => "peer_left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::reply;

    #[test]
    fn a_message_counts_once_by_its_reply_and_one_that_is_dropped_by_none() {
        let registry = Registry::default();
        let metrics = Metrics::new(&registry);
        Answer::none_yet(&metrics).is(&reply::SENDER_OK);
        Answer::none_yet(&metrics).is(&reply::NO_ROOM);
        Answer::none_yet(&metrics).is(&reply::NO_ROOM);
        drop(Answer::none_yet(&metrics));
        let counts = [ACCEPTED, DEFERRED, REFUSED, NONE]
            .map(|reply| metrics.replies.with_label_values(&[reply]).get());
        assert_eq!(counts, [1, 2, 0, 1]);
    }
}
