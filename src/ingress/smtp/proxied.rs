//! Reads the header of a connection that a load balancer has opened for a client: in time, and not an
//! octet more.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use crate::ingress::smtp::Metrics;
use crate::ingress::smtp::proxy_protocol::{HeaderError, Progress, Source, parse};

/// What the header says. Nothing where there is none to be believed: then there is nobody to talk
/// to.
pub(super) async fn header(
    stream: &mut TcpStream,
    proxy: IpAddr,
    metrics: &Metrics,
) -> Option<Source> {
    let read = timeout(DEADLINE, read(stream)).await;
    let fault = match read.unwrap_or(Err(Fault::TimedOut)) {
        Ok(source) => return source,
        Err(fault) => fault.label(),
    };
    metrics.proxy_faults.with_label_values(&[fault]).inc();
    debug!("proxy.addr" = %proxy, "proxy.fault" = fault, "no PROXY header that can be believed");
    None
}

/// Nothing where the peer left without a word, as probes do.
async fn read(stream: &mut TcpStream) -> Result<Option<Source>, Fault> {
    let mut octets = Vec::new();
    loop {
        let more = match parse(&octets).map_err(Fault::Header)? {
            Progress::Done { source, .. } => return Ok(Some(source)),
            Progress::NeedMore(more) => more as u64,
        };
        match stream.take(more).read_buf(&mut octets).await {
            Ok(1..) => {}
            Ok(0) | Err(_) if octets.is_empty() => return Ok(None),
            Ok(0) | Err(_) => return Err(Fault::BrokenOff),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Header(HeaderError),
    TimedOut,
    /// The peer left within the header.
    BrokenOff,
}

impl Fault {
    const fn label(self) -> &'static str {
        match self {
            Self::Header(HeaderError::Missing) => "missing",
            Self::Header(HeaderError::Malformed) => "malformed",
            Self::Header(HeaderError::TooLong) => "too_long",
            Self::TimedOut => "timed_out",
            Self::BrokenOff => "broken_off",
        }
    }
}

/// For the metric, in the order of the enums.
pub(super) const FAULTS: [&str; 5] = [
    Fault::Header(HeaderError::Missing).label(),
    Fault::Header(HeaderError::Malformed).label(),
    Fault::Header(HeaderError::TooLong).label(),
    Fault::TimedOut.label(),
    Fault::BrokenOff.label(),
];

/// The header is the first that a balancer sends, and comes in one piece.
const DEADLINE: Duration = Duration::from_secs(5);
