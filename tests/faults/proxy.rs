//! The way to the API: a TCP proxy that tells exchanges apart, and does to each what the plan says.
//!
//! It knows which answers reached the gateway whole and in time, and so which outcomes the gateway
//! cannot know.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::faults::plan::{Fault, Plan};

pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Handle,
    /// Ends the listener and all connections.
    stop: CancellationToken,
    state: State,
}

enum State {
    Up(JoinHandle<()>),
    /// The port, which refuses connections.
    Down(Option<TcpSocket>),
}

struct Shared {
    plan: Plan,
    api: Mutex<SocketAddr>,
    exchanges: AtomicU64,
    /// How long it took until the answer had reached the gateway whole.
    answered: Mutex<HashMap<u64, Duration>>,
}

impl Proxy {
    pub(crate) fn start(runtime: &Handle, plan: Plan, api: SocketAddr) -> Self {
        let socket = bound("127.0.0.1:0".parse().unwrap());
        let mut proxy = Self {
            address: socket.local_addr().unwrap(),
            shared: Arc::new(Shared {
                plan,
                api: Mutex::new(api),
                exchanges: AtomicU64::new(0),
                answered: Mutex::default(),
            }),
            runtime: runtime.clone(),
            stop: CancellationToken::new(),
            state: State::Down(Some(socket)),
        };
        proxy.up(api);
        proxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks all connections, and refuses new ones.
    pub(crate) fn down(&mut self) {
        self.stop.cancel();
        if let State::Up(accepting) = std::mem::replace(&mut self.state, State::Down(None)) {
            self.runtime.block_on(accepting).unwrap();
        }
        self.state = State::Down(Some(bound(self.address)));
    }

    pub(crate) fn up(&mut self, api: SocketAddr) {
        *self.shared.api.lock().unwrap() = api;
        self.stop = CancellationToken::new();
        if let State::Down(socket) = &mut self.state {
            let socket = socket.take().unwrap();
            let _context = self.runtime.enter();
            let listener = socket.listen(1024).unwrap();
            let serving = accept(listener, Arc::clone(&self.shared), self.stop.clone());
            self.state = State::Up(self.runtime.spawn(serving));
        }
    }

    /// How many exchanges have met this.
    pub(crate) fn played(&self, fault: Fault) -> u64 {
        let exchanges = 0..self.shared.exchanges.load(Ordering::SeqCst);
        let met = exchanges.filter(|number| self.shared.plan.fault(*number) == fault);
        met.count() as u64
    }

    /// What the gateway cannot know of an exchange that the API has taken; nothing where it has had
    /// the answer. `soon` is the time that every call has.
    pub(crate) fn unclear(&self, exchange: u64, soon: Duration) -> Option<&'static str> {
        match self.shared.plan.fault(exchange) {
            Fault::Error500Taken => return Some("500"),
            Fault::Error502Taken => return Some("502"),
            _ => {}
        }
        match self.shared.answered.lock().unwrap().get(&exchange) {
            Some(after) if *after < soon => None,
            Some(_) => Some("late answer"),
            None => Some(match self.shared.plan.fault(exchange) {
                Fault::ResetAfter => "reset",
                Fault::HangAfter => "hang",
                Fault::HalfAnswer => "half answer",
                Fault::HalfClosed => "half close",
                Fault::EndlessDrip => "endless drip",
                _ => "restart",
            }),
        }
    }
}

/// A port that refuses connections, and can be had again while old ones still fade away.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    while let Some(Ok((near, _))) = stop.run_until_cancelled(listener.accept()).await {
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        Handle::current().spawn(async move {
            let _ = stop.run_until_cancelled(serve(near, &shared)).await;
        });
    }
}

/// The exchanges of one connection, until it breaks.
async fn serve(near: TcpStream, shared: &Shared) -> io::Result<()> {
    let api = *shared.api.lock().unwrap();
    let mut near = Peer::new(near)?;
    let mut far = Peer::new(TcpStream::connect(api).await?)?;
    loop {
        let (head, length) = near.head().await?;
        let number = shared.exchanges.fetch_add(1, Ordering::SeqCst);
        exchange(number, head, length, &mut near, &mut far, shared).await?;
    }
}

