//! The HTTP client that every provider shares: pool, time-outs, deadline, permits, classification.
//!
//! What an answer means is the provider's business; what the lack of one means is decided here, by
//! one question: had the request left? Redirects are never followed: a 302 to a page that answers
//! 200 is no acceptance.

mod body;
mod failure;
pub mod json;
pub mod provider;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use futures_util::{StreamExt as _, stream};
use reqwest::Url;
use reqwest::header::InvalidHeaderValue;
use reqwest::redirect;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::delivery::http::body::RequestBody;
use crate::delivery::http::failure::{ApiError, Broken, Metrics};
use crate::delivery::http::json::Json;
use crate::delivery::http::provider::{Answer, Provider, Request, Response};
use crate::delivery::{Deferral, Failure, Outcome, Outgoing, UnknownOutcome};
use crate::secret::Secret;
use crate::telemetry::metrics::Registry;
use crate::tls::{self, TrustAnchors};
use crate::units::Period;

/// The email API.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub provider: ProviderName,
    /// Base URL, `https://api.example.com/v1`.
    pub url: String,
    /// Appended to `url` for sending.
    pub path: String,
    /// Sent as `Authorization: Bearer`, unless the account has its own.
    pub key: Option<Secret>,
    /// More header fields for each request.
    pub headers: BTreeMap<String, Secret>,
    pub requests: Requests,
    /// Add the whole message, as `raw`, to each request.
    pub raw: bool,
    /// Requests at the same time, for the whole process.
    pub concurrency: u32,
    pub connect_timeout: Period,
    /// How long an unused connection is kept. Shorter than servers keep theirs, so that a request
    /// seldom meets a connection that is being closed.
    pub idle_timeout: Period,
    /// PEM file of certificates to trust besides the system's.
    pub ca_path: Option<PathBuf>,
    /// Allow `http://` to other hosts than this one: keys and mail then travel in clear.
    pub allow_http: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: ProviderName::Json,
            url: String::new(),
            path: String::new(),
            key: None,
            headers: BTreeMap::new(),
            requests: Requests::PerMessage,
            raw: false,
            concurrency: 100,
            connect_timeout: Period::seconds(5),
            idle_timeout: Period::seconds(15),
            ca_path: None,
            allow_http: false,
        }
    }
}

/// The name of a provider in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// Our own documented form: `docs/json-api.md`.
    Json,
}

/// How many requests a message becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    PerMessage,
    PerRecipient,
}

/// Why the settings cannot be used. A URL may carry a key, so none is shown.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("expected an https:// URL")]
    Url,
    #[error(
        "it is not https, so keys and mail would travel in clear; \
         if that is what you want, set api.allow_http = true"
    )]
    PlainHttp,
    #[error("user and password have no place in it: use api.key or api.headers")]
    Userinfo,
    #[error("{0:?} does not start with /")]
    Path(String),
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    #[error("the value of {0:?} cannot be sent in a header")]
    HeaderValue(String),
    #[error("it cannot be sent in a header")]
    Key(#[from] InvalidHeaderValue),
    #[error("expected at least 1")]
    Concurrency,
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl HttpError {
    /// The setting that is at fault.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Url | Self::PlainHttp | Self::Userinfo => "api.url",
            Self::Path(_) => "api.path",
            Self::HeaderName(_) | Self::HeaderValue(_) => "api.headers",
            Self::Key(_) => "api.key",
            Self::Concurrency => "api.concurrency",
            Self::Tls(_) => "api.ca_path",
            Self::Client(_) => "api",
        }
    }
}

/// Makes the provider that the settings name.
///
/// # Errors
/// [`HttpError`] when its settings cannot be used.
pub fn provider(config: &Config) -> Result<Box<dyn Provider>, HttpError> {
    match config.provider {
        ProviderName::Json => Ok(Box::new(Json::new(config)?)),
    }
}

/// Tells whether the settings can be used, without opening any connection.
///
/// # Errors
/// [`HttpError`]: the first thing that is wrong with them.
pub fn check(config: &Config) -> Result<(), HttpError> {
    Http::new(config, UnknownOutcome::Defer, &Registry::default()).map(drop)
}

