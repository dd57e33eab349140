//! T11, slow clients: with 10 000 connections allowed, 9 900 that send one octet a second do not
//! keep a well-behaved client from its 250 within 2 seconds. The release binary in a process of its
//! own, all limits in force; `make slow` runs it and prints what it measures.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets something unexpected has failed; this one prints what it measures"
)]
#![expect(
    dead_code,
    unused_imports,
    reason = "this target uses a part of the support only"
)]

mod support;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::api::FakeApi;
use crate::support::client::SmtpClient;
use crate::support::gateway::Certificate;
use crate::support::http::request;
use crate::support::process::{Process, command};

#[test]
fn slow_clients_keep_nobody_from_a_250() {
    let slow = as_many_as_descriptors_allow();
    let (api, certificate) = (FakeApi::start(), Certificate::new());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("gateway.toml"),
        settings(&certificate, &api),
    )
    .unwrap();
    let mut process = Process::start(command(folder.path()).args(["-c", "gateway.toml"]));
    let (starttls, implicit) = (process.listening("SMTP"), process.listening("SMTP"));
    let http = process.listening("HTTP");
    let metric = |name: &str| metric(&request(http, "GET", "/metrics").1, name);
    let memory = || metric("process_resident_memory_bytes");

    let well_behaved = || {
        let started = Instant::now();
        let mut client = SmtpClient::logged_in(starttls, certificate.client());
        let reply = client.submit(&["ann@example.net"], "Subject: x\r\n\r\nx\r\n");
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
        client.ask("QUIT", "221");
        started.elapsed()
    };
    let alone = well_behaved();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let crowd = Arc::new(Crowd {
        starttls,
        implicit,
        tls: TlsConnector::from(Arc::new(certificate.client())),
        may_drip: watch::Sender::new(false),
        logged_in: watch::Sender::new(0),
        dripping: watch::Sender::new(0),
        again: AtomicUsize::new(0),
        connecting: Semaphore::new(128),
    });
    let mut before = memory();
    // What each of so many costs that have come since the last time.
    let mut each = |count: usize| {
        let now = memory();
        let each = (now - before) / count as f64 / 1024.0;
        before = now;
        each
    };
    let start = |place: usize, kind: Kind| {
        let crowd = Arc::clone(&crowd);
        runtime.spawn(async move { crowd.stay(place, kind).await });
    };
    let third = slow / 3;
    (0..third).for_each(|place| start(place, Kind::MailData));
    runtime.block_on(reached(&crowd.logged_in, third));
    let session = each(third);
    crowd.may_drip.send_replace(true);
    runtime.block_on(reached(&crowd.dripping, third));
    let mail_data = each(third);
    (third..2 * third).for_each(|place| start(place, Kind::Command));
    runtime.block_on(reached(&crowd.dripping, 2 * third));
    let command = each(third);
    (2 * third..slow).for_each(|place| start(place, Kind::Handshake));
    runtime.block_on(reached(&crowd.dripping, slow));
    support::wait_until(|| metric("smtp_active_connections") > 0.99 * slow as f64);
    let handshake = each(slow - 2 * third);
    assert_limits_are_in_force(starttls);

    let mut pause = runtime.block_on(async { interval(Duration::from_millis(200)) });
    let mut message = || {
        runtime.block_on(pause.tick());
        well_behaved()
    };
    let times: Vec<_> = (0..MESSAGES).map(|_| message()).collect();
    let worst = times.iter().max().unwrap();
    let mean = times.iter().sum::<Duration>() / MESSAGES;
    let open = metric("smtp_active_connections");
    println!(
        "{slow} slow clients, {open} connections open, {} times cut off and back again\n\
         a message from connection to 250: {mean:.0?}, the worst of {MESSAGES} {worst:.0?}, {alone:.0?} \
         without them\n\
         the gateway has {:.0} MiB: {session:.0} KiB for an idle session under TLS, {mail_data:.0} KiB \
         more in mail data, {command:.0} KiB in a command in clear, {handshake:.0} KiB in a handshake",
        crowd.again.load(Ordering::SeqCst),
        memory() / f64::from(1 << 20),
    );
    assert!(
        open > 0.95 * slow as f64,
        "only {open} connections are open"
    );
    assert!(*worst < Duration::from_secs(2), "{times:?}");
    let most = slow as f64 * 32.0 * 1024.0;
    assert!(memory() < most, "more than 32 KiB for each of them");
    assert_eq!(api.recorded().len(), MESSAGES as usize + 1);
    runtime.shutdown_background();
}

/// Each is a descriptor here and one in the gateway, which inherits our limit.
fn as_many_as_descriptors_allow() -> usize {
    let allowed = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    if allowed < SLOW + DESCRIPTORS_BESIDES {
        let slow = allowed - DESCRIPTORS_BESIDES;
        println!("SKIPPED in part: {allowed} descriptors allow {slow} slow clients, not {SLOW}");
        return slow;
    }
    SLOW
}

fn settings(certificate: &Certificate, api: &FakeApi) -> String {
    format!(
        "[smtp]\nlisteners = [{{ host = \"127.0.0.1\", port = 0 }},\n\
         {{ host = \"127.0.0.1\", port = 0, tls = \"implicit\" }}]\n\
         [http]\nhost = \"127.0.0.1\"\nport = 0\n\
         [limits]\nconnections = 10000\nconnections_per_ip = 100\nexempt_networks = []\n\
         [tls]\ncert_path = {:?}\nkey_path = {:?}\n\
         [auth]\nsource = \"static\"\naccounts = [{{ name = \"ann\", password = \"secret\" }}]\n\
         [api]\nprovider = \"json\"\nurl = \"{}\"\n",
        certificate.chain(),
        certificate.key(),
        api.url()
    )
}

