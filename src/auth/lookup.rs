//! Logins by keys: an authentication API gives one for the credentials, or the password is one.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounterVec;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use crate::auth::api_key::{ApiKey, SessionKey};
use crate::auth::cache::{Bounds, CachedKey, Digest, KeyCache, Proof, Wanted};
use crate::auth::key_api::dialect::{Dialect, Granted};
use crate::auth::key_api::{KeyApi, KeyCheck, is_sendable};
use crate::auth::{AuthError, Config, Denied, EmailApi, Identity, Source};
use crate::http_client::ClientError;
use crate::secret::Secret;
use crate::smtp::sasl::Credentials;
use crate::telemetry::metrics::Registry;
use crate::telemetry::privacy::KeyedHash;

#[derive(Debug)]
pub struct KeyLookup {
    ways: Ways,
    cache: Arc<KeyCache>,
    hash: KeyedHash,
    /// For one look-up with everything.
    timeout: Duration,
    /// Look-ups at the same time.
    permits: Semaphore,
    outcomes: IntCounterVec,
}

/// How to find out whether credentials are good.
#[derive(Debug)]
enum Way<'a> {
    LogIn(&'a KeyApi),
    /// The password is a key.
    Check(&'a KeyCheck),
    /// The password is a key, and the first message tells.
    Unchecked,
}

#[derive(Debug)]
struct Ways {
    /// For passwords that are no keys.
    key_api: Option<KeyApi>,
    check: Option<KeyCheck>,
    dialect: Dialect,
}

impl Ways {
    fn new(config: &Config, api: &EmailApi) -> Result<Self, AuthError> {
        let is_key_api = config.source == Source::KeyApi;
        let (base, base_setting, known_path) = match is_key_api {
            true => (config.url.as_str(), "auth.url", config.dialect.check_path()),
            false => (api.url.as_str(), "api.url", api.check_path),
        };
        let check_path = config.check_path.as_deref().unwrap_or(known_path);
        let connections = &api.connections;
        let at_fault = |error: ClientError| AuthError::Client {
            setting: match error {
                ClientError::Url
                | ClientError::PlainHttp
                | ClientError::Userinfo
                | ClientError::NotBase
                | ClientError::PathAlready(_) => base_setting,
                ClientError::Path(_) => "auth.check_path",
                ClientError::Tls(_) => "api.ca_path",
                ClientError::Client(_) => "api",
            },
            error,
        };
        let key_api = is_key_api.then(|| KeyApi::new(base, config.dialect, connections));
        let has_check = !base.is_empty() && !check_path.is_empty();
        let check = has_check.then(|| KeyCheck::new(base, check_path, connections));
        Ok(Self {
            key_api: key_api.transpose().map_err(at_fault)?,
            check: check.transpose().map_err(at_fault)?,
            dialect: config.dialect,
        })
    }

    fn of(&self, password: &Secret) -> Way<'_> {
        let is_key = match self.dialect {
            Dialect::Token => password.reveal().starts_with(PERSONAL_ACCESS_TOKEN),
            Dialect::Validate => false,
        };
        match (&self.key_api, &self.check) {
            (Some(key_api), _) if !is_key => Way::LogIn(key_api),
            (_, Some(check)) => Way::Check(check),
            (_, None) => Way::Unchecked,
        }
    }
}

impl KeyLookup {
    /// # Errors
    /// [`AuthError::Client`] when an API cannot be called.
    pub fn new(config: &Config, api: &EmailApi, registry: &Registry) -> Result<Self, AuthError> {
        let bounds = Bounds {
            keys: config.cache_size,
            keys_for: config.cache_ttl.duration(),
            refusals_for: config.refused_ttl.duration(),
        };
        Ok(Self {
            ways: Ways::new(config, api)?,
            cache: Arc::new(KeyCache::new(bounds, registry)),
            hash: KeyedHash::new(),
            timeout: config.timeout.duration(),
            permits: Semaphore::new(MAX_LOOKUPS),
            outcomes: registry.counter_by(
                "smtp_auth_lookups_total",
                "Credentials and keys that an API was asked about, by its answer",
                "outcome",
                &["found", "refused", "unavailable"],
            ),
        })
    }

