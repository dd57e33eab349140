//! The wire protocol of submission, both sides (RFC 5321, RFC 6409), without I/O.
//!
//! Octets go in, replies and questions come out; sockets, clocks and decisions stay with the
//! caller. Start with [`session`]: it is the server's state machine, and [`client`] is the
//! client's; the other modules are their grammar.
//!
//! Invariants: nothing here reads a clock, opens a file or awaits; no input makes it panic; what it
//! holds is bounded, on the server's side by [`session::Limits`].
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

pub mod address;
pub mod client;
pub mod command;
pub mod envelope;
pub mod framing;
pub mod parameter;
pub mod reply;
pub mod sasl;
pub mod session;