/// Whether an account's key can be sent.
///
/// # Errors
/// [`HttpError::Key`].
pub fn check_key(key: &Secret) -> Result<(), HttpError> {
    json::bearer(key).map(drop)
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// Runs any provider over HTTP.
#[derive(Debug)]
pub struct Http {
    provider: Box<dyn Provider>,
    client: reqwest::Client,
    permits: Semaphore,
    unknown_outcome: UnknownOutcome,
    metrics: Metrics,
}

impl Http {
    /// # Errors
    /// [`HttpError`] when the settings cannot be used.
    pub fn new(
        config: &Config,
        unknown_outcome: UnknownOutcome,
        registry: &Registry,
    ) -> Result<Self, HttpError> {
        if config.concurrency == 0 {
            return Err(HttpError::Concurrency);
        }
        let provider = provider(config)?;
        let url = Url::parse(&config.url).map_err(|_| HttpError::Url)?;
        let anchors = match url.scheme() {
            "https" => TrustAnchors::Required,
            _ => TrustAnchors::Optional,
        };
        let tls = tls::client(config.ca_path.as_deref(), anchors)?;
        let mut client = reqwest::Client::builder();
        if is_loopback(&url) {
            // A proxy for the world outside is not for a neighbour on this machine.
            client = client.no_proxy();
        }
        let client = client
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(config.connect_timeout.duration())
            .pool_idle_timeout(config.idle_timeout.duration())
            .tcp_nodelay(true)
            .user_agent(concat!("smtp-gateway/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            provider,
            client,
            permits: Semaphore::new(usize::try_from(config.concurrency).unwrap_or(usize::MAX)),
            unknown_outcome,
            metrics: Metrics::new(registry),
        })
    }

    /// Sends all requests of a message, some at a time; the outcomes are in the order of its
    /// recipients.
    pub async fn deliver(&self, outgoing: &Outgoing, deadline: Instant) -> Vec<Outcome> {
        let recipients = outgoing.envelope.recipients().len();
        let requests = match self.provider.requests(outgoing) {
            Ok(requests) => requests,
            Err(refusal) => return vec![refusal.into(); recipients],
        };
        // What no request is for would be nobody's: it stays deferred.
        let mut outcomes = vec![Outcome::deferred(Deferral::Unavailable); recipients];
        let mut answers = stream::iter(requests)
            .map(async |request| {
                let recipients = request.recipients.clone();
                (recipients, self.attempt(request, outgoing, deadline).await)
            })
            .buffer_unordered(FAN_OUT);
        while let Some((recipients, outcome)) = answers.next().await {
            if let Some(slots) = outcomes.get_mut(recipients) {
                slots.fill(outcome);
            }
        }
        outcomes
    }

    /// One try of one request.
    async fn attempt(&self, request: Request, outgoing: &Outgoing, deadline: Instant) -> Outcome {
        let Ok(Ok(_permit)) = timeout_at(deadline, self.permits.acquire()).await else {
            self.metrics.error(ApiError::TimedOut);
            return Outcome::deferred(Deferral::TimedOut);
        };
        let started = Instant::now();
        let result = self.exchange(request, deadline).await;
        self.metrics
            .latency
            .observe(started.elapsed().as_secs_f64());
        let answer = match result {
            Ok((response, had_left)) => {
                let answer = match self.provider.answer(&response) {
                    // Nobody can have taken what had not left.
                    Answer::Taken { .. } if !had_left => Answer::Unknown,
                    answer => answer,
                };
                if let Some(error) = ApiError::of_status(response.status, &answer) {
                    self.failed(outgoing, error, &format!("status {}", response.status));
                }
                answer
            }
            Err(broken) => {
                self.failed(outgoing, broken.error, &broken.detail);
                broken.answer()
            }
        };
        self.outcome(answer)
    }

    async fn exchange(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Response, bool), Broken> {
        let (body, departure) = RequestBody::new(&request.body);
        let sending = self
            .client
            .request(request.method, request.url)
            .headers(request.headers)
            .body(reqwest::Body::wrap(body))
            .send();
        let response = match timeout_at(deadline, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Broken::new(&error, departure.end())),
            Err(_) => return Err(Broken::timed_out(departure.end())),
        };
        let had_left = departure.end();
        let status = response.status().as_u16();
        let body = timeout_at(deadline, read(response))
            .await
            .unwrap_or_default();
        Ok((Response { status, body }, had_left))
    }

    fn outcome(&self, answer: Answer) -> Outcome {
        match answer {
            Answer::Taken { id } => Outcome::Delivered { id },
            Answer::Deferred { cause, reason } => Outcome::Deferred { cause, reason },
            Answer::Refused { cause, reason } => Outcome::Failed { cause, reason },
            Answer::Unknown => {
                self.metrics.unknown_outcomes.inc();
                match self.unknown_outcome {
                    UnknownOutcome::Defer => Outcome::deferred(Deferral::Unknown),
                    UnknownOutcome::Refuse => Outcome::Failed {
                        cause: Failure::Unknown,
                        reason: None,
                    },
                }
            }
        }
    }

    /// Counts and logs a call that did not go well, once.
    fn failed(&self, outgoing: &Outgoing, error: ApiError, detail: &str) {
        self.metrics.error(error);
        warn!(
            "session.id" = outgoing.session_id,
            "transaction.id" = outgoing.id,
            "error.kind" = error.label(),
            "error.detail" = detail,
            "a call to the email API failed"
        );
    }
}

/// Reads an answer's body. One that is too long or breaks off counts as none: a provider then finds
/// no documented answer in it.
async fn read(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => {
                body.extend_from_slice(&chunk);
            }
            Ok(None) => return body,
            Ok(Some(_)) | Err(_) => return Vec::new(),
        }
    }
}

/// Requests of one message at the same time.
const FAN_OUT: usize = 10;
/// No API's answer to a send is near this long.
const MAX_ANSWER: usize = 64 * 1024;
