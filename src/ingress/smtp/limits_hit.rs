//! What clients wanted beyond a limit, as operators see it: decisions made elsewhere, counted here.

use prometheus::IntCounterVec;

use crate::submission::Refusal;
use crate::telemetry::metrics::Registry;

#[derive(Debug)]
pub(super) struct LimitsHit {
    rates: IntCounterVec,
}

impl LimitsHit {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
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

    /// Counts what the door has refused, if that was because of a limit.
    pub(super) fn refused(&self, refusal: &Refusal) {
        if let Refusal::RateLimited(rate) = refusal {
            self.rates.with_label_values(&[rate.name()]).inc();
        }
    }
}
