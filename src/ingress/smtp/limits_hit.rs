//! What clients wanted beyond a limit, as operators see it: decisions made elsewhere, counted here.
//!
//! Where a limit ends a session, refuses a connection or a login, or waits for memory, the counters of
//! those tell. `docs/limits.md` says which.

use prometheus::IntCounterVec;

use crate::message::structure::StructureError;
use crate::smtp::session::Exceeded;
use crate::submission::Refusal;
use crate::telemetry::metrics::Registry;

#[derive(Debug)]
pub(super) struct LimitsHit {
    limits: IntCounterVec,
    rates: IntCounterVec,
}

impl LimitsHit {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            limits: registry.counter_by(
                "smtp_limits_hit_total",
                "Commands and messages refused because of a limit",
                "limit",
                &[
                    "message_size",
                    "recipients",
                    "fan_out",
                    "command_line",
                    "mime_depth",
                    "mime_parts",
                    "header_size",
                    "received_fields",
                    "memory",
                ],
            ),
            rates: registry.counter_by(
                "smtp_rate_limited_total",
                "Transactions refused because of a rate",
                "limit",
                &[
                    "messages_per_minute_per_ip",
                    "messages_per_minute_per_account",
                ],
            ),
        }
    }

    /// Counts what the protocol has refused.
    pub(super) fn exceeded(&self, exceeded: Exceeded) {
        let limit = match exceeded {
            Exceeded::CommandLine => "command_line",
            Exceeded::MessageSize => "message_size",
            Exceeded::Recipients => "recipients",
            Exceeded::FanOut => "fan_out",
        };
        self.limits.with_label_values(&[limit]).inc();
    }

    /// Counts what the door has refused, if that was because of a limit.
    pub(super) fn refused(&self, refusal: &Refusal) {
        let limit = match refusal {
            Refusal::RateLimited(rate) => {
                self.rates.with_label_values(&[rate.name()]).inc();
                return;
            }
            Refusal::Structure(StructureError::TooDeep { .. }) => "mime_depth",
            Refusal::Structure(StructureError::TooManyParts { .. }) => "mime_parts",
            Refusal::Structure(StructureError::HeaderTooLong { .. }) => "header_size",
            Refusal::Loop => "received_fields",
            Refusal::FanOut => "fan_out",
            Refusal::TooMuchText => "memory",
            // The budget counts these itself, also those that are refused while mail data comes.
            Refusal::NoRoom => return,
            Refusal::Sender(_)
            | Refusal::Deferred { .. }
            | Refusal::Failed { .. }
            | Refusal::PartlyFailed { .. } => {
                return;
            }
        };
        self.limits.with_label_values(&[limit]).inc();
    }
}
