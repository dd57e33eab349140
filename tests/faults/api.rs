//! The API behind the gateway: keys for credentials, senders, and messages, which it counts.
//!
//! It takes our own JSON and Cakemail's. What it has taken once it has sent, whatever it answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::faults::message;
use crate::faults::plan::{Fault, Plan};
use crate::support::http::{Api, Head, Play, Request, form};

/// What it knows; its servers come and go.
pub(crate) struct Books {
    plan: Plan,
    /// Whether a repeated key gets the first answer, and nothing is sent again.
    honours_keys: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: Vec<Taken>,
    /// The first answers, by key.
    keys: HashMap<String, Value>,
    replayed: u64,
    tokens: HashMap<String, Token>,
    logins: u64,
    expired: u64,
    /// Ids of messages that did not come as they were sent.
    damaged: Vec<usize>,
}

struct Token {
    given: Instant,
    refused: bool,
}

/// A message that went out to one recipient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) message: usize,
    /// The place in the envelope.
    pub(crate) recipient: usize,
    /// Which gateway it came from.
    pub(crate) pod: usize,
    pub(crate) exchange: u64,
    pub(crate) at: Instant,
}

/// The end of a run.
pub(crate) struct Closing {
    pub(crate) taken: Vec<Taken>,
    pub(crate) replayed: u64,
    pub(crate) logins: u64,
    /// Keys that were refused before their time.
    pub(crate) expired: u64,
    pub(crate) damaged: Vec<usize>,
}

/// One of its servers.
pub(crate) struct Door(pub(crate) Arc<Books>);

impl Api for Door {
    fn play(&self, _: &Head) -> Play {
        Play::Take
    }

    fn take(&self, request: Request) -> Play {
        self.0.answer(&request)
    }
}

impl Books {
    pub(crate) fn new(plan: Plan, honours_keys: bool) -> Arc<Self> {
        Arc::new(Self {
            plan,
            honours_keys,
            state: Mutex::default(),
        })
    }

    pub(crate) fn close(&self) -> Closing {
        let mut state = self.state.lock().unwrap();
        Closing {
            taken: std::mem::take(&mut state.taken),
            replayed: state.replayed,
            logins: state.logins,
            expired: state.expired,
            damaged: state.damaged.clone(),
        }
    }

    fn answer(&self, request: &Request) -> Play {
        let exchange = request.header("x-exchange").unwrap().parse().unwrap();
        let path = request.head.path().trim_start_matches("/pod-");
        let (pod, path) = path.split_once('/').unwrap();
        let mut state = self.state.lock().unwrap();
        let mut fault = self.plan.fault(exchange);
        if fault == Fault::KeyExpired && !state.expires(&request.head) {
            fault = Fault::Nothing;
        }
        if let Some(refusal) = refusal(fault) {
            return refusal;
        }
        match path {
            "token" => state.token(request),
            "brands/default/senders" if !state.is_good(&request.head) => unauthorized(),
            "brands/default/senders" => senders(),
            _ if !state.is_good(&request.head) => unauthorized(),
            _ => {
                let pod = pod.parse().unwrap();
                let answer = state.send(request, pod, exchange, self.honours_keys);
                match fault {
                    Fault::Error500Taken => error(500, ""),
                    Fault::Error502Taken => error(502, ""),
                    _ => Play::json(201, &answer),
                }
            }
        }
    }
}

impl State {
    /// The key of this request is refused from now on. Nobody's key is so young that one message
    /// could meet two that are refused: that is the end for it.
    fn expires(&mut self, head: &Head) -> bool {
        match self.tokens.get_mut(bearer(head)) {
            Some(token) if token.given.elapsed() > YOUNG => {
                token.refused = true;
                self.expired += 1;
                true
            }
            _ => false,
        }
    }

    fn is_good(&self, head: &Head) -> bool {
        let token = self.tokens.get(bearer(head));
        token.is_some_and(|token| !token.refused && token.given.elapsed() < LIFETIME)
    }

