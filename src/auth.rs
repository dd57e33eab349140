//! Who a client is: [`Credentials`] to [`Identity`].
//!
//! An identity belongs to one connection and dies with it. Nothing here remembers who logged in
//! from where.

pub mod api_key;
pub mod static_keys;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::auth::api_key::ApiKey;
use crate::auth::static_keys::{Account, StaticKeys, StaticKeysError};
use crate::smtp::sasl::Credentials;
use crate::telemetry::metrics::Registry;

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub source: Source,
    /// Who may send, for `source = "static"`.
    pub accounts: Vec<Account>,
    /// Networks whose hosts may send without AUTH, on listeners with `auth = "trusted"`.
    pub trusted_networks: Vec<TrustedNetwork>,
}

/// Where credentials are looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The accounts of the settings.
    #[default]
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
#[derive(Debug, Clone)]
pub struct Identity {
    pub account: String,
    pub api_key: ApiKey,
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Wrong user or password; nobody is told which.
    Credentials,
    /// We cannot tell now. Never "wrong": clients throw a refused password away.
    Unavailable,
}

/// Looks credentials up.
#[derive(Debug)]
pub struct Authenticator {
    lookup: Lookup,
    trusted: Vec<(IpNet, Identity)>,
}

#[derive(Debug)]
enum Lookup {
    Static(StaticKeys),
    Any,
}

impl Authenticator {
    /// # Errors
    /// An account that cannot be used, or a trusted network that names none.
    pub fn new(config: &Config, registry: &Registry) -> Result<Self, StaticKeysError> {
        // Fixed name, watched from the first day: there is no cache yet, so it stays at zero.
        registry.gauge("smtp_api_key_cache_size", "API keys in the cache");
        let accounts = StaticKeys::new(&config.accounts, &config.trusted_networks)?;
        let trusted = config
            .trusted_networks
            .iter()
            .map(|trusted| Ok((trusted.network, accounts.identity(&trusted.account)?)))
            .collect::<Result<_, _>>()?;
        let lookup = match config.source {
            Source::Static => Lookup::Static(accounts),
            Source::Any => Lookup::Any,
        };
        Ok(Self { lookup, trusted })
    }

    /// Who these credentials belong to.
    ///
    /// # Errors
    /// [`Denied`]; takes about as long as a success.
    pub async fn authenticate(&self, credentials: Credentials) -> Result<Identity, Denied> {
        match &self.lookup {
            Lookup::Static(keys) => keys.authenticate(credentials).await,
            Lookup::Any => Ok(Identity {
                account: credentials.username,
                api_key: ApiKey::Gateways,
            }),
        }
    }

    /// Who a host of a trusted network sends as.
    pub fn trusted(&self, client: IpAddr) -> Option<Identity> {
        let (_, identity) = self
            .trusted
            .iter()
            .find(|(network, _)| network.contains(&client))?;
        Some(identity.clone())
    }
}
