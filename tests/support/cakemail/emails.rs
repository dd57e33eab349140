//! Sends, held against the schema of the API's description.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::LocationSegment;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};

use crate::support::cakemail::senders::Senders;
use crate::support::cakemail::{Answer, account_of, detail, only};
use crate::support::http::{Head, Request};

/// One send that came whole.
pub(crate) struct Sent {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// Null where the body is none.
    pub(crate) json: Value,
    /// What is wrong with it: the answer that it gets unless a play says otherwise.
    pub(crate) fault: Option<Value>,
}

impl Sent {
    pub(crate) fn recipient(&self) -> &str {
        self.json["email"].as_str().unwrap_or_default()
    }

    /// The token it came with.
    pub(crate) fn bearer(&self) -> &str {
        let value = self.head.field("authorization").unwrap_or_default();
        value.strip_prefix("Bearer ").unwrap_or_default()
    }

    /// Whether these words are anywhere in it.
    pub(crate) fn mentions(&self, words: &str) -> bool {
        let body = String::from_utf8_lossy(&self.body);
        self.head.text().contains(words) || body.contains(words)
    }
}

pub(super) struct Emails {
    schema: Validator,
    pub(super) html_or_text_only: bool,
    pub(super) list_required: bool,
    pub(super) sent: Vec<Arc<Sent>>,
}

impl Emails {
    pub(super) fn new() -> Self {
        let schema = include_str!("../cakemail_email.schema.json");
        let schema = serde_json::from_str(schema).expect("the schema is JSON");
        let options = jsonschema::options().should_validate_formats(true);
        Self {
            schema: options.build(&schema).expect("the schema is one"),
            html_or_text_only: false,
            list_required: false,
            sent: Vec::new(),
        }
    }

    /// `POST /v2/emails`.
    pub(super) fn send(
        &mut self,
        bearer: Result<u64, Answer>,
        senders: &Senders,
        request: Request,
    ) -> Result<Answer, Answer> {
        let json = serde_json::from_slice(&request.body).unwrap_or_default();
        let fault = self.fault(bearer, senders, &request, &json).err();
        let number = self.record(request, json, fault.as_ref());
        match fault {
            Some(fault) => Err(fault),
            None => Ok(self.taken(number)),
        }
    }

    /// `POST /email` of the gateway that was there before, with our own JSON.
    pub(super) fn send_json(
        &mut self,
        bearer: Result<u64, Answer>,
        request: Request,
    ) -> Result<Answer, Answer> {
        let json = serde_json::from_slice(&request.body).unwrap_or_default();
        let fault = bearer.err().or_else(|| wrong_json(&request.head, &json));
        let number = self.record(request, json, fault.as_ref());
        match fault {
            Some(fault) => Err(fault),
            None => Ok(Answer::new(
                202,
                json!({"message_id": format!("m-{number}")}),
            )),
        }
    }

    fn record(&mut self, request: Request, json: Value, fault: Option<&Answer>) -> usize {
        self.sent.push(Arc::new(Sent {
            head: request.head,
            body: request.body,
            json,
            fault: fault.map(|answer| answer.body.clone()),
        }));
        self.sent.len()
    }

    fn taken(&self, number: usize) -> Answer {
        let sent = &self.sent[number - 1];
        Answer::new(
            201,
            json!({"email": sent.recipient(), "object": "email", "submitted": true,
                "data": {"id": id(number), "status": "queued"}}),
        )
    }

    fn fault(
        &self,
        bearer: Result<u64, Answer>,
        senders: &Senders,
        request: &Request,
        json: &Value,
    ) -> Result<(), Answer> {
        let account = account_of(&only(&request.head, &["account_id"])?, bearer?)?;
        if let Some(fault) = wrong_json(&request.head, json) {
            return Err(fault);
        }
        let violations: Vec<Value> = self
            .schema
            .iter_errors(json)
            .map(|error| violation(&error))
            .collect();
        if !violations.is_empty() {
            return Err(Answer::errors(422, &violations));
        }
        broken_base64(&json["attachment"])?;
        let id = json["sender"]["id"].as_str().unwrap_or_default();
        if !senders.may_send(account, id) {
            return Err(refusal(&["sender", "id"], "Sender is not confirmed"));
        }
        let content = &json["content"];
        let both = content.get("html").is_some() && content.get("text").is_some();
        if self.html_or_text_only && both {
            return Err(refusal(
                &["content"],
                "content: exactly one of html, text or template",
            ));
        }
        if self.list_required && json.get("list_id").is_none() {
            return Err(refusal(&[], "List Management: list_id is required"));
        }
        Ok(())
    }
}

/// The id that the send with this number gets; the first is 1.
pub(crate) fn id(number: usize) -> String {
    format!("6f0c0000-0000-4000-8000-{number:012x}")
}

fn wrong_json(head: &Head, json: &Value) -> Option<Answer> {
    let is_json = head.media_type() == "application/json" && json.is_object();
    (!is_json).then(|| {
        Answer::error(
            422,
            vec![json!("body")],
            "value is not a valid dict",
            "type_error.dict",
        )
    })
}

fn refusal(place: &[&str], message: &str) -> Answer {
    let place = place.iter().copied().map(Value::from).collect();
    Answer::error(400, place, message, "bad_request")
}

/// Attachments are standard base64, padded, without line breaks.
fn broken_base64(attachments: &Value) -> Result<(), Answer> {
    let listed = attachments.as_array().map(Vec::as_slice);
    let all = listed.unwrap_or(std::slice::from_ref(attachments));
    for (place, attachment) in all.iter().enumerate() {
        let content = attachment["content"].as_str().unwrap_or_default();
        if STANDARD.decode(content).is_err() {
            let place = vec![
                json!("body"),
                json!("attachment"),
                json!(place),
                json!("content"),
            ];
            return Err(Answer::error(
                422,
                place,
                "not base64",
                "value_error.base64",
            ));
        }
    }
    Ok(())
}

/// A violation of the schema in the API's form: `loc` names what is missing, superfluous or wrong.
fn violation(error: &ValidationError<'_>) -> Value {
    let mut place = vec![json!("body")];
    place.extend(error.instance_path().into_iter().map(|step| match step {
        LocationSegment::Property(name) => Value::from(name.as_ref()),
        LocationSegment::Index(index) => index.into(),
    }));
    let kind = match error.kind() {
        ValidationErrorKind::Required { property } => {
            place.push(property.clone());
            "value_error.missing"
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            place.extend(unexpected.first().map(|name| json!(name)));
            "value_error.extra"
        }
        ValidationErrorKind::Format { .. } => "value_error.email",
        ValidationErrorKind::Type { .. } => "type_error",
        _ => "value_error",
    };
    detail(place, &error.to_string(), kind)
}
