//! An application that sends by the clock. A 421 between two messages is no answer to the next one:
//! it connects again and sends it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::Instant;

use crate::support::client::SmtpClient;

pub(crate) struct Client {
    number: usize,
    service: SocketAddr,
    tls: ClientConfig,
    open: Option<SmtpClient>,
    sent: Sent,
}

/// What became of its messages.
#[derive(Default)]
pub(crate) struct Sent {
    /// The subjects of those that got a 250.
    pub(crate) accepted: Vec<String>,
    pub(crate) connections: usize,
    pub(crate) told_to_connect_again: usize,
    pub(crate) slowest: Duration,
}

impl Client {
    pub(crate) fn new(number: usize, service: SocketAddr, tls: ClientConfig) -> Self {
        Self {
            number,
            service,
            tls,
            open: None,
            sent: Sent::default(),
        }
    }

    /// A message each period until told to stop, however long one takes.
    pub(crate) fn send(mut self, period: Duration, stop: &AtomicBool) -> Sent {
        let mut due = Instant::now();
        while !stop.load(Ordering::SeqCst) {
            let subject = format!("{}-{}", self.number, self.sent.accepted.len());
            self.submit(&subject);
            self.sent.accepted.push(subject);
            self.sent.slowest = self.sent.slowest.max(due.elapsed());
            due += period;
            sleep(due.saturating_duration_since(Instant::now()));
        }
        self.close();
        self.sent
    }

    /// Returns with the 250.
    fn submit(&mut self, subject: &str) {
        loop {
            let mut client = self.open.take().unwrap_or_else(|| {
                self.sent.connections += 1;
                SmtpClient::logged_in(self.service, self.tls.clone())
            });
            match transaction(&mut client, subject) {
                reply if reply.starts_with("250 2.0.0") => {
                    self.open = Some(client);
                    break;
                }
                reply if reply.starts_with("421 4.3.2") => self.sent.told_to_connect_again += 1,
                reply => panic!("{subject}: {reply}"),
            }
        }
        if self.number.is_multiple_of(2) {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(mut client) = self.open.take() {
            // The gateway may have said 421 at the same time.
            let _ = client.try_send(b"QUIT\r\n");
            let _ = client.try_reply();
        }
    }
}

/// The first reply that decides.
fn transaction(client: &mut SmtpClient, subject: &str) -> String {
    let commands = b"MAIL FROM:<app@example.com>\r\nRCPT TO:<ann@example.net>\r\nDATA\r\n";
    // Where this fails, the reply is there already.
    let written = client.try_send(commands);
    for expected in ["250 2.1.0", "250 2.1.5", "354"] {
        match client.try_reply() {
            Some(reply) if reply.starts_with(expected) => {}
            Some(reply) => return reply,
            None => panic!("{subject}: cut off before {expected}, written: {written:?}"),
        }
    }
    client.send(format!("Subject: {subject}\r\n\r\nIt works.\r\n.\r\n"));
    client.reply()
}
