//! What the tests share: the real gateway on free ports, a client that says what it is told to, and
//! an email API that does what it is told to.

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod gateway;
