//! A connection's octets, in clear or under TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Does the handshake.
    ///
    /// # Errors
    /// When the peer does not speak TLS.
    pub(super) async fn into_tls(self, tls: Arc<ServerConfig>) -> io::Result<Self> {
        let Self::Clear(stream) = self else {
            return Ok(self);
        };
        let stream = TlsAcceptor::from(tls).accept(stream).await?;
        Ok(Self::Tls(Box::new(stream)))
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }

    pub(super) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.write_all(octets).await,
            Self::Tls(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
        }
    }

    /// Ends our side, then waits a little for the peer to end its own: closing over octets that
    /// nobody read would reset the connection, and the last reply with it.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            match &mut self {
                Self::Clear(stream) => stream.shutdown().await?,
                Self::Tls(stream) => stream.shutdown().await?,
            }
            let mut unread = [0; 1024];
            for _ in 0..UNREAD_AT_CLOSE {
                if self.read(&mut unread).await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        // A peer that does not listen any more has left already.
        let _ = timeout(GOODBYE_DEADLINE, goodbye).await;
    }
}

const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);
/// In KiB.
const UNREAD_AT_CLOSE: usize = 256;
