//! The structure of a message: its parts, where their headers and bodies are (RFC 2046 §5).
//!
//! One pass over the octets, without recursion, in linear time and within [`Limits`], so that a
//! message made to hurt a parser never reaches one. A part is split only if it is a multipart: an
//! attached message is opaque, however much is nested in it. Broken MIME is never refused but read
//! as text, or as far as it goes.

use std::collections::BTreeMap;

use memchr::memchr;
use memchr::memmem::Finder;

use crate::message::content::Content;
use crate::message::header::{Header, behind_prefix, line};
use crate::message::part::{Part, TEXT_PLAIN};

/// Bounds of what is read. 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Multiparts inside each other.
    pub depth: usize,
    /// Parts of a message, at all depths together.
    pub parts: usize,
    /// Octets of one header section, of the message or of a part.
    pub header_octets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 10,
            parts: 1000,
            header_octets: 1024 * 1024,
        }
    }
}

/// The message goes beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    #[error("multiparts are nested more than {limit} deep")]
    TooDeep { limit: usize },
    #[error("more than {limit} parts")]
    TooManyParts { limit: usize },
    #[error("a header section is longer than {limit} octets")]
    HeaderTooLong { limit: usize },
}

/// The parts of a message, outer before inner, in their order. The first is the message itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    parts: Vec<Part>,
}

impl Structure {
    /// Finds the parts of a message.
    ///
    /// # Errors
    /// [`StructureError`] as soon as a limit is passed; what is behind it is not read.
    pub fn read(content: &Content, limits: &Limits) -> Result<Self, StructureError> {
        let octets = content.octets();
        let mut pass = Pass::new(octets, *limits);
        let mut at = pass.begin_part(behind_prefix(octets))?;
        while let Some(delimiter) = pass.next_delimiter(at) {
            pass.end_parts_inside(delimiter.level, delimiter.start);
            at = delimiter.end;
            match delimiter.kind {
                DelimiterKind::Next if pass.is_repeated(&delimiter) => {}
                DelimiterKind::Next => at = pass.begin_part(at)?,
                DelimiterKind::Close => pass.end_level(delimiter.start),
            }
        }
        pass.end_parts_inside(0, octets.len());
        pass.end_level(octets.len());
        Ok(Self { parts: pass.parts })
    }

    /// Whether the message means what it means in its exact octets only: it is signed, encrypted or a
    /// report (RFC 1847, RFC 6522).
    pub fn needs_exact_form(&self) -> bool {
        let exact = [
            "multipart/signed",
            "multipart/encrypted",
            "multipart/report",
        ];
        self.parts
            .first()
            .is_some_and(|root| exact.contains(&root.media_type.as_str()))
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The header of the message itself.
    pub fn header(&self) -> Option<&Header> {
        self.parts.first().map(|part| &part.header)
    }
}

/// The pass over the octets: the parts so far and the multiparts that are not closed yet.
struct Pass<'a> {
    octets: &'a [u8],
    limits: Limits,
    parts: Vec<Part>,
    levels: Vec<Level>,
    /// Each boundary with its levels, the innermost last.
    boundaries: BTreeMap<Vec<u8>, Vec<usize>>,
    /// The leaf whose body we are in.
    leaf: Option<usize>,
    line_with_hyphens: Finder<'static>,
}

/// A multipart that is not closed yet.
struct Level {
    part: usize,
    boundary: Vec<u8>,
}

/// A boundary line (RFC 2046 §5.1.1).
struct Delimiter {
    level: usize,
    kind: DelimiterKind,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy)]
enum DelimiterKind {
    /// `--boundary`
    Next,
    /// `--boundary--`
    Close,
}

impl<'a> Pass<'a> {
    fn new(octets: &'a [u8], limits: Limits) -> Self {
        Self {
            octets,
            limits,
            parts: Vec::new(),
            levels: Vec::new(),
            boundaries: BTreeMap::new(),
            leaf: None,
            line_with_hyphens: Finder::new(b"\n--"),
        }
    }

