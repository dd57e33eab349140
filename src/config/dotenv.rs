//! The `.env` file of a developer: variables that hold only for this program.
//!
//! It is read, never put into the process. As in any `.env` file, `$NAME` in a value stands for
//! another variable; single quotes keep it as it is.

use std::cell::Cell;
use std::io;
use std::io::Read;
use std::path::Path;

use crate::config::fault::Faults;
use crate::config::origin::Source;
use crate::config::text_file;
use crate::config::text_file::TextError;

/// Reads the names and values of a `.env` file, in its order. That there is none is no fault.
pub(super) fn read(path: &Path, faults: &mut Faults) -> Vec<(String, String)> {
    let source = Source::File(path.to_owned());
    let text = match text_file::read(path, BOUND) {
        Ok(text) => text,
        Err(TextError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Vec::new();
        }
        Err(error) => {
            faults.add(None, Some(&source), error.to_string());
            return Vec::new();
        }
    };
    let line = Cell::new(0);
    let mut pairs = Vec::new();
    for pair in dotenvy::from_read_iter(Lines {
        rest: text.as_bytes(),
        count: &line,
    }) {
        match pair {
            Ok(pair) => pairs.push(pair),
            Err(error) => {
                // What was read may span lines, where a quote stays open. It is never shown.
                let lines = match &error {
                    dotenvy::Error::LineParse(read, _) => read.lines().count().max(1),
                    _ => 1,
                };
                let first = (line.get() + 1).saturating_sub(lines);
                let message = format!(
                    "line {first} is not NAME=value, or has a blank, quote or backslash that \
                     needs single quotes around the value"
                );
                faults.add(None, Some(&source), message);
            }
        }
    }
    pairs
}

/// Hands out one line a read, and counts them: the parser does not say where it is.
struct Lines<'t> {
    rest: &'t [u8],
    count: &'t Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self
            .rest
            .iter()
            .position(|octet| *octet == b'\n')
            .map_or(self.rest.len(), |n| n + 1);
        let (line, _) = self.rest.split_at(end.min(buffer.len()));
        let read = (&mut &*line).read(buffer)?;
        self.rest = self.rest.get(read..).unwrap_or_default();
        if read > 0 && read == end {
            self.count.set(self.count.get() + 1);
        }
        Ok(read)
    }
}

/// Octets.
const BOUND: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Vec<(String, String)>, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut faults = Faults::default();
        let pairs = read(file.path(), &mut faults);
        (
            pairs,
            faults
                .to_string()
                .replace(&file.path().display().to_string(), ".env"),
        )
    }

    #[test]
    fn names_and_values_are_read_with_their_quotes_undone() {
        let (pairs, faults) = read_text("# comment\nA=1\n\nexport B=\"two words\"\nC='$A'\nD=\n");
        let expected = [("A", "1"), ("B", "two words"), ("C", "$A"), ("D", "")];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(faults, "");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_by_its_number_and_not_shown() {
        let (pairs, faults) =
            read_text("# one\nA=1\n\nB=hunter2 hunter3\nC=\"two\nlines\"\nD\nE=5\n");
        assert_eq!(pairs.len(), 3);
        let lines: Vec<_> = faults.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with(".env: line 4 is not NAME=value"),
            "{faults}"
        );
        assert!(
            lines[1].starts_with(".env: line 7 is not NAME=value"),
            "{faults}"
        );
        assert!(!faults.contains("hunter"));
    }

    #[test]
    fn a_quote_left_open_is_one_fault_on_the_line_where_it_begins() {
        let (_, faults) = read_text("A=1\nB='open\nC=3\nD=4\n");
        assert_eq!(faults.lines().count(), 1);
        assert!(faults.starts_with(".env: line 2 "), "{faults}");
    }

    #[test]
    fn no_file_is_no_fault() {
        let mut faults = Faults::default();
        assert!(read(Path::new("/nonexistent/.env"), &mut faults).is_empty());
        assert!(faults.is_empty());
    }
}
