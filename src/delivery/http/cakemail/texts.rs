//! The text and the HTML of a message whose text comes in several parts.
//!
//! Mailing lists add a part with their footer, and Apple Mail cuts a text where a picture stands in
//! it. The API has one place for each form, so the further parts go behind the first. Where only the
//! HTML can hold them all, it goes alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::delivery::Outgoing;
use crate::message::email::{Attachment, Disposition};
use crate::message::mime;
use crate::message::part::{Part, Presentation};

pub(super) struct Texts {
    pub(super) text: Option<Arc<String>>,
    pub(super) html: Option<Arc<String>>,
    /// The attachments that are in them.
    pub(super) taken: BTreeSet<usize>,
}

impl Texts {
    pub(super) fn of(outgoing: &Outgoing) -> Self {
        let email = &outgoing.email;
        let given = |text: &Option<Arc<String>>| text.clone().filter(|text| !text.is_empty());
        let mut texts = Self {
            text: given(&email.text),
            html: given(&email.html),
            taken: BTreeSet::new(),
        };
        let parts = outgoing.structure.parts();
        let leaves = parts.iter().filter(|part| !part.is_multipart);
        let leaves: HashMap<_, _> = leaves.map(|part| (part.body.start, part)).collect();
        for (index, attachment) in email.attachments.iter().enumerate() {
            let Some(part) = leaves.get(&attachment.body.start) else {
                continue;
            };
            if !is_text(attachment, part, parts) {
                continue;
            }
            let more = mime::text(outgoing.content.octets(), part);
            match attachment.media_type.as_str() {
                "text/plain" => texts.add_text(&more),
                "text/html" => texts.add_html(&more, around(part, parts).any(is_alternative)),
                _ => continue,
            }
            texts.taken.insert(index);
        }
        texts
    }

    fn add_text(&mut self, more: &str) {
        if let Some(html) = &mut self.html {
            Arc::make_mut(html).push_str(&preformatted(more));
        }
        match &mut self.text {
            Some(text) => append(text, more),
            None if self.html.is_none() => self.text = Some(Arc::new(more.to_owned())),
            None => {}
        }
    }

    /// A form of the text may be besides only where the part is one of several forms already.
    fn add_html(&mut self, more: &str, is_a_form: bool) {
        match &mut self.html {
            Some(html) => append(html, more),
            None => {
                let before = self.text.as_ref().map(|text| preformatted(text));
                self.html = Some(Arc::new(before.unwrap_or_default() + more));
            }
        }
        if !is_a_form {
            self.text = None;
        }
    }
}

/// Whether a part is shown with the text of the message, and is not a file.
fn is_text(attachment: &Attachment, part: &Part, parts: &[Part]) -> bool {
    attachment.name.is_none()
        && attachment.disposition != Disposition::Alternative
        && part.presentation != Some(Presentation::Attachment)
        && !around(part, parts).any(|outer| outer.presentation == Some(Presentation::Attachment))
}

fn is_alternative(part: &Part) -> bool {
    part.media_type == "multipart/alternative"
}

/// The multiparts around a part, from the inside out.
fn around<'a>(part: &'a Part, parts: &'a [Part]) -> impl Iterator<Item = &'a Part> {
    let outer = |part: &Part| parts.get(part.parent?);
    std::iter::successors(outer(part), move |part| outer(part))
}

fn append(text: &mut Arc<String>, more: &str) {
    let text = Arc::make_mut(text);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(more);
}

/// Plain text in HTML, with its own lines.
fn preformatted(text: &str) -> String {
    let mut out = "<p style=\"white-space:pre-wrap\">".to_owned();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out.push_str("</p>");
    out
}