    /// Reads the header that begins at `start`. Returns where the body does.
    fn begin_part(&mut self, start: usize) -> Result<usize, StructureError> {
        let limit = self.limits.parts;
        if limit > 0 && self.parts.len() > limit {
            return Err(StructureError::TooManyParts { limit });
        }
        let limit = self.limits.header_octets;
        let bound = (limit > 0).then_some(limit);
        let header = Header::find(self.octets, start, bound, |line| {
            self.delimits(line).is_some()
        })
        .map_err(|_| StructureError::HeaderTooLong { limit })?;
        let parent = self.levels.last().map(|level| level.part);
        let outer = parent.and_then(|parent| self.parts.get(parent));
        let index = self.parts.len();
        let (part, boundary) = Part::begin(self.octets, header, index, outer);
        let body = part.body.start;
        self.parts.push(Part { parent, ..part });
        match boundary {
            Some(boundary) => self.begin_level(index, boundary)?,
            None => self.leaf = Some(index),
        }
        Ok(body)
    }

    fn begin_level(&mut self, part: usize, boundary: Vec<u8>) -> Result<(), StructureError> {
        let limit = self.limits.depth;
        if limit > 0 && self.levels.len() >= limit {
            return Err(StructureError::TooDeep { limit });
        }
        let levels = self.boundaries.entry(boundary.clone()).or_default();
        levels.push(self.levels.len());
        self.levels.push(Level { part, boundary });
        Ok(())
    }

    /// The next line from `at` on that delimits parts. `at` begins a line.
    fn next_delimiter(&self, at: usize) -> Option<Delimiter> {
        if self.levels.is_empty() {
            return None;
        }
        let mut start = at;
        if !self.octets.get(at..)?.starts_with(b"--") {
            start = self.line_behind(at)?;
        }
        loop {
            let rest = self.octets.get(start..)?;
            if let Some((level, kind)) = self.delimits(line(rest)) {
                let length = memchr(b'\n', rest).map_or(rest.len(), |end| end.saturating_add(1));
                return Some(Delimiter {
                    level,
                    kind,
                    start,
                    end: start.saturating_add(length),
                });
            }
            start = self.line_behind(start)?;
        }
    }

    /// Whether the next line is the same boundary again: they share the line end, so there is no
    /// part between them (RFC 2046 §5.1.1).
    fn is_repeated(&self, delimiter: &Delimiter) -> bool {
        let next = self.octets.get(delimiter.end..).unwrap_or_default();
        let next = self.delimits(line(next));
        matches!(next, Some((level, DelimiterKind::Next)) if level == delimiter.level)
    }

    /// Where the next line with two hyphens at its front begins.
    fn line_behind(&self, at: usize) -> Option<usize> {
        let found = self.line_with_hyphens.find(self.octets.get(at..)?)?;
        Some(at.saturating_add(found).saturating_add(1))
    }

    /// Which level a line delimits. Blanks at its end may have been added on the way.
    fn delimits(&self, line: &[u8]) -> Option<(usize, DelimiterKind)> {
        let text = line.strip_prefix(b"--")?.trim_ascii_end();
        let level = |boundary: &[u8]| self.boundaries.get(boundary)?.last().copied();
        let next = level(text).map(|level| (level, DelimiterKind::Next));
        let close = text.strip_suffix(b"--").and_then(level);
        match (next, close) {
            (Some((next, _)), Some(close)) if close > next => Some((close, DelimiterKind::Close)),
            (None, Some(close)) => Some((close, DelimiterKind::Close)),
            (next, _) => next,
        }
    }

    /// Ends the leaf we are in and all multiparts deeper than `level`, at the boundary line there.
    fn end_parts_inside(&mut self, level: usize, line_start: usize) {
        if let Some(leaf) = self.leaf.take() {
            self.end_part(leaf, line_start);
        }
        while self.levels.len() > level.saturating_add(1) {
            self.end_level(line_start);
        }
    }

    /// Ends the innermost multipart.
    fn end_level(&mut self, line_start: usize) {
        let Some(level) = self.levels.pop() else {
            return;
        };
        if let Some(levels) = self.boundaries.get_mut(&level.boundary) {
            levels.pop();
            if levels.is_empty() {
                self.boundaries.remove(&level.boundary);
            }
        }
        self.end_part(level.part, line_start);
    }

