//! One header section: where it ends, and its fields (RFC 5322 §2.2, §4.5).
//!
//! The section ends at the empty line, or leniently before the first line that is no field; blanks
//! between name and colon are taken (`Subject : x`). Fields are not stored: [`Header::fields`]
//! walks over them, so that a million of them cost no memory.

use std::fmt;
use std::ops::Range;

use memchr::memchr;

/// Where a header section lies in the octets of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// All fields with their line ends; not the empty line behind them.
    pub range: Range<usize>,
    /// Where the body begins.
    pub body: usize,
}

/// The section goes on beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Header {
    /// Finds the section that begins at `start` and is at most `limit` octets long.
    ///
    /// `is_delimiter` is asked about lines that begin with two hyphens: a part without a body,
    /// whose header runs into the next boundary, ends there.
    ///
    /// # Errors
    /// [`TooLong`] as soon as the limit is passed; nothing behind it is looked at.
    pub fn find(
        octets: &[u8],
        start: usize,
        limit: Option<usize>,
        is_delimiter: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, TooLong> {
        let bound = limit
            .map_or(octets.len(), |limit| start.saturating_add(limit))
            .min(octets.len());
        let mut at = start;
        loop {
            let rest = octets.get(at..).unwrap_or_default();
            let ends = |body: usize| {
                Ok(Self {
                    range: start..at,
                    body,
                })
            };
            let continues = match rest {
                [] => return ends(at),
                [b'\r', b'\n', ..] => return ends(at.saturating_add(2)),
                [b'\n', ..] => return ends(at.saturating_add(1)),
                [b' ' | b'\t', ..] => at > start,
                [b'-', b'-', ..] if is_delimiter(line(rest)) => false,
                _ => name_and_colon(rest).is_some(),
            };
            if !continues {
                return ends(at);
            }
            let window = octets.get(at..bound).unwrap_or_default();
            at = match memchr(b'\n', window) {
                Some(length) => at.saturating_add(length).saturating_add(1),
                None if bound == octets.len() => bound,
                None => return Err(TooLong),
            };
        }
    }

    /// The value of the first field of that name.
    pub(super) fn value<'a>(&self, octets: &'a [u8], name: &str) -> Option<&'a [u8]> {
        self.fields(octets)
            .find(|field| field.is(name))
            .map(|field| field.value)
    }

    /// The fields in their order.
    pub fn fields<'a>(&self, octets: &'a [u8]) -> Fields<'a> {
        Fields {
            octets: octets.get(..self.range.end).unwrap_or_default(),
            at: self.range.start,
        }
    }
}

/// One header field, its folds included.
#[derive(Clone, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a [u8],
    /// What stands behind the colon, without the last line end.
    pub value: &'a [u8],
    /// The whole field with its line end.
    pub range: Range<usize>,
}

impl Field<'_> {
    /// Field names have no case (RFC 5322 §1.2.2).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The value may be a subject, and the name anything.
impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({:?})", self.range)
    }
}

/// The fields of one section.
#[derive(Clone)]
pub struct Fields<'a> {
    octets: &'a [u8],
    at: usize,
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields(at {})", self.at)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let rest = self.octets.get(start..)?;
        let (name, colon) = name_and_colon(rest)?;
        let mut end = 0_usize;
        loop {
            let tail = rest.get(end..).unwrap_or_default();
            end =
                end.saturating_add(memchr(b'\n', tail).map_or(tail.len(), |n| n.saturating_add(1)));
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        self.at = start.saturating_add(end);
        Some(Field {
            name: rest.get(..name)?,
            value: without_line_end(rest.get(colon.saturating_add(1)..end)?),
            range: start..self.at,
        })
    }
}

/// The first line of `rest`, without its line end.
pub(super) fn line(rest: &[u8]) -> &[u8] {
    let end = memchr(b'\n', rest).unwrap_or(rest.len());
    let line = rest.get(..end).unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where the first field can begin: behind a byte order mark, which would hide all fields, a Bcc
/// among them, in the body; and behind an mbox separator. Some scripts send what they read from a
/// mailbox file, whose `From ann@example.net Mon Jan  1 …` is no field.
pub(super) fn behind_prefix(octets: &[u8]) -> usize {
    match octets.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => behind_mbox_line(rest).saturating_add(BYTE_ORDER_MARK.len()),
        None => behind_mbox_line(octets),
    }
}

