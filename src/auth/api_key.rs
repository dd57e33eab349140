//! The key that an account has at the email API.

use crate::auth::Denied;
use crate::secret::Secret;

/// Where an account's key comes from.
#[derive(Debug, Clone)]
pub enum ApiKey {
    /// It has none of its own: the gateway's, `api.key`.
    Gateways,
    /// From the settings.
    Fixed(Secret),
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
        }
    }

    /// Another key, after the API has refused this one; `None` where there is no other.
    ///
    /// # Errors
    /// [`Denied`], when another has to be looked up and there is none.
    pub async fn renewed(&self, _refused: &Secret) -> Result<Option<Secret>, Denied> {
        match self {
            Self::Gateways | Self::Fixed(_) => Ok(None),
        }
    }

    /// Whether it came with the client's credentials: then a refusal is for the client to mend, and
    /// not for the operator.
    pub fn is_the_clients(&self) -> bool {
        match self {
            Self::Gateways | Self::Fixed(_) => false,
        }
    }
}
