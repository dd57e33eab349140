//! What a transaction carries: the content of one message, read and turned into JSON, without I/O.
//!
//! [`content::Content`] holds the octets. [`structure::Structure`] finds header sections and parts
//! in one bounded pass. [`mime::read`] makes the neutral [`email::Email`] of them. [`json`] and
//! [`raw`] are the two forms that leave.
//!
//! Invariants: nothing here reads a clock, opens a file or awaits; no input makes it panic; no
//! malformed message is refused, only one beyond [`structure::Limits`]; work is linear in the size
//! of the message; attachments stay where they are, in the received octets.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

pub mod address_list;
mod address_tokens;
mod attachments;
pub mod base64_form;
pub mod charset;
pub mod content;
pub mod content_id;
pub mod date;
pub mod email;
pub mod encoded_words;
pub mod exact_addresses;
pub mod fields;
pub mod header;
pub mod json;
pub mod json_string;
pub mod json_writer;
pub mod mime;
pub mod parameters;
pub mod part;
pub mod pieces;
pub mod raw;
pub mod received;
pub mod structure;
pub mod transfer;
mod uuencode;
pub mod vendor_fields;
pub mod words;
