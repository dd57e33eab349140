//! Content-Transfer-Encoding undone, as a stream (RFC 2045 §6).
//!
//! `Decoder` hands out the decoded content of a part bit by bit, so that a large attachment is
//! never held twice. It is lenient: what cannot be decoded is passed on or left out as RFC 2045
//! §6.7 and §6.8 advise; no input is an error. Its work is linear, wherever the caller pauses.

use bytes::Bytes;
use memchr::memchr2;

use crate::message::uuencode::UuDecoder;
use crate::message::words::hex_octet;

/// How the content of a part was encoded for transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransferEncoding {
    /// 7bit, 8bit, binary, and whatever nobody knows: the octets are the content.
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
    /// Never a standard, and still sent.
    Uuencode,
}

impl TransferEncoding {
    /// By the value of the field, in lower case.
    pub fn named(value: &str) -> Self {
        match value {
            "base64" => Self::Base64,
            "quoted-printable" => Self::QuotedPrintable,
            "x-uuencode" | "uuencode" | "x-uue" | "uue" => Self::Uuencode,
            _ => Self::Identity,
        }
    }
}

/// The whole content of a part, decoded.
pub fn decode(octets: &[u8], encoding: TransferEncoding) -> Vec<u8> {
    let mut decoded = Vec::new();
    State::new(octets, encoding).fill(octets, &mut decoded, usize::MAX);
    decoded
}

/// How many octets [`decode`] gives, found without holding them.
pub(super) fn decoded_len(octets: &Bytes, encoding: TransferEncoding) -> u64 {
    let mut decoder = Decoder::new(octets.clone(), encoding);
    let mut chunk = Vec::new();
    let mut length = 0_u64;
    loop {
        chunk.clear();
        decoder.fill(&mut chunk, COUNTING_CHUNK);
        if chunk.is_empty() {
            return length;
        }
        length = length.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
    }
}

/// The decoded content of one part, in pieces of any size.
#[derive(Clone)]
pub(super) struct Decoder {
    octets: Bytes,
    state: State,
}

impl Decoder {
    pub(super) fn new(octets: Bytes, encoding: TransferEncoding) -> Self {
        let state = State::new(&octets, encoding);
        Self { octets, state }
    }

    /// Adds decoded octets until `out` holds `want` of them or there are no more.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, want: usize) {
        self.state.fill(&self.octets, out, want);
    }
}

#[derive(Clone)]
enum State {
    Identity(usize),
    Base64(Base64Decoder),
    QuotedPrintable(QuotedPrintableDecoder),
    Uuencode(UuDecoder),
}

impl State {
    fn new(octets: &[u8], encoding: TransferEncoding) -> Self {
        match encoding {
            TransferEncoding::Identity => Self::Identity(0),
            TransferEncoding::Base64 => Self::Base64(Base64Decoder::default()),
            TransferEncoding::QuotedPrintable => {
                Self::QuotedPrintable(QuotedPrintableDecoder::default())
            }
            TransferEncoding::Uuencode => {
                UuDecoder::begin(octets).map_or(Self::Identity(0), Self::Uuencode)
            }
        }
    }

    fn fill(&mut self, octets: &[u8], out: &mut Vec<u8>, want: usize) {
        match self {
            Self::Identity(at) => {
                let rest = octets.get(*at..).unwrap_or_default();
                let taken = rest.len().min(want.saturating_sub(out.len()));
                out.extend_from_slice(rest.get(..taken).unwrap_or_default());
                *at = at.saturating_add(taken);
            }
            Self::Base64(decoder) => decoder.fill(octets, out, want),
            Self::QuotedPrintable(decoder) => decoder.fill(octets, out, want),
            Self::Uuencode(decoder) => decoder.fill(octets, out, want),
        }
    }
}

/// Base64, foreign characters left out (RFC 2045 §6.8). Padding ends a run of six-bit groups.
/// Another may follow, since some programs encode line by line; a text may, too, that somebody put
/// there on the way, and it is no content. Where a group needs none, padding is a foreign character.
#[derive(Clone, Default)]
struct Base64Decoder {
    at: usize,
    bits: u32,
    /// How many of the bits no octet has yet: 0, 6, 4, 2 behind so many characters of a group.
    held: u32,
}

impl Base64Decoder {
    fn fill(&mut self, octets: &[u8], out: &mut Vec<u8>, want: usize) {
        while out.len() < want
            && let Some(&octet) = octets.get(self.at)
        {
            self.at = self.at.saturating_add(1);
            if octet == b'=' {
                self.padding(octets);
                continue;
            }
            let Some(six) = six_bits(octet) else {
                continue;
            };
            self.bits = (self.bits << 6) | six;
            self.held = self.held.saturating_add(6);
            if self.held >= 8 {
                self.held = self.held.saturating_sub(8);
                let [.., octet] = (self.bits >> self.held).to_be_bytes();
                out.push(octet);
            }
        }
    }

