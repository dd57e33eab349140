//! The provider `json`: our own documented form, for an API of one's own (`docs/json-api.md`).

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::delivery::http::provider::{Answer, Provider, Request, Response, Unsendable};
use crate::delivery::http::{Config, HttpError, Requests};
use crate::delivery::{Deferral, Failure, Outgoing, Quote};
use crate::http_client;
use crate::message::json::JsonForm;
use crate::message::raw::RawMessage;

#[derive(Debug)]
pub struct Json {
    url: Url,
    headers: HeaderMap,
    requests: Requests,
    idempotent: bool,
    raw: bool,
}

impl Json {
    /// # Errors
    /// [`HttpError`] when a setting cannot be used.
    pub fn new(config: &Config) -> Result<Self, HttpError> {
        let mut headers = config.headers()?;
        headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        Ok(Self {
            url: http_client::url(&config.url, &config.path, config.allow_http)?,
            headers,
            requests: config.requests,
            idempotent: config.idempotent,
            raw: config.raw,
        })
    }
}

impl Provider for Json {
    fn requests(
        &self,
        outgoing: &Outgoing,
        _sender: Option<&str>,
    ) -> Result<Vec<Request>, Unsendable> {
        let all = outgoing.envelope.recipients().len();
        let step = match self.requests {
            Requests::PerMessage => all.max(1),
            Requests::PerRecipient => 1,
        };
        let form = self.form(outgoing);
        let request = |first: usize| {
            let recipients = first..all.min(first.saturating_add(step));
            let shown = outgoing.envelope.recipients().get(recipients.clone());
            let shown = shown.unwrap_or_default();
            let mut headers = self.headers.clone();
            if let Ok(key) = HeaderValue::try_from(outgoing.idempotency.key(shown)) {
                headers.insert(IDEMPOTENCY_KEY, key);
            }
            Request {
                body: form.addressed_to(outgoing.envelope.reverse_path(), shown),
                fallback: None,
                recipients,
                method: Method::POST,
                url: self.url.clone(),
                headers,
            }
        };
        Ok((0..all).step_by(step).map(request).collect())
    }

    fn calls(&self, recipients: usize) -> usize {
        match self.requests {
            Requests::PerMessage => 1,
            Requests::PerRecipient => recipients,
        }
    }

    fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    fn answer(&self, response: &Response) -> Answer {
        let body: Option<Value> = serde_json::from_slice(&response.body).ok();
        let reason = || body.as_ref().and_then(reason);
        match response.status {
            200..=202 => match body.as_ref().and_then(id) {
                Some(id) => Answer::Taken { id },
                None => Answer::Unknown,
            },
            203..=299 => Answer::Unknown,
            425 | 503 => Answer::deferred(Deferral::Unavailable),
            // The first request with this key is not done yet.
            409 if self.idempotent => Answer::Unknown,
            429 => Answer::deferred(Deferral::Throttled),
            408 | 500..=599 => Answer::Unknown,
            status => match (status, reason()) {
                (401, reason @ Some(_)) => Answer::KeyRefused { reason },
                (403, reason @ Some(_)) => Answer::Forbidden { reason },
                (402, Some(_)) => Answer::deferred(Deferral::Quota),
                (413, reason @ Some(_)) => Answer::refused(Failure::TooLarge, reason),
                (400 | 409 | 422, reason @ Some(_)) => Answer::refused(Failure::Refused, reason),
                // An ingress, a firewall or a wrong path: they say 404 in JSON too.
                _ => Answer::deferred(Deferral::NotUnderstood),
            },
        }
    }
}

impl Json {
    fn form(&self, outgoing: &Outgoing) -> JsonForm {
        let Outgoing {
            id,
            content,
            structure,
            email,
            received,
            ..
        } = outgoing;
        let raw = (self.raw || structure.needs_exact_form())
            .then(|| RawMessage::new(content, structure, email, Some(&received.field(id))));
        JsonForm::new(email, content, id, received, raw.as_ref())
    }
}

/// The draft of the IETF (draft-ietf-httpapi-idempotency-key-header), which many APIs follow.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// `message_id`, `id` or `data.id`: a string or a number.
fn id(body: &Value) -> Option<Quote> {
    [
        body.get("message_id"),
        body.get("id"),
        body.pointer("/data/id"),
    ]
    .into_iter()
    .flatten()
    .find_map(|id| match id {
        Value::String(id) if !id.is_empty() => Some(Quote::new(id)),
        Value::Number(id) => Some(Quote::new(&id.to_string())),
        _ => None,
    })
}

