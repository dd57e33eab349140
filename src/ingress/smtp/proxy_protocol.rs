//! The header that a load balancer writes before a connection's own octets: PROXY protocol,
//! versions 1 and 2, without I/O.
//!
//! [`parse`] is called with the octets that have come so far, and never asks for one that could
//! stand behind the header: those belong to the session, or to its TLS handshake. Whom to believe,
//! and for how long to wait, is decided elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// How far a header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It goes on for at least so many octets, which is never 0.
    NeedMore(usize),
    /// It is whole, and ends behind its first `length` octets.
    Done { source: Source, length: usize },
}

/// Where the connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From this client, over the balancer. An IPv4 address in IPv6 is the IPv4 address.
    Client(IpAddr),
    /// From where the socket says: the balancer itself asks how we are (LOCAL), or it does not know
    /// or cannot say who the client is (UNKNOWN, `AF_UNSPEC`, `AF_UNIX`).
    Socket,
}

/// Why a header cannot be believed. Whatever follows it cannot either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the octets are not those of a PROXY header")]
    Missing,
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Reads the header at the start of these octets.
///
/// # Errors
/// [`HeaderError`], as soon as no further octet could make it right.
pub fn parse(octets: &[u8]) -> Result<Progress, HeaderError> {
    if begins(octets, LINE_START) {
        return parse_line(octets);
    }
    if begins(octets, SIGNATURE) {
        return parse_binary(octets);
    }
    Err(HeaderError::Missing)
}

/// Whether octets start like this, as far as they have come.
fn begins(octets: &[u8], with: &[u8]) -> bool {
    octets
        .iter()
        .zip(with)
        .all(|(octet, wanted)| octet == wanted)
}

/// Version 1: a line, such as `PROXY TCP4 192.0.2.1 192.0.2.9 56324 587`.
fn parse_line(octets: &[u8]) -> Result<Progress, HeaderError> {
    let end = octets.iter().position(|octet| b"\r\n".contains(octet));
    if end.unwrap_or(octets.len()) + CRLF.len() > MAX_LINE {
        return Err(HeaderError::TooLong);
    }
    let Some(end) = end else {
        let least = SHORTEST_LINE.saturating_sub(octets.len());
        return Ok(Progress::NeedMore(least.max(CRLF.len())));
    };
    let (line, rest) = octets.split_at(end);
    if !begins(rest, CRLF) {
        return Err(HeaderError::Malformed);
    }
    let source = line_source(line).ok_or(HeaderError::Malformed)?;
    if rest.len() < CRLF.len() {
        return Ok(Progress::NeedMore(1));
    }
    Ok(Progress::Done {
        source,
        length: end + CRLF.len(),
    })
}

/// Nobody asks for the destination and the ports, but a line with anything wrong in it was not made
/// by a balancer.
fn line_source(line: &[u8]) -> Option<Source> {
    let words: Vec<_> = str::from_utf8(line).ok()?.split(' ').collect();
    let [_, family, words @ ..] = words.as_slice() else {
        return None;
    };
    match (*family, words) {
        // Whatever else stands in this line is to be passed over.
        ("UNKNOWN", _) => Some(Source::Socket),
        ("TCP4", words) => client::<Ipv4Addr>(words),
        ("TCP6", words) => client::<Ipv6Addr>(words),
        _ => None,
    }
}

fn client<A: FromStr + Into<IpAddr>>(words: &[&str]) -> Option<Source> {
    let [source, destination, source_port, destination_port] = words else {
        return None;
    };
    let source: A = source.parse().ok()?;
    let is_sound =
        destination.parse::<A>().is_ok() && is_port(source_port) && is_port(destination_port);
    is_sound.then(|| Source::Client(source.into().to_canonical()))
}

/// A number without sign and without zeros before it.
fn is_port(word: &str) -> bool {
    let is_plain = word == "0" || word.starts_with(|first: char| matches!(first, '1'..='9'));
    is_plain && word.parse::<u16>().is_ok()
}

/// Version 2: sixteen octets with a length, then addresses and TLVs.
fn parse_binary(octets: &[u8]) -> Result<Progress, HeaderError> {
    let Some((fixed, rest)) = octets.split_first_chunk::<FIXED>() else {
        return Ok(Progress::NeedMore(FIXED - octets.len()));
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Err(HeaderError::TooLong);
    }
    let addresses = match version_and_command {
        LOCAL => 0,
        PROXY => addresses(family).ok_or(HeaderError::Malformed)?,
        _ => return Err(HeaderError::Malformed),
    };
    if length < addresses {
        return Err(HeaderError::Malformed);
    }
    let Some(block) = rest.get(..length) else {
        return Ok(Progress::NeedMore(length - rest.len()));
    };
    let source = match (version_and_command, family) {
        (PROXY, TCP4) => block.first_chunk().map(|four| Ipv4Addr::from(*four).into()),
        (PROXY, TCP6) => block.first_chunk().map(|six| Ipv6Addr::from(*six).into()),
        _ => None,
    };
    Ok(Progress::Done {
        source: source.map_or(Source::Socket, |source: IpAddr| {
            Source::Client(source.to_canonical())
        }),
        length: FIXED + length,
    })
}

/// Octets that a family's addresses and ports take. None for what is no stream, and for what the
/// protocol does not know.
fn addresses(family: u8) -> Option<usize> {
    match family {
        UNSPECIFIED => Some(0),
        TCP4 => Some(12),
        TCP6 => Some(36),
        UNIX_STREAM => Some(216),
        _ => None,
    }
}

/// Of a line, with CRLF: what the protocol says a receiver needs.
const MAX_LINE: usize = 107;
const LINE_START: &[u8] = b"PROXY ";
const SHORTEST_LINE: usize = b"PROXY UNKNOWN\r\n".len();
const CRLF: &[u8] = b"\r\n";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version with command, family, length.
const FIXED: usize = 16;
/// Of what the length counts. It could be 65 535, but addresses take 216 octets at most, and the
/// TLVs that balancers add (a cloud's end point, ALPN, a name, a connection's id, TLS and the
/// client's name in its certificate) a few hundred.
const MAX_LENGTH: usize = 4096;

/// Version 2 in the upper half, the command in the lower.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

#[cfg(test)]
mod tests;
