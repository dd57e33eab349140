//! What operators see: logs and metrics, and what may never be in them.

pub mod liveness;
pub mod logging;
pub mod metrics;
pub mod privacy;