fn metric(text: &str, name: &str) -> f64 {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

/// The first hundred connections of an address are all there are.
fn assert_limits_are_in_force(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut open = Vec::new();
        loop {
            let mut stream = connect(address, 0).await.unwrap();
            let mut code = [0; 3];
            stream.read_exact(&mut code).await.unwrap();
            if code == *b"421" {
                return;
            }
            open.push(stream);
            assert!(open.len() < 100, "connections_per_ip is not in force");
        }
    });
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// In a command, before TLS.
    Command,
    /// In the handshake.
    Handshake,
    /// Logged in, in mail data.
    MailData,
}

/// The slow clients, and what they have in common.
struct Crowd {
    starttls: SocketAddr,
    implicit: SocketAddr,
    tls: TlsConnector,
    /// Whether who is logged in goes on to mail data.
    may_drip: watch::Sender<bool>,
    logged_in: watch::Sender<usize>,
    dripping: watch::Sender<usize>,
    /// How often one was cut off and came again.
    again: AtomicUsize,
    connecting: Semaphore,
}

impl Crowd {
    /// Comes again whenever it is cut off.
    async fn stay(&self, place: usize, kind: Kind) {
        loop {
            let ended = match kind {
                Kind::Command => self.command(place).await,
                Kind::Handshake => self.handshake(place).await,
                Kind::MailData => self.mail_data(place).await,
            };
            if ended.is_err() {
                self.again.fetch_add(1, Ordering::SeqCst);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn command(&self, place: usize) -> io::Result<()> {
        let permit = self.connecting.acquire().await;
        let mut stream = BufReader::new(connect(self.starttls, place).await?);
        expect(&mut stream, "220").await?;
        drop(permit);
        self.drip(&mut stream, b"EHLO a", b"a").await
    }

    async fn handshake(&self, place: usize) -> io::Result<()> {
        let mut stream = connect(self.implicit, place).await?;
        // The head of a ClientHello of 512 octets.
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        self.drip(&mut stream, &hello, b"x").await
    }

    async fn mail_data(&self, place: usize) -> io::Result<()> {
        let permit = self.connecting.acquire().await;
        let mut stream = self.log_in(place).await?;
        drop(permit);
        self.logged_in.send_modify(|count| *count += 1);
        let mut may_drip = self.may_drip.subscribe();
        may_drip
            .wait_for(|may| *may)
            .await
            .map_err(io::Error::other)?;
        for (line, reply) in [
            ("MAIL FROM:<app@example.com>", "250"),
            ("RCPT TO:<ann@example.net>", "250"),
            ("DATA", "354"),
        ] {
            ask(&mut stream, line, reply).await?;
        }
        self.drip(&mut stream, b"Subject: slow\r\n\r\n", b"slowly\r\n")
            .await
    }

    async fn log_in(&self, place: usize) -> io::Result<BufReader<TlsStream<TcpStream>>> {
        let mut clear = BufReader::new(connect(self.starttls, place).await?);
        expect(&mut clear, "220").await?;
        ask(&mut clear, "EHLO client.example", "250").await?;
        ask(&mut clear, "STARTTLS", "220").await?;
        let name = "localhost".try_into().map_err(io::Error::other)?;
        let stream = self.tls.connect(name, clear.into_inner()).await?;
        let mut stream = BufReader::new(stream);
        ask(&mut stream, "EHLO client.example", "250").await?;
        ask(&mut stream, "AUTH PLAIN AGFubgBzZWNyZXQ=", "235").await?;
        Ok(stream)
    }

    /// Sends the first octets, and the others again and again, one a second, until it is cut off.
    async fn drip(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        first: &[u8],
        then: &[u8],
    ) -> io::Result<()> {
        self.dripping.send_modify(|count| *count += 1);
        let mut octets = first.iter().chain(then.iter().cycle());
        let ended = loop {
            let octet = octets.next().copied().unwrap_or_default();
            let sent = stream.write_all(&[octet]).await;
            if let Err(error) = sent.and(stream.flush().await) {
                break error;
            }
            sleep(Duration::from_secs(1)).await;
        };
        self.dripping.send_modify(|count| *count -= 1);
        Err(ended)
    }
}

async fn reached(counter: &watch::Sender<usize>, count: usize) {
    let mut counter = counter.subscribe();
    let reached = timeout(PATIENCE, counter.wait_for(|now| *now >= count)).await;
    assert!(reached.is_ok(), "not {count} after {PATIENCE:?}");
}

/// From one of a hundred addresses of loopback.
async fn connect(to: SocketAddr, place: usize) -> io::Result<TcpStream> {
    let host = u8::try_from(place % 100).unwrap_or_default();
    let from = Ipv4Addr::new(127, 0, 1, 1 + host);
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ask(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    line: &str,
    start: &str,
) -> io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await?;
    expect(stream, start).await
}

/// Reads a whole reply, which must start so.
async fn expect(stream: &mut BufReader<impl AsyncRead + Unpin>, start: &str) -> io::Result<()> {
    loop {
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(stream, &mut line).await?;
        if !line.starts_with(start) {
            return Err(io::Error::other(line));
        }
        if line.as_bytes().get(3) == Some(&b' ') {
            return Ok(());
        }
    }
}

const SLOW: usize = 9_900;
const MESSAGES: u32 = 50;
const DESCRIPTORS_BESIDES: usize = 300;
/// For all of them to come, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(180);
