//! Lines and mail data out of octets, within bounds.
//!
//! [`LineFramer`] cuts command lines; [`DataFramer`] takes mail data up to CRLF.CRLF, undoing
//! dot-stuffing (RFC 5321 §4.5.2); [`chunks`] takes mail data of a told size (RFC 3030). All give
//! the same result however the octets were cut into reads, and none searches an octet twice.
//!
//! A lone CR or LF in mail data is never a boundary: it becomes CRLF, and is remembered for those
//! who refuse it. Who takes LF.CRLF for an end can be made to see two messages where there is one
//! (SMTP smuggling).

pub mod chunks;
mod text;

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr;

use crate::smtp::framing::text::Text;

/// The line was longer than its limit. It has been thrown away up to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong {
    pub limit: usize,
}

/// A command line without its line break.
#[derive(PartialEq, Eq)]
pub struct Line {
    pub octets: BytesMut,
    /// Ended by LF alone.
    pub lone_lf: bool,
}

/// Shows no octet: the line may carry credentials.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({} octets)", self.octets.len())
    }
}

/// Finds command lines in the input, without searching any octet twice.
#[derive(Debug, Default)]
pub struct LineFramer {
    searched: usize,
    /// The rest of a line over this limit is being thrown away.
    discarding: Option<LineTooLong>,
}

impl LineFramer {
    /// Whether the input begins with the first octet of a line.
    pub fn is_at_line_start(&self) -> bool {
        self.discarding.is_none()
    }

    /// Takes the next whole line off `input`, or nothing while its end is missing.
    ///
    /// `limit` counts octets with the line break, as RFC 5321 §4.5.3.1.4 does.
    ///
    /// # Errors
    /// [`LineTooLong`] once, at the end of a line that was too long.
    pub fn next(
        &mut self,
        input: &mut BytesMut,
        limit: usize,
    ) -> Option<Result<Line, LineTooLong>> {
        let end = memchr(b'\n', input.get(self.searched..)?)
            .map(|at| at.saturating_add(self.searched).saturating_add(1));
        let Some(end) = end else {
            self.searched = input.len();
            if self.searched >= limit || self.discarding.is_some() {
                self.discarding.get_or_insert(LineTooLong { limit });
                self.searched = 0;
                input.clear();
            }
            return None;
        };
        self.searched = 0;
        let mut octets = input.split_to(end);
        if let Some(fault) = self.discarding.take() {
            return Some(Err(fault));
        }
        if octets.len() > limit {
            return Some(Err(LineTooLong { limit }));
        }
        octets.truncate(octets.len().saturating_sub(1));
        let lone_lf = octets.last() != Some(&b'\r');
        if !lone_lf {
            octets.truncate(octets.len().saturating_sub(1));
        }
        Some(Ok(Line { octets, lone_lf }))
    }
}

/// What the mail data turned out to be, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    #[error("larger than the limit")]
    TooLarge,
    #[error("a CR or LF by itself")]
    LoneLineBreak,
    #[error("nowhere to keep it")]
    NoRoom,
}

/// What to do with a CR or LF by itself in mail data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoneNewlines {
    /// Make it CRLF: old applications and printers send it.
    #[default]
    Normalise,
    /// Refuse the message after its true end, and close.
    Refuse,
}

/// Takes mail data up to its end, undoing dot-stuffing.
pub struct DataFramer {
    text: Text,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After CRLF, or at the very start.
    LineStart,
    /// After CRLF and a dot, which is not content.
    Dot,
    /// After CRLF, dot, CR: an LF ends the data.
    DotCr,
    /// Inside a line.
    Text,
    End,
}

impl DataFramer {
    /// `announced` is what SIZE= said, if anything; it only sizes the first buffer.
    pub fn new(limit: u64, announced: Option<u64>) -> Self {
        Self {
            text: Text::new(limit, announced.unwrap_or(0)),
            state: State::LineStart,
        }
    }

