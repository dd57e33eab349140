//! Content while it comes in, by DATA or by BDAT.
//!
//! Line ends and size are the same matter for both: every line end becomes CRLF, and what is over
//! the limit is counted and kept nowhere.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use crate::smtp::framing::{AsInput, DataError, LoneNewlines};

pub(super) struct Text {
    content: BytesMut,
    /// Octets so far as RFC 1870 §3 counts them: CRLF line ends, no dot-stuffing.
    size: u64,
    /// 0 = no limit.
    limit: u64,
    lone_line_break: bool,
    /// Nothing is kept.
    dropped: bool,
    /// The last octet was a CR: an LF makes it a line end, anything else leaves it alone.
    cr: bool,
}

impl Text {
    /// `announced` is how much the client says will come; it only sizes the first buffer.
    pub(super) fn new(limit: u64, announced: u64) -> Self {
        let first = announced.min(FIRST_BUFFER);
        Self {
            content: BytesMut::with_capacity(usize::try_from(first).unwrap_or(0)),
            size: 0,
            limit,
            lone_line_break: false,
            dropped: false,
            cr: false,
        }
    }

    /// Takes octets up to the next CRLF, and with it; or all of them. True if it came to a CRLF.
    pub(super) fn take_line(&mut self, octets: &mut impl AsInput) -> bool {
        while let Some(&next) = octets.input().first() {
            if self.cr {
                self.cr = false;
                if next == b'\n' {
                    self.keep(b"\r\n");
                    octets.consume(1);
                    return true;
                }
                self.lone();
            }
            let rest = octets.input();
            let at = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let (text, end) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            match end {
                [] => {
                    self.keep(text);
                    octets.consume(at);
                }
                [b'\r', b'\n', ..] => {
                    let line = at.saturating_add(2);
                    self.keep(rest.get(..line).unwrap_or(rest));
                    octets.consume(line);
                    return true;
                }
                [octet, behind @ ..] => {
                    self.keep(text);
                    // What a CR at the very end is, the next octet will say.
                    self.cr = *octet == b'\r' && behind.is_empty();
                    if !self.cr {
                        self.lone();
                    }
                    octets.consume(at.saturating_add(1));
                }
            }
        }
        false
    }

    /// A CR or LF by itself was there: it is a line end all the same.
    pub(super) fn lone(&mut self) {
        self.lone_line_break = true;
        self.keep(b"\r\n");
    }

    fn keep(&mut self, octets: &[u8]) {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.is_too_large() {
            self.drop_content();
        }
        if !self.dropped {
            self.content.extend_from_slice(octets);
        }
    }

    /// Keeps nothing, neither what came nor what comes. It is counted all the same.
    pub(super) fn drop_content(&mut self) {
        self.dropped = true;
        self.content = BytesMut::new();
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.dropped
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.limit != 0 && self.size > self.limit
    }

    /// The octets kept so far.
    pub(super) fn buffered(&self) -> usize {
        self.content.len()
    }

    /// Ends the last line, where its octets ended without a line end.
    pub(super) fn end_line(&mut self) {
        if self.cr {
            self.cr = false;
            self.lone();
        } else if !self.content.is_empty() && !self.content.ends_with(b"\r\n") {
            self.keep(b"\r\n");
        }
    }

    /// The content. It is empty, or its last line ends as the others do.
    ///
    /// # Errors
    /// [`DataError::LoneLineBreak`] where `lone` says so; [`DataError::TooLarge`];
    /// [`DataError::NoRoom`] where the content was dropped.
    pub(super) fn finish(self, lone: LoneNewlines) -> Result<Bytes, DataError> {
        if self.lone_line_break && lone == LoneNewlines::Refuse {
            return Err(DataError::LoneLineBreak);
        }
        if self.is_too_large() {
            return Err(DataError::TooLarge);
        }
        if self.dropped {
            return Err(DataError::NoRoom);
        }
        Ok(self.content.freeze())
    }
}

/// What a client announces is a stranger's word: no more than this is set aside for it.
const FIRST_BUFFER: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_size_sets_aside_no_more_than_the_first_buffer() {
        for announced in [0, 1000, 1 << 40, u64::MAX] {
            let text = Text::new(0, announced);
            assert!(text.content.capacity() as u64 <= FIRST_BUFFER);
        }
        assert!(Text::new(0, 1000).content.capacity() >= 1000);
    }
}
