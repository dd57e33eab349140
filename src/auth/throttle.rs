//! Passwords that are guessed: PURE.
//!
//! Wrong passwords are counted for one login from one network. Only different ones count: an
//! application that repeats an old password is no attacker, and locks nobody out. Too many within
//! five minutes, and that login is refused from there without asking anybody, for a minute; from then
//! on each further wrong password doubles the time, up to fifteen minutes. A login that was good from
//! there in the last fifteen minutes is never refused, whatever else is tried; that holds for the
//! same login only, or whoever has an account could guess the passwords of all others.
//!
//! Passwords that are being looked up count as wrong ones until it is known: a hundred connections at
//! once have no more guesses than one.
//!
//! Memory is bounded. In a flood of made-up logins the entry makes room that has the fewest wrong
//! passwords, and of those the oldest: whoever wants the count of one login forgotten must fail as
//! often with others as there are entries, for each guess. Entries that are refused go last.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bounded::Bounded;

/// One try to log in. What it is made of is hidden by a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Stands for the network and the login.
    pub pair: [u8; 32],
    /// Stands for the password.
    pub password: u64,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Wrong,
    /// Nobody could tell.
    Unknown,
}

/// Too many wrong passwords: nobody is asked about this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

#[derive(Debug)]
pub struct Throttle {
    /// Different wrong passwords, the last of which is one too many; 0: no bound.
    limit: usize,
    suspects: Bounded<[u8; 32], Rank, Suspect>,
    successes: Bounded<[u8; 32], Instant, ()>,
}

impl Throttle {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            suspects: Bounded::new(ENTRIES),
            successes: Bounded::new(ENTRIES),
        }
    }

    /// May this password be looked up? If so, [`Throttle::end`] must follow.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn begin(&mut self, attempt: &Attempt, now: Instant) -> Result<(), Refused> {
        if self.limit == 0 || self.was_good(&attempt.pair, now) {
            return Ok(());
        }
        let mut suspect = self.suspect(&attempt.pair, now);
        let admitted = suspect.admit(attempt.password, self.limit, now);
        self.suspects.put(attempt.pair, suspect.rank(), suspect);
        admitted
    }

    /// Takes note of what became of an attempt.
    pub fn end(&mut self, attempt: &Attempt, verdict: Verdict, now: Instant) {
        if self.limit == 0 {
            return;
        }
        match verdict {
            Verdict::Good => {
                self.suspects.take(&attempt.pair);
                self.successes.put(attempt.pair, now, ());
            }
            Verdict::Wrong if self.was_good(&attempt.pair, now) => {}
            Verdict::Wrong => {
                let mut suspect = self.suspect(&attempt.pair, now);
                suspect.fail(attempt.password, self.limit, now);
                self.suspects.put(attempt.pair, suspect.rank(), suspect);
            }
            Verdict::Unknown => {
                let mut suspect = self.suspect(&attempt.pair, now);
                suspect.settle(attempt.password);
                if !suspect.is_blank() {
                    self.suspects.put(attempt.pair, suspect.rank(), suspect);
                }
            }
        }
    }

    /// Forgets what is long ago. Call it now and then: what is forgotten makes room for others.
    pub fn tidy(&mut self, now: Instant) {
        self.suspects.retain(|_, suspect| !suspect.is_over(now));
        self.successes.retain(|at, ()| now < at + MEMORY);
    }

    fn was_good(&self, pair: &[u8; 32], now: Instant) -> bool {
        let good = self.successes.rank(pair);
        good.is_some_and(|at| now < at + MEMORY)
    }

    fn suspect(&mut self, pair: &[u8; 32], now: Instant) -> Suspect {
        let known = self.suspects.take(pair);
        known
            .filter(|suspect| !suspect.is_over(now))
            .unwrap_or_else(|| Suspect::new(now))
    }
}

/// How bad it is, and since when.
type Rank = (usize, Instant);

/// A login that somebody from one network failed with.
#[derive(Debug)]
struct Suspect {
    /// Passwords that were wrong, the latest last. Saying them again changes nothing.
    wrong: VecDeque<u64>,
    /// When the wrong ones came that count: those since the last refusal began.
    counted: Vec<Instant>,
    /// Passwords that are being looked up.
    pending: Vec<u64>,
    refusals: u32,
    refused_until: Instant,
    /// The latest password that was new.
    latest: Instant,
}

impl Suspect {
    fn new(now: Instant) -> Self {
        Self {
            wrong: VecDeque::new(),
            counted: Vec::new(),
            pending: Vec::new(),
            refusals: 0,
            refused_until: now,
            latest: now,
        }
    }

