//! Who may call: passwords, tokens, personal access tokens.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::cakemail::{ACCOUNT, Answer, only};
use crate::support::http::{Head, Request, form};

/// Somebody with a password.
pub(crate) struct User {
    name: String,
    password: String,
    account: u64,
    challenge: Option<Challenge>,
}

/// How a user with a second factor is asked for it. The API's description has both forms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// 200 with a challenge in place of a token.
    Ok,
    /// 401 with a challenge beside the error.
    Unauthorized,
}

impl User {
    pub(crate) fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
            account: ACCOUNT,
            challenge: None,
        }
    }

    pub(crate) fn of(self, account: u64) -> Self {
        Self { account, ..self }
    }

    pub(crate) fn with_second_factor(self, challenge: Challenge) -> Self {
        Self {
            challenge: Some(challenge),
            ..self
        }
    }
}

pub(super) struct Logins {
    users: Vec<User>,
    /// Live access tokens and keys, and whose they are.
    access: HashMap<String, Holder>,
    /// Live refresh tokens, and their account.
    refresh: HashMap<String, u64>,
    given: usize,
    pub(super) expires_in: u64,
    pub(super) passwords: usize,
    pub(super) refreshes: usize,
}

struct Holder {
    account: u64,
    /// Of a personal access token; others may call all.
    scopes: Option<Vec<&'static str>>,
}

impl Logins {
    pub(super) fn new(user: User) -> Self {
        Self {
            users: vec![user],
            access: HashMap::new(),
            refresh: HashMap::new(),
            given: 0,
            expires_in: 432_000,
            passwords: 0,
            refreshes: 0,
        }
    }

    pub(super) fn add(&mut self, user: User) {
        self.users.retain(|known| known.name != user.name);
        self.users.push(user);
    }

