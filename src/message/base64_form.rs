//! The base64 form of some octets as a stream of frames whose length is known beforehand (RFC
//! 4648).
//!
//! A part that arrived as clean base64 is passed through: its line ends are left out and nothing is
//! decoded. All else is decoded and encoded on the fly. Either way what leaves is canonical:
//! padded, without line breaks, with no stray bits, so that strict readers take it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use memchr::memchr;

use crate::message::transfer::{Decoder, TransferEncoding, decoded_len, six_bits};

/// Cheap to clone: the octets are shared and were counted once.
#[derive(Clone)]
pub struct Base64Form {
    source: Source,
    len: u64,
    decoded_len: u64,
}

#[derive(Clone)]
enum Source {
    /// Clean base64, with line ends and blanks around the lines.
    Clean(Bytes),
    Coded(Bytes, TransferEncoding),
    /// Several slices that make one stream, as they are.
    Slices(Arc<[Bytes]>),
}

impl Base64Form {
    /// The content of a part, whose transfer encoding is undone. Reads all of it once to count.
    pub fn of_part(octets: Bytes, encoding: TransferEncoding) -> Self {
        if encoding == TransferEncoding::Base64
            && let Some(clean) = Clean::measure(&octets)
        {
            return Self {
                source: Source::Clean(octets),
                len: clean.len,
                decoded_len: clean.decoded_len,
            };
        }
        let decoded_len = decoded_len(&octets, encoding);
        Self {
            source: Source::Coded(octets, encoding),
            len: encoded_len(decoded_len),
            decoded_len,
        }
    }

    /// Several slices as one stream.
    pub fn of_slices(slices: Vec<Bytes>) -> Self {
        let length = |slice: &Bytes| u64::try_from(slice.len()).unwrap_or(u64::MAX);
        let decoded_len = slices.iter().map(length).fold(0, u64::saturating_add);
        Self {
            source: Source::Slices(slices.into()),
            len: encoded_len(decoded_len),
            decoded_len,
        }
    }

    /// Octets of base64 that the frames hold together.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Octets of what was encoded.
    pub fn decoded_len(&self) -> u64 {
        self.decoded_len
    }

    pub fn frames(&self) -> Base64Frames {
        Base64Frames(match self.source.clone() {
            Source::Clean(octets) => Frames::Clean(CleanLines::new(octets)),
            Source::Coded(octets, encoding) => {
                Frames::Encoded(Encoder::new(Arc::new([]), Decoder::new(octets, encoding)))
            }
            Source::Slices(slices) => Frames::Encoded(Encoder::new(
                slices,
                Decoder::new(Bytes::new(), TransferEncoding::Identity),
            )),
        })
    }
}

/// Frames of about 32 KiB.
pub struct Base64Frames(Frames);

enum Frames {
    Clean(CleanLines),
    Encoded(Encoder),
}

impl Iterator for Base64Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Frames::Clean(lines) => lines.next_frame(),
            Frames::Encoded(encoder) => encoder.next_frame(),
        }
    }
}

/// Clean base64, copied line by line.
struct CleanLines {
    octets: Bytes,
    at: usize,
    line_end: usize,
    next_line: usize,
}

impl CleanLines {
    fn new(octets: Bytes) -> Self {
        Self {
            octets,
            at: 0,
            line_end: 0,
            next_line: 0,
        }
    }

    fn next_frame(&mut self) -> Option<Bytes> {
        let mut frame =
            BytesMut::with_capacity(FRAME.min(self.octets.len().saturating_sub(self.at)));
        while frame.len() < FRAME {
            if self.at >= self.line_end {
                let rest = self.octets.get(self.next_line..).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
                let length = memchr(b'\n', rest).map_or(rest.len(), |end| end.saturating_add(1));
                let line = rest.get(..length).unwrap_or_default();
                let inner = line.trim_ascii_start();
                self.at = self
                    .next_line
                    .saturating_add(line.len().saturating_sub(inner.len()));
                self.line_end = self.at.saturating_add(inner.trim_ascii_end().len());
                self.next_line = self.next_line.saturating_add(length);
            }
            let room = FRAME.saturating_sub(frame.len());
            let end = self.line_end.min(self.at.saturating_add(room));
            frame.extend_from_slice(self.octets.get(self.at..end).unwrap_or_default());
            self.at = end;
        }
        (!frame.is_empty()).then(|| frame.freeze())
    }
}

