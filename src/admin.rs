//! The side HTTP server: health, metrics and, with the sandbox, its inbox.

mod health;
mod inbox;
mod page;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::delivery::sandbox::Sandbox;
use crate::shutdown::Readiness;
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

/// Serves until `stop`.
///
/// # Errors
/// When the socket breaks.
pub async fn serve(
    socket: TcpListener,
    state: State,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(socket, router(state))
        .with_graceful_shutdown(stop)
        .await
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

const EXPOSITION_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