    pub(super) fn add_personal(&mut self, token: &str, scopes: &[&'static str]) {
        let digits = token
            .strip_prefix(PERSONAL)
            .expect("a personal token has its prefix");
        assert_eq!(digits.len(), 40, "{token}");
        let holder = Holder {
            account: ACCOUNT,
            scopes: Some(scopes.to_vec()),
        };
        self.access.insert(token.to_owned(), holder);
    }

    pub(super) fn expire(&mut self) {
        self.access.retain(|token, _| token.starts_with(PERSONAL));
    }

    pub(super) fn revoke(&mut self) {
        self.expire();
        self.refresh.clear();
    }

    /// The account of the bearer, if a call that needs this scope is open to it.
    pub(super) fn bearer(&self, head: &Head, scope: &str) -> Result<u64, Answer> {
        let holder = head
            .field("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| self.access.get(token))
            .ok_or_else(|| Answer::unauthorized("Could not validate credentials"))?;
        match &holder.scopes {
            Some(scopes) if !scopes.contains(&scope) => Err(Answer::forbidden("Missing scope")),
            _ => Ok(holder.account),
        }
    }

    /// `POST /token`.
    pub(super) fn token(&mut self, request: &Request) -> Result<Answer, Answer> {
        no_authorization(&request.head)?;
        let query = only(&request.head, &["version"])?;
        if !matches!(
            query.get("version").map(String::as_str),
            None | Some("v1" | "v2")
        ) {
            return Err(Answer::query("version"));
        }
        if request.head.media_type() != "application/x-www-form-urlencoded" {
            return Err(body(None, "a form is expected", "value_error"));
        }
        let fields = fields(request)?;
        if let Some(account) = fields.get("account_id")
            && account.parse::<u64>().is_err()
        {
            return Err(body(
                Some("account_id"),
                "not an integer",
                "type_error.integer",
            ));
        }
        match fields.get("grant_type").map_or("password", String::as_str) {
            "password" => {
                self.passwords += 1;
                let user = self.user(needed(&fields, "username")?, needed(&fields, "password")?)?;
                if let Some(challenge) = user.challenge {
                    return Err(challenge.answer());
                }
                let account = user.account;
                Ok(self.give(account))
            }
            "refresh_token" => {
                self.refreshes += 1;
                let old = needed(&fields, "refresh_token")?;
                let account = self.refresh.remove(old);
                let account = account.ok_or_else(|| Answer::unauthorized("Invalid token"))?;
                Ok(self.give(account))
            }
            _ => Err(body(
                Some("grant_type"),
                "not permitted",
                "value_error.const",
            )),
        }
    }

    /// `POST /validate` of the gateway that was there before.
    pub(super) fn validate(&mut self, request: &Request) -> Result<Answer, Answer> {
        no_authorization(&request.head)?;
        only(&request.head, &[])?;
        let asked: HashMap<String, String> = match request.head.media_type() {
            "application/json" => serde_json::from_slice(&request.body).ok(),
            _ => None,
        }
        .filter(|asked: &HashMap<_, _>| asked.len() == 2)
        .ok_or_else(|| Answer::new(400, json!({"error": "bad_request", "message": "?"})))?;
        let (name, password) = (needed(&asked, "username")?, needed(&asked, "password")?);
        let Ok(user) = self.user(name, password) else {
            let body = json!({"error": "unauthorized", "message": "Invalid credentials"});
            return Err(Answer::new(401, body));
        };
        let account = user.account;
        let key = self.issue("key", account);
        Ok(Answer::new(
            200,
            json!({"api_key": key, "expires_in": self.expires_in}),
        ))
    }

    fn user(&self, name: &str, password: &str) -> Result<&User, Answer> {
        self.users
            .iter()
            .find(|user| user.name == name && user.password == password)
            .ok_or_else(|| Answer::unauthorized("Incorrect username or password"))
    }

    /// New tokens; the ones before stay good.
    fn give(&mut self, account: u64) -> Answer {
        let access = self.issue("token", account);
        let refresh = format!("refresh-{}", self.given);
        self.refresh.insert(refresh.clone(), account);
        Answer::new(
            200,
            json!({"access_token": access, "token_type": "bearer", "expires_in": self.expires_in,
                "refresh_token": refresh, "accounts": [account]}),
        )
    }

    fn issue(&mut self, kind: &str, account: u64) -> String {
        self.given += 1;
        let token = format!("{kind}-{}", self.given);
        let holder = Holder {
            account,
            scopes: None,
        };
        self.access.insert(token.clone(), holder);
        token
    }
}

impl Challenge {
    fn answer(self) -> Answer {
        let challenge = json!({"challenge": "challenge-1"});
        match self {
            Self::Ok => Answer::new(200, challenge),
            Self::Unauthorized => {
                let mut answer = Answer::unauthorized("A second factor is required");
                answer.body["challenge"] = challenge["challenge"].clone();
                answer
            }
        }
    }
}

/// A login carries no other credentials than its own.
fn no_authorization(head: &Head) -> Result<(), Answer> {
    match head.field("authorization") {
        None => Ok(()),
        Some(_) => Err(Answer::error(
            400,
            vec![json!("header"), json!("authorization")],
            "not permitted",
            "bad_request",
        )),
    }
}

/// The fields of a form: each once, and only those that there are.
fn fields(request: &Request) -> Result<HashMap<String, String>, Answer> {
    let pairs = std::str::from_utf8(&request.body).ok().and_then(form);
    let pairs = pairs.ok_or_else(|| body(None, "not a form", "value_error"))?;
    let mut fields = HashMap::new();
    for (name, value) in pairs {
        if !FIELDS.contains(&name.as_str()) || fields.insert(name.clone(), value).is_some() {
            return Err(body(
                Some(&name),
                "extra fields not permitted",
                "value_error.extra",
            ));
        }
    }
    Ok(fields)
}

fn needed<'a>(fields: &'a HashMap<String, String>, name: &str) -> Result<&'a str, Answer> {
    fields
        .get(name)
        .map(String::as_str)
        .ok_or_else(|| body(Some(name), "field required", "value_error.missing"))
}

fn body(name: Option<&str>, message: &str, kind: &str) -> Answer {
    let place = ["body"].into_iter().chain(name).map(Value::from);
    Answer::error(422, place.collect(), message, kind)
}

const PERSONAL: &str = "ck_pat_";
const FIELDS: [&str; 7] = [
    "grant_type",
    "username",
    "password",
    "account_id",
    "scopes",
    "expiration_seconds",
    "refresh_token",
];
