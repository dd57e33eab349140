//! The HTTP client that every provider shares: pool, time-outs, deadline, permits, classification.
//!
//! What an answer means is the provider's business; what the lack of one means is decided here, by
//! one question: had the request left? Redirects are never followed: a 302 to a page that answers
//! 200 is no acceptance.

mod body;
pub mod cakemail;
mod calls;
mod failure;
pub mod json;
pub mod provider;
mod senders;
mod throttle;

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::{StreamExt as _, stream};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::delivery::http::cakemail::Cakemail;
use crate::delivery::http::calls::{Caller, Calls};
use crate::delivery::http::json::Json;
use crate::delivery::http::provider::{Answer, Provider, Request};
use crate::delivery::http::senders::Senders;
use crate::delivery::{self, Deferral, Failure, Outcome, Outgoing, UnknownOutcome};
use crate::http_client::{self, ClientError, Connections};
use crate::secret::Secret;
use crate::telemetry::metrics::Registry;
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
    /// The API takes no request twice that has the same `Idempotency-Key`: then what had no clear
    /// answer is sent again.
    pub idempotent: bool,
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
    pub cakemail: cakemail::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: ProviderName::Cakemail,
            url: String::new(),
            path: String::new(),
            key: None,
            headers: BTreeMap::new(),
            requests: Requests::PerMessage,
            idempotent: false,
            raw: false,
            concurrency: 100,
            connect_timeout: Period::seconds(5),
            idle_timeout: Period::seconds(15),
            ca_path: None,
            allow_http: false,
            cakemail: cakemail::Config::default(),
        }
    }
}

/// The name of a provider in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// Cakemail's Email API: `docs/providers.md`.
    Cakemail,
    /// Our own documented form: `docs/json-api.md`.
    Json,
}

impl ProviderName {
    /// What to GET with a key to see whether it is good; empty where nothing is known.
    pub fn check_path(self) -> &'static str {
        match self {
            Self::Cakemail => "/accounts/self",
            Self::Json => "",
        }
    }
}

/// How many requests a message becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    PerMessage,
    PerRecipient,
}

impl Config {
    /// How the API is connected to.
    pub fn connections(&self) -> Connections {
        Connections {
            connect_timeout: self.connect_timeout.duration(),
            idle_timeout: self.idle_timeout.duration(),
            ca_path: self.ca_path.clone(),
            allow_http: self.allow_http,
        }
    }

    /// The further header fields of each request. They may hold keys.
    fn headers(&self) -> Result<HeaderMap, HttpError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let mut value = HeaderValue::from_str(value.reveal())
                .map_err(|_| HttpError::HeaderValue(name.clone()))?;
            value.set_sensitive(true);
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| HttpError::HeaderName(name.clone()))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    #[error("the value of {0:?} cannot be sent in a header")]
    HeaderValue(String),
    #[error("it cannot be sent in a header")]
    Key(#[from] InvalidHeaderValue),
    #[error("expected at least 1")]
    Concurrency,
    /// What a provider finds wrong with a setting.
    #[error("{reason}")]
    Setting {
        key: &'static str,
        reason: &'static str,
    },
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl HttpError {
    /// The setting that is at fault.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::HeaderName(_) | Self::HeaderValue(_) => "api.headers",
            Self::Key(_) => "api.key",
            Self::Concurrency => "api.concurrency",
            Self::Setting { key, .. } => key,
            Self::Client(error) => match error {
                ClientError::Url
                | ClientError::PlainHttp
                | ClientError::Userinfo
                | ClientError::NotBase
                | ClientError::PathAlready(_) => "api.url",
                ClientError::Path(_) => "api.path",
                ClientError::Tls(_) => "api.ca_path",
                ClientError::Client(_) => "api",
            },
        }
    }
}

/// Makes the provider that the settings name.
///
/// # Errors
/// [`HttpError`] when its settings cannot be used.
pub fn provider(config: &Config) -> Result<Box<dyn Provider>, HttpError> {
    match config.provider {
        ProviderName::Cakemail => Ok(Box::new(Cakemail::new(config)?)),
        ProviderName::Json => Ok(Box::new(Json::new(config)?)),
    }
}

