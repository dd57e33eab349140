//! An email API over real HTTP that records what it gets and answers as it is told.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;

/// What to do with one request, once it has been read whole.
#[derive(Clone)]
pub(crate) enum Play {
    /// Answer with this status, these header lines (each with CRLF), and this body.
    Answer(u16, &'static str, String),
    /// Close without a word.
    Reset,
    /// Say nothing until the gateway gives up.
    Hang,
    /// Write just these octets, and close.
    Raw(&'static str),
    /// Take the message, but not before this has a permit.
    Held(Arc<Semaphore>),
    /// Send this many octets of body.
    LongAnswer(u64),
}

impl Play {
    pub(crate) fn answer(status: u16, body: &str) -> Self {
        Self::Answer(status, "", body.to_owned())
    }
}

pub(crate) struct Recorded {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Recorded {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The value of the first field with this name.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }

    pub(crate) fn has_header(&self, line: &str) -> bool {
        let line = line.to_ascii_lowercase();
        self.head
            .lines()
            .any(|found| found.to_ascii_lowercase() == line)
    }
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Play>>,
    recorded: Mutex<Vec<Arc<Recorded>>>,
    arrived: Condvar,
}

/// Takes every message, except where the script says otherwise.
pub(crate) struct FakeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl FakeApi {
    pub(crate) fn start() -> Self {
        Self::play([])
    }

    /// Plays the script, one entry a request, then takes everything.
    pub(crate) fn play(script: impl IntoIterator<Item = Play>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self::playing(script, socket)
    }

    /// Takes every message, on a socket that was bound before.
    pub(crate) fn on(socket: TcpSocket) -> Self {
        Self::playing([], socket)
    }

    fn playing(script: impl IntoIterator<Item = Play>, socket: TcpSocket) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let socket = runtime.block_on(async { socket.listen(128) }).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into_iter().collect()),
            ..Shared::default()
        });
        let serving = Arc::clone(&shared);
        let handle = runtime.handle().clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let shared = Arc::clone(&serving);
                handle.spawn(async move { serve(stream, &shared).await });
            }
        });
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn recorded(&self) -> Vec<Arc<Recorded>> {
        self.shared.recorded.lock().unwrap().clone()
    }

    /// Waits until that many requests have come.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Arc<Recorded>> {
        let recorded = self.shared.recorded.lock().unwrap();
        let (recorded, waited) = self
            .shared
            .arrived
            .wait_timeout_while(recorded, Duration::from_secs(20), |all| all.len() < count)
            .unwrap();
        assert!(
            !waited.timed_out(),
            "{} of {count} requests came",
            recorded.len()
        );
        recorded.clone()
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        // A request that hangs must not hold the test up.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Requests of one connection, until it breaks. `None` at its end.
async fn serve(mut stream: tokio::net::TcpStream, shared: &Shared) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let request = read_request(&mut stream, &mut received).await?;
        let number = {
            let mut recorded = shared.recorded.lock().unwrap();
            recorded.push(Arc::new(request));
            shared.arrived.notify_all();
            recorded.len()
        };
        let play = shared.script.lock().unwrap().pop_front();
        let taken = || Play::answer(202, &format!("{{\"message_id\":\"api-{number}\"}}"));
        let play = match play {
            None => taken(),
            Some(Play::Held(held)) => {
                held.acquire().await.ok()?.forget();
                taken()
            }
            Some(play) => play,
        };
        match play {
            Play::Answer(status, fields, body) => {
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{fields}\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.ok()?;
            }
            Play::Reset => return None,
            Play::Hang | Play::Held(_) => std::future::pending().await,
            Play::Raw(octets) => {
                stream.write_all(octets.as_bytes()).await.ok()?;
                return None;
            }
            Play::LongAnswer(octets) => {
                let head = format!("HTTP/1.1 200 X\r\ncontent-length: {octets}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                for _ in 0..octets / 65536 {
                    stream.write_all(&[b' '; 65536]).await.ok()?;
                }
                return None;
            }
        }
    }
}

async fn read_request(
    stream: &mut tokio::net::TcpStream,
    received: &mut Vec<u8>,
) -> Option<Recorded> {
    let head_end = loop {
        match received.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None if stream.read_buf(received).await.ok()? == 0 => return None,
            None => {}
        }
    };
    let head = String::from_utf8(received.drain(..head_end).collect()).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let length: usize = length.expect("every request has a Content-Length");
    while received.len() < length {
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
    let body = received.drain(..length).collect();
    Some(Recorded { head, body })
}

/// One HTTP/1.1 request without a body: status and body of the answer.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let (status, _, body) = full_request(address, method, path);
    (status, body)
}

/// The same, with the header of the answer.
pub(crate) fn full_request(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}
