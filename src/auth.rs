//! Who a client is: [`Credentials`] to [`Identity`].
//!
//! An identity belongs to one connection and dies with it. Nothing here remembers who logged in
//! from where.

pub mod api_key;
pub mod cache;
mod guesses;
pub mod key_api;
pub mod lookup;
pub mod static_keys;
pub mod throttle;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::auth::api_key::ApiKey;
use crate::auth::guesses::Guesses;
use crate::auth::key_api::dialect::Dialect;
use crate::auth::lookup::KeyLookup;
use crate::auth::static_keys::{Account, StaticKeys, StaticKeysError};
use crate::auth::throttle::Verdict;
use crate::http_client::{ClientError, Connections};
use crate::smtp::sasl::Credentials;
use crate::telemetry::metrics::Registry;
use crate::units::Period;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub source: Source,
    /// Base URL of the authentication API, for `source = "key-api"`.
    pub url: String,
    pub dialect: Dialect,
    /// For one look-up with everything.
    pub timeout: Period,
    /// How long a key is used without asking again, if it lives that long.
    pub cache_ttl: Period,
    /// How long refused credentials are refused without asking again.
    pub refused_ttl: Period,
    /// Keys that are kept, and as many refusals.
    pub cache_size: u64,
    /// What to GET with a password that is a key itself, to tell whether it is good: below `url`, or
    /// below the email API's for `source = "passthrough"`. Without one, what that API is known to
    /// have. Empty: the first message tells.
    pub check_path: Option<String>,
    /// Who may send, for `source = "static"`.
    pub accounts: Vec<Account>,
    /// Networks whose hosts may send without AUTH, on listeners with `auth = "trusted"`.
    pub trusted_networks: Vec<TrustedNetwork>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: Source::KeyApi,
            url: String::new(),
            dialect: Dialect::Token,
            timeout: Period::seconds(10),
            cache_ttl: Period::seconds(15 * 60),
            refused_ttl: Period::seconds(30),
            cache_size: 10_000,
            check_path: None,
            accounts: Vec::new(),
            trusted_networks: Vec::new(),
        }
    }
}

/// Where credentials are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An authentication API, which gives a key for them.
    KeyApi,
    /// The password is the key.
    Passthrough,
    /// The accounts of the settings.
    Static,
    /// Any credentials are good. Only with the sandbox, where nothing leaves.
    Any,
}

/// Hosts that need no AUTH, and the account they send as.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedNetwork {
    pub network: IpNet,
    /// The name of one of `auth.accounts`, whose key is used.
    pub account: String,
}

/// Who a client turned out to be.
#[derive(Clone)]
pub struct Identity {
    pub account: String,
    pub api_key: ApiKey,
}

/// An account is often named by an address.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.api_key)
    }
}

impl Identity {
    /// What tells apart who sends, and who is made to wait: names alone do not, where the password is
    /// the key and the name is free.
    pub fn scope(&self) -> String {
        match (&self.api_key, self.api_key.at_hand()) {
            (ApiKey::Passed(_), Some(key)) => {
                let hash = digest(&SHA256, key.reveal().as_bytes());
                let hash = hash.as_ref().iter().map(|octet| format!("{octet:02x}"));
                format!("key:{}", hash.collect::<String>())
            }
            (ApiKey::LookedUp(_) | ApiKey::Passed(_), _) => format!("login:{}", self.account),
            (ApiKey::Gateways | ApiKey::Fixed(_), _) => format!("account:{}", self.account),
        }
    }
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Wrong user or password; nobody is told which.
    Credentials,
    /// The account wants a second factor, which AUTH cannot ask for.
    Challenge,
    /// We cannot tell now. Never "wrong": clients throw a refused password away.
    Unavailable,
    /// Too many wrong passwords came before: nobody was asked about this one.
    Throttled,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error(transparent)]
    Accounts(#[from] StaticKeysError),
    #[error("{error}")]
    Client {
        setting: &'static str,
        error: ClientError,
    },
}

impl AuthError {
    /// The setting that is at fault.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Accounts(error) => error.setting(),
            Self::Client { setting, .. } => setting,
        }
    }
}

/// The email API that keys are for.
#[derive(Debug, Clone)]
pub struct EmailApi {
    pub url: String,
    pub connections: Connections,
    /// What it is known to answer to whoever has a key, and to nobody else.
    pub check_path: &'static str,
}

/// Looks credentials up.
#[derive(Debug)]
pub struct Authenticator {
    lookup: Lookup,
    accounts: ArcSwap<Accounts>,
    guesses: Guesses,
}

#[derive(Debug)]
enum Lookup {
    Keys(Arc<KeyLookup>),
    Static,
    Any,
}

