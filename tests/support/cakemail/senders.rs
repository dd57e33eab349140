//! Whom messages may come from.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::cakemail::{ACCOUNT, Answer, account_of, only};
use crate::support::http::Head;

pub(crate) struct Sender {
    account: u64,
    id: u64,
    email: String,
    confirmed: bool,
}

impl Sender {
    pub(crate) fn confirmed(id: u64, email: &str) -> Self {
        Self {
            account: ACCOUNT,
            id,
            email: email.to_owned(),
            confirmed: true,
        }
    }

    pub(crate) fn unconfirmed(id: u64, email: &str) -> Self {
        Self {
            confirmed: false,
            ..Self::confirmed(id, email)
        }
    }

    pub(crate) fn of(self, account: u64) -> Self {
        Self { account, ..self }
    }

    fn json(&self) -> Value {
        let confirmed_on = self.confirmed.then_some(1_700_000_000);
        json!({"id": self.id.to_string(), "name": "App", "email": self.email,
            "confirmed": self.confirmed, "confirmed_on": confirmed_on, "language": "en_US"})
    }
}

pub(super) struct Senders(Vec<Sender>);

impl Senders {
    pub(super) fn new(sender: Sender) -> Self {
        Self(vec![sender])
    }

    pub(super) fn add(&mut self, sender: Sender) {
        self.0.push(sender);
    }

    /// Whether this account may send as the sender with this id.
    pub(super) fn may_send(&self, account: u64, id: &str) -> bool {
        self.0.iter().any(|sender| {
            sender.account == account && sender.id.to_string() == id && sender.confirmed
        })
    }

    /// `GET /brands/default/senders`.
    pub(super) fn page(&self, account: u64, head: &Head) -> Result<Answer, Answer> {
        let names = ["page", "per_page", "account_id", "with_count", "sort"];
        let query = only(head, &names)?;
        let account = account_of(&query, account)?;
        let page = number(&query, "page", 1, usize::MAX)?;
        let per_page = number(&query, "per_page", 50, 100)?;
        let own: Vec<&Sender> = self
            .0
            .iter()
            .filter(|sender| sender.account == account)
            .collect();
        let mut pagination = json!({"page": page, "per_page": per_page});
        if query.get("with_count").is_some_and(|value| value == "true") {
            pagination["count"] = own.len().into();
        }
        let data: Vec<Value> = own
            .into_iter()
            .skip((page - 1).saturating_mul(per_page))
            .take(per_page)
            .map(Sender::json)
            .collect();
        Ok(Answer::new(
            200,
            json!({"pagination": pagination, "data": data}),
        ))
    }
}

fn number(
    query: &HashMap<String, String>,
    name: &str,
    default: usize,
    most: usize,
) -> Result<usize, Answer> {
    let Some(value) = query.get(name) else {
        return Ok(default);
    };
    let value = value.parse().ok();
    value
        .filter(|value| (1..=most).contains(value))
        .ok_or_else(|| Answer::query(name))
}
