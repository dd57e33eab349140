//! Accounts from the settings: a password hash, or a password from a secret file.
//!
//! argon2id is slow on purpose, so no more run at once than there are cores; who waits too long is
//! told to come back. A user that is not there costs as much time as a wrong password.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier as _};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::auth::api_key::ApiKey;
use crate::auth::{Denied, Identity, TrustedNetwork};
use crate::secret::Secret;
use crate::smtp::sasl::Credentials;

/// One account of the settings.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// The user name in AUTH.
    pub name: String,
    /// `$argon2id$…`, as the `argon2` program prints it with `-e`.
    pub password_hash: Option<Secret>,
    /// Better from a file: `password_file`.
    pub password: Option<Secret>,
    /// This account's own key at the email API; without one, the gateway's (`api.key`).
    pub api_key: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaticKeysError {
    #[error("an account has no name")]
    NoName,
    #[error("the account {0:?} is there twice")]
    Twice(String),
    #[error("{0:?} needs one of password_hash and password_file, or a trusted network")]
    OnePassword(String),
    #[error("the password_hash of {0:?} is not an argon2id hash ($argon2id$…)")]
    Hash(String),
    #[error("there is no account {0:?} in auth.accounts")]
    Unknown(String),
}

impl StaticKeysError {
    /// The setting that is at fault.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "auth.trusted_networks",
            Self::NoName | Self::Twice(_) | Self::OnePassword(_) | Self::Hash(_) => "auth.accounts",
        }
    }
}

#[derive(Debug)]
pub struct StaticKeys {
    accounts: HashMap<String, (Verifier, Identity)>,
    hashing: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Verifier {
    Hash(Secret),
    Plain(Secret),
    /// For trusted networks: nobody can log in as this account.
    None,
}

impl StaticKeys {
    /// # Errors
    /// [`StaticKeysError`]: the first account that cannot be used.
    pub fn new(accounts: &[Account], trusted: &[TrustedNetwork]) -> Result<Self, StaticKeysError> {
        let mut known = HashMap::new();
        for account in accounts {
            if account.name.is_empty() {
                return Err(StaticKeysError::NoName);
            }
            let identity = Identity {
                account: account.name.clone(),
                api_key: match set(&account.api_key) {
                    Some(key) => ApiKey::Fixed(key),
                    None => ApiKey::Gateways,
                },
            };
            let is_trusted = trusted
                .iter()
                .any(|network| network.account == account.name);
            let verifier = match verifier(account)? {
                Verifier::None if !is_trusted => {
                    return Err(StaticKeysError::OnePassword(account.name.clone()));
                }
                verifier => verifier,
            };
            let entry = (verifier, identity);
            if known.insert(account.name.clone(), entry).is_some() {
                return Err(StaticKeysError::Twice(account.name.clone()));
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            accounts: known,
            hashing: Arc::new(Semaphore::new(cores)),
        })
    }

    /// # Errors
    /// [`StaticKeysError::Unknown`].
    pub fn identity(&self, account: &str) -> Result<Identity, StaticKeysError> {
        match self.accounts.get(account) {
            Some((_, identity)) => Ok(identity.clone()),
            None => Err(StaticKeysError::Unknown(account.to_owned())),
        }
    }

    /// # Errors
    /// [`Denied`]; takes about as long as a success.
    pub async fn authenticate(&self, credentials: Credentials) -> Result<Identity, Denied> {
        let account = self.accounts.get(&credentials.username);
        let verifier = account.map_or(&Verifier::None, |(verifier, _)| verifier);
        let (plain, hash) = match verifier {
            Verifier::Plain(password) => (Some(*password == credentials.password), None),
            Verifier::Hash(hash) => (None, Some(hash)),
            Verifier::None => (Some(false), None),
        };
        let hashed = match hash.or_else(|| self.any_hash()) {
            Some(hash) => self.verify(hash.clone(), credentials.password).await?,
            None => false,
        };
        match account {
            Some((_, identity)) if plain.unwrap_or(hashed) => Ok(identity.clone()),
            _ => Err(Denied::Credentials),
        }
    }