    fn token(&mut self, request: &Request) -> Play {
        let fields = form(std::str::from_utf8(&request.body).unwrap()).unwrap();
        let field = |name: &str| {
            let mut found = fields.iter().filter(|(found, _)| found == name);
            found.next().map(|(_, value)| value.as_str())
        };
        let is_known = match field("grant_type") {
            Some("password") => field("password") == Some(PASSWORD),
            grant => grant == Some("refresh_token") && field("refresh_token") == Some("again"),
        };
        if !is_known {
            return unauthorized();
        }
        self.logins += 1;
        let token = format!("token-{}", self.logins);
        let given = Token {
            given: Instant::now(),
            refused: false,
        };
        self.tokens.insert(token.clone(), given);
        Play::json(
            200,
            &json!({"access_token": token, "token_type": "bearer", "refresh_token": "again",
                "expires_in": LIFETIME.as_secs(), "accounts": [27]}),
        )
    }

    fn send(&mut self, request: &Request, pod: usize, exchange: u64, by_key: bool) -> Value {
        let key = request.header("idempotency-key").filter(|_| by_key);
        if let Some(first) = key.as_ref().and_then(|key| self.keys.get(key)) {
            self.replayed += 1;
            return first.clone();
        }
        let body = request.json();
        let (subject, text, recipients) = match body.get("envelope") {
            Some(envelope) => (&body["subject"], &body["text"], envelope["to"].clone()),
            None => {
                let content = &body["content"];
                (
                    &content["subject"],
                    &content["text"],
                    json!([body["email"]]),
                )
            }
        };
        let id = message::id(subject.as_str().unwrap());
        let at = Instant::now();
        if !message::is_whole(id, text.as_str().unwrap_or_default()) {
            self.damaged.push(id);
        }
        for recipient in recipients.as_array().unwrap() {
            match message::recipient(id, recipient.as_str().unwrap()) {
                Some(recipient) => self.taken.push(Taken {
                    message: id,
                    recipient,
                    pod,
                    exchange,
                    at,
                }),
                None => self.damaged.push(id),
            }
        }
        let answer = json!({"email": recipients[0], "object": "email", "submitted": true,
            "data": {"id": format!("m-{exchange}"), "status": "queued"}});
        if let Some(key) = key {
            self.keys.insert(key, answer.clone());
        }
        answer
    }
}

fn bearer(head: &Head) -> &str {
    let value = head.field("authorization").unwrap_or_default();
    value.strip_prefix("Bearer ").unwrap_or_default()
}

/// What a fault answers in place of everything else.
fn refusal(fault: Fault) -> Option<Play> {
    Some(match fault {
        Fault::Error500 => error(500, ""),
        Fault::Error504 => error(504, ""),
        Fault::Unavailable => error(503, ""),
        Fault::UnavailableForASecond => error(503, "retry-after: 1\r\n"),
        Fault::Throttled => error(429, ""),
        Fault::ThrottledForASecond => error(429, "retry-after: 1\r\n"),
        Fault::ThrottledForLong => error(429, "retry-after: 6\r\n"),
        Fault::ThrottledUntilADate => {
            let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1));
            error(429, format!("retry-after: {date}\r\n").leak())
        }
        Fault::KeyExpired => unauthorized(),
        _ => return None,
    })
}

fn error(status: u16, fields: &'static str) -> Play {
    let body = json!({"detail": [{"msg": "try again", "type": "error"}]});
    Play::Answer(status, fields, body.to_string())
}

fn unauthorized() -> Play {
    let body =
        json!({"detail": [{"msg": "Could not validate credentials", "type": "unauthorized"}]});
    Play::json(401, &body)
}

fn senders() -> Play {
    let sender = json!({"id": "1042", "name": "App", "email": message::SENDER, "confirmed": true});
    Play::json(
        200,
        &json!({"pagination": {"page": 1, "per_page": 50}, "data": [sender]}),
    )
}

pub(crate) const PASSWORD: &str = "secret";
const LIFETIME: Duration = Duration::from_secs(30);
/// Longer than a message has.
const YOUNG: Duration = Duration::from_secs(6);
