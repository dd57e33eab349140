//! The loop over [`Client::step`] on a socket. Every wait has its deadline (RFC 5321 §4.5.3.2), and
//! what the server says is read while it is written to.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cli::send::report::Report;
use crate::smtp::address::AddressLiteral;
use crate::smtp::client::{Client, Ending, Message, Settings, Step, Tls, Wait};
use crate::smtp::sasl::Credentials;

pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) name: ServerName<'static>,
    pub(super) tls: Tls,
    pub(super) tls_config: Arc<ClientConfig>,
    pub(super) credentials: Option<Credentials>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("no connection to {host} port {port}: {error}")]
    Connect {
        host: String,
        port: u16,
        error: io::Error,
    },
    #[error("no TLS with the server: {0}")]
    Tls(io::Error),
    #[error("the server did not answer in time")]
    TimedOut,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
}

/// Connects, and sends the messages over one session.
///
/// # Errors
/// [`ConnectionError`] when the session did not come to an end of its own.
pub(super) async fn converse(
    target: Target,
    mut messages: impl Iterator<Item = Message>,
    report: &mut Report,
) -> Result<Ending, ConnectionError> {
    let mut stream = connect(&target).await?;
    if target.tls == Tls::Established {
        stream = stream.into_tls(&target, report).await?;
    }
    let mut client = Client::new(Settings {
        hostname: stream.greeting_name().map_err(ConnectionError::Broken)?,
        tls: target.tls,
        credentials: target.credentials.clone(),
    });
    let mut waiting_since = Instant::now();
    let mut buffer = vec![0; BUFFER];
    loop {
        match client.step() {
            Step::Tell(line) => report.line(&line),
            Step::Send(octets) => {
                let written = stream.write(&octets, &mut buffer, &mut client);
                match in_time(timeout(SEND_PATIENCE, written).await) {
                    // It has left, and may have said why.
                    Err(ConnectionError::Broken(_)) => {
                        hear(&mut stream, &mut buffer, &mut client, Instant::now()).await?;
                    }
                    written => written?,
                }
                waiting_since = Instant::now();
            }
            Step::Receive => hear(&mut stream, &mut buffer, &mut client, waiting_since).await?,
            Step::StartTls => {
                stream = stream.into_tls(&target, report).await?;
                client.tls_established();
            }
            Step::Settled(answers) => report.settled(&answers),
            Step::Ready => match messages.next() {
                Some(message) => client.submit(message),
                None => client.quit(),
            },
            Step::Close(ending) => {
                stream.close().await;
                return Ok(ending);
            }
        }
    }
}

async fn connect(target: &Target) -> Result<Stream, ConnectionError> {
    let connecting = TcpStream::connect((target.host.as_str(), target.port));
    let connected = timeout(CONNECT_PATIENCE, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    match connected {
        Ok(stream) => Ok(Stream::Clear(stream)),
        Err(error) => Err(ConnectionError::Connect {
            host: target.host.clone(),
            port: target.port,
            error,
        }),
    }
}

/// Waits for what comes next.
async fn hear(
    stream: &mut Stream,
    buffer: &mut [u8],
    client: &mut Client,
    waiting_since: Instant,
) -> Result<(), ConnectionError> {
    let deadline = waiting_since + patience(client.waiting_for());
    match in_time(timeout_at(deadline, stream.read(buffer)).await)? {
        0 => client.disconnected(),
        read => client.receive(buffer.get(..read).unwrap_or_default()),
    }
    Ok(())
}

fn in_time<T, E>(result: Result<io::Result<T>, E>) -> Result<T, ConnectionError> {
    match result {
        Ok(Ok(value)) => Ok(value),
        // A certificate or a record that rustls does not take shows up here, too.
        Ok(Err(error)) if is_tls(&error) => Err(ConnectionError::Tls(error)),
        Ok(Err(error)) => Err(ConnectionError::Broken(error)),
        Err(_) => Err(ConnectionError::TimedOut),
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | UnexpectedEof)
}

fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|source| source.is::<rustls::Error>())
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn into_tls(self, target: &Target, report: &Report) -> Result<Self, ConnectionError> {
        let Self::Clear(stream) = self else {
            return Ok(self);
        };
        let connector = TlsConnector::from(Arc::clone(&target.tls_config));
        let handshake = connector.connect(target.name.clone(), stream);
        let stream = in_time(timeout(HANDSHAKE_PATIENCE, handshake).await)?;
        report.tls(&description(&stream));
        Ok(Self::Tls(Box::new(stream)))
    }

    /// What to say in EHLO: a client has an address, and rarely a name (RFC 5321 §4.1.4).
    fn greeting_name(&self) -> io::Result<String> {
        let socket = match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let address: IpAddr = socket.local_addr()?.ip();
        Ok(AddressLiteral::from(address).to_string())
    }

    /// How many octets came; none at the end. Many servers leave without saying so under TLS, and a
    /// reset is an end, too.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::Clear(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        };
        match read {
            Err(error) if is_end(&error) => Ok(0),
            read => read,
        }
    }

    /// Writes, and hands over what comes meanwhile, as far as the buffer has room for it.
    async fn write(
        &mut self,
        octets: &[u8],
        buffer: &mut [u8],
        client: &mut Client,
    ) -> io::Result<()> {
        match self {
            Self::Clear(stream) => write(stream, octets, buffer, client).await,
            Self::Tls(stream) => write(stream, octets, buffer, client).await,
        }
    }

    async fn close(mut self) {
        let goodbye = async {
            match &mut self {
                Self::Clear(stream) => stream.shutdown().await,
                Self::Tls(stream) => stream.shutdown().await,
            }
        };
        // A server that does not listen any more has left already.
        let _ = timeout(GOODBYE_PATIENCE, goodbye).await;
    }
}

async fn write(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    octets: &[u8],
    mut buffer: &mut [u8],
    client: &mut Client,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut writing = pin!(async {
        writer.write_all(octets).await?;
        writer.flush().await
    });
    loop {
        tokio::select! {
            written = &mut writing => return written,
            read = reader.read(buffer), if !buffer.is_empty() => {
                // The end, and what went wrong, are met again where nothing is left but to read.
                let (heard, room) = buffer.split_at_mut(read.unwrap_or(0));
                client.receive(heard);
                buffer = if heard.is_empty() { &mut [] } else { room };
            }
        }
    }
}

/// `TLS 1.3, X25519MLKEM768`
fn description(stream: &TlsStream<TcpStream>) -> String {
    let (_, connection) = stream.get_ref();
    let mut text = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        other => format!("TLS {other:?}"),
    };
    if let Some(group) = connection.negotiated_key_exchange_group() {
        text.push_str(&format!(", {:?}", group.name()));
    }
    text
}

fn patience(wait: Wait) -> Duration {
    match wait {
        Wait::Reply => REPLY_PATIENCE,
        Wait::EndOfData => END_OF_DATA_PATIENCE,
    }
}

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(30);
/// RFC 5321 §4.5.3.2.1 to .3; more than .4 wants.
const REPLY_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// RFC 5321 §4.5.3.2.6.
const END_OF_DATA_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// RFC 5321 §4.5.3.2.5, for each [`Step::Send`].
const SEND_PATIENCE: Duration = Duration::from_secs(3 * 60);
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);
const BUFFER: usize = 4 << 10;
