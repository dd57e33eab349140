//! The behaviour of the gateway, one file each. Everything runs against real sockets, real TLS and
//! a real HTTP server, all on loopback and on ports that the system chooses.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets something unexpected has failed"
)]

mod attacks;
mod cakemail;
mod cakemail_double;
mod cakemail_provider;
mod canary;
mod dialogues;
mod drain;
mod guessed_passwords;
mod key_lookup;
mod layers;
mod limits;
mod limits_met;
mod live_dialogues;
mod message_corpus;
mod metrics_named;
mod named_tests;
mod outcomes;
mod process;
mod regressions;
mod reload;
mod resends;
mod retries;
mod sandbox;
mod send;
mod side_http;
mod silent_peers;
mod submission;
mod support;
mod tls;
