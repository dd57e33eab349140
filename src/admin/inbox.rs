//! The sandbox's inbox over HTTP: JSON for programs, one page for people.
//!
//! Whatever a message says is data here. It reaches a page escaped, or as a document of its own that
//! the browser is told to lock up (`Content-Security-Policy: sandbox`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::page;
use crate::delivery::http::provider::Request;
use crate::delivery::sandbox::{Kept, Sandbox};

type Inbox = State<Arc<Sandbox>>;

pub(super) fn router(sandbox: Arc<Sandbox>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/api/messages", get(list).delete(clear))
        .route("/api/messages/{id}", get(one))
        .route("/api/messages/{id}/raw", get(raw))
        .route("/api/messages/{id}/html", get(html))
        .with_state(sandbox)
}

/// A message in the list.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) id: String,
    pub(super) received_at: String,
    pub(super) envelope: Envelope,
    pub(super) subject: Option<String>,
    pub(super) size: usize,
    pub(super) attachments: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Envelope {
    pub(super) from: String,
    pub(super) to: Vec<String>,
}

/// A message with the requests that would have been sent.
#[derive(Debug, Serialize)]
struct Message {
    #[serde(flatten)]
    summary: Summary,
    text: Option<String>,
    html: Option<String>,
    /// As many as [`rendered`] gives.
    requests: Vec<Rendered>,
    requests_total: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Rendered {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    /// JSON where it is JSON, else text.
    pub(super) body: Value,
}

impl Summary {
    pub(super) fn of(kept: &Kept) -> Self {
        let outgoing = &kept.outgoing;
        let recipients = outgoing.envelope.recipients();
        Self {
            id: outgoing.id.clone(),
            received_at: outgoing.received.at.rfc3339(),
            envelope: Envelope {
                from: outgoing.envelope.reverse_path().to_string(),
                to: recipients.iter().map(ToString::to_string).collect(),
            },
            subject: outgoing.email.subject.clone(),
            size: outgoing.content.len(),
            attachments: outgoing.email.attachments.len(),
        }
    }
}

impl Rendered {
    /// Renders a request. Header fields with keys are hidden.
    pub(super) fn of(request: &Request) -> Self {
        let mut body = Vec::new();
        for frame in request.body.frames() {
            body.extend_from_slice(&frame);
        }
        let headers = request.headers.iter().map(|(name, value)| {
            let shown = value.to_str().ok().filter(|_| !value.is_sensitive());
            (name.to_string(), shown.unwrap_or("***").to_owned())
        });
        Self {
            method: request.method.to_string(),
            url: request.url.to_string(),
            headers: headers.collect(),
            body: serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body))),
        }
    }
}

/// The first requests of a message, within a bound: each repeats all attachments.
pub(super) fn rendered(kept: &Kept) -> Vec<Rendered> {
    let mut octets: u64 = 0;
    let fits = |request: &&Request| {
        octets = octets.saturating_add(request.body.len());
        octets <= RENDERED_OCTETS
    };
    let more = kept
        .requests
        .iter()
        .skip(1)
        .take(RENDERED_REQUESTS - 1)
        .take_while(fits);
    kept.requests
        .first()
        .into_iter()
        .chain(more)
        .map(Rendered::of)
        .collect()
}

async fn list(State(sandbox): Inbox) -> Json<Value> {
    let messages: Vec<_> = sandbox
        .messages()
        .iter()
        .map(|kept| Summary::of(kept))
        .collect();
    Json(serde_json::json!({ "messages": messages }))
}

async fn clear(State(sandbox): Inbox) -> StatusCode {
    sandbox.clear();
    StatusCode::NO_CONTENT
}

async fn one(State(sandbox): Inbox, Path(id): Path<String>) -> Response {
    let Some(kept) = sandbox.message(&id) else {
        return not_found();
    };
    Json(Message {
        summary: Summary::of(&kept),
        text: kept.outgoing.email.text.as_deref().cloned(),
        html: kept.outgoing.email.html.as_deref().cloned(),
        requests: rendered(&kept),
        requests_total: kept.requests.len(),
    })
    .into_response()
}

/// The octets as they were received, as a download: a browser must not guess what they are.
async fn raw(State(sandbox): Inbox, Path(id): Path<String>) -> Response {
    let Some(kept) = sandbox.message(&id) else {
        return not_found();
    };
    // Our ids are hex digits and a dash.
    let disposition = format!("attachment; filename=\"{}.eml\"", kept.outgoing.id);
    let headers = [
        (header::CONTENT_TYPE, "message/rfc822".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, Body::from(kept.outgoing.content.octets().clone())).into_response()
}

/// The HTML body for the page's frame: no script, no network, an origin of its own.
async fn html(State(sandbox): Inbox, Path(id): Path<String>) -> Response {
    let Some(html) = sandbox
        .message(&id)
        .and_then(|kept| kept.outgoing.email.html.as_deref().cloned())
    else {
        return not_found();
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, page::MESSAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(html)).into_response()
}

#[derive(Debug, Deserialize)]
struct Selection {
    id: Option<String>,
}

async fn index(State(sandbox): Inbox, Query(selection): Query<Selection>) -> Response {
    let messages = sandbox.messages();
    let selected = match selection.id {
        Some(id) => sandbox.message(&id),
        None => messages.first().map(Arc::clone),
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, page::PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(page::render(&messages, selected.as_deref()))).into_response()
}

fn not_found() -> Response {
    let body = Json(serde_json::json!({ "error": "no such message" }));
    (StatusCode::NOT_FOUND, body).into_response()
}

const RENDERED_REQUESTS: usize = 10;
const RENDERED_OCTETS: u64 = 8 << 20;
