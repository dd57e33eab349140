//! The authentication API over HTTP: credentials to a key, and whether a key is good.
//!
//! One call each, not repeated: the client does that. How long it may take is the caller's business.

pub mod dialect;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{RequestBuilder, Url};
use tracing::warn;
use zeroize::Zeroizing;

use crate::auth::Denied;
use crate::auth::key_api::dialect::{Body, Dialect, Granted};
use crate::http_client::{self, ClientError, Connections};
use crate::secret::Secret;
use crate::smtp::sasl::Credentials;

/// Gives keys for credentials.
#[derive(Debug)]
pub struct KeyApi {
    client: reqwest::Client,
    url: Url,
    dialect: Dialect,
}

impl KeyApi {
    /// # Errors
    /// [`ClientError`] when the API cannot be called.
    pub fn new(
        base: &str,
        dialect: Dialect,
        connections: &Connections,
    ) -> Result<Self, ClientError> {
        let url = http_client::url(base, "", connections.allow_http)?;
        if dialect.is_no_base(url.path().trim_end_matches('/')) {
            return Err(ClientError::PathAlready(dialect.path()));
        }
        let url = http_client::url(base, dialect.path(), connections.allow_http)?;
        Ok(Self {
            client: http_client::client(connections, &url)?,
            url,
            dialect,
        })
    }

    /// # Errors
    /// [`Denied`]
    pub async fn log_in(&self, credentials: &Credentials) -> Result<Granted, Denied> {
        let (status, body) = self.post(self.dialect.login(credentials)).await?;
        told(status, self.dialect.granted(status, &body))
    }

    /// Another key, without the password.
    ///
    /// # Errors
    /// [`Denied`]; [`Denied::Credentials`] means that the refresh token is spent.
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<Granted, Denied> {
        let (status, body) = self.post(dialect::refresh(refresh_token)).await?;
        told(status, self.dialect.refreshed(status, &body))
    }

    async fn post(&self, body: Body) -> Result<(u16, Zeroizing<Vec<u8>>), Denied> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, self.dialect.content_type())
            .body(Bytes::from_owner(body));
        call(request).await
    }
}

/// Tells whether a key is good, by a GET that needs one.
#[derive(Debug)]
pub struct KeyCheck {
    client: reqwest::Client,
    url: Url,
}

impl KeyCheck {
    /// # Errors
    /// [`ClientError`] when the API cannot be called.
    pub fn new(base: &str, path: &str, connections: &Connections) -> Result<Self, ClientError> {
        let url = http_client::url(base, path, connections.allow_http)?;
        Ok(Self {
            client: http_client::client(connections, &url)?,
            url,
        })
    }

    /// # Errors
    /// [`Denied`]
    pub async fn check(&self, key: &Secret) -> Result<(), Denied> {
        let key = http_client::bearer(key).map_err(|_| Denied::Credentials)?;
        let request = self.client.get(self.url.clone());
        let (status, body) = call(request.header(AUTHORIZATION, key)).await?;
        told(status, dialect::checked(status, &body))
    }
}

/// Whether a request can carry this as its key.
pub fn is_sendable(key: &Secret) -> bool {
    dialect::is_sendable(key)
}

async fn call(request: RequestBuilder) -> Result<(u16, Zeroizing<Vec<u8>>), Denied> {
    match request.send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            Ok((status, Zeroizing::new(http_client::read(response).await)))
        }
        Err(error) => {
            let kind = match error.is_connect() {
                true => "connect",
                false => "reset",
            };
            warn!("error.kind" = kind, "a key cannot be looked up");
            Err(Denied::Unavailable)
        }
    }
}

/// Logs an answer that says nothing about the credentials.
fn told<T>(status: u16, answer: Result<T, Denied>) -> Result<T, Denied> {
    if let Err(Denied::Unavailable) = &answer {
        warn!(
            "error.kind" = "not_understood",
            "http.status" = status,
            "a key cannot be looked up"
        );
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_with_the_path_in_it_is_refused() {
        let connections = Connections {
            connect_timeout: std::time::Duration::from_secs(1),
            idle_timeout: std::time::Duration::from_secs(1),
            ca_path: None,
            allow_http: false,
        };
        for (base, dialect) in [
            ("http://127.0.0.1:9/token/", Dialect::Token),
            ("http://127.0.0.1:9/v1/auth", Dialect::Token),
            ("http://127.0.0.1:9/v1", Dialect::Token),
            ("http://127.0.0.1:9/v1/validate", Dialect::Validate),
        ] {
            let made = KeyApi::new(base, dialect, &connections);
            assert!(matches!(made, Err(ClientError::PathAlready(_))), "{base}");
        }
        let allowed = Connections {
            allow_http: true,
            ..connections
        };
        for (base, dialect) in [
            ("http://token", Dialect::Token),
            ("http://127.0.0.1:9", Dialect::Token),
            ("http://validate/", Dialect::Validate),
            ("http://127.0.0.1:9/v1/auth", Dialect::Validate),
        ] {
            assert!(KeyApi::new(base, dialect, &allowed).is_ok(), "{base}");
        }
    }
}
