//! What was counted, and whether it is as it must be.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use crate::faults::api::{Closing, Taken};
use crate::faults::client::{Counts, History, Told};
use crate::faults::message::RECIPIENTS;
use crate::faults::plan::{Fault, RATES};
use crate::faults::pods::{DEADLINE, Gone};
use crate::faults::proxy::Proxy;

pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) messages: usize,
    pub(crate) calls: Calls,
    pub(crate) histories: Vec<History>,
    pub(crate) counts: Counts,
    pub(crate) closing: Closing,
    pub(crate) took: Duration,
    pub(crate) pods: Vec<Gone>,
    pub(crate) proxy: Proxy,
}

/// How many calls a message becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    OneAMessage,
    OneARecipient,
}

/// Why a recipient got a message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// The gateway had no clear answer, for this reason.
    Unknown(&'static str),
    /// The gateway was killed while the client waited for its answer.
    InFlightAtTheKill,
    /// Another recipient was deferred, and the gateway that remembered this one has gone this way.
    Forgotten(&'static str),
    /// The client did not wait for the answer, and the gateway that remembered it has gone this way.
    UnheardAndForgotten(&'static str),
    /// None.
    None,
}

impl Report {
    pub(crate) fn repeats(&self) -> usize {
        self.reasons().len()
    }

    /// What must be true of every run.
    pub(crate) fn check(&self) {
        let lost = self.lost();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let unexplained: Vec<_> = self
            .reasons()
            .into_iter()
            .filter(|(_, reason)| *reason == Reason::None)
            .map(|((first, _), _)| (first.message, first.recipient))
            .collect();
        assert!(unexplained.is_empty(), "there twice: {unexplained:?}");
        // One call may be for all recipients, and is one outcome.
        let unknown: HashSet<u64> = self
            .reasons()
            .into_iter()
            .filter(|(_, reason)| matches!(reason, Reason::Unknown(_)))
            .map(|((first, _), _)| first.exchange)
            .collect();
        let unknown = unknown.len() as u64;
        let counted: u64 = self.pods.iter().map(|pod| pod.metrics.unknown).sum();
        assert!(unknown <= counted, "{unknown} repeats, {counted} counted");
        let mut damaged = self.closing.damaged.clone();
        damaged.dedup();
        assert!(damaged.is_empty(), "not as they were sent: {damaged:?}");
        let unfinished = self.with(|history| history.last() != Some(Told::Accepted));
        assert!(unfinished.is_empty(), "not accepted: {unfinished:?}");
        let silent = self.with(|history| history.tries.iter().any(|one| one.told == Told::Silence));
        assert!(silent.is_empty(), "no answer at all: {silent:?}");
        assert_eq!(self.histories.len(), self.messages);
        let refused = &self.counts.refused_logins;
        assert!(refused.is_empty(), "logins refused: {refused:?}");
        for pod in &self.pods {
            assert_eq!(pod.metrics.panics, 0, "{}", pod.log.display());
            assert!(pod.errors.is_empty(), "{:#?}", pod.errors);
        }
    }

    fn with(&self, condition: impl Fn(&History) -> bool) -> Vec<usize> {
        let histories = self.histories.iter().filter(|history| condition(history));
        histories.map(|history| history.message).collect()
    }

    /// Recipients of accepted messages who got nothing.
    fn lost(&self) -> Vec<(usize, usize)> {
        let taken = self.closing.taken.iter();
        let there: HashSet<_> = taken
            .map(|taken| (taken.message, taken.recipient))
            .collect();
        let accepted = self.with(|history| history.last() == Some(Told::Accepted));
        let wanted = accepted
            .into_iter()
            .flat_map(|message| (0..RECIPIENTS).map(move |recipient| (message, recipient)));
        wanted.filter(|one| !there.contains(one)).collect()
    }

    /// Everything that a recipient got although it was to get something later, and why.
    fn reasons(&self) -> Vec<((Taken, Taken), Reason)> {
        let histories: HashMap<usize, &History> = self
            .histories
            .iter()
            .map(|history| (history.message, history))
            .collect();
        let mut all: HashMap<(usize, usize), Vec<Taken>> = HashMap::new();
        for taken in &self.closing.taken {
            let key = (taken.message, taken.recipient);
            all.entry(key).or_default().push(*taken);
        }
        let pairs = all.values().flat_map(|taken| taken.windows(2));
        pairs
            .map(|pair| {
                let (first, next) = (pair[0], pair[1]);
                (
                    (first, next),
                    self.reason(first, next, histories[&first.message]),
                )
            })
            .collect()
    }

    fn reason(&self, first: Taken, next: Taken, history: &History) -> Reason {
        let gone = self.pods.iter().find(|pod| pod.number == first.pod);
        let mut tries = history.tries.iter();
        let told = tries.rfind(|one| one.began <= first.at);
        let (Some(gone), Some(told)) = (gone, told) else {
            return Reason::None;
        };
        let was_killed = gone.killed.is_some_and(|killed| killed <= told.ended);
        if was_killed && told.told == Told::Broken {
            return Reason::InFlightAtTheKill;
        }
        // With less time than this no call is begun.
        if let Some(unclear) = self.proxy.unclear(first.exchange, DEADLINE / 10) {
            return Reason::Unknown(unclear);
        }
        match (told.told, self.calls) {
            _ if first.pod == next.pod => Reason::None,
            (Told::Deferred, Calls::OneARecipient) => Reason::Forgotten(gone.ending()),
            (Told::Left, _) => Reason::UnheardAndForgotten(gone.ending()),
            _ => Reason::None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |what: &str, count: &dyn fmt::Display| writeln!(f, "{what:>42}  {count}");
        row("run", &self.name)?;
        row("seed", &self.seed)?;
        row("wall time", &format!("{:.1?}", self.took))?;
        row("messages", &self.messages)?;
        row("recipients of each", &RECIPIENTS)?;
        let tries = |told| {
            let tries = self.histories.iter().flat_map(|history| &history.tries);
            tries.filter(|one| one.told == told).count()
        };
        row("accepted", &tries(Told::Accepted))?;
        for (reply, count) in &self.counts.replies {
            row(&format!("reply {reply}"), count)?;
        }
        row("tries cut off", &tries(Told::Broken))?;
        row("tries that the client left", &tries(Told::Left))?;
        row("tries without any answer", &tries(Told::Silence))?;
        let all: usize = self
            .histories
            .iter()
            .map(|history| history.tries.len())
            .sum();
        row(
            "tries beyond the first",
            &all.saturating_sub(self.histories.len()),
        )?;
        row("sessions", &self.counts.sessions)?;
        for (how_far, count) in &self.counts.no_session {
            row(how_far, count)?;
        }
        row("restarts of the API", &1)?;
        for pod in &self.pods {
            let end = format!("pod {} {} in", pod.number, pod.ending());
            row(&end, &format!("{:.1?}", pod.took))?;
        }
        let sum = |what: fn(&Gone) -> u64| self.pods.iter().map(what).sum::<u64>();
        row(
            "smtp_unknown_outcomes_total",
            &sum(|pod| pod.metrics.unknown),
        )?;
        row("smtp_api_retries_total", &sum(|pod| pod.metrics.retries))?;
        row(
            "smtp_recipients_remembered_total",
            &sum(|pod| pod.metrics.remembered),
        )?;
        row("smtp_auth_lookups_total", &sum(|pod| pod.metrics.lookups))?;
        for (fault, _, what) in RATES {
            let count = match fault {
                Fault::KeyExpired => self.closing.expired,
                fault => self.proxy.played(fault),
            };
            row(&format!("fault: {what}"), &count)?;
        }
        row("answers given again by key", &self.closing.replayed)?;
        row("taken by the API, by recipient", &self.closing.taken.len())?;
        row("lost", &self.lost().len())?;
        row("damaged", &self.closing.damaged.len())?;
        let mut reasons: BTreeMap<Reason, u64> = BTreeMap::new();
        for (_, reason) in self.reasons() {
            *reasons.entry(reason).or_default() += 1;
        }
        let unexplained = reasons.remove(&Reason::None).unwrap_or_default();
        row("twice", &(reasons.values().sum::<u64>() + unexplained))?;
        for (reason, count) in reasons {
            row(&format!("twice: {reason}"), &count)?;
        }
        row("twice without a reason", &unexplained)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(what) => write!(f, "unknown outcome, {what}"),
            Self::InFlightAtTheKill => f.write_str("in flight at the kill"),
            Self::Forgotten(ending) => write!(f, "partly deferred, then {ending}"),
            Self::UnheardAndForgotten(ending) => write!(f, "not heard, then {ending}"),
            Self::None => f.write_str("no reason"),
        }
    }
}
