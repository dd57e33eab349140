//! The side HTTP server: health, metrics and, with the sandbox, its inbox.

mod health;
mod inbox;
mod page;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::delivery::sandbox::Sandbox;
use crate::shutdown::{Readiness, Tasks};
use crate::telemetry::liveness::Liveness;
use crate::telemetry::metrics::Registry;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub host: IpAddr,
    pub port: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::UNSPECIFIED.into(),
            port: 8080,
        }
    }
}

impl Config {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// What the server tells about.
#[derive(Clone)]
pub struct State {
    pub registry: Registry,
    pub readiness: Readiness,
    pub liveness: Liveness,
    pub sandbox: Option<Arc<Sandbox>>,
}

/// Serves until `ends`, then finishes its answers for a moment.
///
/// Where all places are taken, who came first has to go: peers that say nothing keep no kubelet out.
pub async fn serve(socket: TcpListener, state: State, tasks: Tasks, ends: CancellationToken) {
    let router = router(state);
    // Each ends its connection when it is dropped.
    let mut places = VecDeque::<oneshot::Sender<()>>::new();
    loop {
        match ends.run_until_cancelled(socket.accept()).await {
            None => break,
            Some(Ok((stream, _))) => {
                places.retain(|place| !place.is_closed());
                if places.len() == CONNECTIONS {
                    places.pop_front();
                }
                let (place, taken) = oneshot::channel();
                places.push_back(place);
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_DEADLINE)
                    .serve_connection(
                        TokioIo::new(stream),
                        TowerToHyperService::new(router.clone()),
                    );
                tasks.spawn(async move {
                    // A client that breaks off, or stays for too long, has its own reasons.
                    tokio::select! {
                        _ = timeout(LIFETIME, connection) => {}
                        _ = taken => {}
                    }
                });
            }
            Some(Err(_)) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    tasks.drain(GOODBYE, GOODBYE).await;
}

fn router(state: State) -> Router {
    let State {
        registry,
        readiness,
        liveness,
        sandbox,
    } = state;
    let metrics = async move || ([(header::CONTENT_TYPE, EXPOSITION_FORMAT)], registry.text());
    let router = Router::new()
        .route("/health/live", get(async move || health::live(&liveness)))
        .route(
            "/health/ready",
            get(async move || health::ready(&readiness)),
        )
        .route("/metrics", get(metrics));
    match sandbox {
        Some(sandbox) => router.merge(inbox::router(sandbox)),
        None => router,
    }
}

/// A kubelet, a Prometheus, a person or two.
const CONNECTIONS: usize = 64;
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
const LIFETIME: Duration = Duration::from_secs(300);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const GOODBYE: Duration = Duration::from_secs(1);
const EXPOSITION_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