/// Decoded octets, encoded again.
struct Encoder {
    slices: Arc<[Bytes]>,
    next_slice: usize,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl Encoder {
    /// First what the decoder gives, then the slices.
    fn new(slices: Arc<[Bytes]>, decoder: Decoder) -> Self {
        Self {
            slices,
            next_slice: 0,
            decoder,
            chunk: Vec::new(),
        }
    }

    fn next_frame(&mut self) -> Option<Bytes> {
        self.chunk.clear();
        loop {
            self.decoder.fill(&mut self.chunk, CHUNK);
            if self.chunk.len() >= CHUNK {
                break;
            }
            let Some(slice) = self.slices.get(self.next_slice) else {
                break;
            };
            self.decoder = Decoder::new(slice.clone(), TransferEncoding::Identity);
            self.next_slice = self.next_slice.saturating_add(1);
        }
        (!self.chunk.is_empty()).then(|| Bytes::from(STANDARD.encode(&self.chunk)))
    }
}

/// What is known of clean base64: only the alphabet, padding only at the end and as much as there
/// must be, no bits set that belong to no octet, white space only around lines.
struct Clean {
    /// Without the white space.
    len: u64,
    decoded_len: u64,
}

impl Clean {
    /// Nothing if any of it is not clean.
    fn measure(octets: &[u8]) -> Option<Self> {
        let (mut symbols, mut padding) = (0_u64, 0_u64);
        let mut last = b'A';
        let mut rest = octets;
        while !rest.is_empty() {
            let length = memchr(b'\n', rest).map_or(rest.len(), |end| end.saturating_add(1));
            let (line, behind) = rest.split_at_checked(length)?;
            rest = behind;
            let line = line.trim_ascii();
            let (text, pads) = match is_alphabet(line) {
                true => (line, &b""[..]),
                false => line.split_at_checked(memchr(b'=', line)?)?,
            };
            let text_behind_padding = padding > 0 && !text.is_empty();
            let foreign = !pads.is_empty() && !is_alphabet(text);
            if text_behind_padding || foreign || pads.iter().any(|&octet| octet != b'=') {
                return None;
            }
            symbols = symbols.checked_add(u64::try_from(text.len()).ok()?)?;
            padding = padding.checked_add(u64::try_from(pads.len()).ok()?)?;
            last = text.last().copied().unwrap_or(last);
        }
        let stray_bits = match padding {
            0 => 0,
            1 => six_bits(last)? & 0b11,
            2 => six_bits(last)? & 0b1111,
            _ => return None,
        };
        let len = symbols.checked_add(padding)?;
        (stray_bits == 0 && len.is_multiple_of(4)).then(|| Self {
            len,
            decoded_len: len.div_euclid(4).saturating_mul(3).saturating_sub(padding),
        })
    }
}

/// True when all octets are of the base64 alphabet. Without branches, so that it runs on many
/// octets at once: this is the one look at every octet of a large attachment.
fn is_alphabet(octets: &[u8]) -> bool {
    octets.iter().fold(true, |all, &octet| {
        let letter = (octet | 0x20).wrapping_sub(b'a') < 26;
        let digit = octet.wrapping_sub(b'0') < 10;
        all & (letter | digit | (octet == b'+') | (octet == b'/'))
    })
}

/// The length of padded base64.
fn encoded_len(decoded: u64) -> u64 {
    decoded.div_ceil(3).saturating_mul(4)
}

/// Octets of base64 in a frame, and what they encode.
const FRAME: usize = 32 * 1024;
const CHUNK: usize = FRAME / 4 * 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::transfer::decode;
    use proptest::prelude::*;

    fn form(octets: &str, encoding: TransferEncoding) -> Base64Form {
        Base64Form::of_part(Bytes::from(octets.to_owned()), encoding)
    }

    fn joined(form: &Base64Form) -> String {
        let frames: Vec<Bytes> = form.frames().collect();
        assert!(
            frames
                .iter()
                .all(|frame| !frame.is_empty() && frame.len() <= FRAME)
        );
        String::from_utf8(frames.concat()).unwrap()
    }

