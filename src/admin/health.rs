//! Liveness and readiness, for a kubelet.
//!
//! Neither depends on the email API: when that is down, this process must stay and answer 451.

use axum::http::StatusCode;

use crate::shutdown::Readiness;
use crate::telemetry::liveness::Liveness;

type Answer = (StatusCode, &'static str);

/// The runtime runs (it answered) and the accept loops go round.
pub(super) fn live(liveness: &Liveness) -> Answer {
    answer(
        liveness.is_alive(),
        "live\n",
        "an accept loop stands still\n",
    )
}

/// Sockets are bound, certificates are loaded, no drain has begun.
pub(super) fn ready(readiness: &Readiness) -> Answer {
    answer(readiness.is_ready(), "ready\n", "not ready\n")
}

fn answer(good: bool, yes: &'static str, no: &'static str) -> Answer {
    if good {
        (StatusCode::OK, yes)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, no)
    }
}
