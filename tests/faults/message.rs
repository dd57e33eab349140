//! The messages of a run: each is known by its number, and says the same each time it is sent.

use std::fmt::Write as _;

use smtp_gateway::smtp::framing::stuff;

pub(crate) const SENDER: &str = "app@example.com";
pub(crate) const RECIPIENTS: usize = 3;

/// The message as a client hands it over, without dot-stuffing.
pub(crate) fn content(id: usize) -> Vec<u8> {
    let mut content = format!(
        "From: App <{SENDER}>\r\nTo: Ann <ann@example.net>\r\nSubject: message {id}\r\n\
         Date: Mon, 1 Jan 2024 08:00:00 +0000\r\nMessage-ID: <{id}@app.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    );
    content.push_str(&text(id).replace('\n', "\r\n"));
    content.into_bytes()
}

/// The same, as mail data with its end.
pub(crate) fn mail_data(id: usize) -> Vec<u8> {
    let mut data = stuff(&content(id)).to_vec();
    data.extend_from_slice(b".\r\n");
    data
}

pub(crate) fn address(id: usize, recipient: usize) -> String {
    format!("r{recipient}-{id}@example.net")
}

/// The place of an address in the envelope of a message, if it is in it.
pub(crate) fn recipient(id: usize, found: &str) -> Option<usize> {
    (0..RECIPIENTS).find(|recipient| address(id, *recipient) == found)
}

/// The number of the message with this subject.
pub(crate) fn id(subject: &str) -> usize {
    let id = subject.strip_prefix("message ").unwrap();
    id.parse().unwrap()
}

pub(crate) fn is_whole(id: usize, found: &str) -> bool {
    found.lines().eq(text(id).lines())
}

/// Mostly one or two KiB; some have 20, a few 300.
fn text(id: usize) -> String {
    let lines = match id {
        id if id % 100 == 7 => 6000,
        id if id % 20 == 3 => 400,
        id => 20 + id % 20,
    };
    let mut text = format!(".\n..message {id}\n");
    for line in 0..lines {
        writeln!(text, "line {line} of message {id}: as long as lines are").unwrap();
    }
    text
}
