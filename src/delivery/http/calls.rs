//! Calls to the email API: the bounds that all share, and the tries of each.
//!
//! A call ends when it has an answer that another try would not better, or no time for one. While it
//! waits for its next try it holds no permit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::Method;
use reqwest::Url;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::auth::Denied;
use crate::auth::api_key::ApiKey;
use crate::delivery::breaker::{Admission, Breaker, Change, Health};
use crate::delivery::http::Config;
use crate::delivery::http::body::RequestBody;
use crate::delivery::http::failure::{ApiError, Broken, Metrics};
use crate::delivery::http::provider::{Answer, Provider, Request, Response};
use crate::delivery::http::throttle::Throttle;
use crate::delivery::retry::{Retries, retry_after};
use crate::delivery::{self, Deferral, Outgoing};
use crate::http_client;
use crate::message::pieces::Pieces;
use crate::secret::Secret;
use crate::telemetry::metrics::Registry;
use crate::telemetry::privacy::random_fraction;

/// What all calls share.
#[derive(Debug)]
pub(super) struct Caller {
    client: reqwest::Client,
    /// The gateway's own, for accounts that have none.
    key: Option<Secret>,
    permits: Semaphore,
    retries: u32,
    /// With less time than this no call is begun.
    least_time: Duration,
    breaker: Mutex<Breaker>,
    throttle: Throttle,
    metrics: Metrics,
}

impl Caller {
    pub(super) fn new(
        client: reqwest::Client,
        config: &Config,
        delivery: &delivery::Config,
        registry: &Registry,
    ) -> Self {
        Self {
            client,
            key: config.key.clone().filter(|key| !key.is_empty()),
            permits: Semaphore::new(usize::try_from(config.concurrency).unwrap_or(usize::MAX)),
            retries: delivery.retries,
            least_time: (delivery.deadline.duration() / 8).min(LEAST_TIME),
            breaker: Mutex::new(Breaker::new(Instant::now().into_std())),
            throttle: Throttle::default(),
            metrics: Metrics::new(registry),
        }
    }

    pub(super) fn count_unknown(&self) {
        self.metrics.unknown_outcomes.inc();
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self) -> Result<Admission, Answer> {
        let admission = self.breaker().admit(Instant::now().into_std());
        admission.ok_or_else(|| {
            self.metrics.error(ApiError::CircuitOpen);
            Answer::deferred(Deferral::CircuitOpen)
        })
    }

    fn record(&self, admission: Admission, health: Health) {
        let now = Instant::now().into_std();
        let change = self.breaker().record(admission, health, now);
        match change {
            Change::None => {}
            Change::Opened => {
                self.metrics.circuit_open.set(1);
                warn!("the email API is down: no calls for a while but probes");
            }
            Change::Closed => {
                self.metrics.circuit_open.set(0);
                info!("the email API is up again");
            }
        }
    }
}

/// The calls of one message.
pub(super) struct Calls<'a> {
    pub(super) caller: &'a Caller,
    pub(super) provider: &'a dyn Provider,
    pub(super) outgoing: &'a Outgoing,
    pub(super) deadline: Instant,
    /// What became of the key, once the API has refused the first one.
    renewed: OnceCell<Option<Secret>>,
    /// What the API said to the account and not to the message: it would say the same to the other
    /// calls.
    to_all: OnceLock<Answer>,
}

impl<'a> Calls<'a> {
    pub(super) fn new(
        caller: &'a Caller,
        provider: &'a dyn Provider,
        outgoing: &'a Outgoing,
        deadline: Instant,
    ) -> Self {
        Self {
            caller,
            provider,
            outgoing,
            deadline,
            renewed: OnceCell::new(),
            to_all: OnceLock::new(),
        }
    }

    /// Sends a request of the message, in its other form if the API wants that.
    pub(super) async fn send(&self, request: &Request) -> Answer {
        let (answer, wants_fallback) = self.send_as_it_is(request).await;
        match (&request.fallback, &answer) {
            (Some(body), Answer::Refused { .. }) if wants_fallback => {
                let request = Request {
                    body: body.clone(),
                    fallback: None,
                    ..request.clone()
                };
                self.send_as_it_is(&request).await.0
            }
            _ => answer,
        }
    }