    fn admit(&mut self, password: u64, limit: usize, now: Instant) -> Result<(), Refused> {
        if now < self.refused_until {
            return Err(Refused);
        }
        if self.wrong.contains(&password) || self.pending.contains(&password) {
            return Ok(());
        }
        self.forget_old(now);
        if self.counted.len() + self.pending.len() >= self.allowed(limit) {
            return Err(Refused);
        }
        self.pending.push(password);
        self.latest = now;
        Ok(())
    }

    fn fail(&mut self, password: u64, limit: usize, now: Instant) {
        self.settle(password);
        if let Some(known) = self.wrong.iter().position(|wrong| *wrong == password) {
            self.wrong.remove(known);
            self.wrong.push_back(password);
            return;
        }
        self.wrong.push_back(password);
        if self.wrong.len() > 2 * limit {
            self.wrong.pop_front();
        }
        self.forget_old(now);
        self.counted.push(now);
        self.latest = now;
        if self.counted.len() >= self.allowed(limit) {
            let doubled = FIRST_REFUSAL * 2_u32.saturating_pow(self.refusals.min(DOUBLINGS));
            self.refused_until = now + doubled.min(LONGEST_REFUSAL);
            self.refusals += 1;
            self.counted.clear();
        }
    }

    fn settle(&mut self, password: u64) {
        self.pending.retain(|pending| *pending != password);
    }

    fn forget_old(&mut self, now: Instant) {
        self.counted.retain(|at| now < *at + WINDOW);
    }

    /// Wrong passwords up to the next refusal.
    fn allowed(&self, limit: usize) -> usize {
        if self.refusals == 0 { limit } else { 1 }
    }

    fn rank(&self) -> Rank {
        let refused = usize::try_from(self.refusals).unwrap_or(usize::MAX);
        let weight = refused
            .saturating_mul(REFUSED)
            .saturating_add(self.counted.len());
        (weight, self.latest)
    }

    fn is_blank(&self) -> bool {
        self.wrong.is_empty() && self.pending.is_empty()
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.latest.max(self.refused_until) + MEMORY
    }
}

