//! Uuencode undone, as a stream (POSIX, `uuencode`): what Unix sent files in before there was MIME,
//! and some programs still do under `Content-Transfer-Encoding: x-uuencode`.
//!
//! Each line says in its first character how many octets it holds. Blanks that were lost at its end
//! are zeros, what is behind its octets is left out; no input is an error. There are never more
//! octets than were read, whatever the lines say of themselves.

use memchr::memmem;

use crate::message::header::line;

/// Between `begin` and `end`.
#[derive(Clone)]
pub(super) struct UuDecoder {
    /// Where the next line begins.
    at: usize,
    /// The octets of the last line, and how many of them were handed out.
    held: Vec<u8>,
    given: usize,
    /// Octets of all lines so far.
    made: usize,
}

impl UuDecoder {
    /// Finds the first line `begin`, its mode and a file name; nothing if there is none.
    pub(super) fn begin(octets: &[u8]) -> Option<Self> {
        let mut at = 0_usize;
        loop {
            let rest = octets.get(at..)?;
            if let [b'b', b'e', b'g', b'i', b'n', b' ', b'0'..=b'7', ..] = rest {
                return Some(Self {
                    at: behind_line(rest, at),
                    held: Vec::new(),
                    given: 0,
                    made: 0,
                });
            }
            at = at.saturating_add(memmem::find(rest, b"\nbegin ")?);
            at = at.saturating_add(1);
        }
    }

    /// Adds decoded octets until `out` holds `want` of them or there are no more.
    pub(super) fn fill(&mut self, octets: &[u8], out: &mut Vec<u8>, want: usize) {
        while out.len() < want {
            let left = self.held.get(self.given..).unwrap_or_default();
            if !left.is_empty() {
                let taken = left.len().min(want.saturating_sub(out.len()));
                out.extend_from_slice(left.get(..taken).unwrap_or_default());
                self.given = self.given.saturating_add(taken);
                continue;
            }
            let rest = octets.get(self.at..).unwrap_or_default();
            let text = line(rest);
            if rest.is_empty() || text.trim_ascii() == b"end" {
                return;
            }
            self.at = behind_line(rest, self.at);
            self.held.clear();
            self.given = 0;
            decode_line(text, &mut self.held);
            self.held.truncate(self.at.saturating_sub(self.made));
            self.made = self.made.saturating_add(self.held.len());
        }
    }
}

fn behind_line(rest: &[u8], at: usize) -> usize {
    let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end.saturating_add(1));
    at.saturating_add(length)
}

/// Four characters stand for three octets.
fn decode_line(text: &[u8], out: &mut Vec<u8>) {
    let Some((&length, text)) = text.split_first() else {
        return;
    };
    let length = usize::from(six_bits(length));
    for group in 0..length.div_ceil(3) {
        let at = |n: usize| text.get(group.saturating_mul(4).saturating_add(n));
        let six = |n: usize| u32::from(at(n).map_or(0, |&octet| six_bits(octet)));
        let [_, octets @ ..] =
            ((six(0) << 18) | (six(1) << 12) | (six(2) << 6) | six(3)).to_be_bytes();
        out.extend_from_slice(&octets);
    }
    out.truncate(length);
}

/// Of a blank, which is zero, on; the backtick stands for the blank.
fn six_bits(octet: u8) -> u8 {
    octet.wrapping_sub(b' ') & 0b11_1111
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Option<String> {
        let mut out = Vec::new();
        UuDecoder::begin(text.as_bytes())?.fill(text.as_bytes(), &mut out, usize::MAX);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn files_are_decoded_between_begin_and_end() {
        for (text, decoded) in [
            ("begin 644 a\r\n%:&5L;&\\\r\n`\r\nend\r\nafter\r\n", "hello"),
            (
                "text\n\nbegin 600 a\n%:&5L;&\\\n%:&5L;&\\\n \nend\n",
                "hellohello",
            ),
            // Without the blanks at the end, with a check character, without an end.
            ("begin 644 a\r\n#86$\r\n", "aa\0"),
            ("begin 644 a\n#86%AX\n", "aaa"),
            ("begin 644 a\n\n#86%A", "aaa"),
            ("begin 644 a", ""),
        ] {
            assert_eq!(decode(text).as_deref(), Some(decoded), "{text:?}");
        }
        for text in [
            "",
            "hello",
            "beginning\n",
            "to begin 644 a\n",
            "begin x\nbegin\n",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn lines_that_promise_much_do_not_make_a_small_message_large() {
        let text = "begin 644 a\n".to_owned() + &"_\n".repeat(100_000);
        let decoded = decode(&text).unwrap();
        assert!(decoded.len() <= text.len(), "{}", decoded.len());
    }
}
