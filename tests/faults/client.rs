//! Clients as mail servers are: what is deferred, refused at the door or cut off comes again, the
//! same octets, later.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::faults::api::PASSWORD;
use crate::faults::message;
use crate::faults::plan::Plan;

/// What all clients share.
pub(crate) struct Load {
    pub(crate) plan: Plan,
    pub(crate) messages: usize,
    pub(crate) tls: TlsConnector,
    /// Where the gateway is now, as a Service knows it.
    pub(crate) service: Mutex<SocketAddr>,
    /// Whoever is not done by then has failed.
    pub(crate) until: Instant,
    pub(crate) next: AtomicUsize,
    /// How many messages are done.
    pub(crate) done: watch::Sender<usize>,
    pub(crate) counts: Mutex<Counts>,
}

#[derive(Default)]
pub(crate) struct Counts {
    /// Final replies to messages, by code and enhanced status.
    pub(crate) replies: BTreeMap<String, u64>,
    pub(crate) sessions: u64,
    /// Sessions that did not come to be, and how far they came.
    pub(crate) no_session: BTreeMap<&'static str, u64>,
    /// Logins that were refused for good, by reply.
    pub(crate) refused_logins: Vec<String>,
}

/// One try to hand over a message.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) told: Told,
}

/// How a try ended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Accepted,
    Deferred,
    Refused,
    /// The connection ended without an answer.
    Broken,
    /// The gateway said nothing for longer than it may.
    Silence,
    /// The client did not wait for the answer.
    Left,
}

/// A message and what became of it.
pub(crate) struct History {
    pub(crate) message: usize,
    pub(crate) tries: Vec<Try>,
}

impl History {
    pub(crate) fn last(&self) -> Option<Told> {
        self.tries.last().map(|last| last.told)
    }

    /// Whether it does not come again: a client gives up one day.
    fn is_done(&self) -> bool {
        let answered = matches!(self.last(), Some(Told::Accepted | Told::Refused));
        answered || self.tries.len() >= MOST_TRIES
    }
}

/// Sends until there are no messages left, or no time.
pub(crate) async fn client(load: Arc<Load>, number: usize) -> Vec<History> {
    let mut done = Vec::new();
    let mut waiting = Waiting::default();
    let mut session: Option<Session> = None;
    while Instant::now() < load.until {
        let next = match waiting.take_due() {
            None if waiting.0.len() < MOST_WAITING => load.new_message(),
            due => due,
        };
        let Some(mut history) = next else {
            match waiting.next_due() {
                Some(due) => sleep_until(due).await,
                None => break,
            }
            continue;
        };
        let Some(mut open) = Session::at_hand(session.take(), &load, number).await else {
            waiting.0.push((Instant::now(), history));
            sleep(DOOR_CLOSED).await;
            continue;
        };
        let last = open.submit(&load, &history).await;
        session = (!open.is_over).then_some(open);
        history.tries.push(last);
        if history.is_done() {
            load.done.send_modify(|done| *done += 1);
            done.push(history);
        } else {
            waiting.0.push((load.due(&history), history));
        }
    }
    if let Some(session) = session {
        session.quit().await;
    }
    done.extend(waiting.0.into_iter().map(|(_, history)| history));
    done
}

/// Messages that are to come again, and when.
#[derive(Default)]
struct Waiting(Vec<(Instant, History)>);

impl Waiting {
    fn take_due(&mut self) -> Option<History> {
        let now = Instant::now();
        let place = self.0.iter().position(|(due, _)| *due <= now)?;
        Some(self.0.swap_remove(place).1)
    }

    fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|(due, _)| *due).min()
    }
}

impl Load {
    fn new_message(&self) -> Option<History> {
        let message = self.next.fetch_add(1, Ordering::SeqCst);
        (message < self.messages).then(|| History {
            message,
            tries: Vec::new(),
        })
    }

    /// Later each time, and not all at once.
    fn due(&self, history: &History) -> Instant {
        let step = 300u64 << history.tries.len().min(3);
        let jitter = self.of(history, "wait", step);
        Instant::now() + Duration::from_millis(step + jitter)
    }

    /// What the final reply to a message says, which is counted.
    fn told(&self, reply: &str) -> Told {
        let code = reply.get(..9).unwrap_or(reply).to_owned();
        let mut counts = self.counts.lock().unwrap();
        *counts.replies.entry(code).or_default() += 1;
        match reply.as_bytes().first() {
            Some(b'2') => Told::Accepted,
            Some(b'4') => Told::Deferred,
            _ => Told::Refused,
        }
    }

    /// A number for this try of this message.
    fn of(&self, history: &History, purpose: &str, below: u64) -> u64 {
        let number = history.message * (MOST_TRIES + 1) + history.tries.len();
        self.plan.number(number as u64, purpose, below)
    }
}

/// A connection that is secured and logged in.
struct Session {
    lines: Lines<TlsStream<TcpStream>>,
    messages: usize,
    /// The gateway has said 421.
    is_over: bool,
}

