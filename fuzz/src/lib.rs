//! What must hold for any input, a module for each fuzz target.
//!
//! `cargo fuzz` looks for inputs that break a check; `tests/regressions.rs` runs the same checks on
//! the inputs that are kept, without a fuzzer. A check is a function of the octets alone: it panics
//! if something does not hold. Where it needs settings, the first octets choose them.

pub mod address;
pub mod api_answer;
pub mod client_reply;
pub mod command;
pub mod data_framing;
pub mod mime_to_json;
pub mod proxy_header;
pub mod session;

mod choices;
mod reference;