/// One request and its answer. An error is the end of the connection.
async fn exchange(
    number: u64,
    head: Vec<u8>,
    length: usize,
    near: &mut Peer,
    far: &mut Peer,
    shared: &Shared,
) -> io::Result<()> {
    let (plan, began) = (shared.plan, Instant::now());
    let fault = plan.fault(number);
    let any = |below: usize| plan.number(number, "place", below as u64) as usize;
    let mut request = head;
    request.truncate(request.len() - 2);
    request.extend_from_slice(format!("x-exchange: {number}\r\n\r\n").as_bytes());

    if fault == Fault::ResetBefore {
        let part = any(request.len() + length);
        if part > request.len() {
            let body = near.take(part - request.len()).await?;
            request.extend_from_slice(&body);
        }
        far.send(&request[..part.min(request.len())]).await?;
        return near.reset();
    }
    request.extend_from_slice(&near.take(length).await?);
    match fault {
        Fault::HangBefore => return near.gone().await,
        Fault::Latency => sleep(Duration::from_millis(20 + any(130) as u64)).await,
        _ => {}
    }
    let slices = fault == Fault::Slices;
    far.send_in(
        &request,
        if slices {
            request.len() / 20
        } else {
            usize::MAX
        },
    )
    .await?;
    if fault == Fault::HalfClosed {
        near.stream.shutdown().await?;
    }
    let (mut answer, length) = far.head().await?;
    answer.extend_from_slice(&far.take(length).await?);
    match fault {
        Fault::ResetAfter => return near.reset(),
        Fault::HangAfter => return near.gone().await,
        Fault::HalfClosed => return Err(io::ErrorKind::BrokenPipe.into()),
        Fault::HalfAnswer => {
            near.send(&answer[..any(answer.len())]).await?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Fault::EndlessDrip => near.drip(&answer, Duration::from_millis(500)).await?,
        Fault::Drip => near.drip(&answer, Duration::from_micros(800)).await?,
        Fault::Slices => near.send_in(&answer, 7).await?,
        _ => near.send(&answer).await?,
    }
    shared
        .answered
        .lock()
        .unwrap()
        .insert(number, began.elapsed());
    match fault {
        Fault::ClosedAfter => Err(io::ErrorKind::ConnectionAborted.into()),
        _ => Ok(()),
    }
}

/// One end of a connection, with what was read and not used.
struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// A head with its empty line, and the octets of the body behind it.
    async fn head(&mut self) -> io::Result<(Vec<u8>, usize)> {
        let mut searched = 0;
        let end = loop {
            let unsearched = &self.received[searched..];
            if let Some(at) = unsearched.windows(4).position(|four| four == b"\r\n\r\n") {
                break searched + at + 4;
            }
            searched = self.received.len().saturating_sub(3);
            self.read().await?;
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().unwrap());
        Ok((head, length))
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.received.len() < length {
            self.read().await?;
        }
        Ok(self.received.drain(..length).collect())
    }

    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await
    }

    /// Pieces of about this size, each a segment of its own.
    async fn send_in(&mut self, octets: &[u8], size: usize) -> io::Result<()> {
        for piece in octets.chunks(size.max(1)) {
            self.stream.write_all(piece).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn drip(&mut self, octets: &[u8], pause: Duration) -> io::Result<()> {
        for octet in octets.chunks(1) {
            self.stream.write_all(octet).await?;
            sleep(pause).await;
        }
        Ok(())
    }

    /// RST in place of the orderly end, also where octets are still unread.
    fn reset(&self) -> io::Result<()> {
        self.stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }

    /// Says nothing until the peer has had enough.
    async fn gone(&mut self) -> io::Result<()> {
        loop {
            self.read().await?;
        }
    }
}
