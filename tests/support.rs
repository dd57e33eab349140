//! What the tests share: the real gateway on free ports, a client that says what it is told to, and
//! an email API that does what it is told to.

use std::time::{Duration, SystemTime};

pub(crate) mod api;
pub(crate) mod cakemail;
pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod volume;

/// Waits for something that the gateway does in its own time.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let started = SystemTime::now();
    while !condition() {
        let waited = started.elapsed().unwrap_or_default();
        assert!(waited < Duration::from_secs(20), "it did not happen");
        std::thread::yield_now();
    }
}