    /// Takes the next octets. What lies behind the end of data stays in `octets`.
    pub fn push(&mut self, octets: &mut impl AsInput) {
        while let (Some(&next), false) = (octets.input().first(), self.is_complete()) {
            let marks = match (self.state, next) {
                (State::LineStart, b'.') => Some(State::Dot),
                (State::Dot, b'\r') => Some(State::DotCr),
                (State::DotCr, b'\n') => Some(State::End),
                _ => None,
            };
            if let Some(state) = marks {
                self.state = state;
                octets.consume(1);
                continue;
            }
            if self.state == State::DotCr {
                // The CR before this octet stood alone; the octet itself is inside a line.
                self.text.lone();
            }
            self.state = if self.text.take_line(octets) {
                State::LineStart
            } else {
                State::Text
            };
        }
    }

    /// Keeps nothing of the content, neither what came nor what comes.
    pub fn drop_content(&mut self) {
        self.text.drop_content();
    }

    /// The octets kept so far.
    pub fn buffered(&self) -> usize {
        self.text.buffered()
    }

    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// The content, once [`Self::is_complete`].
    ///
    /// # Errors
    /// [`DataError::LoneLineBreak`] where `lone` says so; close the session then: what follows
    /// could be mail data to one reader and commands to another. [`DataError::TooLarge`], and
    /// [`DataError::NoRoom`] where the content was dropped.
    pub fn finish(self, lone: LoneNewlines) -> Result<Bytes, DataError> {
        self.text.finish(lone)
    }
}

/// Input that a framer takes octets off: the session's buffer, or what was just read.
pub trait AsInput {
    fn input(&self) -> &[u8];
    fn consume(&mut self, count: usize);
}

impl AsInput for BytesMut {
    fn input(&self) -> &[u8] {
        self
    }

    fn consume(&mut self, count: usize) {
        self.advance(count.min(self.len()));
    }
}

impl AsInput for &[u8] {
    fn input(&self) -> &[u8] {
        self
    }

    fn consume(&mut self, count: usize) {
        *self = self.get(count..).unwrap_or_default();
    }
}

/// Dot-stuffing: what a client does to content before it sends it (RFC 5321 §4.5.2).
pub fn stuff(content: &[u8]) -> Vec<u8> {
    stuff_behind(&[], content)
}

/// Dot-stuffing of a piece that follows what was sent before.
pub fn stuff_behind(before: &[u8], piece: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(piece.len());
    let mut line_start = before.is_empty() || before.ends_with(b"\r\n");
    let mut last = before.last().copied();
    for &octet in piece {
        if line_start && octet == b'.' {
            out.push(b'.');
        }
        line_start = octet == b'\n' && last == Some(b'\r');
        last = Some(octet);
        out.push(octet);
    }
    out
}

