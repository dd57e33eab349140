//! The transcripts of `tests/dialogues/`, against the running gateway over real sockets and TLS.

use std::io;

use rustls::ClientConfig;
use smtp_gateway::auth::TrustedNetwork;
use smtp_gateway::config::Config;
use smtp_gateway::ingress::smtp::{ListenerAuth, ListenerTls};
use smtp_gateway::smtp::framing::LoneNewlines;
use smtp_gateway::units::ByteSize;

use crate::dialogues::{self, Authentication, Listener, Peer, Setup};
use crate::support::client::SmtpClient;
use crate::support::gateway::{Gateway, listener};

#[test]
fn transcripts_hold_against_the_running_gateway() {
    let faults = dialogues::faults(Live::connect);
    assert!(faults.is_empty(), "\n{faults}");
}

struct Live {
    client: SmtpClient,
    tls: ClientConfig,
    _gateway: Gateway,
}

impl Live {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the form that connecting has in general"
    )]
    fn connect(setup: &Setup) -> io::Result<Self> {
        let gateway = Gateway::sandbox(|config| configure(config, setup));
        let tls = gateway.certificate.client();
        let mut client = gateway.connect();
        if setup.listener == Listener::Implicit {
            client.start_tls(tls.clone());
        }
        Ok(Self {
            client,
            tls,
            _gateway: gateway,
        })
    }
}

impl Peer for Live {
    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.client.try_send(octets)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        Ok(self.client.line())
    }

    fn start_tls(&mut self) -> io::Result<()> {
        self.client.try_start_tls(self.tls.clone())
    }
}

fn configure(config: &mut Config, setup: &Setup) {
    let mut only = listener(match setup.listener {
        Listener::StartTls => ListenerTls::Starttls,
        Listener::Implicit => ListenerTls::Implicit,
        Listener::Off => ListenerTls::Off,
    });
    only.auth = match setup.authentication {
        Authentication::Required => ListenerAuth::Required,
        Authentication::Waived => ListenerAuth::Trusted,
    };
    config.smtp.listeners = vec![only];
    config.auth.trusted_networks = vec![TrustedNetwork {
        network: "127.0.0.0/8".parse().unwrap(),
        account: "ann".to_owned(),
    }];
    for (name, value) in &setup.settings {
        let limits = &mut config.limits;
        match name.as_str() {
            "limits.command_line" => limits.command_line = value.parse().unwrap(),
            "limits.message_size" => limits.message_size = ByteSize(value.parse().unwrap()),
            "limits.recipients" => limits.recipients = value.parse().unwrap(),
            "limits.errors" => limits.errors = value.parse().unwrap(),
            "smtp.lone_newlines" => {
                config.smtp.lone_newlines = match value.as_str() {
                    "refuse" => LoneNewlines::Refuse,
                    _ => LoneNewlines::Normalise,
                };
            }
            other => panic!("no such setting: {other}"),
        }
    }
}
