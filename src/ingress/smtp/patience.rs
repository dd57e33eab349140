//! How long a client may take for what it does now (RFC 5321 §4.5.3.2).
//!
//! A command must be whole in time, however its octets drip in. Mail data must go on, and bring
//! enough on the whole. A session is over after a while, but never within a message.

use std::time::Duration;

use tokio::time::Instant;

use crate::smtp::session::Wait;
use crate::submission::limits::Limits;

pub(super) struct Patience {
    idle: Duration,
    block: Duration,
    /// Octets a second; 0 asks for nothing.
    rate: u64,
    expires: Instant,
    /// When the wait for the present command began.
    since: Option<Instant>,
    message: Progress,
}

/// Of one message: the time that was spent on waiting for it, and what has come.
#[derive(Default)]
struct Progress {
    waited: Duration,
    octets: u64,
}

/// When a wait is over, and what that means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) late: Late,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    TimedOut,
    /// The session has lasted long enough.
    Expired,
}

impl Patience {
    /// For a session that begins now; `jitter`, below 1, spreads the ends of those that began
    /// together.
    pub(super) fn new(limits: &Limits, now: Instant, jitter: f64) -> Self {
        let age = or_forever(limits.session_age.duration());
        Self {
            idle: or_forever(limits.idle_timeout.duration()),
            block: or_forever(limits.data_timeout.duration()),
            rate: limits.data_rate.octets(),
            expires: now + age.mul_f64(0.9 + 0.2 * jitter),
            since: None,
            message: Progress::default(),
        }
    }

    /// For one write: a client that does not read is as idle as one that does not write.
    pub(super) fn write(&self) -> Duration {
        self.idle.min(WRITE)
    }

    pub(super) fn handshake(&self) -> Duration {
        self.idle.min(HANDSHAKE)
    }

    /// How long to wait for octets from now on.
    pub(super) fn due(&mut self, wait: Wait, now: Instant) -> Due {
        let since = match wait {
            Wait::MailData => now,
            Wait::Command | Wait::Transaction | Wait::Chunk => *self.since.get_or_insert(now),
        };
        let timed_out = |at| Due {
            at,
            late: Late::TimedOut,
        };
        let idle = timed_out(since + self.idle);
        if matches!(wait, Wait::Command | Wait::Transaction) {
            self.message_is_over();
        }
        match wait {
            Wait::Command => self.expiring(idle, self.expires),
            // One that goes on for ever is no transaction either.
            Wait::Transaction => self.expiring(idle, self.expires + self.idle),
            Wait::Chunk => timed_out(idle.at.min(now + self.message_left())),
            Wait::MailData => timed_out(now + self.block.min(self.message_left())),
        }
    }

    /// Octets came, or none in time.
    pub(super) fn waited(&mut self, time: Duration, octets: usize) {
        self.message.waited = self.message.waited.saturating_add(time);
        self.message.octets = self.message.octets.saturating_add(octets as u64);
    }

    /// The command is whole.
    pub(super) fn command_is_whole(&mut self) {
        self.since = None;
    }

    /// The next one begins anew.
    pub(super) fn message_is_over(&mut self) {
        self.message = Progress::default();
    }

    fn expiring(&self, idle: Due, expires: Instant) -> Due {
        if expires >= idle.at {
            return idle;
        }
        Due {
            at: expires,
            late: Late::Expired,
        }
    }

    /// What is left of the time that the message may take, as far as it has come.
    fn message_left(&self) -> Duration {
        let earned = match self.message.octets.checked_div(self.rate) {
            None => FOREVER,
            Some(seconds) => Duration::from_secs(seconds),
        };
        let allowed = self.block.saturating_add(earned).min(FOREVER);
        allowed.saturating_sub(self.message.waited)
    }
}

fn or_forever(setting: Duration) -> Duration {
    match setting {
        Duration::ZERO => FOREVER,
        setting => setting,
    }
}