    async fn send_as_it_is(&self, request: &Request) -> (Answer, bool) {
        if let Some(answer) = self.to_all.get() {
            return (answer.clone(), false);
        }
        let wants_fallback = AtomicBool::new(false);
        let judge = |response: &Response| match self.provider.answer(response) {
            Answer::Taken { id } => Ok(id),
            answer => {
                let wanted = self.provider.wants_fallback(response);
                wants_fallback.store(wanted, Ordering::Relaxed);
                Err(answer)
            }
        };
        let idempotent = self.provider.is_idempotent();
        let answer = match self.call(request, idempotent, judge).await {
            Ok(id) => Answer::Taken { id },
            Err(answer) => answer,
        };
        if answer.is_to_the_account() {
            self.to_all.get_or_init(|| answer.clone());
        }
        (answer, wants_fallback.load(Ordering::Relaxed))
    }

    /// Asks for something, which changes nothing at the API and so may always be asked again.
    pub(super) async fn get<T>(
        &self,
        url: Url,
        headers: &HeaderMap,
        read: impl Fn(&Response) -> Result<T, Answer>,
    ) -> Result<T, Answer> {
        let request = Request {
            recipients: 0..0,
            method: Method::GET,
            url,
            headers: headers.clone(),
            body: Pieces::from_iter([]),
            fallback: None,
        };
        let found = self.call(&request, true, read).await;
        found.map_err(|answer| match answer {
            Answer::Unknown => Answer::deferred(Deferral::Unavailable),
            answer => answer,
        })
    }

    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The key that the next call will use, if it uses one.
    pub(super) async fn current_key(&self) -> Result<Option<Secret>, Answer> {
        let own = self.key(self.outgoing.identity.api_key.current()).await?;
        Ok(own.or_else(|| self.caller.key.clone()))
    }

    pub(super) fn count_sender_lookup(&self) {
        self.caller.metrics.sender_lookups.inc();
    }

    async fn call<T>(
        &self,
        request: &Request,
        repeat_unknown: bool,
        judge: impl Fn(&Response) -> Result<T, Answer>,
    ) -> Result<T, Answer> {
        self.check_throttle()?;
        let mut key = self.current_key().await?;
        let mut retries = Retries::new(self.caller.retries);
        loop {
            let (result, asked) = self.attempt(request, key.as_ref(), &judge).await;
            let answer = match result {
                Ok(found) => return Ok(found),
                Err(answer) => answer,
            };
            match (&answer, &key) {
                (Answer::KeyRefused { .. } | Answer::Forbidden { .. }, refused) => {
                    let renewed = self.renewed(refused.as_ref()).await?;
                    if renewed.is_none() || renewed == *refused {
                        return Err(answer);
                    }
                    key = renewed;
                }
                _ if answer.is_repeatable() || (repeat_unknown && answer == Answer::Unknown) => {
                    let time = self.time_left().saturating_sub(self.caller.least_time);
                    match retries.next(asked, time, random_fraction()) {
                        Some(wait) => sleep(wait).await,
                        None => {
                            self.hold(asked, &answer);
                            return Err(answer);
                        }
                    }
                    self.caller.metrics.retries.inc();
                }
                _ => return Err(answer),
            }
        }
    }

    /// Another key in place of one that the API has refused: once for all calls of a message.
    async fn renewed(&self, refused: Option<&Secret>) -> Result<Option<Secret>, Answer> {
        let Some(refused) = refused else {
            return Ok(None);
        };
        let account = &self.outgoing.identity.api_key;
        let renew = || self.key(account.renewed(refused));
        self.renewed.get_or_try_init(renew).await.cloned()
    }

    /// One try of one request, and what the answer asks for before the next.
    async fn attempt<T>(
        &self,
        request: &Request,
        key: Option<&Secret>,
        judge: impl Fn(&Response) -> Result<T, Answer>,
    ) -> (Result<T, Answer>, Option<Duration>) {
        let caller = self.caller;
        let mut headers = request.headers.clone();
        if let Some(key) = key
            && self.provider.authorize(key, &mut headers).is_err()
        {
            return (Err(Answer::KeyRefused { reason: None }), None);
        }
        let Ok(Ok(_permit)) = timeout_at(self.deadline, caller.permits.acquire()).await else {
            caller.metrics.error(ApiError::TimedOut);
            return (Err(Answer::deferred(Deferral::TimedOut)), None);
        };
        // A call that is cut off by the deadline may have been taken.
        if self.time_left() < caller.least_time {
            caller.metrics.error(ApiError::TimedOut);
            return (Err(Answer::deferred(Deferral::TimedOut)), None);
        }
        let admission = match caller.admit() {
            Ok(admission) => admission,
            Err(answer) => return (Err(answer), None),
        };
        let started = Instant::now();
        let result = self.exchange(request, headers).await;
        let latency = &caller.metrics.latency;
        latency.observe(started.elapsed().as_secs_f64());
        if let Some(health) = health(&result) {
            caller.record(admission, health);
        }
        match result {
            Ok(exchanged) => {
                let judged = match judge(&exchanged.response) {
                    // Nobody can have taken what had not left.
                    Ok(_) | Err(Answer::Unknown) if !exchanged.had_left => {
                        Err(Answer::deferred(Deferral::Unavailable))
                    }
                    judged => judged,
                };
                let status = exchanged.response.status;
                if let Err(answer) = &judged {
                    let error = ApiError::of_status(status, answer);
                    self.failed(error, &format!("status {status}"));
                }
                (judged, exchanged.retry_after)
            }
            Err(broken) => {
                self.failed(broken.error, &broken.detail);
                (Err(broken.answer()), None)
            }
        }
    }