/// For each network and login that failed, and each that succeeded.
const ENTRIES: usize = 10_000;
/// In which wrong passwords are too many.
const WINDOW: Duration = Duration::from_secs(5 * 60);
const FIRST_REFUSAL: Duration = Duration::from_secs(60);
const LONGEST_REFUSAL: Duration = Duration::from_secs(15 * 60);
/// More of them are longer than the longest refusal.
const DOUBLINGS: u32 = 4;
/// How long a success protects, and how long a refusal that is over makes the next one longer.
const MEMORY: Duration = LONGEST_REFUSAL;
/// One refusal weighs more than all wrong passwords that can be counted.
const REFUSED: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    /// A throttle of five, and a clock.
    struct Scene {
        throttle: Throttle,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                throttle: Throttle::new(5),
                now: tokio::time::Instant::now().into_std(),
            }
        }

        fn attempt(&mut self, pair: u64, password: u64, verdict: Verdict) -> Result<(), Refused> {
            let attempt = attempt(pair, password);
            self.throttle.begin(&attempt, self.now)?;
            self.throttle.end(&attempt, verdict, self.now);
            Ok(())
        }

        fn wrong(&mut self, pair: u64, password: u64) -> Result<(), Refused> {
            self.attempt(pair, password, Verdict::Wrong)
        }

        fn fail_often(&mut self, pair: u64) {
            for password in 0..5 {
                self.wrong(pair, password).unwrap();
            }
        }
    }

    fn attempt(pair: u64, password: u64) -> Attempt {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&pair.to_be_bytes());
        Attempt {
            pair: hash,
            password,
        }
    }

    #[test]
    fn the_fifth_wrong_password_in_five_minutes_is_one_too_many() {
        let mut scene = Scene::new();
        scene.fail_often(1);
        assert_eq!(scene.attempt(1, 9, Verdict::Good), Err(Refused));
        assert_eq!(scene.wrong(1, 0), Err(Refused), "also one that is known");
        assert_eq!(scene.attempt(2, 9, Verdict::Good), Ok(()), "another pair");
        scene.now += MINUTE;
        assert_eq!(scene.attempt(1, 9, Verdict::Good), Ok(()));
    }

    #[test]
    fn four_in_five_minutes_are_not_too_many_for_ever() {
        let mut scene = Scene::new();
        for password in 0..40 {
            scene.wrong(1, password).unwrap();
            scene.now += 76 * SECOND;
        }
    }

    #[test]
    fn a_password_that_is_repeated_counts_once() {
        let mut scene = Scene::new();
        for _ in 0..1000 {
            scene.wrong(1, 7).unwrap();
            scene.now += SECOND;
        }
        scene.attempt(1, 8, Verdict::Good).unwrap();
    }

    #[test]
    fn each_wrong_password_behind_a_refusal_doubles_it_up_to_fifteen_minutes() {
        let mut scene = Scene::new();
        scene.fail_often(1);
        for (round, minutes) in (0..).zip([1, 2, 4, 8, 15, 15]) {
            scene.now += minutes * MINUTE - SECOND;
            assert_eq!(scene.wrong(1, 100 + round), Err(Refused), "{minutes}");
            scene.now += SECOND;
            assert_eq!(
                scene.wrong(1, 0),
                Ok(()),
                "one that is known changes nothing"
            );
            assert_eq!(scene.wrong(1, 100 + round), Ok(()), "{minutes}");
            assert_eq!(scene.wrong(1, 200), Err(Refused));
        }
    }

    #[test]
    fn quiet_for_a_while_begins_anew() {
        let mut scene = Scene::new();
        scene.fail_often(1);
        scene.now += 16 * MINUTE;
        scene.fail_often(1);
        assert_eq!(scene.wrong(1, 9), Err(Refused));
        scene.now += MINUTE;
        assert_eq!(scene.wrong(1, 9), Ok(()), "a minute, as at first");
    }

    #[test]
    fn a_success_clears_and_protects_its_own_login_for_fifteen_minutes() {
        let mut scene = Scene::new();
        scene.attempt(1, 9, Verdict::Good).unwrap();
        for password in 10..100 {
            scene.wrong(1, password).unwrap();
        }
        scene.fail_often(2);
        assert_eq!(scene.wrong(2, 9), Err(Refused));
        scene.now += 15 * MINUTE;
        scene.fail_often(1);
        assert_eq!(scene.wrong(1, 9), Err(Refused));
    }

    #[test]
    fn what_nobody_could_tell_does_not_count() {
        let mut scene = Scene::new();
        for password in 0..100 {
            scene.attempt(1, password, Verdict::Unknown).unwrap();
        }
        assert_eq!(scene.throttle.suspects.len(), 0);
        scene.fail_often(1);
    }

    #[test]
    fn guesses_at_the_same_time_are_no_more_than_one_after_the_other() {
        let mut scene = Scene::new();
        let admitted = |scene: &mut Scene, password| {
            let attempt = attempt(1, password);
            scene.throttle.begin(&attempt, scene.now).is_ok()
        };
        let first = (0..100).filter(|password| admitted(&mut scene, *password));
        assert_eq!(first.count(), 5);
        assert!(admitted(&mut scene, 0), "a client with many connections");
        for password in 0..5 {
            scene
                .throttle
                .end(&attempt(1, password), Verdict::Wrong, scene.now);
        }
        scene.now += MINUTE;
        let behind = (200..300).filter(|password| admitted(&mut scene, *password));
        assert_eq!(behind.count(), 1);
    }

    #[test]
    fn a_flood_of_logins_takes_bounded_memory_and_frees_no_login_that_is_refused() {
        let mut scene = Scene::new();
        scene.fail_often(1);
        scene.wrong(2, 0).unwrap();
        scene.wrong(2, 1).unwrap();
        for pair in 0..3 * ENTRIES as u64 {
            scene.wrong(1000 + pair, 0).unwrap();
        }
        assert_eq!(scene.throttle.suspects.len(), ENTRIES);
        assert_eq!(scene.wrong(1, 9), Err(Refused));
        for password in 2..5 {
            scene.wrong(2, password).unwrap();
        }
        assert_eq!(scene.wrong(2, 9), Err(Refused), "two were remembered");
        for pair in 0..2 * ENTRIES as u64 {
            scene.attempt(1000 + pair, 1, Verdict::Good).unwrap();
        }
        assert_eq!(scene.throttle.successes.len(), ENTRIES);
        scene.now += 16 * MINUTE;
        scene.throttle.tidy(scene.now);
        assert_eq!(scene.throttle.suspects.len(), 0);
        assert_eq!(scene.throttle.successes.len(), 0);
    }

    #[test]
    fn zero_is_no_bound() {
        let mut scene = Scene::new();
        scene.throttle = Throttle::new(0);
        for password in 0..100 {
            scene.wrong(1, password).unwrap();
        }
        assert_eq!(scene.throttle.suspects.len(), 0);
    }

    proptest! {
        /// Whatever comes in whatever order: no guess beyond the bound is ever looked up.
        #[test]
        fn never_more_than_the_bound_is_looked_up_in_a_window(
            steps in prop::collection::vec((0u64..30, 0u64..90), 1..200)
        ) {
            let mut scene = Scene::new();
            let mut known = std::collections::HashSet::new();
            let mut asked: Vec<Instant> = Vec::new();
            for (password, pause) in steps {
                scene.now += Duration::from_secs(pause);
                if scene.wrong(1, password).is_ok() && known.insert(password) {
                    asked.push(scene.now);
                }
            }
            // A refusal of a minute ends within the window, so a few more may follow it.
            for first in &asked {
                let within = asked.iter().filter(|at| *at >= first && **at < *first + WINDOW);
                prop_assert!(within.count() <= 5 + 3);
            }
        }
    }
}