/// 0 in the settings: a session that nobody ends.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Not for ever, whatever the settings say. A slow phone line does it in a tenth of this.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// A reply waits to be written only where the client has left a lot of them unread.
const WRITE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{ByteSize, Period};

    const SECOND: Duration = Duration::from_secs(1);

    fn patience(now: Instant) -> Patience {
        let limits = Limits {
            idle_timeout: Period::seconds(300),
            data_timeout: Period::seconds(180),
            data_rate: ByteSize(1000),
            session_age: Period::seconds(1000),
            ..Limits::default()
        };
        Patience::new(&limits, now, 0.5)
    }

    fn timed_out(at: Instant) -> Due {
        Due {
            at,
            late: Late::TimedOut,
        }
    }

    #[test]
    fn a_command_must_be_whole_in_time_and_each_has_its_own() {
        let start = Instant::now();
        let mut patience = patience(start);
        let due = timed_out(start + 300 * SECOND);
        assert_eq!(patience.due(Wait::Command, start), due);
        assert_eq!(patience.due(Wait::Command, start + 299 * SECOND), due);
        patience.command_is_whole();
        let next = start + 299 * SECOND;
        assert_eq!(
            patience.due(Wait::Command, next),
            timed_out(next + 300 * SECOND)
        );
    }

    #[test]
    fn a_session_expires_between_transactions_and_a_transaction_later() {
        let start = Instant::now();
        let mut patience = patience(start);
        let late = start + 900 * SECOND;
        let expired = |at| Due {
            at,
            late: Late::Expired,
        };
        assert_eq!(
            patience.due(Wait::Command, late),
            expired(start + 1000 * SECOND)
        );
        patience.command_is_whole();
        let later = start + 1200 * SECOND;
        assert_eq!(
            patience.due(Wait::Transaction, later),
            expired(start + 1300 * SECOND)
        );
        assert_eq!(
            patience.due(Wait::MailData, later),
            timed_out(later + 180 * SECOND)
        );
    }

    #[test]
    fn the_ends_of_sessions_are_spread_over_a_fifth_of_their_age() {
        let start = Instant::now();
        for (jitter, age) in [(0.0, 900), (0.5, 1000), (0.999_999_999, 1100)] {
            let limits = Limits {
                session_age: Period::seconds(1000),
                idle_timeout: Period::seconds(0),
                ..Limits::default()
            };
            let due = Patience::new(&limits, start, jitter).due(Wait::Command, start);
            let distance = (due.at - start).abs_diff(age * SECOND);
            assert!(distance < SECOND, "{jitter}: {distance:?}");
        }
    }

    #[test]
    fn mail_data_may_pause_but_must_bring_enough_on_the_whole() {
        let start = Instant::now();
        let mut patience = patience(start);
        let due = |patience: &mut Patience| patience.due(Wait::MailData, start).at - start;
        assert_eq!(due(&mut patience), 180 * SECOND);
        // A drip of an octet a second wears the first pause away.
        for _ in 0..100 {
            patience.waited(SECOND, 1);
        }
        assert_eq!(due(&mut patience), 80 * SECOND);
        assert_eq!(patience.due(Wait::Chunk, start).at - start, 80 * SECOND);
        // Enough octets earn it back, and never more than one pause at a time.
        patience.waited(SECOND, 50_000);
        assert_eq!(due(&mut patience), 129 * SECOND);
        patience.waited(SECOND, 5_000_000);
        assert_eq!(due(&mut patience), 180 * SECOND);
        patience.waited(6000 * SECOND, 0);
        assert_eq!(due(&mut patience), Duration::ZERO);
        // The next message begins anew.
        patience.due(Wait::Command, start);
        assert_eq!(due(&mut patience), 180 * SECOND);
    }

    #[test]
    fn zero_waits_for_ever() {
        let start = Instant::now();
        let none = Period::seconds(0);
        let limits = Limits {
            idle_timeout: none,
            data_timeout: none,
            session_age: none,
            ..Limits::default()
        };
        let mut patience = Patience::new(&limits, start, 0.0);
        patience.waited(SECOND, 0);
        for wait in [
            Wait::Command,
            Wait::Transaction,
            Wait::Chunk,
            Wait::MailData,
        ] {
            assert!(
                patience.due(wait, start).at - start > FOREVER / 2,
                "{wait:?}"
            );
        }
        // Save where the client has nothing to wait for itself.
        assert_eq!(patience.write(), 30 * SECOND);
        assert_eq!(patience.handshake(), 30 * SECOND);
    }
}
