//! What can go wrong with a call, what that means, and how it is counted.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::delivery::Deferral;
use crate::delivery::http::provider::Answer;
use crate::telemetry::metrics::{LATENCY, Registry};

/// A call without an answer.
pub(super) struct Broken {
    pub(super) error: ApiError,
    had_left: bool,
    pub(super) detail: String,
}

impl Broken {
    pub(super) fn new(error: &reqwest::Error, had_left: bool) -> Self {
        let kind = match error {
            error if error.is_connect() => ApiError::Connect,
            error if error.is_timeout() => ApiError::TimedOut,
            _ => ApiError::Reset,
        };
        Self {
            error: kind,
            had_left: had_left && kind != ApiError::Connect,
            detail: chain(error),
        }
    }

    pub(super) fn timed_out(had_left: bool) -> Self {
        Self {
            error: ApiError::TimedOut,
            had_left,
            detail: "delivery.deadline".to_owned(),
        }
    }

    pub(super) fn answer(&self) -> Answer {
        match (self.had_left, self.error) {
            (true, _) => Answer::Unknown,
            (false, ApiError::TimedOut) => Answer::deferred(Deferral::TimedOut),
            (false, _) => Answer::deferred(Deferral::Unreachable),
        }
    }
}

/// An error with its causes. The outermost text of the client names the URL, which may carry a key.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// What went wrong with a call, for the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiError {
    Connect,
    TimedOut,
    Reset,
    Redirect,
    Throttled,
    Refused,
    Server,
    NotUnderstood,
    /// No call was made: too many have failed.
    CircuitOpen,
}

impl ApiError {
    const ALL: [Self; 9] = [
        Self::Connect,
        Self::TimedOut,
        Self::Reset,
        Self::Redirect,
        Self::Throttled,
        Self::Refused,
        Self::Server,
        Self::NotUnderstood,
        Self::CircuitOpen,
    ];

    /// Of an answer that was not the one hoped for.
    pub(super) fn of_status(status: u16, answer: &Answer) -> Self {
        match (status, answer) {
            (300..=399, _) => Self::Redirect,
            (_, Answer::Refused { .. }) => Self::Refused,
            (429, _) => Self::Throttled,
            (500.., _) => Self::Server,
            (
                400..=499,
                Answer::Deferred {
                    cause: Deferral::NotUnderstood,
                    ..
                },
            ) => Self::NotUnderstood,
            (400..=499, _) => Self::Refused,
            _ => Self::NotUnderstood,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::TimedOut => "timeout",
            Self::Reset => "reset",
            Self::Redirect => "redirect",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::Server => "server_error",
            Self::NotUnderstood => "not_understood",
            Self::CircuitOpen => "circuit_open",
        }
    }
}

#[derive(Debug)]
pub(super) struct Metrics {
    errors: IntCounterVec,
    pub(super) latency: Histogram,
    pub(super) unknown_outcomes: IntCounter,
    pub(super) retries: IntCounter,
    pub(super) sender_lookups: IntCounter,
    pub(super) circuit_open: IntGauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            errors: registry.counter_by(
                "smtp_api_errors_total",
                "Calls to the email API that were not taken",
                "kind",
                &ApiError::ALL.map(ApiError::label),
            ),
            latency: registry.histogram(
                "smtp_api_latency_seconds",
                "Time of one call to the email API",
                LATENCY,
            ),
            unknown_outcomes: registry.counter(
                "smtp_unknown_outcomes_total",
                "Calls that left and got no clear answer: the message may have been taken",
            ),
            retries: registry.counter(
                "smtp_api_retries_total",
                "Calls to the email API that were repeated",
            ),
            sender_lookups: registry.counter(
                "smtp_sender_lookups_total",
                "Lists of senders that were fetched from the email API",
            ),
            circuit_open: registry.gauge(
                "smtp_api_circuit_open",
                "1 while no calls but probes are made, because too many have failed",
            ),
        }
    }

    pub(super) fn error(&self, error: ApiError) {
        self.errors.with_label_values(&[error.label()]).inc();
    }
}