/// Tells whether the settings can be used, without opening any connection.
///
/// # Errors
/// [`HttpError`]: the first thing that is wrong with them.
pub fn check(config: &Config) -> Result<(), HttpError> {
    Http::new(config, &delivery::Config::default(), &Registry::default()).map(drop)
}

/// Whether an account's key can be sent.
///
/// # Errors
/// [`HttpError::Key`].
pub fn check_key(key: &Secret) -> Result<(), HttpError> {
    http_client::bearer(key)?;
    Ok(())
}

/// Runs any provider over HTTP.
#[derive(Debug)]
pub struct Http {
    provider: Box<dyn Provider>,
    caller: Caller,
    senders: Senders,
    unknown_outcome: UnknownOutcome,
}

impl Http {
    /// # Errors
    /// [`HttpError`] when the settings cannot be used.
    pub fn new(
        config: &Config,
        delivery: &delivery::Config,
        registry: &Registry,
    ) -> Result<Self, HttpError> {
        if config.concurrency == 0 {
            return Err(HttpError::Concurrency);
        }
        let provider = provider(config)?;
        if let Some(key) = &config.key {
            check_key(key)?;
        }
        let url = http_client::url(&config.url, "", config.allow_http)?;
        let client = http_client::client(&config.connections(), &url)?;
        Ok(Self {
            provider,
            caller: Caller::new(client, config, delivery, registry),
            senders: Senders::default(),
            unknown_outcome: delivery.unknown_outcome,
        })
    }

    /// Sends all requests of a message, some at a time; the outcomes are in the order of its
    /// recipients.
    pub async fn deliver(&self, outgoing: &Outgoing, deadline: Instant) -> Vec<Outcome> {
        let recipients = outgoing.envelope.recipients().len();
        let calls = Calls::new(&self.caller, &*self.provider, outgoing, deadline);
        let requests = match self.requests(outgoing, &calls).await {
            Ok(requests) => requests,
            Err(outcome) => return vec![outcome; recipients],
        };
        // What no request is for would be nobody's: it stays deferred.
        let mut outcomes = vec![Outcome::deferred(Deferral::Unavailable); recipients];
        let mut answers = stream::iter(requests)
            .map(async |request| {
                let answer = calls.send(&request).await;
                (request.recipients, answer)
            })
            .buffer_unordered(FAN_OUT);
        while let Some((recipients, answer)) = answers.next().await {
            if let Some(slots) = outcomes.get_mut(recipients) {
                slots.fill(self.outcome(answer, outgoing));
            }
        }
        outcomes
    }

    /// How many calls a message with so many recipients takes.
    pub fn copies(&self, recipients: usize) -> usize {
        self.provider.calls(recipients)
    }

    async fn requests(
        &self,
        outgoing: &Outgoing,
        calls: &Calls<'_>,
    ) -> Result<Vec<Request>, Outcome> {
        let sender = match self.provider.senders() {
            None => None,
            Some(directory) => match directory.wanted(outgoing)? {
                None => None,
                Some(wanted) => {
                    let found = self.senders.find(directory, &wanted, calls).await;
                    Some(found.map_err(|answer| self.outcome(answer, outgoing))?)
                }
            },
        };
        Ok(self.provider.requests(outgoing, sender.as_deref())?)
    }

    fn outcome(&self, answer: Answer, outgoing: &Outgoing) -> Outcome {
        match answer {
            Answer::Taken { id } => Outcome::Delivered { id },
            Answer::Deferred { cause, reason } => Outcome::Deferred { cause, reason },
            Answer::Refused { cause, reason } => Outcome::Failed { cause, reason },
            Answer::KeyRefused { reason } if outgoing.identity.api_key.is_the_clients() => {
                Outcome::Failed {
                    cause: Failure::KeyRefused,
                    reason,
                }
            }
            Answer::Forbidden { reason } if outgoing.identity.api_key.is_the_clients() => {
                Outcome::Failed {
                    cause: Failure::Forbidden,
                    reason,
                }
            }
            Answer::KeyRefused { .. } | Answer::Forbidden { .. } => {
                Outcome::deferred(Deferral::KeyRefused)
            }
            Answer::Unknown => {
                self.caller.count_unknown();
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
}

/// Requests of one message at the same time.
const FAN_OUT: usize = 10;