    fn end_part(&mut self, index: usize, line_start: usize) {
        let next = self.parts.len();
        // A boundary that was cut off at the end of the message owned a line end, too; without
        // any boundary it is content.
        let end = match index == 0 && line_start == self.octets.len() {
            true => line_start,
            false => self.before_line_end(line_start),
        };
        if let Some(part) = self.parts.get_mut(index) {
            part.body.end = end.max(part.body.start);
            part.next = next;
            if part.is_multipart && next == index.saturating_add(1) {
                // Its boundary never came.
                part.is_multipart = false;
                TEXT_PLAIN.clone_into(&mut part.media_type);
            }
        }
    }

    /// The line end before a boundary line belongs to the boundary (RFC 2046 §5.1.1).
    fn before_line_end(&self, at: usize) -> usize {
        let before = self.octets.get(..at).unwrap_or_default();
        let before = before.strip_suffix(b"\n").unwrap_or(before);
        before.strip_suffix(b"\r").unwrap_or(before).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: impl Into<Vec<u8>>) -> Result<Structure, StructureError> {
        Structure::read(&Content::new(text.into()), &Limits::default())
    }

    /// Each part as its depth, its media type and, for a leaf, its body.
    fn outline(text: &str) -> Vec<String> {
        let structure = read(text).unwrap();
        let parts = structure.parts();
        let mut lines = Vec::new();
        for part in parts {
            let outer = |part: &&Part| part.parent.map(|index| &parts[index]);
            let depth = std::iter::successors(Some(part), outer).skip(1).count();
            let body = match part.is_multipart {
                true => String::new(),
                false => format!(" {:?}", text.get(part.body.clone()).unwrap()),
            };
            lines.push(format!("{depth} {}{body}", part.media_type));
        }
        lines
    }

    const MIXED: &str = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";

    #[test]
    fn a_message_without_multipart_is_one_leaf() {
        assert_eq!(
            outline("Subject: x\r\n\r\nhello\r\n"),
            ["0 text/plain \"hello\\r\\n\""]
        );
        assert_eq!(outline(""), ["0 text/plain \"\""]);
        assert_eq!(
            outline("no header at all"),
            ["0 text/plain \"no header at all\""]
        );
        assert_eq!(outline("Subject: x"), ["0 text/plain \"\""]);
        assert_eq!(
            outline("Content-Type: TEXT/Html;x\r\n\r\n1"),
            ["0 text/html \"1\""]
        );
    }

    #[test]
    fn parts_are_found_and_what_is_around_them_is_dropped() {
        assert_eq!(
            outline(&format!(
                "{MIXED}preamble\r\n--a\r\n\r\none\r\n\r\n{}{}",
                "--a \t\r\nContent-Type: image/png\r\n\r\ntwo\r\n",
                "--a--\r\nepilogue\r\n--a\r\n\r\nthree"
            )),
            [
                "0 multipart/mixed",
                "1 text/plain \"one\\r\\n\"",
                "1 image/png \"two\""
            ]
        );
    }

    #[test]
    fn parts_may_be_empty_or_without_an_empty_line() {
        assert_eq!(
            outline(&format!(
                "{MIXED}--a\r\n--a\r\n\r\n{}",
                "--a\r\nContent-Type: a/b\r\n--a\r\n\r\n\r\n--a\r\nno field\r\n--a--"
            )),
            [
                "0 multipart/mixed",
                "1 text/plain \"\"",
                "1 a/b \"\"",
                "1 text/plain \"\"",
                "1 text/plain \"no field\"",
            ]
        );
    }

