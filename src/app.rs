//! The composition root: settings to bound sockets to tasks to a drained exit.

mod reload;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin;
use crate::app::reload::Reload;
use crate::auth::{self, AuthError, Authenticator};
use crate::config::Config;
use crate::config::sources::Sources;
use crate::delivery::http::{self, Http};
use crate::delivery::sandbox::{self, Sandbox};
use crate::delivery::{Backend, BackendName};
use crate::ingress::smtp::listener::{Connections, Listener};
use crate::ingress::smtp::{ListenerConfig, Metrics, Service};
use crate::shutdown::{self, Latch, Readiness, Tasks};
use crate::smtp::session;
use crate::submission::limits::Limits;
use crate::submission::senders::Senders;
use crate::submission::{Intake, budget};
use crate::telemetry::liveness::Liveness;
use crate::telemetry::logging::Level;
use crate::telemetry::metrics::Registry;
use crate::tls;
use crate::tls::reload::Watcher;
use crate::units::ByteSize;

/// A gateway whose sockets are bound. It serves when it runs.
pub struct App {
    listeners: Vec<Listener>,
    http: TcpListener,
    service: Arc<Service>,
    certificate_watcher: Option<Watcher>,
    reload: Option<Reload>,
    config: Config,
    sandbox: Option<Arc<Sandbox>>,
    registry: Registry,
    readiness: Readiness,
    bound: Latch,
    tasks: Tasks,
    drain: shutdown::Config,
    /// How long a delivery may take.
    delivery: Duration,
}

impl App {
    /// Builds all parts and binds all sockets. Connections wait in them until [`App::run`].
    ///
    /// # Errors
    /// What cannot be built or bound, in one line.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let registry = Registry::with_process();
        registry.info(
            "smtp_gateway_build_info",
            "The program's version",
            "version",
            env!("CARGO_PKG_VERSION"),
        );
        let readiness = Readiness::default();
        let bound = readiness.latch();
        let hostname = hostname(&config);
        let (backend, sandbox) = backend(&config, &registry)?;
        let (tls, certificate_watcher) = match config.uses_tls() {
            true => {
                let tls = tls::Server::new(&config.tls, &hostname, &registry)?;
                (Some(tls.settings), tls.watcher)
            }
            false => (None, None),
        };
        let given = config.clone();
        let config = within_memory(config);
        let authenticator = authenticator(&config, &registry)?;
        let settings = session_settings(&config, hostname.clone(), backend.copies(2));
        let intake = Intake::new(
            backend,
            config.limits.clone(),
            Senders::new(&config.policy)?,
            &config.delivery,
            hostname,
            &registry,
        );
        let mut listeners = Vec::new();
        for listener in config.smtp.listeners() {
            listeners.push(bind(listener)?);
        }
        let http = config.http.address();
        let http = TcpListener::bind(http)
            .await
            .with_context(|| format!("cannot listen on {http} for HTTP (http.port, HTTP_PORT)"))?;
        Ok(Self {
            listeners,
            http,
            service: Arc::new(Service {
                settings: ArcSwap::from_pointee(settings),
                tls,
                authenticator,
                intake: Arc::new(intake),
                metrics: Metrics::new(&registry),
            }),
            certificate_watcher,
            reload: None,
            config: given,
            sandbox,
            tasks: Tasks::new(&registry),
            registry,
            readiness,
            bound,
            drain: config.drain,
            delivery: config.delivery.deadline.duration(),
        })
    }

    /// Looks for other settings while it runs, in the sources that it was given these from.
    #[must_use]
    pub fn reloading(mut self, sources: Sources, level: Level) -> Self {
        let config = self.config.clone();
        self.reload = Some(Reload::new(sources, level, config, &self.registry));
        self
    }

    /// The bound addresses with what listens there, in the order of the settings.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn listeners(&self) -> std::io::Result<Vec<(SocketAddr, ListenerConfig)>> {
        let bound = |listener: &Listener| Ok((listener.address()?, listener.config().clone()));
        self.listeners.iter().map(bound).collect()
    }

    /// # Errors
    /// When the system does not tell.
    pub fn http_address(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// Serves until `stop`, then drains: not ready, a pause, listeners closed, what is in flight
    /// finished.
    ///
    /// # Errors
    /// When the system does not tell what is bound.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let connections = Connections::new(self.service.intake.limits().clone());
        let liveness = Liveness::default();
        for listener in self.listeners {
            let address = listener.address()?;
            let tls = listener.config().tls.name();
            info!("listener.addr" = %address, "listener.tls" = tls, "listening for SMTP");
            self.tasks.spawn(listener.run(
                Arc::clone(&self.service),
                Arc::clone(&connections),
                self.tasks.clone(),
                liveness.pulse(),
            ));
        }
        info!("listener.addr" = %self.http.local_addr()?, "listening for HTTP");
        self.tasks.spawn(tidy(
            Arc::clone(&self.service),
            self.tasks.draining().clone(),
        ));
        if let Some(watcher) = self.certificate_watcher {
            self.tasks.spawn(watcher.run(self.tasks.draining().clone()));
        }
        if let Some(reload) = self.reload {
            let service = Arc::clone(&self.service);
            self.tasks
                .spawn(reload.run(service, self.tasks.draining().clone()));
        }
        let http_ends = CancellationToken::new();
        let state = admin::State {
            registry: self.registry,
            readiness: self.readiness.clone(),
            liveness,
            sandbox: self.sandbox,
        };
        let http = admin::serve(self.http, state, self.tasks.aside(), http_ends.clone());
        drop(self.bound);
        let life = async {
            stop.await;
            info!("draining: not ready any more");
            self.readiness.drain();
            tokio::time::sleep(self.drain.pause.duration()).await;
            if !self
                .tasks
                .drain(self.drain.deadline.duration(), self.delivery)
                .await
            {
                warn!("drain.deadline passed: what was still open is dropped");
            }
            info!("drained");
            http_ends.cancel();
        };
        // Health and metrics are served to the very end.
        tokio::join!(http, life);
        Ok(())
    }
}

