//! The inside of a JSON string (RFC 8259 §7) as a stream of frames whose length is known
//! beforehand.
//!
//! A long text is shared with the message it belongs to and escaped while it is sent, so that it is
//! in memory once, however it has to be escaped and however many calls it goes with.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// A part of a text. Cheap to clone.
#[derive(Clone)]
pub struct JsonString {
    text: Arc<String>,
    range: Range<usize>,
    len: u64,
}

impl JsonString {
    /// Reads the part once to count. A range that cuts a character stands for nothing.
    pub fn new(text: Arc<String>, range: Range<usize>) -> Self {
        let part = text.get(range.clone()).unwrap_or_default();
        let octets = part.bytes().map(escaped_len);
        Self {
            len: octets.fold(0, u64::saturating_add),
            range,
            text,
        }
    }

    /// Octets that the frames hold together.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn frames(&self) -> JsonFrames {
        JsonFrames(self.clone())
    }
}

/// Frames of about 32 KiB, or up to six times that where all has to be escaped.
pub struct JsonFrames(JsonString);

impl Iterator for JsonFrames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let JsonString { text, range, .. } = &mut self.0;
        let rest = text.get(range.clone())?;
        let part = rest.get(..rest.floor_char_boundary(FRAME))?;
        if part.is_empty() {
            return None;
        }
        range.start = range.start.saturating_add(part.len());
        let mut frame = Vec::with_capacity(part.len().saturating_add(part.len() / 16));
        escape(part, &mut frame);
        Some(Bytes::from(frame))
    }
}

/// Writes the text as it stands between the quotes of a JSON string.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let quote = out.len();
    serde_json::to_writer(&mut *out, text)
        .expect("a string can always be written, and so can a vector to itself");
    out.pop();
    out.remove(quote);
}

/// Octets that an octet of UTF-8 becomes.
fn escaped_len(octet: u8) -> u64 {
    match octet {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    }
}

/// Octets of text in a frame.
const FRAME: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(text: &str) -> (u64, Vec<u8>) {
        let string = JsonString::new(Arc::new(text.to_owned()), 0..text.len());
        let frames: Vec<Bytes> = string.frames().collect();
        assert!(frames.iter().all(|frame| !frame.is_empty()));
        (string.len(), frames.concat())
    }

    #[test]
    fn every_character_is_counted_as_it_is_escaped() {
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        let (len, octets) = framed(&all);
        assert_eq!(len, octets.len() as u64);
        let quoted = [b"\"", &octets[..], b"\""].concat();
        assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), all);
    }

    #[test]
    fn a_long_text_comes_in_frames_that_cut_no_character() {
        let text = "\u{1}é€😀\n".repeat(20_000);
        let (len, octets) = framed(&text);
        assert_eq!(len, octets.len() as u64);
        let quoted = [b"\"", &octets[..], b"\""].concat();
        assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text);
    }

    #[test]
    fn a_part_is_a_part() {
        let text = Arc::new("a\"é\nb".to_owned());
        let part = |range| {
            let frames = JsonString::new(Arc::clone(&text), range).frames();
            String::from_utf8(frames.collect::<Vec<_>>().concat()).unwrap()
        };
        assert_eq!(part(1..5), "\\\"é\\n");
        assert_eq!(part(0..0), "");
        assert_eq!(part(3..5), "", "inside a character");
    }

    proptest! {
        #[test]
        fn the_frames_are_what_serde_writes(text in "\\PC{0,40}[\\x00-\\x7f]{0,40}") {
            let (len, octets) = framed(&text);
            prop_assert_eq!(len, octets.len() as u64);
            let quoted = [b"\"", &octets[..], b"\""].concat();
            prop_assert_eq!(quoted, serde_json::to_vec(&text).unwrap());
        }
    }
}
