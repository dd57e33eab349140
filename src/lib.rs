//! An SMTP submission server that hands each message to an HTTP email API.
//!
//! Read [`smtp::session`] first: the protocol as a value. Then `ingress::smtp` drives it over a
//! socket, [`submission`] is the one door for messages, [`delivery`] has the ways out, and [`app`]
//! puts everything together.
//!
//! Layers, low to high; each uses only what stands before it: {[`secret`], [`units`],
//! [`bounded`]}, [`smtp`], [`message`], [`telemetry`], {[`tls`], [`shutdown`]}, [`http_client`],
//! [`auth`], [`delivery`], [`submission`], {[`ingress`], [`admin`]}, [`config`], [`app`], [`cli`]. The test `tests/layers.rs` keeps that order.

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod auth;
pub mod bounded;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod http_client;
pub mod ingress;
pub mod message;
pub mod secret;
pub mod shutdown;
pub mod smtp;
pub mod submission;
pub mod telemetry;
pub mod tls;
pub mod units;