    #[test]
    fn a_boundary_of_an_outer_multipart_ends_the_inner_ones() {
        let inner =
            |boundary| format!("--a\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n\r\n");
        let text = format!(
            "{MIXED}{}--b\r\n\r\none\r\n--a\r\n\r\ntwo\r\n--b\r\n\r\nnot\r\n--a--\r\n",
            inner("b")
        );
        assert_eq!(
            outline(&text),
            [
                "0 multipart/mixed",
                "1 multipart/mixed",
                "2 text/plain \"one\"",
                "1 text/plain \"two\\r\\n--b\\r\\n\\r\\nnot\"",
            ]
        );
        // One boundary is the other with something behind it, or the very same.
        let text = format!(
            "{MIXED}{}--ab\r\n\r\none\r\n--ab--\r\n--a\r\n\r\ntwo\r\n--a--",
            inner("ab")
        );
        assert_eq!(
            outline(&text)[2..],
            ["2 text/plain \"one\"", "1 text/plain \"two\""]
        );
        let text = format!(
            "{MIXED}{}--a\r\n\r\none\r\n--a--\r\n--a\r\n\r\ntwo\r\n--a--",
            inner("a")
        );
        assert_eq!(
            outline(&text)[2..],
            ["2 text/plain \"one\"", "1 text/plain \"two\""]
        );
        let text = format!(
            "{MIXED}{}--a--\r\n\r\none\r\n--a----\r\n--a\r\n\r\ntwo",
            inner("a--")
        );
        assert_eq!(
            outline(&text)[2..],
            ["2 text/plain \"one\"", "1 text/plain \"two\""]
        );
    }

    #[test]
    fn a_missing_close_ends_with_the_message() {
        assert_eq!(
            outline(&format!("{MIXED}--a\r\n\r\none\r\n")),
            ["0 multipart/mixed", "1 text/plain \"one\""]
        );
    }

    #[test]
    fn a_boundary_that_is_repeated_holds_no_part() {
        assert_eq!(
            outline(&format!(
                "{MIXED}{}--a\r\n\r\none\r\n--a--",
                "--a\r\n".repeat(5000)
            )),
            ["0 multipart/mixed", "1 text/plain \"one\""]
        );
        assert_eq!(
            outline(&format!("{MIXED}--a\r\n--a--\r\n")),
            ["0 multipart/mixed", "1 text/plain \"\""]
        );
    }

    #[test]
    fn a_multipart_without_parts_is_text() {
        for text in [
            "Content-Type: multipart/mixed\r\n\r\n--a\r\nx",
            "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--a\r\nx",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--a\r\nx",
            "Content-Type: multipart/mixed; boundary=aa\r\n\r\n--a\r\nx",
        ] {
            assert_eq!(outline(text), ["0 text/plain \"--a\\r\\nx\""], "{text:?}");
        }
        assert_eq!(
            outline("Content-Type: multipart/mixed; boundary=b\r\n\r\nx\r\n--b--\r\nepilogue"),
            ["0 text/plain \"x\""]
        );
    }

    #[test]
    fn boundaries_are_read_in_all_their_forms() {
        for boundary in [
            "boundary=\"a b\"",
            "boundary=\"a b  \"",
            "BOUNDARY = \"a b\" (comment); x=y",
            "boundary*0=\"a\"; boundary*1=\" b\"",
            "boundary*1*=b; boundary*0*=us-ascii''a%20",
        ] {
            let text = format!(
                "Content-Type: multipart/mixed;\r\n {boundary}\r\n\r\n--a b\r\n\r\nx\r\n--a b--\r\n"
            );
            assert_eq!(outline(&text)[1..], ["1 text/plain \"x\""], "{boundary}");
        }
    }

    #[test]
    fn bare_line_feeds_are_read_too() {
        let text = concat!(
            "Content-Type: multipart/mixed;\n boundary=a\n\n--a\n\none\n",
            "--a\nContent-Type: a/b\n\ntwo\n--a--\n"
        );
        assert_eq!(
            outline(text),
            ["0 multipart/mixed", "1 text/plain \"one\"", "1 a/b \"two\""]
        );
    }

    #[test]
    fn an_attached_message_is_opaque() {
        let inner = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--";
        let text =
            format!("{MIXED}--a\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--a--\r\n");
        assert_eq!(outline(&text)[1..], [format!("1 message/rfc822 {inner:?}")]);
        let digest = concat!(
            "Content-Type: multipart/digest; boundary=a\r\n\r\n",
            "--a\r\n\r\nSubject: x\r\n\r\ny\r\n--a--"
        );
        assert_eq!(
            outline(digest)[1..],
            ["1 message/rfc822 \"Subject: x\\r\\n\\r\\ny\""]
        );
    }

    /// Multiparts inside each other, each with a boundary of its own.
    fn nest(depth: usize) -> String {
        (0..depth)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
            .collect()
    }