    /// Behind two or three characters of a group it goes on where whole groups follow on the next
    /// line that is not empty, else to the end.
    fn padding(&mut self, octets: &[u8]) {
        if !matches!(self.held, 2 | 4) {
            return;
        }
        self.held = 0;
        let rest = octets.get(self.at..).unwrap_or_default();
        let padding = |octet: &u8| *octet == b'=' || octet.is_ascii_whitespace();
        let skipped = rest.iter().position(|octet| !padding(octet));
        let rest = rest
            .get(skipped.unwrap_or(rest.len())..)
            .unwrap_or_default();
        // Only up to the next padding: else a line full of it would be searched again and again.
        let is_end = |octet: &u8| matches!(octet, b'=' | b'\r' | b'\n');
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        let run = rest.get(..end).unwrap_or_default().trim_ascii_end();
        let groups = match rest.get(end) {
            Some(b'=') => run.len() % 4 > 1,
            _ => run.len().is_multiple_of(4),
        };
        let goes_on = groups && run.iter().all(|octet| six_bits(*octet).is_some());
        self.at = match goes_on {
            true => octets.len().saturating_sub(rest.len()),
            false => octets.len(),
        };
    }
}

/// The value of a character of the base64 alphabet (RFC 4648 §4).
pub(super) fn six_bits(octet: u8) -> Option<u32> {
    let (first, value) = match octet {
        b'A'..=b'Z' => (b'A', 0_u32),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(value.saturating_add(u32::from(octet.saturating_sub(first))))
}

/// Quoted-printable (RFC 2045 §6.7): blanks at the end of a line are dropped, an `=` that escapes
/// nothing is kept.
#[derive(Clone, Default)]
struct QuotedPrintableDecoder {
    at: usize,
    /// What is copied as it stands ends here, and decoding goes on there. A run is measured once,
    /// or else a long one would be searched anew for every frame it fills.
    run_end: usize,
    resume: usize,
}

impl QuotedPrintableDecoder {
    fn fill(&mut self, octets: &[u8], out: &mut Vec<u8>, want: usize) {
        while out.len() < want && self.at < octets.len() {
            if self.at < self.run_end {
                let room = want.saturating_sub(out.len());
                let end = self.run_end.min(self.at.saturating_add(room));
                out.extend_from_slice(octets.get(self.at..end).unwrap_or_default());
                self.at = end;
                continue;
            }
            self.at = self.at.max(self.resume);
            match octets.get(self.at..).unwrap_or_default() {
                [] => return,
                [b'=', rest @ ..] => self.escape(rest, out),
                [b'\n', ..] => self.copy(1, 1),
                [b'\r', b'\n', ..] => self.copy(2, 2),
                rest => self.measure_run(rest),
            }
        }
    }

    /// Copies so many octets next and skips to so many behind where we are.
    fn copy(&mut self, copied: usize, skipped: usize) {
        self.run_end = self.at.saturating_add(copied);
        self.resume = self.at.saturating_add(skipped);
        if copied == 0 {
            self.at = self.resume;
        }
    }

    fn measure_run(&mut self, rest: &[u8]) {
        let stop = memchr2(b'=', b'\n', rest).unwrap_or(rest.len());
        let mut run = rest.get(..stop).unwrap_or_default();
        let mut skipped = run.len();
        if rest.get(stop) != Some(&b'=') {
            if rest.get(stop) == Some(&b'\n') && run.ends_with(b"\r") {
                skipped = skipped.saturating_sub(1);
                run = run.get(..skipped).unwrap_or_default();
            }
            while let Some((b' ' | b'\t', shorter)) = run.split_last() {
                run = shorter;
            }
        }
        self.copy(run.len(), skipped);
    }

    /// What stands behind an `=`: two digits, the end of the line, or nothing that belongs there.
    fn escape(&mut self, rest: &[u8], out: &mut Vec<u8>) {
        if let [high, low, ..] = rest
            && let Some(octet) = hex_octet(*high, *low)
        {
            out.push(octet);
            return self.copy(0, 3);
        }
        let blanks = rest
            .iter()
            .take_while(|&&o| matches!(o, b' ' | b'\t'))
            .count();
        let line_end = match rest.get(blanks..).unwrap_or_default() {
            [] => 0,
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return self.copy(1, 1),
        };
        self.copy(0, blanks.saturating_add(line_end).saturating_add(1));
    }
}

const COUNTING_CHUNK: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(octets: &str, encoding: TransferEncoding) -> String {
        String::from_utf8(decode(octets.as_bytes(), encoding)).unwrap()
    }

    #[test]
    fn quoted_printable_is_decoded_leniently() {
        for (encoded, decoded) in [
            ("caf=C3=A9 =3D=3d", "café =="),
            (
                "soft=\r\nbreak, =\nbare, = \t\r\nblanks",
                "softbreak, bare, blanks",
            ),
            ("trailing \t \r\nblanks  \nand  ", "trailing\r\nblanks\nand"),
            ("  leading\r\n \r\nkept ", "  leading\r\n\r\nkept"),
            ("a =\r\n b", "a  b"),
            ("1=2 =zz = =4", "1=2 =zz = =4"),
            ("end=", "end"),
            ("end= ", "end"),
            ("a\rb=\r", "a\rb=\r"),
            ("", ""),
        ] {
            assert_eq!(
                text(encoded, TransferEncoding::QuotedPrintable),
                decoded,
                "{encoded:?}"
            );
        }
    }

    #[test]
    fn base64_is_decoded_leniently() {
        for (encoded, decoded) in [
            ("aGVsbG8=", "hello"),
            ("aGVs\r\n bG8=\r\n", "hello"),
            ("aGVsbG8", "hello"),
            ("aGVsbG8h", "hello!"),
            ("a-G!V\u{e9}s(bG8=", "hello"),
            ("aGU=bGxv", "hello"),
            ("aGU=\r\nbGxv\r\n", "hello"),
            ("aGVsb", "hel"),
            ("aGVsbG8= and more", "hello"),
            ("aGU=\r\nbGw=\r\n-- \r\nthe list", "hell"),
            ("aGVsbG8=\r\n\r\n____\r\nfour\r\n", "hello"),
            ("aGVs=\r\nbG8\r\nh===", "hello!"),
            ("aGVsb=G8=", "hello"),
            ("====", ""),
            ("", ""),
        ] {
            assert_eq!(
                text(encoded, TransferEncoding::Base64),
                decoded,
                "{encoded:?}"
            );
        }
    }

    #[test]
    fn a_long_run_is_not_searched_again_for_every_chunk() {
        let length = 8_000_000;
        let mut octets = vec![b'a'; length];
        octets.extend(vec![b' '; length]);
        octets.extend(b"\r\n=");
        let octets = Bytes::from(octets);
        let mut decoder = Decoder::new(octets, TransferEncoding::QuotedPrintable);
        let mut total = 0;
        let mut chunk = Vec::new();
        loop {
            chunk.clear();
            decoder.fill(&mut chunk, 500);
            if chunk.is_empty() {
                break;
            }
            total += chunk.len();
        }
        assert_eq!(total, length + 2);
    }

    #[test]
    fn padding_everywhere_costs_no_more_than_base64() {
        for unit in ["=", "AAA=", "A=", "AAAA=", "=\r\n", "AA== ", "AA== =a"] {
            let octets = unit.repeat(4_000_000_usize.div_euclid(unit.len()));
            let _ = decode(octets.as_bytes(), TransferEncoding::Base64);
        }
    }

    proptest! {
        #[test]
        fn pauses_do_not_change_what_is_decoded(
            octets in "(begin 644 a\n)?[a-f0-9= \t\r\nA+/é]{0,120}", want in 1_usize..9
        ) {
            for encoding in [
                TransferEncoding::Identity,
                TransferEncoding::Base64,
                TransferEncoding::QuotedPrintable,
                TransferEncoding::Uuencode,
            ] {
                let whole = decode(octets.as_bytes(), encoding);
                let bytes = Bytes::from(octets.clone());
                prop_assert_eq!(decoded_len(&bytes, encoding), whole.len() as u64);
                let mut decoder = Decoder::new(bytes, encoding);
                let mut joined = Vec::new();
                loop {
                    let mut chunk = Vec::new();
                    decoder.fill(&mut chunk, want);
                    prop_assert!(chunk.len() <= want);
                    if chunk.is_empty() {
                        break;
                    }
                    joined.extend(chunk);
                }
                prop_assert_eq!(joined, whole);
            }
        }

        #[test]
        fn quoted_printable_gives_back_what_was_encoded(
            octets in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            let encoded: String = octets.iter().map(|octet| format!("={octet:02X}=\r\n")).collect();
            prop_assert_eq!(decode(encoded.as_bytes(), TransferEncoding::QuotedPrintable), octets);
        }
    }
}
