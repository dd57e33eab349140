//! The [`Throttle`] of all logins: its clock, its lock, and the hash that hides what it counts.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::auth::throttle::{Attempt, Refused, Throttle, Verdict};
use crate::smtp::sasl::Credentials;
use crate::telemetry::privacy::KeyedHash;

#[derive(Debug)]
pub(super) struct Guesses {
    hash: KeyedHash,
    throttle: Mutex<Throttle>,
}

impl Guesses {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            hash: KeyedHash::new(),
            throttle: Mutex::new(Throttle::new(limit)),
        }
    }

    /// Many services take a user name in capitals for the same one, so that counts as one here.
    pub(super) fn attempt(&self, credentials: &Credentials, network: IpAddr) -> Attempt {
        let network = network.to_string();
        let login = credentials.username.to_lowercase();
        let password = credentials.password.reveal().as_bytes();
        let [a, b, c, d, e, f, g, h, ..] = self.hash.of(&[password]);
        Attempt {
            pair: self.hash.of(&[network.as_bytes(), login.as_bytes()]),
            password: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    /// # Errors
    /// [`Refused`]
    pub(super) fn begin(&self, attempt: &Attempt) -> Result<(), Refused> {
        self.throttle().begin(attempt, Instant::now().into_std())
    }

    pub(super) fn end(&self, attempt: &Attempt, verdict: Verdict) {
        self.throttle()
            .end(attempt, verdict, Instant::now().into_std());
    }

    pub(super) fn tidy(&self) {
        self.throttle().tidy(Instant::now().into_std());
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
