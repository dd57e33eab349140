//! An SMTP client that says just what it is told, over a real socket and real TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, StreamOwned};

enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    None,
}

pub(crate) struct SmtpClient {
    stream: Stream,
    received: Vec<u8>,
}

impl SmtpClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: Stream::Clear(stream),
            received: Vec::new(),
        }
    }

    /// Connects, and says EHLO, STARTTLS and EHLO.
    pub(crate) fn secured(address: SocketAddr, tls: ClientConfig) -> Self {
        let mut client = Self::connect(address);
        client.expect("220");
        client.ask("EHLO client.example", "250");
        client.ask("STARTTLS", "220 2.0.0");
        client.start_tls(tls);
        client.ask("EHLO client.example", "250");
        client
    }

    /// The same, and logs in as `ann`, whose password is `secret`.
    pub(crate) fn logged_in(address: SocketAddr, tls: ClientConfig) -> Self {
        let mut client = Self::secured(address, tls);
        client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "235 2.7.0");
        client
    }

    /// Says AUTH PLAIN, and gives the reply.
    pub(crate) fn authenticate(&mut self, user: &str, password: &str) -> String {
        let credentials = STANDARD.encode(format!("\0{user}\0{password}"));
        self.send(format!("AUTH PLAIN {credentials}\r\n"));
        self.reply()
    }

    /// Does the handshake. What came in clear before it must have been read.
    pub(crate) fn start_tls(&mut self, config: ClientConfig) {
        self.try_start_tls(config).expect("the handshake succeeds");
    }

    pub(crate) fn try_start_tls(&mut self, config: ClientConfig) -> std::io::Result<()> {
        self.start_tls_behind(&[], config)
    }

    /// The same, with these octets and the `ClientHello` in one write.
    pub(crate) fn start_tls_behind(
        &mut self,
        octets: &[u8],
        config: ClientConfig,
    ) -> std::io::Result<()> {
        assert!(
            self.received.is_empty(),
            "octets behind the reply to STARTTLS"
        );
        let Stream::Clear(mut socket) = std::mem::replace(&mut self.stream, Stream::None) else {
            panic!("TLS is active already");
        };
        let name = "localhost".try_into().unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut first = octets.to_vec();
        tls.write_tls(&mut first)?;
        socket.write_all(&first)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        self.stream = Stream::Tls(Box::new(StreamOwned::new(tls, socket)));
        Ok(())
    }

    pub(crate) fn tls_version(&self) -> Option<ProtocolVersion> {
        self.tls()?.protocol_version()
    }

    pub(crate) fn key_exchange(&self) -> Option<NamedGroup> {
        Some(self.tls()?.negotiated_key_exchange_group()?.name())
    }

    fn tls(&self) -> Option<&ClientConnection> {
        match &self.stream {
            Stream::Tls(stream) => Some(&stream.conn),
            Stream::Clear(_) | Stream::None => None,
        }
    }

    pub(crate) fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.try_send(octets.as_ref()).expect("the gateway listens");
    }

    pub(crate) fn try_send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Clear(stream) => stream.write_all(octets),
            Stream::Tls(stream) => {
                stream.write_all(octets)?;
                stream.flush()
            }
            Stream::None => panic!("no connection"),
        }
    }

    /// Sends a line, and expects a reply that starts so.
    pub(crate) fn ask(&mut self, line: &str, start: &str) -> String {
        self.send(format!("{line}\r\n"));
        let reply = self.reply();
        assert!(
            reply.starts_with(start),
            "{line}: {reply:?} is not {start:?}"
        );
        reply
    }

    pub(crate) fn expect(&mut self, start: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(start), "{reply:?} is not {start:?}");
        reply
    }

    /// The next whole reply, with its line breaks.
    pub(crate) fn reply(&mut self) -> String {
        self.try_reply().expect("a reply")
    }

    /// The same, or nothing where the stream ends before.
    pub(crate) fn try_reply(&mut self) -> Option<String> {
        let mut reply = String::new();
        loop {
            let line = self.line()?;
            let last = line.as_bytes().get(3) == Some(&b' ');
            reply.push_str(&line);
            reply.push_str("\r\n");
            if last {
                return Some(reply);
            }
        }
    }

    /// The next line without its line break, or nothing at the end of the stream.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if self.read() == 0 {
                return None;
            }
        }
    }

    /// The next line in clear, if it comes in this time.
    pub(crate) fn line_within(&mut self, patience: Duration) -> Option<String> {
        let Stream::Clear(stream) = &mut self.stream else {
            panic!("this is for a connection in clear");
        };
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 512];
        let read = stream.read(&mut buffer).unwrap_or(0);
        self.received.extend_from_slice(&buffer[..read]);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if read == 0 { None } else { self.line() }
    }

    /// Expects that nothing more comes, and that the gateway closes.
    pub(crate) fn expect_end(&mut self) {
        while self.read() > 0 {}
        let rest = String::from_utf8_lossy(&self.received);
        assert!(rest.is_empty(), "before the end came {rest:?}");
    }

    fn read(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let read = match &mut self.stream {
            Stream::Clear(stream) => stream.read(&mut buffer),
            Stream::Tls(stream) => stream.read(&mut buffer),
            Stream::None => panic!("no connection"),
        };
        match read {
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                count
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the gateway says nothing")
            }
            // Reset, or an end without close_notify.
            Err(_) => 0,
        }
    }

    /// Starts a transaction, up to the reply to DATA.
    pub(crate) fn begin(&mut self, recipients: &[&str]) {
        self.address(recipients);
        self.ask("DATA", "354");
    }

    /// Starts a transaction, up to the reply to the last RCPT.
    pub(crate) fn address(&mut self, recipients: &[&str]) {
        self.ask("MAIL FROM:<app@example.com>", "250 2.1.0");
        for recipient in recipients {
            self.ask(&format!("RCPT TO:<{recipient}>"), "250 2.1.5");
        }
    }

    /// Sends a message in chunks of this size, all at once, and gives the reply to the last one.
    pub(crate) fn submit_in_chunks(
        &mut self,
        recipients: &[&str],
        content: &[u8],
        size: usize,
    ) -> String {
        self.address(recipients);
        let mut octets = Vec::new();
        for chunk in content.chunks(size) {
            octets.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
            octets.extend_from_slice(chunk);
        }
        octets.extend_from_slice(b"BDAT 0 LAST\r\n");
        self.send(octets);
        for chunk in content.chunks(size) {
            self.expect(&format!("250 2.0.0 {} octets received", chunk.len()));
        }
        self.reply()
    }

    /// Sends a message and gives the reply to its end. The content is dot-stuffed.
    pub(crate) fn submit(&mut self, recipients: &[&str], content: &str) -> String {
        self.begin(recipients);
        self.send(smtp_gateway::smtp::framing::stuff(content.as_bytes()));
        self.send(".\r\n");
        self.reply()
    }
}

/// Longer than anything takes here; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
