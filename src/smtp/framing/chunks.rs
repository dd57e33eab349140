//! A message that comes in chunks of a told size (BDAT, RFC 3030 §2).
//!
//! The octets of a chunk are content, whatever they look like: there is no dot-stuffing, and
//! CRLF.CRLF ends nothing. Line ends are read across chunks, so the cuts between them change
//! nothing either: the content is the one that DATA would have brought.

use bytes::Bytes;

use crate::smtp::framing::text::Text;
use crate::smtp::framing::{AsInput, DataError, LoneNewlines};

/// Takes the chunks of one message, one after the other.
pub struct ChunkFramer {
    text: Text,
    /// Octets of the present chunk that are still to come.
    left: u64,
}

impl ChunkFramer {
    /// `announced` is what SIZE= or the first chunk said; it only sizes the first buffer.
    pub fn new(limit: u64, announced: u64) -> Self {
        Self {
            text: Text::new(limit, announced),
            left: 0,
        }
    }

    /// A chunk of this size comes next. The one before it is whole.
    pub fn begin(&mut self, size: u64) {
        self.left = size;
    }

    /// Takes the next octets. What lies behind the chunk stays in `octets`.
    pub fn push(&mut self, octets: &mut impl AsInput) {
        let mut chunk = Front {
            input: octets,
            left: &mut self.left,
        };
        while !chunk.input().is_empty() {
            self.text.take_line(&mut chunk);
        }
    }

    /// Whether all octets of the present chunk are there.
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Why the message is lost already, and none of it kept.
    pub fn fault(&self) -> Option<DataError> {
        if self.text.is_too_large() {
            Some(DataError::TooLarge)
        } else {
            self.text.is_dropped().then_some(DataError::NoRoom)
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

    /// Drops the message. The rest of the present chunk is still to come.
    pub fn throw_away(self) -> ThrownAway {
        ThrownAway::new(self.left)
    }

    /// The content, behind the last chunk. A last line without a line end gets one, as DATA would
    /// have had to bring it.
    ///
    /// # Errors
    /// As for mail data that DATA brought.
    pub fn finish(mut self, lone: LoneNewlines) -> Result<Bytes, DataError> {
        self.text.end_line();
        self.text.finish(lone)
    }
}

/// The octets of a chunk that nobody wants. They are counted, and kept nowhere.
pub struct ThrownAway {
    left: u64,
}

impl ThrownAway {
    pub fn new(size: u64) -> Self {
        Self { left: size }
    }

    /// Octets of the chunk that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes the next octets. What lies behind the chunk stays in `octets`.
    pub fn push(&mut self, octets: &mut impl AsInput) {
        let mut chunk = Front {
            input: octets,
            left: &mut self.left,
        };
        chunk.consume(chunk.input().len());
    }

    /// Whether all octets of the chunk have gone.
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }
}

/// An input up to the end of a chunk.
struct Front<'a, I> {
    input: &'a mut I,
    left: &'a mut u64,
}

