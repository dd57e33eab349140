//! JSON as pieces: text that is written now, and base64 and long strings that are made while they
//! are sent.
//!
//! For the forms in which a message leaves. What is written here is one text in parts; that it is
//! JSON is up to the caller, who opens and closes objects and lists.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::message::base64_form::Base64Form;
use crate::message::json_string::{JsonString, escape};
use crate::message::pieces::Piece;

#[derive(Default)]
pub struct JsonWriter {
    text: Vec<u8>,
    pieces: Vec<Piece>,
}

impl JsonWriter {
    /// Writes the text as it is.
    pub fn text(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    pub fn value(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.text, value)
            .expect("a string or a number can always be written, and so can a vector to itself");
    }

    /// A name and its colon, with a comma in front unless the object has just been opened. A text
    /// that begins with a name is the rest of an object.
    pub fn key(&mut self, name: &str) {
        if !self.text.ends_with(b"{") {
            self.text(b",");
        }
        self.value(&name);
        self.text(b":");
    }

    pub fn member(&mut self, name: &str, value: &impl Serialize) {
        self.key(name);
        self.value(value);
    }

    pub fn optional(&mut self, name: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.member(name, &value);
        }
    }

    pub fn base64_member(&mut self, name: &str, base64: Base64Form) {
        self.key(name);
        self.text(b"\"");
        self.base64(base64);
        self.text(b"\"");
    }

    /// A text that may be long.
    pub fn text_member(&mut self, name: &str, text: &Arc<String>) {
        self.key(name);
        self.text(b"\"");
        self.text_part(text, 0..text.len());
        self.text(b"\"");
    }

    /// A part of a text that may be long, inside a string.
    pub fn text_part(&mut self, text: &Arc<String>, range: Range<usize>) {
        if range.len() > LONG {
            self.end_text();
            let string = JsonString::new(Arc::clone(text), range);
            self.pieces.push(Piece::String(string));
        } else {
            self.string_part(text.get(range).unwrap_or_default());
        }
    }

    /// A part of a string, without quotes around it.
    pub fn string_part(&mut self, part: &str) {
        escape(part, &mut self.text);
    }

    /// Base64, inside a string.
    pub fn base64(&mut self, base64: Base64Form) {
        self.end_text();
        self.pieces.push(Piece::Base64(base64));
    }

    /// Ends a piece here, and says how many there are.
    pub fn cut(&mut self) -> usize {
        self.end_text();
        self.pieces.len()
    }

    pub fn finish(mut self) -> Vec<Piece> {
        self.end_text();
        self.pieces
    }

    fn end_text(&mut self) {
        let text = Bytes::from(std::mem::take(&mut self.text));
        self.pieces.push(Piece::Text(text));
    }
}

/// Octets from which on a text is worth a piece of its own.
const LONG: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::pieces::Pieces;

    #[test]
    fn a_string_can_be_made_of_text_and_base64() {
        let mut writer = JsonWriter::default();
        writer.text(b"{");
        writer.key("html");
        writer.text(b"\"");
        writer.string_part("<img src=\"");
        writer.base64(Base64Form::of_slices(vec![Bytes::from_static(b"hello")]));
        writer.string_part("\">\n");
        writer.text(b"\"");
        writer.optional("none", None::<&str>);
        writer.member("n", &1);
        writer.text(b"}");
        assert_eq!(
            written(writer),
            r#"{"html":"<img src=\"aGVsbG8=\">\n","n":1}"#
        );
    }

    #[test]
    fn a_text_is_the_same_whether_it_is_long_or_short() {
        for text in ["\"é\n".to_owned(), "\"é\n".repeat(LONG)] {
            let mut writer = JsonWriter::default();
            writer.text(b"{");
            writer.text_member("text", &Arc::new(text.clone()));
            writer.text(b"}");
            let expected = serde_json::json!({ "text": text }).to_string();
            assert_eq!(written(writer), expected);
        }
    }

    fn written(writer: JsonWriter) -> String {
        let pieces: Pieces = writer.finish().into_iter().collect();
        let octets = pieces.frames().collect::<Vec<_>>().concat();
        assert_eq!(pieces.len(), octets.len() as u64);
        String::from_utf8(octets).unwrap()
    }
}