    #[test]
    fn clean_base64_passes_through_without_its_line_ends() {
        for (octets, passed, size) in [
            ("aGVsbG8=", "aGVsbG8=", 5),
            ("aGVs\r\nbG8=\r\n", "aGVsbG8=", 5),
            ("  aGVs \nbG8\r\n=\r\n\r\n", "aGVsbG8=", 5),
            ("aA==", "aA==", 1),
            ("aA\r\n=\r\n=\r\n", "aA==", 1),
            ("aGVsbG8h", "aGVsbG8h", 6),
            ("", "", 0),
            ("\r\n \r\n", "", 0),
        ] {
            let form = form(octets, TransferEncoding::Base64);
            assert!(matches!(form.source, Source::Clean(_)), "{octets:?}");
            assert_eq!(joined(&form), passed, "{octets:?}");
            assert_eq!(form.len(), passed.len() as u64);
            assert_eq!(form.decoded_len(), size);
        }
    }

    #[test]
    fn base64_that_is_not_clean_leaves_clean() {
        for (octets, repaired) in [
            ("aGVsbG8", "aGVsbG8="),
            ("aGVs bG8=", "aGVsbG8="),
            ("aGVsbG8=\r\n-- \r\n", "aGVsbG8="),
            ("aGU=\r\nbGxv", "aGVsbG8="),
            ("aGVsbG9=", "aGVsbG8="),
            ("aB==", "aA=="),
            ("aGVsbG8===", "aGVsbG8="),
            ("a", ""),
            ("====", ""),
            ("=\r\naGVs", "aGVs"),
        ] {
            let form = form(octets, TransferEncoding::Base64);
            assert!(matches!(form.source, Source::Coded(..)), "{octets:?}");
            assert_eq!(joined(&form), repaired, "{octets:?}");
            assert_eq!(form.len(), repaired.len() as u64);
        }
    }

    #[test]
    fn other_encodings_are_encoded_on_the_fly() {
        let form = form("caf=C3=A9 =\r\nau lait", TransferEncoding::QuotedPrintable);
        assert_eq!(
            STANDARD.decode(joined(&form)).unwrap(),
            "café au lait".as_bytes()
        );
        assert_eq!(form.decoded_len(), 13);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn frames_hold_the_decoded_content_and_as_much_as_was_counted(
            begin in "(begin 644 a\n)?",
            octets in "[A-Za-z0-9+/]{0,60}(=|==|é)?\r?\n?[A-Fa-f0-9=\r\n]{0,60}",
            repeat in 1_usize..800
        ) {
            let octets = Bytes::from(begin + &octets.repeat(repeat));
            for encoding in [
                TransferEncoding::Identity,
                TransferEncoding::Base64,
                TransferEncoding::QuotedPrintable,
                TransferEncoding::Uuencode,
            ] {
                let form = Base64Form::of_part(octets.clone(), encoding);
                let base64 = joined(&form);
                prop_assert_eq!(base64.len() as u64, form.len());
                let decoded = STANDARD.decode(&base64).unwrap();
                prop_assert_eq!(decoded.len() as u64, form.decoded_len());
                prop_assert_eq!(decoded, decode(&octets, encoding));
            }
        }

        #[test]
        fn clean_base64_of_any_octets_passes_through(
            octets in prop::collection::vec(any::<u8>(), 0..3000), width in 1_usize..100
        ) {
            let base64 = STANDARD.encode(&octets);
            let lines: Vec<&[u8]> = base64.as_bytes().chunks(width).collect();
            let lines = Bytes::from(lines.join(&b"\r\n"[..]));
            let form = Base64Form::of_part(lines, TransferEncoding::Base64);
            prop_assert!(matches!(form.source, Source::Clean(_)));
            prop_assert_eq!(joined(&form), base64);
            prop_assert_eq!(form.decoded_len(), octets.len() as u64);
        }

        #[test]
        fn slices_make_one_stream(
            slices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 0..5)
        ) {
            let whole = slices.concat();
            let form = Base64Form::of_slices(slices.into_iter().map(Bytes::from).collect());
            let base64 = joined(&form);
            prop_assert_eq!(base64.len() as u64, form.len());
            prop_assert_eq!(STANDARD.decode(base64).unwrap(), whole);
        }
    }
}
