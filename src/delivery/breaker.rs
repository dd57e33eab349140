//! Stop asking a backend that is down: PURE.
//!
//! More than half of at least twenty calls ill within a minute, and for thirty seconds none is made;
//! then one at a time, until one goes well. Time comes from outside.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Breaker {
    began: Instant,
    /// The last minute, in pieces.
    window: [Piece; PIECES],
    state: State,
}

/// The right to make one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Call,
    /// This call decides whether others follow.
    Probe,
}

/// How a call went, as far as the backend's health goes: a refusal is a healthy answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Well,
    /// No connection, no answer in time, 5xx.
    Ill,
}

/// What a call has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Opened,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// No call before this. Whoever is admitted then is a probe, and moves it on: a probe that never
    /// comes back does not keep the breaker open.
    Open(Instant),
}

#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    /// Its number since the beginning of time; only pieces of the last minute count.
    number: u64,
    calls: u32,
    ill: u32,
}

impl Breaker {
    /// Closed, and without a memory of calls.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            window: [Piece::default(); PIECES],
            state: State::Closed,
        }
    }

    /// May a call be made now?
    pub fn admit(&mut self, now: Instant) -> Option<Admission> {
        match self.state {
            State::Closed => Some(Admission::Call),
            State::Open(until) if now < until => None,
            State::Open(_) => {
                self.state = State::Open(now + PAUSE);
                Some(Admission::Probe)
            }
        }
    }

    /// Takes note of how an admitted call went.
    pub fn record(&mut self, admission: Admission, health: Health, now: Instant) -> Change {
        match (self.state, admission, health) {
            (State::Open(_), Admission::Probe, Health::Well) => {
                *self = Self::new(now);
                Change::Closed
            }
            (State::Open(_), Admission::Probe, Health::Ill) => {
                self.state = State::Open(now + PAUSE);
                Change::None
            }
            // It began before the breaker opened, or before it closed again.
            (State::Open(_), Admission::Call, _) | (State::Closed, Admission::Probe, _) => {
                Change::None
            }
            (State::Closed, Admission::Call, health) => {
                let number = self.number(now);
                self.count(health, number);
                if self.is_ill(number) {
                    self.state = State::Open(now + PAUSE);
                    return Change::Opened;
                }
                Change::None
            }
        }
    }

    fn count(&mut self, health: Health, number: u64) {
        // The present piece if it is there, else the oldest.
        let piece = self
            .window
            .iter_mut()
            .min_by_key(|piece| (piece.number != number, piece.number));
        let Some(piece) = piece else { return };
        if piece.number != number {
            *piece = Piece {
                number,
                ..Piece::default()
            };
        }
        piece.calls = piece.calls.saturating_add(1);
        let ill = u32::from(health == Health::Ill);
        piece.ill = piece.ill.saturating_add(ill);
    }

    fn is_ill(&self, number: u64) -> bool {
        let recent = self
            .window
            .iter()
            .filter(|piece| piece.number + PIECES as u64 > number);
        let (calls, ill) = recent.fold((0u32, 0u32), |(calls, ill), piece| {
            (
                calls.saturating_add(piece.calls),
                ill.saturating_add(piece.ill),
            )
        });
        calls >= LEAST_CALLS && ill > calls / 2
    }

    /// The number of the piece that is counted into; none is 0.
    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / PIECE.as_secs() + 1
    }
}

const PIECES: usize = 12;
const PIECE: Duration = Duration::from_secs(5);
const LEAST_CALLS: u32 = 20;
const PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker, and a clock that only goes when it is told.
    struct Bench {
        breaker: Breaker,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = tokio::time::Instant::now().into_std();
            Self {
                breaker: Breaker::new(now),
                now,
            }
        }

        fn wait(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn admit(&mut self) -> Option<Admission> {
            self.breaker.admit(self.now)
        }

        fn call(&mut self, health: Health) -> Change {
            let admission = self.admit().expect("the breaker is closed");
            self.breaker.record(admission, health, self.now)
        }

        fn open(&mut self) {
            for _ in 0..LEAST_CALLS - 1 {
                assert_eq!(self.call(Health::Ill), Change::None);
            }
            assert_eq!(self.call(Health::Ill), Change::Opened);
        }
    }

    #[test]
    fn it_opens_when_more_than_half_of_twenty_are_ill() {
        let mut bench = Bench::new();
        for _ in 0..10 {
            assert_eq!(bench.call(Health::Well), Change::None);
            assert_eq!(bench.call(Health::Ill), Change::None);
        }
        assert_eq!(bench.call(Health::Ill), Change::Opened);
        assert_eq!(bench.admit(), None);
    }

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let mut bench = Bench::new();
        for _ in 0..LEAST_CALLS - 1 {
            bench.call(Health::Ill);
        }
        bench.wait(61);
        assert_eq!(bench.call(Health::Ill), Change::None);
        for _ in 0..LEAST_CALLS - 2 {
            bench.wait(3);
            assert_eq!(bench.call(Health::Ill), Change::None);
        }
        assert_eq!(bench.call(Health::Ill), Change::Opened);
    }

    #[test]
    fn after_a_pause_one_probe_at_a_time_decides() {
        let mut bench = Bench::new();
        bench.open();
        bench.wait(29);
        assert_eq!(bench.admit(), None);
        bench.wait(1);
        assert_eq!(bench.admit(), Some(Admission::Probe));
        assert_eq!(bench.admit(), None, "one at a time");
        let (probe, ill, now) = (Admission::Probe, Health::Ill, bench.now);
        assert_eq!(bench.breaker.record(probe, ill, now), Change::None);
        bench.wait(29);
        assert_eq!(bench.admit(), None);
        bench.wait(1);
        assert_eq!(bench.call(Health::Well), Change::Closed);
        assert_eq!(bench.admit(), Some(Admission::Call));
    }

    #[test]
    fn a_probe_that_never_comes_back_is_followed_by_another() {
        let mut bench = Bench::new();
        bench.open();
        bench.wait(30);
        assert_eq!(bench.admit(), Some(Admission::Probe));
        bench.wait(30);
        assert_eq!(bench.admit(), Some(Admission::Probe));
    }

    #[test]
    fn calls_that_began_before_do_not_close_it() {
        let mut bench = Bench::new();
        bench.open();
        let change = bench
            .breaker
            .record(Admission::Call, Health::Well, bench.now);
        assert_eq!(change, Change::None);
        assert_eq!(bench.admit(), None);
    }
}