impl<I: AsInput> AsInput for Front<'_, I> {
    fn input(&self) -> &[u8] {
        let octets = self.input.input();
        let left = usize::try_from(*self.left).unwrap_or(usize::MAX);
        octets.get(..left).unwrap_or(octets)
    }

    fn consume(&mut self, count: usize) {
        *self.left = self.left.saturating_sub(count as u64);
        self.input.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::framing::{DataFramer, stuff};

    /// What these chunks make, read in pieces of at most `read` octets.
    fn by_chunks(
        chunks: &[&[u8]],
        read: usize,
        limit: u64,
        lone: LoneNewlines,
    ) -> Result<Bytes, DataError> {
        let mut framer = ChunkFramer::new(limit, 0);
        for chunk in chunks {
            framer.begin(chunk.len() as u64);
            for mut piece in chunk.chunks(read) {
                assert!(!framer.is_complete());
                framer.push(&mut piece);
                assert!(piece.is_empty());
            }
            assert!(framer.is_complete());
            assert!(limit == 0 || framer.buffered() as u64 <= limit);
        }
        framer.finish(lone)
    }

    fn by_data(content: &[u8], limit: u64, lone: LoneNewlines) -> Result<Bytes, DataError> {
        let mut framer = DataFramer::new(limit, None);
        let mut octets = stuff(content);
        octets.extend_from_slice(b".\r\n");
        framer.push(&mut &octets[..]);
        assert!(framer.is_complete());
        framer.finish(lone)
    }

    fn normalised(chunks: &[&[u8]]) -> Bytes {
        by_chunks(chunks, 1, 0, LoneNewlines::Normalise).unwrap()
    }

    /// The same content with a CRLF at its end: DATA can bring no other.
    fn with_last_line_end(content: &[u8]) -> Vec<u8> {
        match content {
            [] | [.., b'\r', b'\n'] => content.to_vec(),
            [.., b'\r'] => [content, b"\n"].concat(),
            [rest @ .., b'\n'] => [rest, b"\r\n"].concat(),
            _ => [content, b"\r\n"].concat(),
        }
    }

    #[test]
    fn a_chunk_may_hold_what_ends_mail_data() {
        for content in [
            &b"a\r\n.\r\nMAIL FROM:<x@y.example>\r\n"[..],
            b".\r\n",
            b"..\r\n",
        ] {
            assert_eq!(normalised(&[content]), content);
        }
    }

    #[test]
    fn what_lies_behind_a_chunk_stays_in_the_input() {
        let mut framer = ChunkFramer::new(0, 0);
        framer.begin(3);
        let mut octets = &b"a\r\nNOOP\r\n"[..];
        framer.push(&mut octets);
        assert!(framer.is_complete());
        assert_eq!(octets, b"NOOP\r\n");
        let mut thrown_away = ThrownAway::new(7);
        thrown_away.push(&mut octets);
        assert!(!thrown_away.is_complete());
        thrown_away.push(&mut &b"\nNOOP"[..]);
        assert!(thrown_away.is_complete());
    }

    #[test]
    fn crlf_cut_by_the_end_of_a_chunk_is_one_line_end() {
        assert_eq!(normalised(&[b"a\r", b"\nb\r\n"]), "a\r\nb\r\n");
        assert_eq!(normalised(&[b"a\r", b"", b"\nb\r\n"]), "a\r\nb\r\n");
        let result = by_chunks(&[b"a\r", b"\n"], 1, 0, LoneNewlines::Refuse);
        assert_eq!(result, Ok(Bytes::from_static(b"a\r\n")));
    }

    #[test]
    fn a_lone_cr_or_lf_becomes_crlf_or_is_refused() {
        for chunks in [
            &[&b"a\nb\r\n"[..]][..],
            &[b"a\rb\r\n"],
            &[b"a\r", b"b\r\n"],
            &[b"a", b"\nb\r\n"],
            &[b"a\r\nb\r"],
            &[b"a\r\nb\n"],
        ] {
            assert_eq!(normalised(chunks), "a\r\nb\r\n", "{chunks:?}");
            let result = by_chunks(chunks, 1, 0, LoneNewlines::Refuse);
            assert_eq!(result, Err(DataError::LoneLineBreak), "{chunks:?}");
        }
    }

    #[test]
    fn the_last_line_gets_its_line_end_and_no_content_gets_none() {
        assert_eq!(normalised(&[b"a\r\nb"]), "a\r\nb\r\n");
        assert_eq!(normalised(&[b"a\r\n"]), "a\r\n");
        assert_eq!(normalised(&[]), "");
        assert_eq!(normalised(&[b""]), "");
    }

    #[test]
    fn the_limit_counts_all_chunks_and_the_last_line_end() {
        let limited = |chunks: &[&[u8]]| by_chunks(chunks, 9, 6, LoneNewlines::Normalise);
        assert_eq!(limited(&[b"1234", b"\r\n"]), Ok("1234\r\n".into()));
        assert_eq!(limited(&[b"1234"]), Ok("1234\r\n".into()));
        assert_eq!(limited(&[b"12345"]), Err(DataError::TooLarge));
        assert_eq!(limited(&[b"1234\r", b"\n1"]), Err(DataError::TooLarge));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn chunks_bring_the_content_that_data_brings(
            content in "[.\r\na]{0,30}", cuts in vec(0usize..30, 0..5), read in 1usize..9,
            limit in prop_oneof![Just(0u64), 1u64..40], refuse in any::<bool>()
        ) {
            let whole = with_last_line_end(content.as_bytes());
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut start = 0;
            for end in cuts.into_iter().chain([content.len()]) {
                chunks.push(&content.as_bytes()[start..end]);
                start = end;
            }
            // DATA cannot bring a lone CR or LF at the very end, for a CRLF follows it.
            let lone_at_the_end = whole != content.as_bytes() && content.ends_with(['\r', '\n']);
            let lone = if refuse && !lone_at_the_end {
                LoneNewlines::Refuse
            } else {
                LoneNewlines::Normalise
            };
            prop_assert_eq!(by_chunks(&chunks, read, limit, lone), by_data(&whole, limit, lone));
        }
    }
}
