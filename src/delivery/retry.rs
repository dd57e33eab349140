//! When to try again, and when to give up: PURE.

use std::time::{Duration, SystemTime};

/// The tries that a call still has, after the first.
#[derive(Debug, Clone)]
pub struct Retries {
    left: u32,
    /// The longest that the next wait may be, unless the API asks for more.
    step: Duration,
}

impl Retries {
    pub fn new(retries: u32) -> Self {
        Self {
            left: retries,
            step: FIRST_STEP,
        }
    }

    /// How long to wait before the next try; `None` when there is none.
    ///
    /// `asked` is what the API asks for, `time` what is left until the deadline; a try that could
    /// only begin after it is none. `random` is from 0 to 1: calls that failed together must not
    /// come back together, so any wait up to the step is as likely as any other (full jitter).
    pub fn next(
        &mut self,
        asked: Option<Duration>,
        time: Duration,
        random: f64,
    ) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let wait = self.step.mul_f64(random.clamp(0.0, 1.0));
        self.step = self.step.saturating_mul(2);
        let wait = wait.saturating_add(asked.unwrap_or_default());
        (wait < time).then_some(wait)
    }
}

/// What a `Retry-After` field asks for (RFC 9110 §10.2.3): seconds, or a date. A date that has
/// passed asks for nothing.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        // More than any number says is as good as for ever.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(LONGEST))
}

const FIRST_STEP: Duration = Duration::from_secs(1);
/// No API that means it asks for more than a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn waits_double_and_end() {
        let mut retries = Retries::new(2);
        assert_eq!(retries.next(None, MINUTE, 1.0), Some(FIRST_STEP));
        assert_eq!(retries.next(None, MINUTE, 1.0), Some(FIRST_STEP * 2));
        assert_eq!(retries.next(None, MINUTE, 1.0), None);
        assert_eq!(Retries::new(0).next(None, MINUTE, 0.0), None);
    }

    #[test]
    fn what_the_api_asks_for_is_kept_where_it_fits_and_ends_the_tries_where_not() {
        let asked = Some(Duration::from_secs(10));
        let next = Retries::new(1).next(asked, MINUTE, 1.0);
        assert_eq!(next, Some(Duration::from_secs(11)), "not all at once");
        assert_eq!(
            Retries::new(1).next(asked, Duration::from_secs(10), 0.0),
            None
        );
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(24 * 3600)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("Sun Nov  6 08:49:47 1994", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("Fri, 06 Nov 2094 08:49:27 GMT", None),
            ("Sat, 06 Nov 2094 08:49:27 GMT", Some(24 * 3600)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let found = retry_after(value, now);
            assert_eq!(found, seconds.map(Duration::from_secs), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn no_try_begins_after_the_deadline(
            retries in 0u32..40, asked in proptest::option::of(0u64..100), left in 0u64..100,
            random in -1.0f64..2.0
        ) {
            let mut retries = Retries::new(retries);
            let left = Duration::from_secs(left);
            for _ in 0..45 {
                if let Some(wait) = retries.next(asked.map(Duration::from_secs), left, random) {
                    prop_assert!(wait < left);
                }
            }
            prop_assert_eq!(retries.next(None, left, random), None);
        }

        #[test]
        fn no_field_makes_the_reader_panic(value in "\\PC{0,40}") {
            let _ = retry_after(&value, SystemTime::UNIX_EPOCH);
        }
    }
}