fn behind_mbox_line(octets: &[u8]) -> usize {
    let separator = octets.starts_with(b"From ") || octets.starts_with(b">From ");
    if !separator || name_and_colon(octets).is_some() {
        return 0;
    }
    memchr(b'\n', octets).map_or(octets.len(), |end| end.saturating_add(1))
}

/// The length of the field name at the front of `rest` and where its colon stands.
fn name_and_colon(rest: &[u8]) -> Option<(usize, usize)> {
    let window = rest.get(..MAX_NAME).unwrap_or(rest);
    let name = window.iter().position(|&octet| !is_name(octet))?;
    let behind = rest.get(name..)?;
    let blanks = behind
        .iter()
        .position(|octet| !matches!(octet, b' ' | b'\t'))?;
    let colon = name.saturating_add(blanks);
    (name > 0 && rest.get(colon) == Some(&b':')).then_some((name, colon))
}

/// RFC 5322 §3.6.8, ftext.
fn is_name(octet: u8) -> bool {
    octet.is_ascii_graphic() && octet != b':'
}

fn without_line_end(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// A longer name would not fit a line (RFC 5322 §2.1.1): it is text without a colon near by.
const MAX_NAME: usize = 998;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> (Vec<(String, String)>, &str) {
        let header = Header::find(text.as_bytes(), 0, None, |line| line == b"--x").unwrap();
        let fields = header.fields(text.as_bytes()).map(|field| {
            assert_eq!(
                &text.as_bytes()[field.range.clone()][..field.name.len()],
                field.name
            );
            (
                String::from_utf8_lossy(field.name).into_owned(),
                String::from_utf8_lossy(field.value).into_owned(),
            )
        });
        (fields.collect(), text.get(header.body..).unwrap())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn fields_folds_and_the_empty_line_are_found() {
        for (text, fields, body) in [
            (
                "A: 1\r\nB: 2\r\n\r\nbody",
                vec![pair("A", " 1"), pair("B", " 2")],
                "body",
            ),
            (
                "A: 1\r\n  2\r\n\t3\r\n\r\n",
                vec![pair("A", " 1\r\n  2\r\n\t3")],
                "",
            ),
            (
                "A: 1\r\n \r\nB:\r\n\r\nb",
                vec![pair("A", " 1\r\n "), pair("B", "")],
                "b",
            ),
            (
                "A : 1\nB\t:2\n\nbody",
                vec![pair("A", " 1"), pair("B", "2")],
                "body",
            ),
            ("A: 1", vec![pair("A", " 1")], ""),
            ("A: 1\r\n", vec![pair("A", " 1")], ""),
            ("", vec![], ""),
            ("\r\nA: 1\r\n", vec![], "A: 1\r\n"),
        ] {
            assert_eq!(find(text), (fields, body), "{text:?}");
        }
    }

    #[test]
    fn the_first_line_that_is_no_field_begins_the_body() {
        for (text, fields, body) in [
            (
                "A: 1\r\nhello you\r\n",
                vec![pair("A", " 1")],
                "hello you\r\n",
            ),
            ("hello: \r\nyou", vec![pair("hello", " ")], "you"),
            (
                " folded: from nothing\r\n",
                vec![],
                " folded: from nothing\r\n",
            ),
            (": 1\r\nA: 1\r\n", vec![], ": 1\r\nA: 1\r\n"),
            ("A: 1\r\n--x\r\nB: 2", vec![pair("A", " 1")], "--x\r\nB: 2"),
            (
                "A: 1\r\n--y: 2\r\n",
                vec![pair("A", " 1"), pair("--y", " 2")],
                "",
            ),
        ] {
            assert_eq!(find(text), (fields, body), "{text:?}");
        }
    }

    #[test]
    fn the_limit_counts_the_fields_but_not_the_empty_line() {
        let text = b"A: 1\r\nB: 2\r\n\r\nbody";
        let find = |limit| Header::find(text, 0, Some(limit), |_| false);
        assert_eq!(find(12).unwrap().body, 14);
        assert_eq!(find(11), Err(TooLong));
        assert_eq!(find(0), Err(TooLong));
    }

    #[test]
    fn a_line_out_of_a_mailbox_file_is_skipped() {
        let skipped = |text: &str| behind_mbox_line(text.as_bytes());
        assert_eq!(skipped("From ann@example.net Mon Jan  1\r\nA: 1\r\n"), 33);
        assert_eq!(skipped(">From ann\nA: 1\r\n"), 10);
        assert_eq!(skipped("From : ann@example.net\r\n"), 0);
        assert_eq!(skipped("From: ann@example.net\r\n"), 0);
        assert_eq!(skipped("From here"), 9);
    }
}