/// Content with CRLF at the end of every line, the last one too: a CR or LF by itself becomes CRLF.
pub fn normalise(mut content: &[u8]) -> Bytes {
    let mut text = Text::new(0, content.len() as u64);
    while text.take_line(&mut content) {}
    text.end_line();
    text.finish(LoneNewlines::Normalise).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(chunks: &[&[u8]], limit: u64) -> (Option<Result<Bytes, DataError>>, Vec<u8>) {
        let mut framer = DataFramer::new(limit, None);
        let mut rest = Vec::new();
        for chunk in chunks {
            let mut chunk = *chunk;
            framer.push(&mut chunk);
            rest.extend_from_slice(chunk);
        }
        let done = framer.is_complete();
        (done.then(|| framer.finish(LoneNewlines::Normalise)), rest)
    }

    fn content(octets: &[u8]) -> Option<Vec<u8>> {
        framed(&[octets], 0)
            .0
            .map(|result| result.unwrap().to_vec())
    }

    #[test]
    fn only_crlf_dot_crlf_ends_the_data() {
        for end in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\n",
            "\r\n.\r",
            "\r\n\0.\r\n",
            "\r\n.\0\r\n",
            "\n.\0\r\n",
            "\r\n.\r\r\n",
            "\r\n..\r\n",
            "\r\n. \r\n",
        ] {
            let text = format!("a{end}MAIL FROM:<x@y.example>\r\n");
            assert_eq!(content(text.as_bytes()), None, "{end:?}");
        }
        assert_eq!(content(b"a\r\n.\r\n").as_deref(), Some(&b"a\r\n"[..]));
        assert_eq!(content(b".\r\n").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn lone_line_breaks_become_crlf_and_are_remembered() {
        assert_eq!(
            content(b"a\nb\rc\r\r\n\n.d\r\n.\r\n").as_deref(),
            Some(&b"a\r\nb\r\nc\r\n\r\n\r\n.d\r\n"[..])
        );
        let mut framer = DataFramer::new(0, None);
        framer.push(&mut &b"a\nb\r\n.\r\n"[..]);
        assert_eq!(
            framer.finish(LoneNewlines::Refuse),
            Err(DataError::LoneLineBreak)
        );
    }

    #[test]
    fn normalised_lines_end_with_crlf() {
        for (content, normal) in [
            ("", ""),
            ("a", "a\r\n"),
            ("a\nb\rc\r\nd", "a\r\nb\r\nc\r\nd\r\n"),
            ("a\r\r\n\n", "a\r\n\r\n\r\n"),
        ] {
            assert_eq!(normalise(content.as_bytes()), normal.as_bytes());
        }
    }

    #[test]
    fn a_message_over_the_limit_is_read_to_its_end_and_kept_nowhere() {
        let mut framer = DataFramer::new(10, Some(1 << 40));
        framer.push(&mut &b"123456789\r\n"[..]);
        assert_eq!(framer.buffered(), 0);
        framer.push(&mut &b"more\r\n.\r\n"[..]);
        assert!(framer.is_complete());
        assert_eq!(
            framer.finish(LoneNewlines::Normalise),
            Err(DataError::TooLarge)
        );
    }

    #[test]
    fn size_is_counted_without_dot_stuffing() {
        let (result, rest) = framed(&[b"..345\r\n.\r\nQUIT\r\n"], 6);
        assert_eq!(result, Some(Ok(Bytes::from_static(b".345\r\n"))));
        assert_eq!(rest, b"QUIT\r\n");
    }

    #[test]
    fn a_line_over_the_limit_is_thrown_away_to_its_end() {
        let mut framer = LineFramer::default();
        let mut input = BytesMut::from(&[b'x'; 600][..]);
        assert_eq!(framer.next(&mut input, 512), None);
        assert!(input.is_empty());
        input.extend_from_slice(b"xx\r\nNOOP\r\n");
        assert_eq!(
            framer.next(&mut input, 512),
            Some(Err(LineTooLong { limit: 512 }))
        );
        let line = framer.next(&mut input, 512).unwrap().unwrap();
        assert_eq!(&line.octets[..], b"NOOP");
        assert_eq!(framer.next(&mut input, 512), None);
    }

    #[test]
    fn a_line_of_just_the_limit_passes() {
        for (length, fits) in [(510, true), (511, false)] {
            let mut input = BytesMut::from(&vec![b'x'; length][..]);
            input.extend_from_slice(b"\r\n");
            let line = LineFramer::default().next(&mut input, 512).unwrap();
            assert_eq!(line.is_ok(), fits, "{length}");
        }
    }

    proptest! {
        #[test]
        fn unstuffing_what_was_stuffed_gives_the_content(
            lines in proptest::collection::vec("\\.{0,2}[ -~]{0,8}", 0..6)
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let mut sent = stuff(text.as_bytes());
            sent.extend_from_slice(b".\r\n");
            prop_assert_eq!(content(&sent), Some(text.into_bytes()));
        }

        #[test]
        fn pieces_are_stuffed_as_the_whole_is(octets in "[.\r\na]{0,40}", at in 0usize..40) {
            let octets = octets.as_bytes();
            let (left, right) = octets.split_at(at.min(octets.len()));
            let pieces = [stuff(left), stuff_behind(left, right)].concat();
            prop_assert_eq!(pieces, stuff(octets));
        }

        #[test]
        fn normalised_content_comes_out_as_it_went_in(octets in "[.\r\na]{0,40}") {
            let normal = normalise(octets.as_bytes());
            prop_assert_eq!(normalise(&normal), normal.clone());
            let mut framer = DataFramer::new(0, None);
            framer.push(&mut &[stuff(&normal).as_slice(), b".\r\n"].concat()[..]);
            prop_assert!(framer.is_complete());
            prop_assert_eq!(framer.finish(LoneNewlines::Refuse), Ok(normal));
        }

        #[test]
        fn cuts_change_nothing(octets in "[.\r\na]{0,40}", at in 0usize..40) {
            let octets = octets.as_bytes();
            let (left, right) = octets.split_at(at.min(octets.len()));
            prop_assert_eq!(framed(&[left, right], 9), framed(&[octets], 9));
        }
    }
}