    async fn exchange(&self, request: &Request, headers: HeaderMap) -> Result<Exchanged, Broken> {
        let (body, departure) = RequestBody::new(&request.body);
        let sending = self
            .caller
            .client
            .request(request.method.clone(), request.url.clone())
            .headers(headers)
            .body(reqwest::Body::wrap(body))
            .send();
        let response = match timeout_at(self.deadline, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Broken::new(&error, departure.end())),
            Err(_) => return Err(Broken::timed_out(departure.end())),
        };
        let had_left = departure.end();
        let status = response.status().as_u16();
        let field = response.headers().get(RETRY_AFTER);
        let retry_after = field
            .and_then(|field| field.to_str().ok())
            .and_then(|field| retry_after(field, SystemTime::now()));
        let body = timeout_at(self.deadline, http_client::read(response))
            .await
            .unwrap_or_default();
        Ok(Exchanged {
            response: Response { status, body },
            had_left,
            retry_after,
        })
    }

    /// The key that is found, if one has to be.
    async fn key(
        &self,
        finding: impl Future<Output = Result<Option<Secret>, Denied>>,
    ) -> Result<Option<Secret>, Answer> {
        match timeout_at(self.deadline, finding).await {
            Ok(Ok(key)) => Ok(key),
            Ok(Err(Denied::Credentials | Denied::Challenge)) => {
                Err(Answer::KeyRefused { reason: None })
            }
            Ok(Err(Denied::Unavailable | Denied::Throttled)) | Err(_) => {
                Err(Answer::deferred(Deferral::KeyUnavailable))
            }
        }
    }

    /// Accounts that share the gateway's key share what the API says of it.
    fn throttled(&self) -> String {
        match &self.outgoing.identity.api_key {
            ApiKey::Gateways => String::new(),
            ApiKey::Fixed(_) | ApiKey::Passed(_) | ApiKey::LookedUp(_) => {
                self.outgoing.identity.scope()
            }
        }
    }

    fn check_throttle(&self) -> Result<(), Answer> {
        match self
            .caller
            .throttle
            .check(&self.throttled(), Instant::now())
        {
            None => Ok(()),
            Some(cause) => {
                self.caller.metrics.error(ApiError::Throttled);
                Err(Answer::deferred(cause))
            }
        }
    }

    /// Makes no more calls of an account for as long as the API asks.
    fn hold(&self, asked: Option<Duration>, answer: &Answer) {
        let Answer::Deferred { cause, .. } = answer else {
            return;
        };
        if let Some(asked) = asked {
            let now = Instant::now();
            let throttle = &self.caller.throttle;
            throttle.hold(
                &self.throttled(),
                *cause,
                now,
                now + asked.min(LONGEST_HOLD),
            );
        }
    }

    /// Counts and logs a call that did not go well, once.
    fn failed(&self, error: ApiError, detail: &str) {
        self.caller.metrics.error(error);
        warn!(
            "session.id" = self.outgoing.session_id,
            "transaction.id" = self.outgoing.id,
            "error.kind" = error.label(),
            "error.detail" = detail,
            "a call to the email API failed"
        );
    }
}

struct Exchanged {
    response: Response,
    /// Whether the whole request had left when the answer came.
    had_left: bool,
    retry_after: Option<Duration>,
}

/// What a call says of the API's health; nothing where it says something of the account, or of
/// something in between.
fn health(result: &Result<Exchanged, Broken>) -> Option<Health> {
    match result {
        Ok(exchanged) => match exchanged.response.status {
            500.. => Some(Health::Ill),
            300..=399 | 401 | 403 | 429 => None,
            _ => Some(Health::Well),
        },
        Err(broken) => match broken.error {
            ApiError::Connect | ApiError::TimedOut => Some(Health::Ill),
            _ => None,
        },
    }
}

/// How long an account is left alone at most before the API is asked again.
const LONGEST_HOLD: Duration = Duration::from_secs(600);
/// An API that takes longer than this is in trouble.
const LEAST_TIME: Duration = Duration::from_secs(3);