impl Session {
    /// The one that is open, unless it has had its share; else a new one, if there is a way in.
    async fn at_hand(open: Option<Self>, load: &Load, number: usize) -> Option<Self> {
        match open {
            Some(open) if open.messages < MESSAGES_A_SESSION => return Some(open),
            Some(old) => old.quit().await,
            None => {}
        }
        let mut how_far = "refused connections";
        match Self::try_open(load, number, &mut how_far).await {
            Ok(session) => {
                load.counts.lock().unwrap().sessions += 1;
                Some(session)
            }
            Err(_) => {
                let mut counts = load.counts.lock().unwrap();
                *counts.no_session.entry(how_far).or_default() += 1;
                None
            }
        }
    }

    async fn try_open(load: &Load, number: usize, how_far: &mut &'static str) -> io::Result<Self> {
        let address = *load.service.lock().unwrap();
        let stream = TcpStream::connect(address).await?;
        if stream.local_addr()? == address {
            // On loopback, a connection to a port where nobody listens can be one with itself.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        *how_far = "cut off before the login";
        let mut clear = Lines::new(stream);
        clear.expect("220").await?;
        clear.send(b"EHLO client.example\r\n").await?;
        clear.expect("250").await?;
        clear.send(b"STARTTLS\r\n").await?;
        clear.expect("220").await?;
        let name = "localhost".try_into().unwrap();
        let stream = timeout(PATIENCE, load.tls.connect(name, clear.stream)).await??;
        let mut lines = Lines::new(stream);
        lines.send(b"EHLO client.example\r\n").await?;
        lines.expect("250").await?;
        let credentials = STANDARD.encode(format!("\0user-{}\0{PASSWORD}", number % ACCOUNTS));
        let auth = format!("AUTH PLAIN {credentials}\r\n");
        lines.send(auth.as_bytes()).await?;
        let reply = lines.reply().await?;
        if reply.starts_with('5') {
            load.counts.lock().unwrap().refused_logins.push(reply);
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !reply.starts_with("235") {
            *how_far = "454 at login";
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Self {
            lines,
            messages: 0,
            is_over: false,
        })
    }

    async fn submit(&mut self, load: &Load, history: &History) -> Try {
        self.messages += 1;
        let began = Instant::now();
        let patience = (load.of(history, "leaves", 1000) < LEAVING)
            .then(|| Duration::from_millis(load.of(history, "patience", 40)));
        let told = match self.transaction(history.message, patience).await {
            Ok(Some(reply)) => {
                self.is_over = reply.starts_with("421");
                load.told(&reply)
            }
            Ok(None) => Told::Left,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Told::Silence,
            Err(_) => Told::Broken,
        };
        self.is_over |= matches!(told, Told::Left | Told::Silence | Told::Broken);
        Try {
            began,
            ended: Instant::now(),
            told,
        }
    }

    /// The reply that decides; nothing where the client leaves without it.
    async fn transaction(
        &mut self,
        id: usize,
        patience: Option<Duration>,
    ) -> io::Result<Option<String>> {
        let mut commands = format!("MAIL FROM:<{}>\r\n", message::SENDER);
        for recipient in 0..message::RECIPIENTS {
            commands += &format!("RCPT TO:<{}>\r\n", message::address(id, recipient));
        }
        let in_a_chunk = id.is_multiple_of(4);
        let mut octets = commands.into_bytes();
        if in_a_chunk {
            let content = message::content(id);
            octets.extend_from_slice(format!("BDAT {} LAST\r\n", content.len()).as_bytes());
            octets.extend_from_slice(&content);
        } else {
            octets.extend_from_slice(b"DATA\r\n");
        }
        let written = self.lines.send(&octets).await;
        for _ in 0..=message::RECIPIENTS {
            let reply = self.lines.reply().await?;
            if !reply.starts_with('2') {
                return Ok(Some(reply));
            }
        }
        written?;
        if !in_a_chunk {
            let reply = self.lines.reply().await?;
            if !reply.starts_with("354") {
                return Ok(Some(reply));
            }
            self.lines.send(&message::mail_data(id)).await?;
        }
        match patience {
            None => self.lines.reply().await.map(Some),
            Some(patience) => match timeout(patience, self.lines.reply()).await {
                Ok(reply) => reply.map(Some),
                Err(_) => Ok(None),
            },
        }
    }

    async fn quit(mut self) {
        if self.lines.send(b"QUIT\r\n").await.is_ok() {
            let _ = self.lines.reply().await;
        }
    }
}

/// Octets out, replies in, each within a time.
struct Lines<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Lines<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        })
        .await?
    }

    async fn expect(&mut self, start: &str) -> io::Result<()> {
        let reply = self.reply().await?;
        match reply.starts_with(start) {
            true => Ok(()),
            false => Err(io::Error::other(reply)),
        }
    }

    /// The last line of the next reply.
    async fn reply(&mut self) -> io::Result<String> {
        loop {
            let line = self.line().await?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await??;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

const ACCOUNTS: usize = 16;
const MESSAGES_A_SESSION: usize = 25;
const MOST_TRIES: usize = 50;
/// Deferred messages of one client; with more it begins no others, so that one whose account has to
/// wait does not take all there are.
const MOST_WAITING: usize = 10;
/// Of a thousand tries, those that do not wait for the answer.
const LEAVING: u64 = 5;
const DOOR_CLOSED: Duration = Duration::from_millis(100);
/// Far more than the gateway's own deadlines.
const PATIENCE: Duration = Duration::from_secs(20);
