//! An HTTP/1.1 server for an API that a test invents, and a client that says just what it is told.
//!
//! The server reads requests and performs [`Play`]s; what a request means is its [`Api`]'s business.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;

/// What to do with one request.
#[derive(Clone)]
pub(crate) enum Play {
    /// What the API does by itself.
    Take,
    /// The same, but not before this has a permit.
    Held(Arc<Semaphore>),
    /// The same, and then close the connection, which the answer does not announce.
    TakeAndClose,
    /// The same, with the body of the answer octet by octet and this long between them.
    Drip(Duration),
    /// Answer with this status, these header lines (each with CRLF), and this body.
    Answer(u16, &'static str, String),
    /// Close without a word, once the request has been read whole.
    Reset,
    /// Close without a word, with the body of the request unread.
    ResetBeforeBody,
    /// Say nothing until the gateway gives up.
    Hang,
    /// The same, with the body of the request unread.
    HangBeforeBody,
    /// Write just these octets, and then say nothing until the gateway gives up.
    Stall(&'static str),
    /// Write these octets, and then blanks without end, one at a time.
    Endless(&'static str),
    /// Write just these octets, and close.
    Raw(&'static str),
    /// Send this many octets of body.
    LongAnswer(u64),
}

impl Play {
    pub(crate) fn answer(status: u16, body: &str) -> Self {
        Self::Answer(status, "", body.to_owned())
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Answer(
            status,
            "content-type: application/json\r\n",
            body.to_string(),
        )
    }
}

/// What a server does with its requests.
pub(crate) trait Api: Send + Sync + 'static {
    /// What is to happen to a request of which the head has come.
    fn play(&self, head: &Head) -> Play;

    /// Records a request, and gives the answer for [`Play::Take`].
    fn take(&self, request: Request) -> Play;
}

/// A request line with its header fields, as they came.
#[derive(Clone)]
pub(crate) struct Head(String);

impl Head {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn method(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// The parameters behind the path; nothing where they cannot be read.
    pub(crate) fn query(&self) -> Option<Vec<(String, String)>> {
        form(self.target().split_once('?').map_or("", |(_, query)| query))
    }

    fn target(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The media type, without its parameters.
    pub(crate) fn media_type(&self) -> &str {
        let value = self.field("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }
}

pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The value of the first field with this name.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.field(name).map(str::to_owned)
    }

    pub(crate) fn has_header(&self, line: &str) -> bool {
        let line = line.to_ascii_lowercase();
        self.head
            .text()
            .lines()
            .any(|found| found.to_ascii_lowercase() == line)
    }
}

/// Reads `application/x-www-form-urlencoded`; nothing where that is not what it is.
pub(crate) fn form(text: &str) -> Option<Vec<(String, String)>> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((form_value(name)?, form_value(value)?))
        })
        .collect()
}

fn form_value(text: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => octet,
            _ => return None,
        });
    }
    String::from_utf8(octets).ok()
}

/// A server on a free port of loopback, until it is dropped.
pub(crate) struct Server<A> {
    pub(crate) api: Arc<A>,
    address: SocketAddr,
    load: Arc<Load>,
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Default)]
struct Load {
    /// Requests that have been read and not answered.
    now: AtomicUsize,
    most: AtomicUsize,
    /// Connections that have been closed.
    closed: AtomicUsize,
}

impl<A: Api> Server<A> {
    pub(crate) fn start(api: A) -> Self {
        Self::start_instead_of(Nobody::new(), api)
    }

