//! The key that an account has at the email API.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::Denied;
use crate::auth::cache::{CachedKey, Digest, Wanted};
use crate::auth::lookup::KeyLookup;
use crate::secret::Secret;
use crate::smtp::sasl::Credentials;

/// Where an account's key comes from.
#[derive(Debug, Clone)]
pub enum ApiKey {
    /// It has none of its own: the gateway's, `api.key`.
    Gateways,
    /// From the settings.
    Fixed(Secret),
    /// The client's password itself.
    Passed(Arc<SessionKey>),
    /// From the authentication API, for the client's credentials.
    LookedUp(Arc<SessionKey>),
}

impl ApiKey {
    /// The key to use now; `None` for the gateway's own.
    ///
    /// # Errors
    /// [`Denied`], when a key has to be looked up and there is none.
    pub async fn current(&self) -> Result<Option<Secret>, Denied> {
        match self {
            Self::Gateways => Ok(None),
            Self::Fixed(key) => Ok(Some(key.clone())),
            Self::Passed(session) => Ok(Some(session.credentials.password.clone())),
            Self::LookedUp(session) => session.current().await.map(Some),
        }
    }

    /// Another key, after the API has refused this one; `None` where there is no other.
    ///
    /// # Errors
    /// [`Denied`], when another has to be looked up and there is none.
    pub async fn renewed(&self, refused: &Secret) -> Result<Option<Secret>, Denied> {
        match self {
            Self::Gateways | Self::Fixed(_) => Ok(None),
            Self::Passed(session) => {
                session.lookup.forget(&session.digest, refused).await;
                Ok(None)
            }
            Self::LookedUp(session) => session.renewed(refused).await.map(Some),
        }
    }

    /// The key where nobody need be asked for it.
    pub fn at_hand(&self) -> Option<Secret> {
        match self {
            Self::Gateways => None,
            Self::Fixed(key) => Some(key.clone()),
            Self::Passed(session) => Some(session.credentials.password.clone()),
            Self::LookedUp(session) => {
                let latest = session.latest();
                latest.as_ref().map(|latest| latest.key.clone())
            }
        }
    }

    /// Whether the password was found to be good, and not only taken for the key that it may be.
    pub(super) fn is_checked(&self) -> bool {
        match self {
            Self::Gateways | Self::Fixed(_) | Self::LookedUp(_) => true,
            Self::Passed(session) => session.latest().is_some(),
        }
    }

    /// The credentials of a login whose password is the key.
    pub(super) fn passed(&self) -> Option<&Credentials> {
        match self {
            Self::Passed(session) => Some(&session.credentials),
            Self::Gateways | Self::Fixed(_) | Self::LookedUp(_) => None,
        }
    }

    /// Whether it came with the client's credentials: then a refusal is for the client to mend, and
    /// not for the operator.
    pub fn is_the_clients(&self) -> bool {
        match self {
            Self::Gateways | Self::Fixed(_) => false,
            Self::Passed(_) | Self::LookedUp(_) => true,
        }
    }
}

/// The key of one session, and what is needed for the next one.
#[derive(Debug)]
pub struct SessionKey {
    lookup: Arc<KeyLookup>,
    credentials: Arc<Credentials>,
    digest: Digest,
    latest: Mutex<Option<Arc<CachedKey>>>,
}

impl SessionKey {
    pub(super) fn new(
        lookup: &Arc<KeyLookup>,
        credentials: Arc<Credentials>,
        digest: Digest,
        latest: Option<Arc<CachedKey>>,
    ) -> Self {
        Self {
            lookup: Arc::clone(lookup),
            credentials,
            digest,
            latest: Mutex::new(latest),
        }
    }

    async fn current(&self) -> Result<Secret, Denied> {
        let refresh_token = match &*self.latest() {
            Some(latest) if latest.has_expired() => latest.refresh_token.clone(),
            _ => None,
        };
        match self.find(Wanted::Use, refresh_token).await {
            // That nobody can be asked does not make a good key bad.
            Err(Denied::Unavailable) => self.unexpired().ok_or(Denied::Unavailable),
            found => found,
        }
    }

    fn unexpired(&self) -> Option<Secret> {
        let latest = self.latest();
        let latest = latest.as_ref().filter(|latest| !latest.has_expired())?;
        Some(latest.key.clone())
    }

    async fn renewed(&self, refused: &Secret) -> Result<Secret, Denied> {
        {
            let mut latest = self.latest();
            if latest.as_ref().is_some_and(|latest| latest.key == *refused) {
                *latest = None;
            }
        }
        self.find(Wanted::InsteadOf(refused.clone()), None).await
    }

    async fn find(&self, wanted: Wanted, refresh_token: Option<Secret>) -> Result<Secret, Denied> {
        let found = self
            .lookup
            .find(&self.credentials, self.digest, wanted, refresh_token)
            .await?;
        let key = found.key.clone();
        *self.latest() = Some(found);
        Ok(key)
    }

    fn latest(&self) -> MutexGuard<'_, Option<Arc<CachedKey>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