    /// Computes the hash off the runtime's threads.
    async fn verify(&self, hash: Secret, password: Secret) -> Result<bool, Denied> {
        let verified = async {
            let permit = Arc::clone(&self.hashing).acquire_owned().await.ok()?;
            let verified = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                PasswordHash::new(hash.reveal()).is_ok_and(|hash| {
                    Argon2::default()
                        .verify_password(password.reveal().as_bytes(), &hash)
                        .is_ok()
                })
            });
            verified.await.ok()
        };
        let verified = tokio::time::timeout(PATIENCE, verified).await;
        verified.ok().flatten().ok_or(Denied::Unavailable)
    }

    /// A hash as costly as that of a real account, computed where there is none to compute, so that
    /// time does not tell who has an account. Without any, a refusal costs next to nothing for all.
    fn any_hash(&self) -> Option<&Secret> {
        self.accounts
            .values()
            .find_map(|(verifier, _)| match verifier {
                Verifier::Hash(hash) => Some(hash),
                Verifier::Plain(_) | Verifier::None => None,
            })
    }
}

fn verifier(account: &Account) -> Result<Verifier, StaticKeysError> {
    match (set(&account.password_hash), set(&account.password)) {
        (Some(hash), None) => {
            let argon2id = PasswordHash::new(hash.reveal())
                .is_ok_and(|hash| hash.algorithm == argon2::Algorithm::Argon2id.ident());
            argon2id
                .then_some(Verifier::Hash(hash))
                .ok_or_else(|| StaticKeysError::Hash(account.name.clone()))
        }
        (None, Some(password)) => Ok(Verifier::Plain(password)),
        (None, None) => Ok(Verifier::None),
        (Some(_), Some(_)) => Err(StaticKeysError::OnePassword(account.name.clone())),
    }
}

fn set(secret: &Option<Secret>) -> Option<Secret> {
    secret.clone().filter(|secret| !secret.is_empty())
}

/// How long a login may wait for its turn; a client's patience is some minutes.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::Params;
    use argon2::PasswordHasher as _;

    fn hash(password: &str) -> Secret {
        let cheap = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
        let hash = argon2.hash_password_with_salt(password.as_bytes(), b"saltsalt");
        Secret::new(hash.unwrap().to_string())
    }

    fn account(name: &str) -> Account {
        Account {
            name: name.into(),
            ..Account::default()
        }
    }

    fn trusted(account: &str) -> TrustedNetwork {
        TrustedNetwork {
            network: "192.0.2.0/24".parse().unwrap(),
            account: account.into(),
        }
    }

    async fn login(keys: &StaticKeys, username: &str, password: &str) -> Result<String, Denied> {
        let credentials = Credentials {
            username: username.into(),
            password: Secret::new(password),
        };
        keys.authenticate(credentials)
            .await
            .map(|identity| identity.account)
    }

    #[tokio::test]
    async fn hashed_and_plain_passwords_let_in_and_others_do_not() {
        let keys = StaticKeys::new(
            &[
                Account {
                    password_hash: Some(hash("one")),
                    ..account("ann")
                },
                Account {
                    password: Some(Secret::new("0755")),
                    ..account("bob")
                },
            ],
            &[],
        )
        .unwrap();
        assert_eq!(login(&keys, "ann", "one").await, Ok("ann".into()));
        assert_eq!(login(&keys, "bob", "0755").await, Ok("bob".into()));
        for (user, password) in [
            ("ann", "0755"),
            ("bob", "755"),
            ("eve", "one"),
            ("", ""),
            ("ann", ""),
        ] {
            assert_eq!(
                login(&keys, user, password).await,
                Err(Denied::Credentials),
                "{user}"
            );
        }
    }

    #[tokio::test]
    async fn nobody_can_log_in_as_an_account_for_trusted_networks() {
        let keys = account("printer");
        let keys = StaticKeys::new(&[keys], &[trusted("printer")]).unwrap();
        assert_eq!(login(&keys, "printer", "").await, Err(Denied::Credentials));
        assert!(keys.identity("printer").is_ok());
    }

    #[test]
    fn accounts_that_cannot_be_used_are_named() {
        let plain = Account {
            password: Some(Secret::new("x")),
            ..account("a")
        };
        let both = Account {
            password_hash: Some(hash("x")),
            ..plain.clone()
        };
        let bad = Account {
            password_hash: Some(Secret::new("$2y$10$x")),
            ..account("a")
        };
        for (accounts, error) in [
            (vec![account("")], StaticKeysError::NoName),
            (vec![account("a")], StaticKeysError::OnePassword("a".into())),
            (vec![both], StaticKeysError::OnePassword("a".into())),
            (vec![bad], StaticKeysError::Hash("a".into())),
            (
                vec![plain.clone(), plain],
                StaticKeysError::Twice("a".into()),
            ),
        ] {
            assert_eq!(StaticKeys::new(&accounts, &[]).err(), Some(error));
        }
    }
}
