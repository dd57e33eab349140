//! Tests of the client. [`wired`] joins it with the real server's machine, in memory; [`scripted`]
//! has a server that says what it is told to.

mod scripted;
mod wired;

use super::*;
use crate::smtp::address::{ForwardPath, ReversePath};

/// What came out of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Each [`Step::Tell`] as it is printed.
    dialogue: Vec<String>,
    /// The answers to each message.
    settled: Vec<Vec<Answer>>,
    ending: Option<Ending>,
}

impl Outcome {
    /// The codes of the answers to each message.
    fn codes(&self) -> Vec<Vec<u16>> {
        let codes = |answers: &Vec<Answer>| answers.iter().map(|a| a.reply.code()).collect();
        self.settled.iter().map(codes).collect()
    }

    /// What the client said, line by line.
    fn said(&self) -> Vec<&str> {
        let said = |line: &'_ String| line.starts_with("C: ");
        self.dialogue
            .iter()
            .filter(|line| said(line))
            .map(|line| line.split_at(3).1)
            .collect()
    }
}

fn settings(tls: Tls, credentials: Option<Credentials>) -> Settings {
    Settings {
        hostname: "client.example".to_owned(),
        tls,
        credentials,
    }
}

fn ann() -> Credentials {
    Credentials {
        username: "ann".to_owned(),
        password: Secret::new("secret"),
    }
}

fn message(recipients: &[&str], content: &str) -> Message {
    let (sender, _) = ReversePath::take("<app@example.com>").unwrap();
    let recipients = recipients.iter().map(|text| recipient(text)).collect();
    Message::new(sender, recipients, content)
}

fn recipient(text: &str) -> ForwardPath {
    ForwardPath::take(&format!("<{text}>")).unwrap().0
}
