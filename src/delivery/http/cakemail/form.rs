//! The JSON of a message, as `POST /v2/emails` takes it.
//!
//! All but the recipient is made once; a call costs its address and a share of the pieces.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::delivery::Outgoing;
use crate::delivery::http::cakemail::attachments::{self, File};
use crate::delivery::http::cakemail::inline_images::{Html, Part};
use crate::delivery::http::cakemail::texts::Texts;
use crate::delivery::http::cakemail::wishes::Wishes;
use crate::delivery::http::cakemail::{Config, TextAndHtml, Tracking, header_fields};
use crate::delivery::http::provider::Unsendable;
use crate::message::email::Email;
use crate::message::json_writer::JsonWriter;
use crate::message::pieces::{Piece, Pieces};
use crate::smtp::address::ForwardPath;

pub(super) struct Form {
    pieces: Vec<Piece>,
    /// The pieces of the text, where there is HTML besides.
    text: Option<Range<usize>>,
}

impl Form {
    /// `found` is the sender that was looked up.
    ///
    /// # Errors
    /// [`Unsendable`]: what the API has no place for.
    pub(super) fn new(
        config: &Config,
        wishes: &Wishes,
        found: Option<&str>,
        outgoing: &Outgoing,
    ) -> Result<Self, Unsendable> {
        if outgoing.structure.needs_exact_form() {
            let reason = "it is signed, encrypted or a report, which keeps its exact octets";
            return Err(Unsendable::CannotCarry(reason.to_owned()));
        }
        let email = &outgoing.email;
        let id = wishes.sender_id.as_deref();
        let id = id.or(config.sender_id.as_deref()).or(found);
        let sender = Sender {
            id: id.ok_or_else(|| Unsendable::Sender("the message names no sender".to_owned()))?,
            name: email.from.first().and_then(|from| from.name.as_deref()),
        };
        let texts = Texts::of(outgoing);
        let images = config.inline_images;
        let html = texts.html.as_ref().map(|text| {
            let parts = Html::new(text, email, &outgoing.content, images)?;
            Ok((text, parts))
        });
        let html = html.transpose()?;
        let shown = |index: &usize| {
            let embedded = html.as_ref().map(|(_, html)| &html.embedded);
            texts.taken.contains(index) || embedded.is_some_and(|images| images.contains(index))
        };
        let files = email.attachments.iter().enumerate();
        let files = files
            .filter(|(index, _)| !shown(index))
            .map(|(_, file)| file);
        let files = attachments::files(files, &outgoing.content)?;

        let mut writer = JsonWriter::default();
        writer.optional("list_id", wishes.list_id.or(config.list_id));
        writer.member("sender", &sender);
        let text = texts.text.as_ref();
        let text = write_content(&mut writer, config, wishes, email, text, html);
        writer.member("additional_headers", &header_fields::additional(email)?);
        writer.member("tracking", &tracking(config, wishes));
        let tags = tags(config, wishes);
        writer.optional("tags", (!tags.is_empty()).then_some(tags));
        if !files.is_empty() {
            write_files(&mut writer, files);
        }
        writer.text(b"}");
        Ok(Self {
            pieces: writer.finish(),
            text,
        })
    }

    /// The body of the call for one recipient.
    pub(super) fn addressed_to(&self, recipient: &ForwardPath) -> Pieces {
        self.without(&(0..0), recipient)
    }

    /// The same with the HTML alone, where there is a text besides.
    pub(super) fn html_alone(&self, recipient: &ForwardPath) -> Option<Pieces> {
        let text = self.text.as_ref()?;
        Some(self.without(text, recipient))
    }

    fn without(&self, left_out: &Range<usize>, recipient: &ForwardPath) -> Pieces {
        let mut writer = JsonWriter::default();
        writer.text(b"{");
        writer.member("email", &recipient.to_string());
        let mut pieces = writer.finish();
        let common = self.pieces.iter().enumerate();
        let common = common.filter(|(index, _)| !left_out.contains(index));
        pieces.extend(common.map(|(_, piece)| piece.clone()));
        pieces.into_iter().collect()
    }
}

#[derive(Serialize)]
struct Sender<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// Gives the pieces of the text, where there is HTML besides.
fn write_content(
    writer: &mut JsonWriter,
    config: &Config,
    wishes: &Wishes,
    email: &Email,
    text: Option<&Arc<String>>,
    html: Option<(&Arc<String>, Html<'_>)>,
) -> Option<Range<usize>> {
    writer.key("content");
    writer.text(b"{");
    writer.member("type", &wishes.kind.unwrap_or(config.kind));
    let subject = email.subject.as_deref().filter(|text| !text.is_empty());
    writer.member("subject", &subject.unwrap_or(NO_SUBJECT));
    let besides = match html {
        None => {
            match text {
                Some(text) => writer.text_member("text", text),
                None => writer.member("text", &NO_TEXT),
            }
            None
        }
        Some((whole, html)) => {
            write_html(writer, whole, html);
            let text = text.filter(|_| config.text_and_html == TextAndHtml::Both);
            text.map(|text| {
                let start = writer.cut();
                writer.text_member("text", text);
                start..writer.cut()
            })
        }
    };
    writer.member("encoding", &"utf-8");
    writer.text(b"}");
    besides
}

fn write_html(writer: &mut JsonWriter, whole: &Arc<String>, html: Html<'_>) {
    writer.key("html");
    writer.text(b"\"");
    for part in html.parts {
        match part {
            Part::Text(range) => writer.text_part(whole, range),
            Part::Image {
                media_type,
                content,
            } => {
                writer.string_part(&format!("data:{media_type};base64,"));
                writer.base64(content);
            }
        }
    }
    writer.text(b"\"");
}

fn write_files(writer: &mut JsonWriter, files: Vec<File>) {
    writer.key("attachment");
    writer.text(b"[");
    for (index, file) in files.into_iter().enumerate() {
        if index > 0 {
            writer.text(b",");
        }
        writer.text(b"{");
        writer.member("filename", &file.name);
        writer.member("type", &file.type_name);
        writer.base64_member("content", file.content);
        writer.text(b"}");
    }
    writer.text(b"]");
}

fn tracking(config: &Config, wishes: &Wishes) -> Tracking {
    let Tracking {
        opens,
        clicks_html,
        clicks_text,
    } = config.tracking;
    Tracking {
        opens: wishes.opens.unwrap_or(opens),
        clicks_html: wishes.clicks_html.unwrap_or(clicks_html),
        clicks_text: wishes.clicks_text.unwrap_or(clicks_text),
    }
}

/// Those of the settings and of the message, each once.
fn tags<'a>(config: &'a Config, wishes: &'a Wishes) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    let tags = config.tags.iter().chain(&wishes.tags);
    tags.map(String::as_str)
        .filter(|tag| seen.insert(*tag))
        .collect()
}

/// The API takes no empty subject and no message without text.
const NO_SUBJECT: &str = "(no subject)";
const NO_TEXT: &str = " ";