    #[test]
    fn the_depth_of_multiparts_is_bounded() {
        assert!(read(nest(10)).is_ok());
        assert_eq!(read(nest(11)), Err(StructureError::TooDeep { limit: 10 }));
        assert_eq!(
            read(nest(10_000)),
            Err(StructureError::TooDeep { limit: 10 })
        );
    }

    #[test]
    fn the_number_of_parts_is_bounded() {
        let parts = |count| format!("{MIXED}{}--a--", "--a\r\n\r\n".repeat(count));
        assert_eq!(read(parts(1000)).unwrap().parts().len(), 1001);
        assert_eq!(
            read(parts(1001)),
            Err(StructureError::TooManyParts { limit: 1000 })
        );
        assert_eq!(
            read(parts(1_000_000)),
            Err(StructureError::TooManyParts { limit: 1000 })
        );
    }

    #[test]
    fn each_header_section_is_bounded() {
        let too_long = Err(StructureError::HeaderTooLong { limit: 1024 * 1024 });
        assert_eq!(read("a:\r\n".repeat(1_000_000)), too_long);
        assert_eq!(
            read(format!("Subject: {}\r\n\r\n", "x".repeat(10_000_000))),
            too_long
        );
        assert_eq!(
            read(format!("Subject: x\r\n{}", " y\r\n".repeat(3_000_000))),
            too_long
        );
        assert_eq!(
            read(format!("{MIXED}--a\r\nx: {}", "y".repeat(2_000_000))),
            too_long
        );
        assert!(read(format!("Subject: {}\r\n\r\n", "x".repeat(1_000_000))).is_ok());
        assert!(read("x".repeat(10_000_000)).is_ok());
    }

    #[test]
    fn attached_messages_may_be_nested_as_deep_as_they_like() {
        let nest = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000);
        let structure = read(nest).unwrap();
        assert_eq!(structure.parts().len(), 1);
        assert_eq!(structure.parts()[0].media_type, "message/rfc822");
    }

    #[test]
    fn without_limits_the_work_is_still_linear() {
        let none = Limits {
            depth: 0,
            parts: 0,
            header_octets: 0,
        };
        let unbounded = |text: String| Structure::read(&Content::new(text), &none).unwrap();
        let deep = unbounded(nest(20_000) + &"--b7x\r\n".repeat(100_000) + "--b0--");
        assert_eq!(deep.parts().len(), 20_001);
        let many = unbounded(format!("{MIXED}{}", "--a\r\n\r\n".repeat(300_000)));
        assert_eq!(many.parts().len(), 300_001);
        let long = "b".repeat(100_000);
        let hyphens = format!(
            "Content-Type: multipart/mixed; boundary={long}\r\n\r\n{}",
            format!("--{long}x\r\n").repeat(100)
        );
        assert_eq!(unbounded(hyphens).parts().len(), 1);
    }

    proptest! {
        #[test]
        fn parts_lie_inside_the_content_and_inside_each_other(
            pieces in prop::collection::vec(0_usize..PIECES.len(), 0..60)
        ) {
            let text: String = pieces.into_iter().map(|index| PIECES[index]).collect();
            let content = Content::new(text.clone());
            let limits = Limits { depth: 0, parts: 0, header_octets: 0 };
            let structure = Structure::read(&content, &limits).unwrap();
            let parts = structure.parts();
            prop_assert_eq!(parts[0].next, parts.len());
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(part.header.range.end <= part.header.body);
                prop_assert!(part.header.body <= part.body.start);
                prop_assert!(part.body.start <= part.body.end);
                prop_assert!(part.body.end <= content.len());
                prop_assert!(part.is_multipart == (part.next > index.saturating_add(1)));
                if let Some(parent) = part.parent {
                    prop_assert!(parent < index && part.next <= parts[parent].next);
                    prop_assert!(part.body.is_empty() || part.body.end <= parts[parent].body.end);
                }
            }
        }
    }

    const PIECES: [&str; 12] = [
        "Content-Type: multipart/mixed; boundary=a\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        "Content-Type: multipart/digest; boundary=\"a--\"\r\n\r\n",
        "Content-Type: text/plain\n",
        "\r\n",
        "\n",
        "--a\r\n",
        "--a--\r\n",
        "--b\r\n",
        "--b--",
        " fold",
        "text\r\n",
    ];
}