/// `error`, `error.message`, `message`, `detail` or the first `detail[].msg`.
fn reason(body: &Value) -> Option<Quote> {
    [
        "/error",
        "/error/message",
        "/message",
        "/detail",
        "/detail/0/msg",
    ]
    .into_iter()
    .find_map(|place| body.pointer(place)?.as_str())
    .map(Quote::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config {
            url: url.into(),
            ..Config::default()
        }
    }

    fn answer(status: u16, body: &str) -> Answer {
        let response = Response {
            status,
            body: body.into(),
        };
        let json = Json::new(&config("https://api.example")).unwrap();
        json.answer(&response)
    }

    fn refused(cause: Failure, reason: &str) -> Answer {
        Answer::Refused {
            cause,
            reason: Some(Quote::new(reason)),
        }
    }

    #[test]
    fn only_a_documented_success_is_taken() {
        for body in [
            r#"{"message_id":"m1"}"#,
            r#"{"id":"m1"}"#,
            r#"{"data":{"id":"m1"}}"#,
        ] {
            for status in [200, 201, 202] {
                assert_eq!(
                    answer(status, body),
                    Answer::Taken {
                        id: Quote::new("m1")
                    }
                );
            }
            assert_eq!(answer(204, body), Answer::Unknown);
        }
        assert_eq!(
            answer(200, r#"{"id":7}"#),
            Answer::Taken {
                id: Quote::new("7")
            }
        );
        for body in [
            "",
            "<html>welcome</html>",
            "{}",
            r#"{"id":null}"#,
            r#"{"id":""}"#,
            r#"{"id":"m"#,
            "[1]",
        ] {
            assert_eq!(answer(200, body), Answer::Unknown, "{body}");
        }
    }

    #[test]
    fn only_a_documented_error_is_permanent() {
        for (body, reason) in [
            (r#"{"error":"no"}"#, "no"),
            (r#"{"error":{"message":"no"}}"#, "no"),
            (r#"{"message":"no"}"#, "no"),
            (r#"{"detail":"no"}"#, "no"),
            (r#"{"detail":[{"msg":"no"}]}"#, "no"),
        ] {
            for status in [400, 409, 422] {
                assert_eq!(answer(status, body), refused(Failure::Refused, reason));
            }
            assert_eq!(answer(413, body), refused(Failure::TooLarge, reason));
        }
        for status in (400..=499).filter(|status| *status != 408) {
            let answer = answer(status, "<html>404 page not found</html>");
            assert!(matches!(answer, Answer::Deferred { .. }), "{status}");
        }
        // What a router says of itself, in the same form.
        for status in [404, 405, 406, 410, 415, 418, 421, 426] {
            let answer = answer(status, r#"{"message":"no Route matched"}"#);
            assert_eq!(
                answer,
                Answer::deferred(Deferral::NotUnderstood),
                "{status}"
            );
        }
    }

    #[test]
    fn passing_faults_are_never_permanent() {
        let error = r#"{"error":"no"}"#;
        let forbidden = Answer::Forbidden {
            reason: Some(Quote::new("no")),
        };
        let key_refused = Answer::KeyRefused {
            reason: Some(Quote::new("no")),
        };
        for (status, expected) in [
            (301, Answer::deferred(Deferral::NotUnderstood)),
            (302, Answer::deferred(Deferral::NotUnderstood)),
            (401, key_refused.clone()),
            (402, Answer::deferred(Deferral::Quota)),
            (403, forbidden),
            (408, Answer::Unknown),
            (429, Answer::deferred(Deferral::Throttled)),
            (500, Answer::Unknown),
            (502, Answer::Unknown),
            (503, Answer::deferred(Deferral::Unavailable)),
            (504, Answer::Unknown),
            (520, Answer::Unknown),
            (524, Answer::Unknown),
        ] {
            assert_eq!(answer(status, error), expected, "{status}");
        }
    }

    #[test]
    fn what_an_api_says_cannot_break_a_reply() {
        let body = "{\"error\":\"a\\r\\n250 Ok\\u2028\"}";
        assert_eq!(answer(400, body), refused(Failure::Refused, "a??250 Ok?"));
    }
}