    /// Who these credentials belong to.
    ///
    /// # Errors
    /// [`Denied`]
    pub async fn authenticate(
        self: &Arc<Self>,
        credentials: Credentials,
    ) -> Result<Identity, Denied> {
        let credentials = Arc::new(credentials);
        let Credentials { username, password } = &*credentials;
        // Some services want the key as the user name too, and account names are shown.
        let account = match Secret::new(username.as_str()) == *password {
            true => format!("key-{}", self.hash.short(username.as_bytes())),
            false => username.clone(),
        };
        let digest = self
            .hash
            .of(&[username.as_bytes(), password.reveal().as_bytes()]);
        let way = self.ways.of(password);
        if !matches!(way, Way::LogIn(_)) && !is_sendable(password) {
            return Err(Denied::Credentials);
        }
        let found = match way {
            Way::Unchecked => None,
            Way::LogIn(_) | Way::Check(_) => {
                let found = self.find(&credentials, digest, Wanted::Login, None);
                Some(found.await?)
            }
        };
        let session_key = SessionKey::new(self, Arc::clone(&credentials), digest, found);
        let session_key = Arc::new(session_key);
        let api_key = match way {
            Way::LogIn(_) => ApiKey::LookedUp(session_key),
            Way::Check(_) | Way::Unchecked => ApiKey::Passed(session_key),
        };
        Ok(Identity { account, api_key })
    }

    /// A key for these credentials: one at hand, else by the refresh token, else by the password.
    ///
    /// # Errors
    /// [`Denied`]
    pub(super) async fn find(
        self: &Arc<Self>,
        credentials: &Arc<Credentials>,
        digest: Digest,
        wanted: Wanted,
        refresh_token: Option<Secret>,
    ) -> Result<Arc<CachedKey>, Denied> {
        let proof = match refresh_token {
            Some(_) => Proof::RefreshToken,
            None => Proof::Password,
        };
        let (lookup, credentials) = (Arc::clone(self), Arc::clone(credentials));
        let look_up = async move || lookup.look_up(&credentials, refresh_token).await;
        self.cache.find(digest, wanted, proof, look_up).await
    }

    /// Forgets a key that the API has refused.
    pub(super) async fn forget(&self, digest: &Digest, refused: &Secret) {
        self.cache.forget(digest, refused).await;
    }

    /// Wipes what is not kept any more. Call it now and then.
    pub async fn tidy(&self) {
        self.cache.tidy().await;
    }

    async fn look_up(
        &self,
        credentials: &Credentials,
        refresh_token: Option<Secret>,
    ) -> Result<(Granted, Proof), Denied> {
        let looked_up = async {
            let _permit = self.permits.acquire().await;
            self.ask(credentials, refresh_token).await
        };
        let looked_up = timeout(self.timeout, looked_up).await.unwrap_or_else(|_| {
            warn!("error.kind" = "timeout", "a key cannot be looked up");
            Err(Denied::Unavailable)
        });
        let outcome = match &looked_up {
            Ok(_) => "found",
            Err(Denied::Credentials | Denied::Challenge) => "refused",
            Err(Denied::Unavailable | Denied::Throttled) => "unavailable",
        };
        self.outcomes.with_label_values(&[outcome]).inc();
        looked_up
    }

    async fn ask(
        &self,
        credentials: &Credentials,
        refresh_token: Option<Secret>,
    ) -> Result<(Granted, Proof), Denied> {
        let key_api = match self.ways.of(&credentials.password) {
            Way::LogIn(key_api) => key_api,
            Way::Check(check) => {
                check.check(&credentials.password).await?;
                return Ok((passed(credentials), Proof::Password));
            }
            Way::Unchecked => return Ok((passed(credentials), Proof::Password)),
        };
        if let Some(refresh_token) = refresh_token {
            match key_api.refresh(&refresh_token).await {
                Ok(mut granted) => {
                    granted.refresh_token = granted.refresh_token.or(Some(refresh_token));
                    return Ok((granted, Proof::RefreshToken));
                }
                Err(denied @ (Denied::Unavailable | Denied::Throttled)) => return Err(denied),
                // It has run out: the password has not.
                Err(Denied::Credentials | Denied::Challenge) => {}
            }
        }
        let granted = key_api.log_in(credentials).await?;
        Ok((granted, Proof::Password))
    }
}

fn passed(credentials: &Credentials) -> Granted {
    Granted {
        key: credentials.password.clone(),
        expires_in: None,
        refresh_token: None,
    }
}

/// As many as calls to the email API, as a rule. Who has to wait does so within the same time.
const MAX_LOOKUPS: usize = 100;
/// What a personal access token starts with, which is a key itself.
const PERSONAL_ACCESS_TOKEN: &str = "ck_pat_";
