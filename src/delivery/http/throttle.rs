//! Accounts that the API does not want to hear from for a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::delivery::Deferral;

/// Which accounts are held until when, and why. Bounded: what does not fit is not held, and the API
/// says it again.
#[derive(Default)]
pub(super) struct Throttle(Mutex<HashMap<String, (Instant, Deferral)>>);

/// An account is often named by an address.
impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Throttle")
    }
}

impl Throttle {
    /// Why the account is held now, if it is.
    pub(super) fn check(&self, account: &str, now: Instant) -> Option<Deferral> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, cause) = held.get(account)?;
        (now < *until).then_some(*cause)
    }

    pub(super) fn hold(&self, account: &str, cause: Deferral, now: Instant, until: Instant) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MAX_HELD {
            held.retain(|_, (until, _)| now < *until);
        }
        if held.len() < MAX_HELD || held.contains_key(account) {
            held.insert(account.to_owned(), (until, cause));
        }
    }
}

const MAX_HELD: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_account_is_held_until_its_time_and_others_are_not() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let until = now + Duration::from_secs(60);
        throttle.hold("ann", Deferral::Throttled, now, until);
        assert_eq!(throttle.check("ann", now), Some(Deferral::Throttled));
        assert_eq!(throttle.check("bob", now), None);
        assert_eq!(throttle.check("ann", until), None);
    }

    #[test]
    fn what_has_passed_makes_room_and_no_more_than_so_many_are_held() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let until = now + Duration::from_secs(60);
        for number in 0..MAX_HELD + 5 {
            throttle.hold(&number.to_string(), Deferral::Throttled, now, until);
        }
        assert_eq!(throttle.0.lock().unwrap().len(), MAX_HELD);
        throttle.hold(
            "ann",
            Deferral::Throttled,
            until,
            until + Duration::from_secs(1),
        );
        assert_eq!(throttle.0.lock().unwrap().len(), 1);
    }
}
