//! Cakemail's API over real HTTP: it answers as the API's description says, refuses what the
//! description does not allow, and records what it gets.
//!
//! The user `ann@example.com` with the password `secret` and the sender `app@example.com` are there
//! from the start.

mod emails;
mod logins;
mod senders;

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cakemail::emails::Emails;
pub(crate) use crate::support::cakemail::emails::Sent;
use crate::support::cakemail::logins::Logins;
pub(crate) use crate::support::cakemail::logins::{Challenge, User};
pub(crate) use crate::support::cakemail::senders::Sender;
use crate::support::cakemail::senders::Senders;
use crate::support::gateway::Certificate;
use crate::support::http::{Api, Head, Play, Request, Server};

/// The account of the user `ann@example.com`, and of senders that name no other.
pub(crate) const ACCOUNT: u64 = 27;

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    /// `POST /token`.
    Token,
    /// `GET /accounts/self`.
    Account,
    /// `GET /brands/default/senders`.
    Senders,
    /// `POST /v2/emails`.
    Emails,
    /// `POST /validate` of the gateway that was there before.
    Validate,
    /// `POST /email` of the gateway that was there before.
    Email,
}

pub(crate) struct Cakemail {
    server: Server<Double>,
}

struct Double {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    logins: Logins,
    senders: Senders,
    emails: Emails,
    /// For the next calls, each once.
    scripts: HashMap<Endpoint, VecDeque<Play>>,
    /// For every call.
    always: HashMap<Endpoint, Play>,
    calls: HashMap<Endpoint, usize>,
}

/// What a call is answered with, unless a play says otherwise.
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn new(status: u16, body: Value) -> Self {
        Self { status, body }
    }

    /// The documented form of an error.
    fn error(status: u16, place: Vec<Value>, message: &str, kind: &str) -> Self {
        Self::errors(status, &[detail(place, message, kind)])
    }

    fn errors(status: u16, details: &[Value]) -> Self {
        Self::new(status, json!({"detail": details}))
    }

    fn unauthorized(message: &str) -> Self {
        Self::error(401, Vec::new(), message, "unauthorized")
    }

    fn forbidden(message: &str) -> Self {
        Self::error(403, Vec::new(), message, "forbidden")
    }

    /// Something of the query that there is not, or not so.
    fn query(name: &str) -> Self {
        let place = vec![json!("query"), json!(name)];
        Self::error(422, place, "not a valid parameter", "value_error")
    }
}

/// One error: `kind` is the machine's name for it, and an empty `place` is left out.
fn detail(place: Vec<Value>, message: &str, kind: &str) -> Value {
    let mut detail = json!({"msg": message, "type": kind});
    if !place.is_empty() {
        detail["loc"] = Value::Array(place);
    }
    detail
}

impl Cakemail {
    pub(crate) fn start() -> Self {
        let state = State {
            logins: Logins::new(User::new("ann@example.com", "secret")),
            senders: Senders::new(Sender::confirmed(1042, "app@example.com")),
            emails: Emails::new(),
            scripts: HashMap::new(),
            always: HashMap::new(),
            calls: HashMap::new(),
        };
        let server = Server::start(Double {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        Self { server }
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.server.api.state.lock().unwrap());
        self
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.server.api.state.lock().unwrap())
    }

    /// One more user, or another form of one.
    pub(crate) fn user(self, user: User) -> Self {
        self.with(|state| state.logins.add(user))
    }

