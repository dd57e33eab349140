//! What a server may say to our client: whatever it is, the session ends, no secret leaves in clear
//! or is shown, and nothing counts as sent that no reply has taken.
//!
//! Four octets choose the connection, the login, the message, and the reads. The rest is what the
//! server says; then it leaves.

use smtp_gateway::secret::Secret;
use smtp_gateway::smtp::address::{ForwardPath, ReversePath};
use smtp_gateway::smtp::client::{Answer, Client, Message, Settings, Step, Tls};
use smtp_gateway::smtp::reply::Reply;
use smtp_gateway::smtp::sasl::{Credentials, Mechanism, responses};

use super::choices::{Choices, reads};
use super::reference;

pub fn check(input: &[u8]) {
    let mut choices = Choices::new(input);
    let tls = choices.one_of(&[Tls::Off, Tls::StartTls, Tls::Established]);
    let with_login = choices.flag();
    let (recipients, content) = choices.one_of(&[
        (
            &["ann@example.net"][..],
            &b"Subject: x\r\n\r\n.hello\r\n"[..],
        ),
        (&["ann@example.net", "bob@example.net"], b".\n\r.\r"),
        (&["\u{fc}@example.net"], b""),
        (&["ann@example.net"], b"\xfc\r\n"),
    ]);
    let number = choices.octet();
    let said = choices.rest();
    replies(said);

    let settings = Settings {
        hostname: "client.example".to_owned(),
        tls,
        credentials: with_login.then(ann),
    };
    let mut talk = Talk {
        client: Client::new(settings),
        is_secure: tls == Tls::Established,
        has_login: false,
        sent: Vec::new(),
        content,
        messages: 0,
    };
    let recipients: Vec<_> = recipients.iter().map(|text| path(text)).collect();
    talk.run(&recipients, said, number);
}

/// A reply that is read and printed is the same reply.
fn replies(said: &[u8]) {
    let Ok(text) = str::from_utf8(said) else {
        return;
    };
    if let Some(reply) = Reply::parse(text) {
        assert!((200..600).contains(&reply.code()));
        let printed = reply.to_string();
        assert_eq!(Reply::parse(&printed), Some(reply), "{printed:?}");
    }
}

struct Talk<'a> {
    client: Client,
    is_secure: bool,
    /// AUTH was said: from then on the server may repeat what is secret.
    has_login: bool,
    /// What the client sent for the present message.
    sent: Vec<u8>,
    content: &'a [u8],
    messages: usize,
}

impl Talk<'_> {
    fn run(&mut self, recipients: &[ForwardPath], said: &[u8], number: u8) {
        let mut reads = reads(said, number).into_iter();
        // Each octet of a line can lead to a few steps at most.
        for _ in 0..1000 + 8 * said.len() {
            match self.client.step() {
                Step::Tell(line) => self.check_shown(&line.to_string()),
                Step::Send(octets) => self.take(&octets),
                Step::Receive => match reads.next() {
                    Some(read) => self.client.receive(read),
                    None => self.client.disconnected(),
                },
                Step::StartTls => {
                    assert!(self.sent.ends_with(b"STARTTLS\r\n"));
                    self.is_secure = true;
                    self.client.tls_established();
                }
                Step::Settled(answers) => self.settled(&answers, recipients, said),
                Step::Ready if self.messages < 2 => {
                    self.messages += 1;
                    self.sent.clear();
                    self.client.submit(self.message(recipients));
                }
                Step::Ready => self.client.quit(),
                Step::Close(ending) => {
                    self.client.receive(said);
                    self.client.disconnected();
                    self.client.quit();
                    let Step::Close(again) = self.client.step() else {
                        panic!("something comes behind the end");
                    };
                    assert_eq!(again, ending);
                    return;
                }
            }
        }
        panic!("the session does not end");
    }

    fn message(&self, recipients: &[ForwardPath]) -> Message {
        let (sender, _) = ReversePath::take("<app@example.com>").expect("a path");
        Message::new(sender, recipients.to_vec(), self.content)
    }

    fn take(&mut self, octets: &[u8]) {
        assert!(octets.ends_with(b"\r\n"));
        if !self.is_secure {
            for secret in secrets() {
                let found = octets
                    .windows(secret.len())
                    .any(|some| some == secret.as_bytes());
                assert!(!found, "a secret in clear");
            }
        }
        self.has_login |= octets.starts_with(b"AUTH ");
        self.sent.extend_from_slice(octets);
    }

    fn check_shown(&self, line: &str) {
        assert!(!line.chars().any(char::is_control));
        let is_ours = line.starts_with("C: ");
        assert!(is_ours || line.is_ascii());
        if is_ours || self.has_login {
            let is_shown = |secret: &String| line.contains(secret.as_str());
            assert!(!secrets().iter().any(is_shown), "a secret is shown");
        }
    }

    /// Each recipient has an answer, and none is positive unless the whole message went out: with
    /// one end of data, at its end.
    fn settled(&self, answers: &[Answer], recipients: &[ForwardPath], said: &[u8]) {
        let named: Vec<_> = answers
            .iter()
            .map(|answer| answer.recipient.clone())
            .collect();
        assert_eq!(named, recipients);
        for Answer { reply, .. } in answers {
            let code = reply.code().to_string();
            assert!(said.windows(3).any(|three| three == code.as_bytes()));
            assert!(!self.has_login || !reply.to_string().contains(PASSWORD));
        }
        if answers.iter().any(|answer| answer.reply.is_positive()) {
            let (content, _) = reference::ended(self.content);
            let (commands, data) = split(&self.sent);
            assert!(commands.starts_with(b"MAIL FROM:") || commands.starts_with(b"RSET\r\nMAIL"));
            assert_eq!(reference::end_of_data(data), Some(data.len()));
            assert_eq!(reference::unstuffed(data), content);
        }
    }
}

/// The commands of a transaction up to DATA, and what follows it.
fn split(sent: &[u8]) -> (&[u8], &[u8]) {
    let data = b"\r\nDATA\r\n";
    let at = sent.windows(data.len()).position(|found| found == data);
    sent.split_at(at.expect("DATA was said") + data.len())
}

fn ann() -> Credentials {
    Credentials {
        username: "ann".to_owned(),
        password: Secret::new(PASSWORD),
    }
}

/// The password, and the forms that mechanisms give it.
fn secrets() -> Vec<String> {
    let mut secrets = vec![PASSWORD.to_owned()];
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        let last = responses(mechanism, &ann()).pop();
        secrets.extend(last.map(|response| response.reveal().to_owned()));
    }
    secrets
}

fn path(text: &str) -> ForwardPath {
    ForwardPath::take(&format!("<{text}>")).expect("a path").0
}

const PASSWORD: &str = "correct horse";