    /// The same, on a port that refused connections until now.
    pub(crate) fn start_instead_of(nobody: Nobody, api: A) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let socket = runtime.block_on(async { nobody.0.listen(128) }).unwrap();
        let address = socket.local_addr().unwrap();
        let (api, load) = (Arc::new(api), Arc::new(Load::default()));
        let serving = (Arc::clone(&api), Arc::clone(&load));
        let handle = runtime.handle().clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (api, load) = serving.clone();
                handle.spawn(async move {
                    serve(stream, &*api, &load).await;
                    load.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            api,
            address,
            load,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The most requests that there were at the same time, read and not answered.
    pub(crate) fn most_at_once(&self) -> usize {
        self.load.most.load(Ordering::SeqCst)
    }

    /// Connections that were closed, by whichever side.
    pub(crate) fn closed(&self) -> usize {
        self.load.closed.load(Ordering::SeqCst)
    }
}

impl<A> Drop for Server<A> {
    fn drop(&mut self) {
        // A request that hangs must not hold the test up.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Requests of one connection, until it breaks. `None` at its end.
async fn serve(mut stream: tokio::net::TcpStream, api: &impl Api, load: &Load) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let head = read_head(&mut stream, &mut received).await?;
        let play = api.play(&head);
        if let Play::ResetBeforeBody = play {
            return None;
        }
        if let Play::HangBeforeBody = play {
            std::future::pending::<()>().await;
        }
        let last = head.field("connection") == Some("close");
        let body = read_body(&mut stream, &head, &mut received).await?;
        let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
        load.most.fetch_max(now, Ordering::SeqCst);
        let taken = api.take(Request { head, body });
        if let Play::Held(held) = &play {
            held.acquire().await.ok()?.forget();
        }
        if let Play::Hang = play {
            std::future::pending::<()>().await;
        }
        // Before the answer: with it, the next request may come at once.
        load.now.fetch_sub(1, Ordering::SeqCst);
        match play {
            Play::Take | Play::Held(_) => write(&mut stream, taken).await?,
            Play::TakeAndClose => {
                write(&mut stream, taken).await?;
                return None;
            }
            Play::Drip(pause) => drip(&mut stream, taken, pause).await?,
            play => write(&mut stream, play).await?,
        }
        if last {
            return None;
        }
    }
}

/// Writes an answer. `None` where the connection ends with it.
async fn write(stream: &mut tokio::net::TcpStream, play: Play) -> Option<()> {
    match play {
        Play::Answer(status, fields, body) => {
            let answer = answer(status, fields, &body);
            stream.write_all(answer.as_bytes()).await.ok()
        }
        Play::Raw(octets) => {
            stream.write_all(octets.as_bytes()).await.ok()?;
            None
        }
        Play::Stall(octets) => {
            stream.write_all(octets.as_bytes()).await.ok()?;
            std::future::pending().await
        }
        Play::Endless(octets) => {
            stream.write_all(octets.as_bytes()).await.ok()?;
            loop {
                stream.write_all(b" ").await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Play::LongAnswer(octets) => {
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {octets}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            for _ in 0..octets / 65536 {
                stream.write_all(&[b' '; 65536]).await.ok()?;
            }
            None
        }
        Play::Take
        | Play::Held(_)
        | Play::TakeAndClose
        | Play::Drip(_)
        | Play::Reset
        | Play::ResetBeforeBody
        | Play::Hang
        | Play::HangBeforeBody => None,
    }
}

async fn drip(stream: &mut tokio::net::TcpStream, play: Play, pause: Duration) -> Option<()> {
    let Play::Answer(status, fields, body) = play else {
        return None;
    };
    let answer = answer(status, fields, &body);
    let (head, body) = answer.split_at(answer.len() - body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    for octet in body.bytes() {
        stream.write_all(&[octet]).await.ok()?;
        tokio::time::sleep(pause).await;
    }
    Some(())
}

fn answer(status: u16, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{fields}\r\n{body}")
}

async fn read_head(stream: &mut tokio::net::TcpStream, received: &mut Vec<u8>) -> Option<Head> {
    let end = loop {
        match received.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None if stream.read_buf(received).await.ok()? == 0 => return None,
            None => {}
        }
    };
    let head = String::from_utf8(received.drain(..end).collect()).ok()?;
    Some(Head(head))
}

/// A request without a length has no body (RFC 9112 §6.3).
async fn read_body(
    stream: &mut tokio::net::TcpStream,
    head: &Head,
    received: &mut Vec<u8>,
) -> Option<Vec<u8>> {
    assert!(
        head.field("transfer-encoding").is_none(),
        "the length of every body is told"
    );
    let length = head.field("content-length").unwrap_or("0");
    let length: usize = length.parse().expect("a length is a number");
    while received.len() < length {
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
    Some(received.drain(..length).collect())
}

/// A port of loopback that refuses connections. Nobody else gets it while this lives.
pub(crate) struct Nobody(TcpSocket);

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }
}

/// One HTTP/1.1 request without a body: status and body of the answer.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let (status, _, body) = full_request(address, method, path);
    (status, body)
}

/// The same, with the header of the answer.
pub(crate) fn full_request(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    request_with(address, method, path, "", "")
}

/// One request with these header lines, each with CRLF, and this body.
pub(crate) fn request_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
) -> (u16, String, String) {
    try_request(address, method, path, fields, body).expect("an HTTP answer")
}

/// The same, where there may be no answer.
pub(crate) fn try_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let length = match body.len() {
        0 => String::new(),
        octets => format!("content-length: {octets}\r\n"),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{length}{fields}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), body.to_owned()))
}