    /// A personal access token with these scopes.
    pub(crate) fn personal_token(self, token: &str, scopes: &[&'static str]) -> Self {
        self.with(|state| state.logins.add_personal(token, scopes))
    }

    pub(crate) fn sender(self, sender: Sender) -> Self {
        self.with(|state| state.senders.add(sender))
    }

    /// How long tokens are said to last, in seconds.
    pub(crate) fn expires_in(self, seconds: u64) -> Self {
        self.with(|state| state.logins.expires_in = seconds)
    }

    /// Demand one of html and text, as newer descriptions of the API do.
    pub(crate) fn html_or_text_only(self) -> Self {
        self.with(|state| state.emails.html_or_text_only = true)
    }

    /// Demand a list for every message, as many accounts have it.
    pub(crate) fn list_required(self) -> Self {
        self.with(|state| state.emails.list_required = true)
    }

    /// Plays for the next sends, each once.
    pub(crate) fn script(self, plays: impl IntoIterator<Item = Play>) -> Self {
        self.script_for(Endpoint::Emails, plays)
    }

    pub(crate) fn script_for(
        self,
        endpoint: Endpoint,
        plays: impl IntoIterator<Item = Play>,
    ) -> Self {
        self.with(|state| {
            let script = state.scripts.entry(endpoint).or_default();
            script.extend(plays);
        })
    }

    /// From now on, every call of this endpoint gets this.
    pub(crate) fn always(&self, endpoint: Endpoint, play: Play) {
        let mut state = self.server.api.state.lock().unwrap();
        state.always.insert(endpoint, play);
    }

    /// No access token is good any more; refresh tokens are.
    pub(crate) fn expire_tokens(&self) {
        self.server.api.state.lock().unwrap().logins.expire();
    }

    /// No access token or refresh token is good any more.
    pub(crate) fn revoke_tokens(&self) {
        self.server.api.state.lock().unwrap().logins.revoke();
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What puts the real binary in front of this API, on loopback and free ports.
    pub(crate) fn variables(&self, certificate: &Certificate) -> [(&'static str, OsString); 8] {
        [
            ("CAKEMAIL_API_URL", self.url().into()),
            ("CAKEMAIL_AUTH_URL", self.url().into()),
            ("SMTP_HOST", "127.0.0.1".into()),
            ("SMTP_PORT", "0".into()),
            ("HTTP_HOST", "127.0.0.1".into()),
            ("HTTP_PORT", "0".into()),
            ("TLS_CERT_PATH", certificate.chain().into()),
            ("TLS_KEY_PATH", certificate.key().into()),
        ]
    }

    /// How often an endpoint was called, whatever came of it.
    pub(crate) fn calls(&self, endpoint: Endpoint) -> usize {
        self.read(|state| state.calls.get(&endpoint).copied().unwrap_or_default())
    }

    /// Calls of `/token` with a password.
    pub(crate) fn logins(&self) -> usize {
        self.read(|state| state.logins.passwords)
    }

    /// Calls of `/token` with a refresh token.
    pub(crate) fn refreshes(&self) -> usize {
        self.read(|state| state.logins.refreshes)
    }

    /// All calls of `/v2/emails` and `/email` that came whole, in their order, whatever they were
    /// answered.
    pub(crate) fn sent(&self) -> Vec<Arc<Sent>> {
        self.read(|state| state.emails.sent.clone())
    }

    /// Waits until that many sends have come.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Arc<Sent>> {
        let double = &self.server.api;
        let state = double.state.lock().unwrap();
        let (state, waited) = double
            .changed
            .wait_timeout_while(state, Duration::from_secs(20), |state| {
                state.emails.sent.len() < count
            })
            .unwrap();
        let came = state.emails.sent.len();
        assert!(!waited.timed_out(), "{came} of {count} sends came");
        state.emails.sent.clone()
    }

    /// The most calls that there were at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.server.most_at_once()
    }

    /// Connections that were closed, by whichever side.
    pub(crate) fn closed(&self) -> usize {
        self.server.closed()
    }
}

impl Endpoint {
    fn of(head: &Head) -> Option<Self> {
        Some(match (head.method(), head.path()) {
            ("POST", "/token") => Self::Token,
            ("GET", "/accounts/self") => Self::Account,
            ("GET", "/brands/default/senders") => Self::Senders,
            ("POST", "/v2/emails") => Self::Emails,
            ("POST", "/validate") => Self::Validate,
            ("POST", "/email") => Self::Email,
            _ => return None,
        })
    }
}

impl Api for Double {
    fn play(&self, head: &Head) -> Play {
        let Some(endpoint) = Endpoint::of(head) else {
            return Play::Take;
        };
        let mut state = self.state.lock().unwrap();
        *state.calls.entry(endpoint).or_default() += 1;
        let next = state.scripts.entry(endpoint).or_default().pop_front();
        next.or_else(|| state.always.get(&endpoint).cloned())
            .unwrap_or(Play::Take)
    }

    fn take(&self, request: Request) -> Play {
        let mut state = self.state.lock().unwrap();
        let answer = match Endpoint::of(&request.head) {
            Some(endpoint) => state.answer(endpoint, request),
            None => Err(Answer::new(404, json!({"detail": "Not Found"}))),
        };
        self.changed.notify_all();
        let Answer { status, body } = answer.unwrap_or_else(|refusal| refusal);
        Play::json(status, &body)
    }
}

impl State {
    fn answer(&mut self, endpoint: Endpoint, request: Request) -> Result<Answer, Answer> {
        match endpoint {
            Endpoint::Token => self.logins.token(&request),
            Endpoint::Validate => self.logins.validate(&request),
            Endpoint::Account => {
                let account = self.logins.bearer(&request.head, "accounts:read")?;
                only(&request.head, &[])?;
                Ok(Answer::new(
                    200,
                    json!({"data": {"id": account, "status": "active"}}),
                ))
            }
            Endpoint::Senders => {
                let account = self.logins.bearer(&request.head, "senders:read")?;
                self.senders.page(account, &request.head)
            }
            Endpoint::Emails => {
                let bearer = self.logins.bearer(&request.head, "emailapi:send");
                self.emails.send(bearer, &self.senders, request)
            }
            Endpoint::Email => {
                let bearer = self.logins.bearer(&request.head, "emailapi:send");
                self.emails.send_json(bearer, request)
            }
        }
    }
}

/// The parameters of the query, where it has no others than these, and none twice.
fn only(head: &Head, names: &[&str]) -> Result<HashMap<String, String>, Answer> {
    let pairs = head.query().ok_or_else(|| Answer::query(""))?;
    let mut found = HashMap::new();
    for (name, value) in pairs {
        if !names.contains(&name.as_str()) || found.insert(name.clone(), value).is_some() {
            return Err(Answer::query(&name));
        }
    }
    Ok(found)
}

/// The account that a call is for: `account_id` of the query, where that is one of the bearer's.
fn account_of(query: &HashMap<String, String>, own: u64) -> Result<u64, Answer> {
    let Some(account) = query.get("account_id") else {
        return Ok(own);
    };
    let account = account.parse().map_err(|_| Answer::query("account_id"))?;
    if account == own || SUB_ACCOUNTS.contains(&account) {
        Ok(account)
    } else {
        Err(Answer::forbidden("Not your account"))
    }
}

/// The accounts below every user's own.
pub(crate) const SUB_ACCOUNTS: [u64; 2] = [2701, 2702];
