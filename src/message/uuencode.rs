//! Uuencode undone, as a stream (POSIX, `uuencode`): what Unix sent files in before there was MIME,
//! and some programs still do under `Content-Transfer-Encoding: x-uuencode`.
//!
//! Each line says in its first character how many octets it holds. Blanks that were lost at its end
//! are zeros, what is behind its octets is left out; no input is an error. Lines that promise more
//! octets than there are stay as they came: a small message never becomes a large one, and nothing
//! is lost.

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
}

impl UuDecoder {
    /// Finds the first line `begin`, its mode and a file name. Nothing if there is none, or if the
    /// lines behind it promise more than there is.
    pub(super) fn begin(octets: &[u8]) -> Option<Self> {
        let at = behind_begin(octets)?;
        let mut promised = 0_usize;
        let mut next = at;
        while let Some((text, behind)) = line_at(octets, next) {
            promised = promised.saturating_add(promise(text));
            next = behind;
        }
        (promised <= octets.len()).then(|| Self {
            at,
            held: Vec::new(),
            given: 0,
        })
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
            let Some((text, behind)) = line_at(octets, self.at) else {
                return;
            };
            self.at = behind;
            self.held.clear();
            self.given = 0;
            decode_line(text, &mut self.held);
        }
    }
}

/// Where the line behind the first `begin` starts.
fn behind_begin(octets: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        let rest = octets.get(at..)?;
        if let [b'b', b'e', b'g', b'i', b'n', b' ', b'0'..=b'7', ..] = rest {
            return Some(behind_line(rest, at));
        }
        at = at.saturating_add(memmem::find(rest, b"\nbegin ")?);
        at = at.saturating_add(1);
    }
}

/// A line of the file, and where the next one starts; nothing at the line `end`.
fn line_at(octets: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = octets.get(at..).unwrap_or_default();
    let text = line(rest);
    let is_over = rest.is_empty() || text.trim_ascii() == b"end";
    (!is_over).then(|| (text, behind_line(rest, at)))
}

fn behind_line(rest: &[u8], at: usize) -> usize {
    let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end.saturating_add(1));
    at.saturating_add(length)
}

/// How many octets a line says it holds.
fn promise(text: &[u8]) -> usize {
    let length = text.first().map_or(0, |&octet| six_bits(octet));
    usize::from(length)
}

/// Four characters stand for three octets.
fn decode_line(text: &[u8], out: &mut Vec<u8>) {
    let length = promise(text);
    let text = text.get(1..).unwrap_or_default();
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
    fn lines_that_lost_their_blanks_move_nothing_behind_them() {
        let full = format!("M{}\n", "86%A".repeat(15));
        let text = format!(
            "begin 644 a\n{}M\n{}#86%A\n`\nend\n",
            "M\n".repeat(3),
            full.repeat(9)
        );
        let decoded = decode(&text).unwrap();
        let expected = "\0".repeat(4 * 45) + &"a".repeat(9 * 45 + 3);
        assert_eq!(decoded, expected);
    }

    /// They may be the zeros of a large file, or a trick: nobody can tell, and nothing is lost.
    #[test]
    fn lines_that_promise_more_than_there_is_stay_as_they_came() {
        let lines = |count| "begin 644 a\n".to_owned() + &"M\n".repeat(count) + "#86%A\n`\nend\n";
        assert_eq!(decode(&lines(100)), None);
        assert_eq!(decode(&lines(1)), None);
        assert_eq!(decode(&lines(0)).as_deref(), Some("aaa"));
        // What stands behind the end promises nothing.
        let behind = lines(0) + &"M\n".repeat(100);
        assert_eq!(decode(&behind).as_deref(), Some("aaa"));
    }
}
