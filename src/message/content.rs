//! The content of one message (RFC 5321 §2.3.1): the octets that came after DATA.
//!
//! Dot-stuffing is undone and line ends are CRLF when it is made. Clones and slices share the
//! octets, so that a message costs about its own size once.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

#[derive(Clone, PartialEq, Eq)]
pub struct Content(Bytes);

impl Content {
    pub fn new(octets: impl Into<Bytes>) -> Self {
        Self(octets.into())
    }

    pub fn octets(&self) -> &Bytes {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The octets in `range`, or as many of them as there are. Nothing is copied.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        let end = range.end.min(self.0.len());
        self.0.slice(range.start.min(end)..end)
    }
}

/// What a message says is nobody's business in a log: the debug form shows its size only.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "a range that makes no sense must not panic"
    )]
    fn a_slice_never_reaches_beyond_the_content() {
        let content = Content::new("hello");
        assert_eq!(content.slice(1..3), "el");
        assert_eq!(content.slice(3..99), "lo");
        assert_eq!(content.slice(7..9), "");
        assert_eq!(content.slice(4..2), "");
        assert_eq!(content.slice(0..usize::MAX), "hello");
    }

    #[test]
    fn debug_output_hides_the_octets() {
        assert_eq!(format!("{:?}", Content::new("secret")), "Content(6 octets)");
    }
}
