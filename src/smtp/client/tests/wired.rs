//! The client's machine and the server's, joined in memory: what one says the other understands.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::smtp::envelope::Envelope;
use crate::smtp::framing::LoneNewlines;
use crate::smtp::reply;
use crate::smtp::session::{self, Authentication, Limits, Question, Session};

/// Both ends and what is under way to the client.
struct Wire<'a> {
    session: Session,
    decide: Box<dyn FnMut(&Question) -> Reply + 'a>,
    to_client: Vec<u8>,
    closed: bool,
    messages: Vec<(Envelope, Bytes)>,
}

impl<'a> Wire<'a> {
    fn new(tls: session::Tls, decide: impl FnMut(&Question) -> Reply + 'a) -> Self {
        let settings = session::Settings {
            hostname: "gateway.example".to_owned(),
            // The client must never send a line break by itself.
            lone_newlines: LoneNewlines::Refuse,
            limits: Limits {
                fan_out: 0,
                command_line: 512,
                message_size: 100_000,
                recipients: 120,
                errors: 10,
            },
        };
        Self {
            session: Session::new(Arc::new(settings), tls, Authentication::Required),
            decide: Box::new(decide),
            to_client: Vec::new(),
            closed: false,
            messages: Vec::new(),
        }
    }

    /// Goes on until the server wants octets, a handshake, or is gone.
    fn serve(&mut self) {
        loop {
            match self.session.step() {
                session::Step::Send(octets) => self.to_client.extend_from_slice(&octets),
                session::Step::Receive | session::Step::StartTls => return,
                session::Step::Ask(question) => {
                    let reply = (self.decide)(&question);
                    self.session.answer(&reply);
                    if let (Question::Message(envelope, content), true) =
                        (question, reply.is_positive())
                    {
                        self.messages.push((envelope, content));
                    }
                }
                session::Step::Close => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    /// Runs the client against it. Each read, on both sides, has at most the next of `cuts` octets.
    fn run(&mut self, settings: Settings, messages: &[Message], cuts: &[usize]) -> Outcome {
        let mut client = Client::new(settings);
        let mut cuts = cuts.iter().copied().cycle();
        let mut messages = messages.iter();
        let mut outcome = Outcome::default();
        self.serve();
        loop {
            match client.step() {
                Step::Tell(line) => outcome.dialogue.push(line.to_string()),
                Step::Send(octets) => {
                    let mut rest = &octets[..];
                    while !rest.is_empty() {
                        let cut = cuts.next().map_or(rest.len(), |cut| cut.min(rest.len()));
                        let (read, behind) = rest.split_at(cut);
                        self.session.receive(read);
                        self.serve();
                        rest = behind;
                    }
                }
                Step::Receive if self.to_client.is_empty() => {
                    assert!(self.closed, "both wait");
                    client.disconnected();
                }
                Step::Receive => {
                    let whole = self.to_client.len();
                    let cut = cuts.next().map_or(whole, |cut| cut.min(whole));
                    let read: Vec<_> = self.to_client.drain(..cut).collect();
                    client.receive(&read);
                }
                Step::StartTls => {
                    client.tls_established();
                    self.session.tls_established();
                }
                Step::Settled(answers) => outcome.settled.push(answers),
                Step::Ready => match messages.next() {
                    Some(message) => client.submit(message.clone()),
                    None => client.quit(),
                },
                Step::Close(ending) => {
                    outcome.ending = Some(ending);
                    return outcome;
                }
            }
        }
    }
}

/// Lets ann in with her password, and says yes to everything else.
fn positive(question: &Question) -> Reply {
    match question {
        Question::Authenticate(credentials)
            if credentials.username == "ann" && credentials.password == Secret::new("secret") =>
        {
            reply::AUTHENTICATED.clone()
        }
        Question::Authenticate(_) => reply::BAD_CREDENTIALS.clone(),
        Question::Mail(..) => reply::SENDER_OK.clone(),
        Question::Rcpt(_) => reply::RECIPIENT_OK.clone(),
        Question::Data => Reply::plain(354, "End data with <CR><LF>.<CR><LF>"),
        Question::Message(..) => reply::OK.quoting("Ok: queued as 1"),
    }
}

#[test]
fn a_message_goes_over_starttls_and_login() {
    let mut wire = Wire::new(session::Tls::Offered, positive);
    let one = message(&["ann@example.net", "bob@example.net"], ".a\n\n.\nb");
    let outcome = wire.run(settings(Tls::StartTls, Some(ann())), &[one], &[]);
    let offer = |extension| {
        format!(
            "S: 250-gateway.example\n\
             S: 250-PIPELINING\n\
             S: 250-8BITMIME\n\
             S: 250-SMTPUTF8\n\
             S: 250-ENHANCEDSTATUSCODES\n\
             S: 250-CHUNKING\n\
             S: 250-SIZE 100000\n\
             S: 250-LIMITS RCPTMAX=120\n\
             S: 250-{extension}\n\
             S: 250 HELP\n"
        )
    };
    let (in_clear, under_tls) = (offer("STARTTLS"), offer("AUTH PLAIN LOGIN"));
    let expected = format!(
        "S: 220 gateway.example ESMTP smtp-gateway\n\
         C: EHLO client.example\n\
         {in_clear}\
         C: STARTTLS\n\
         S: 220 2.0.0 Ready to start TLS\n\
         C: EHLO client.example\n\
         {under_tls}\
         C: AUTH PLAIN ***\n\
         S: 235 2.7.0 Authentication successful\n\
         C: MAIL FROM:<app@example.com> SIZE=12\n\
         C: RCPT TO:<ann@example.net>\n\
         C: RCPT TO:<bob@example.net>\n\
         S: 250 2.1.0 Ok\n\
         S: 250 2.1.5 Ok\n\
         S: 250 2.1.5 Ok\n\
         C: DATA\n\
         S: 354 End data with <CR><LF>.<CR><LF>\n\
         C: (12 octets)\n\
         S: 250 2.0.0 Ok: queued as 1\n\
         C: QUIT\n\
         S: 221 2.0.0 Bye"
    );
    assert_eq!(outcome.dialogue.join("\n"), expected);
    assert_eq!(outcome.ending, Some(Ending::Quit));
    assert_eq!(outcome.codes(), [[250, 250]]);
    let (envelope, content) = &wire.messages[0];
    assert_eq!(envelope.recipients().len(), 2);
    assert_eq!(&content[..], b".a\r\n\r\n.\r\nb\r\n");
}

#[test]
fn a_message_of_several_pieces_arrives_as_it_was() {
    let mut wire = Wire::new(session::Tls::Established, positive);
    let content = format!("{}..\r\n", ".x\r\n.\r\n\r\n..\r\n".repeat(7_000));
    let one = message(&["a@example.net"], &content);
    let outcome = wire.run(settings(Tls::Established, Some(ann())), &[one], &[]);
    assert_eq!(outcome.codes(), [[250]]);
    assert_eq!(wire.messages[0].1, content);
}

#[test]
fn a_wrong_password_is_refused_and_not_shown() {
    let mut wire = Wire::new(session::Tls::Established, positive);
    let wrong = Credentials {
        password: Secret::new("canary"),
        ..ann()
    };
    let outcome = wire.run(settings(Tls::Established, Some(wrong)), &[], &[]);
    assert_eq!(
        outcome.ending,
        Some(Ending::LoginRefused(reply::BAD_CREDENTIALS.clone()))
    );
    let base64 = "AGFubgBjYW5hcnk=";
    let dialogue = outcome.dialogue.join("\n");
    assert!(
        !dialogue.contains("canary") && !dialogue.contains(base64),
        "{dialogue}"
    );
}

#[test]
fn more_recipients_than_a_group_get_their_answers_in_order() {
    let names: Vec<_> = (0..130).map(|n| format!("r{n}@example.net")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut wire = Wire::new(session::Tls::Established, positive);
    let many = message(&names, "x");
    let outcome = wire.run(settings(Tls::Established, Some(ann())), &[many], &[]);
    let codes = &outcome.codes()[0];
    assert!(codes[..120].iter().all(|code| *code == 250), "{codes:?}");
    assert!(codes[120..].iter().all(|code| *code == 452), "{codes:?}");
    for (answer, name) in outcome.settled[0].iter().zip(names) {
        assert_eq!(answer.recipient, recipient(name));
    }
}

#[test]
fn a_message_beyond_the_size_that_is_offered_is_refused_before_it_is_sent() {
    let mut wire = Wire::new(session::Tls::Established, positive);
    let messages = [
        message(&["a@example.net"], &"x\n".repeat(60_000)),
        message(&["a@example.net"], "x"),
    ];
    let outcome = wire.run(settings(Tls::Established, Some(ann())), &messages, &[]);
    assert_eq!(outcome.codes(), [[552], [250]]);
    assert_eq!(
        outcome
            .said()
            .iter()
            .filter(|line| **line == "DATA")
            .count(),
        1
    );
}

#[derive(Debug, Clone, Copy)]
enum Decision {
    Positive,
    Transient,
    Permanent,
    Close,
}

impl Decision {
    fn on(self, question: &Question) -> Reply {
        match (self, question) {
            (_, Question::Authenticate(_)) | (Self::Positive, _) => positive(question),
            (Self::Transient, _) => Reply::new(451, 3, 0, "Later"),
            (Self::Permanent, _) => Reply::new(550, 7, 1, "No"),
            (Self::Close, _) => Reply::new(421, 3, 0, "Enough"),
        }
    }
}

fn decisions() -> impl Strategy<Value = Vec<Decision>> {
    let decision = prop_oneof![
        16 => Just(Decision::Positive),
        2 => Just(Decision::Transient),
        2 => Just(Decision::Permanent),
        1 => Just(Decision::Close),
    ];
    proptest::collection::vec(decision, 1..20)
}

proptest! {
    #[test]
    fn whatever_the_server_decides_both_ends_agree_and_cuts_change_nothing(
        decisions in decisions(),
        sizes in proptest::collection::vec(1usize..5, 1..4),
        content in "[.\r\naé]{0,30}",
        cuts in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let names = ["a@example.net", "b@example.net", "\"c c\"@example.net", "dé@example.net"];
        let messages: Vec<_> = sizes.iter().map(|size| message(&names[..*size], &content)).collect();
        let run = |cuts: &[usize]| {
            let mut answers = decisions.iter().cycle();
            let decide = |question: &Question| {
                answers.next().map_or_else(|| positive(question), |next| next.on(question))
            };
            let mut wire = Wire::new(session::Tls::Offered, decide);
            let outcome = wire.run(settings(Tls::StartTls, Some(ann())), &messages, cuts);
            let messages = std::mem::take(&mut wire.messages);
            (outcome, messages)
        };
        let (outcome, arrived) = run(&[]);
        let accepted: Vec<Vec<_>> = outcome
            .settled
            .iter()
            .map(|answers| {
                let positive = answers.iter().filter(|answer| answer.reply.is_positive());
                positive.map(|answer| answer.recipient.clone()).collect()
            })
            .filter(|accepted: &Vec<_>| !accepted.is_empty())
            .collect();
        let taken: Vec<_> = arrived.iter().map(|(envelope, _)| envelope.recipients()).collect();
        prop_assert_eq!(accepted, taken);
        let normal = crate::smtp::framing::normalise(content.as_bytes());
        prop_assert!(arrived.iter().all(|(_, content)| content[..] == normal[..]));
        prop_assert_eq!((outcome, arrived), run(&cuts));
    }
}