async fn tidy(service: Arc<Service>, draining: CancellationToken) {
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    while draining.run_until_cancelled(minute.tick()).await.is_some() {
        service.authenticator.tidy().await;
    }
}

fn bind(config: ListenerConfig) -> anyhow::Result<Listener> {
    let address = config.address();
    Listener::bind(config)
        .with_context(|| format!("cannot listen on {address} for SMTP (smtp.listeners, SMTP_PORT)"))
}

fn authenticator(config: &Config, registry: &Registry) -> Result<Authenticator, AuthError> {
    let mut auth = config.auth.clone();
    let nobody_to_ask = auth.source == auth::Source::KeyApi && auth.url.is_empty();
    if nobody_to_ask && config.backend == BackendName::Sandbox {
        auth.source = auth::Source::Any;
    }
    let failures = config.limits.auth_failures;
    Authenticator::new(&auth, failures, &config.email_api(), registry)
}

fn backend(
    config: &Config,
    registry: &Registry,
) -> anyhow::Result<(Backend, Option<Arc<Sandbox>>)> {
    match config.backend {
        BackendName::Http => {
            let http = Http::new(&config.api, &config.delivery, registry)?;
            Ok((Backend::Http(Box::new(http)), None))
        }
        BackendName::Sandbox => {
            let mut api = config.api.clone();
            if api.url.is_empty() {
                sandbox::URL.clone_into(&mut api.url);
            }
            let sandbox = Sandbox::new(config.sandbox.clone(), http::provider(&api)?, api.key);
            let sandbox = Arc::new(sandbox);
            Ok((Backend::Sandbox(Arc::clone(&sandbox)), Some(sandbox)))
        }
    }
}

/// The same settings with the memory that there is, and no message larger than that.
fn within_memory(mut config: Config) -> Config {
    let limits = &mut config.limits;
    limits.memory = ByteSize(budget::octets(limits));
    let (memory, largest) = (limits.memory, limits.message_size);
    if largest > memory {
        warn!(
            "limits.message_size is {largest}, but limits.memory holds {memory}: no message may \
             be larger than that"
        );
        limits.message_size = memory;
    } else if largest.octets() == 0 && memory.octets() != u64::MAX {
        limits.message_size = memory;
    }
    config
}

/// `copies` is how often a message for two recipients leaves.
fn session_settings(config: &Config, hostname: String, copies: usize) -> session::Settings {
    let Limits {
        message_size,
        fan_out,
        recipients,
        errors,
        command_line,
        ..
    } = config.limits;
    session::Settings {
        hostname,
        lone_newlines: config.smtp.lone_newlines,
        limits: session::Limits {
            command_line,
            message_size: message_size.octets(),
            recipients,
            // What leaves once has no fan-out.
            fan_out: match copies {
                0 | 1 => 0,
                _ => fan_out.octets(),
            },
            errors,
        },
    }
}

/// The setting, or what the kernel calls this host.
fn hostname(config: &Config) -> String {
    if !config.smtp.hostname.is_empty() {
        return config.smtp.hostname.clone();
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