impl Authenticator {
    /// `failures` is the number of wrong passwords that are too many; 0 for no bound.
    ///
    /// # Errors
    /// An account that cannot be used, a trusted network that names none, or an API that cannot be
    /// called.
    pub fn new(
        config: &Config,
        failures: usize,
        api: &EmailApi,
        registry: &Registry,
    ) -> Result<Self, AuthError> {
        let accounts = ArcSwap::from_pointee(Accounts::new(config)?);
        let lookup = match config.source {
            Source::KeyApi | Source::Passthrough => {
                let keys = KeyLookup::new(config, api, registry)?;
                Lookup::Keys(Arc::new(keys))
            }
            Source::Static => Lookup::Static,
            Source::Any => Lookup::Any,
        };
        if !matches!(lookup, Lookup::Keys(_)) {
            // Fixed name, watched from the first day.
            registry.gauge(cache::SIZE.0, cache::SIZE.1);
        }
        Ok(Self {
            lookup,
            accounts,
            guesses: Guesses::new(failures),
        })
    }

    /// Other accounts and trusted networks from now on. Whoever is logged in stays so.
    ///
    /// # Errors
    /// An account that cannot be used, or a trusted network that names none: the old ones stay.
    pub fn replace_accounts(&self, config: &Config) -> Result<(), StaticKeysError> {
        self.accounts.store(Arc::new(Accounts::new(config)?));
        Ok(())
    }

    /// Who these credentials belong to. `network` is where they come from, if wrong ones from there
    /// are counted.
    ///
    /// # Errors
    /// [`Denied`]; nobody is told whether it was the user or the password.
    pub async fn authenticate(
        &self,
        credentials: Credentials,
        network: Option<IpAddr>,
    ) -> Result<Identity, Denied> {
        let Some(network) = network else {
            return self.look_up(credentials).await;
        };
        let attempt = self.guesses.attempt(&credentials, network);
        if self.guesses.begin(&attempt).is_err() {
            return Err(Denied::Throttled);
        }
        let found = self.look_up(credentials).await;
        let verdict = match &found {
            Ok(identity) if identity.api_key.is_checked() => Verdict::Good,
            Err(Denied::Credentials) => Verdict::Wrong,
            Ok(_) | Err(Denied::Challenge | Denied::Unavailable | Denied::Throttled) => {
                Verdict::Unknown
            }
        };
        self.guesses.end(&attempt, verdict);
        found
    }

    /// Takes note of what the email API said of a password that is the key.
    pub fn turned_out(&self, identity: &Identity, network: IpAddr, verdict: Verdict) {
        if let Some(credentials) = identity.api_key.passed() {
            let attempt = self.guesses.attempt(credentials, network);
            self.guesses.end(&attempt, verdict);
        }
    }

    async fn look_up(&self, credentials: Credentials) -> Result<Identity, Denied> {
        match &self.lookup {
            Lookup::Keys(keys) => keys.authenticate(credentials).await,
            Lookup::Static => {
                let accounts = self.accounts.load_full();
                accounts.keys.authenticate(credentials).await
            }
            Lookup::Any => Ok(Identity {
                account: credentials.username,
                api_key: ApiKey::Gateways,
            }),
        }
    }

    /// Who a host of a trusted network sends as.
    pub fn trusted(&self, client: IpAddr) -> Option<Identity> {
        let accounts = self.accounts.load();
        let mut trusted = accounts.trusted.iter();
        let (_, identity) = trusted.find(|(network, _)| network.contains(&client))?;
        Some(identity.clone())
    }

    /// Wipes what is not kept any more. Call it now and then.
    pub async fn tidy(&self) {
        self.guesses.tidy();
        match &self.lookup {
            Lookup::Keys(keys) => keys.tidy().await,
            Lookup::Static | Lookup::Any => {}
        }
    }
}

/// Tells whether the accounts of the settings can be used.
///
/// # Errors
/// [`StaticKeysError`]: the first thing that is wrong with them.
pub fn check_accounts(config: &Config) -> Result<(), StaticKeysError> {
    Accounts::new(config).map(drop)
}

/// Tells whether the settings of the look-up can be used, without opening any connection.
///
/// # Errors
/// [`AuthError::Client`]
pub fn check_lookup(config: &Config, api: &EmailApi) -> Result<(), AuthError> {
    KeyLookup::new(config, api, &Registry::default()).map(drop)
}

/// Who is known by the settings.
#[derive(Debug)]
struct Accounts {
    keys: StaticKeys,
    trusted: Vec<(IpNet, Identity)>,
}

impl Accounts {
    fn new(config: &Config) -> Result<Self, StaticKeysError> {
        let keys = StaticKeys::new(&config.accounts, &config.trusted_networks)?;
        let networks = config.trusted_networks.iter();
        let trusted =
            networks.map(|trusted| Ok((trusted.network, keys.identity(&trusted.account)?)));
        Ok(Self {
            trusted: trusted.collect::<Result<_, _>>()?,
            keys,
        })
    }
}
