//! Answers of APIs: nothing but the documented success is one, nothing but a documented error is
//! final, and no word of an answer can harm a reply.
//!
//! Two octets are the status. The rest is the body; its first line is a Retry-After field too.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use smtp_gateway::auth::Denied;
use smtp_gateway::auth::key_api::dialect::{self, Dialect};
use smtp_gateway::delivery::http::Config;
use smtp_gateway::delivery::http::cakemail::Cakemail;
use smtp_gateway::delivery::http::json::Json;
use smtp_gateway::delivery::http::provider::{Answer, Provider, Response};
use smtp_gateway::delivery::retry::retry_after;
use smtp_gateway::delivery::{Deferral, Quote};
use smtp_gateway::http_client;

use super::choices::Choices;

pub fn check(input: &[u8]) {
    let mut choices = Choices::new(input);
    let status = u16::from_be_bytes([choices.octet(), choices.octet()]);
    let body = choices.rest();
    let Some(value) = read(body) else {
        return;
    };
    let answer = Api { status, value };
    let response = Response {
        status,
        body: body.to_vec(),
    };
    answer.check_cakemail(&response);
    answer.check_json(&response);
    answer.check_keys(body);
    check_retry_after(body);
}

/// The body, and nothing for one that is read differently by those who skip what they do not need:
/// an object with a number beyond all bounds in it, half a surrogate, or the like.
fn read(body: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(body);
    let is_like_an_object = text.trim().starts_with('{') && text.trim().ends_with('}');
    match serde_json::from_str(&text) {
        Ok(value) => Some(value),
        Err(_) if is_like_an_object => None,
        Err(_) => Some(Value::Null),
    }
}

/// An answer as its documentation reads it.
struct Api {
    status: u16,
    value: Value,
}

impl Api {
    fn check_cakemail(&self, response: &Response) {
        let provider = Cakemail::new(&config()).expect("settings of ours");
        let answer = provider.answer(response);
        let is_error = self
            .at("/detail")
            .is_some_and(|detail| detail.is_string() || detail.is_array());
        let says = |word| self.text("/data/status") == Some(word);
        match &answer {
            Answer::Taken { .. } => {
                assert_eq!(self.status, 201);
                assert!(says("queued") && self.text("/data/id").is_some_and(|id| !id.is_empty()));
                let submitted = self.at("/submitted");
                assert!(submitted.is_none_or(|submitted| *submitted == Value::Bool(true)));
            }
            Answer::Refused { .. } if self.status == 201 => {
                assert!(says("rejected") || self.at("/submitted") == Some(&Value::Bool(false)));
            }
            _ => self.check_failure(&answer, is_error),
        }
        if provider.wants_fallback(response) {
            assert!(matches!(self.status, 400 | 422) && is_error);
        }
        let directory = provider.senders().expect("it knows senders");
        match directory.read(response) {
            Ok(page) => {
                assert_eq!(self.status, 200);
                assert!(self.at("/data").is_some_and(Value::is_array));
                assert!(page.senders.iter().all(|sender| !sender.id.is_empty()));
            }
            Err(answer) => {
                assert!(!matches!(answer, Answer::Taken { .. }));
                self.check_failure(&answer, is_error);
            }
        }
    }

    fn check_json(&self, response: &Response) {
        let is_error = [
            "/error",
            "/error/message",
            "/message",
            "/detail",
            "/detail/0/msg",
        ]
        .into_iter()
        .any(|place| self.text(place).is_some());
        for idempotent in [false, true] {
            let config = Config {
                idempotent,
                ..config()
            };
            let answer = Json::new(&config)
                .expect("settings of ours")
                .answer(response);
            if let Answer::Taken { .. } = &answer {
                assert!((200..=202).contains(&self.status));
                let ids = ["/message_id", "/id", "/data/id"].into_iter();
                let mut ids = ids.filter_map(|place| self.at(place));
                assert!(
                    ids.any(|id| id.is_number() || id.as_str().is_some_and(|id| !id.is_empty()))
                );
            }
            self.check_failure(&answer, is_error);
        }
    }

    /// Only the API itself can say that a message or a key will not do, and 3yz says nothing.
    fn check_failure(&self, answer: &Answer, is_error: bool) {
        match answer {
            Answer::Taken { id } => check_quote(id),
            Answer::Refused { reason, .. } => {
                assert!(is_error && (400..500).contains(&self.status));
                assert!(![401, 403, 408, 429].contains(&self.status));
                reason.iter().for_each(check_quote);
            }
            Answer::KeyRefused { reason } => {
                assert!(is_error && self.status == 401);
                reason.iter().for_each(check_quote);
            }
            Answer::Forbidden { reason } => {
                assert!(is_error && self.status == 403);
                reason.iter().for_each(check_quote);
            }
            Answer::Deferred { cause, reason } => {
                assert_eq!(*cause == Deferral::Throttled, self.status == 429);
                reason.iter().for_each(check_quote);
            }
            Answer::Unknown => {}
        }
    }

    fn check_keys(&self, body: &[u8]) {
        let is_error = [
            "/error",
            "/error/message",
            "/message",
            "/detail",
            "/detail/0/msg",
        ]
        .into_iter()
        .any(|place| self.text(place).is_some());
        for (dialect, key) in [
            (Dialect::Token, "/access_token"),
            (Dialect::Validate, "/api_key"),
        ] {
            for refreshing in [false, true] {
                let answer = match refreshing {
                    false => dialect.granted(self.status, body),
                    true => dialect.refreshed(self.status, body),
                };
                match answer {
                    Ok(granted) => {
                        assert_eq!(self.status, 200);
                        assert_eq!(self.text(key), Some(granted.key.reveal()));
                        assert!(!granted.key.is_empty());
                        assert!(http_client::bearer(&granted.key).is_ok());
                    }
                    Err(Denied::Credentials) => {
                        assert!(is_error && [400, 401, 403, 422].contains(&self.status));
                    }
                    Err(Denied::Challenge) => assert!([200, 401].contains(&self.status)),
                    Err(Denied::Throttled) => panic!("no API counts our failures"),
                    Err(Denied::Unavailable) => {}
                }
            }
        }
        match dialect::checked(self.status, body) {
            Ok(()) => assert!(self.status == 200 || (self.status == 403 && is_error)),
            Err(Denied::Credentials) => assert!(self.status == 401 && is_error),
            Err(Denied::Challenge | Denied::Throttled) => panic!("a check says no such thing"),
            Err(Denied::Unavailable) => {}
        }
    }

    fn at(&self, place: &str) -> Option<&Value> {
        self.value.pointer(place)
    }

    fn text(&self, place: &str) -> Option<&str> {
        self.at(place)?.as_str()
    }
}

fn check_quote(quote: &Quote) {
    let text = quote.as_str();
    assert!(text.len() <= 200 && text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
}

fn check_retry_after(body: &[u8]) {
    let line = body
        .split(|octet| *octet == b'\n')
        .next()
        .unwrap_or_default();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    if let Ok(line) = str::from_utf8(line)
        && let Some(wait) = retry_after(line, now)
    {
        assert!(wait <= Duration::from_secs(24 * 3600));
    }
}

fn config() -> Config {
    Config {
        url: "https://api.example".to_owned(),
        ..Config::default()
    }
}
