//! Calls to APIs over HTTP: how a client is made, and what no caller may do otherwise.
//!
//! Redirects are never followed: a 302 to a page that answers 200 is no answer of the API. Nothing
//! is repeated behind the caller's back. Keys travel in clear to this machine only, unless a setting
//! says otherwise.

pub mod object;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderValue, InvalidHeaderValue};
use reqwest::{Url, redirect};

use crate::secret::Secret;
use crate::tls::{self, TrustAnchors};

/// What is the same for all connections to APIs.
#[derive(Debug, Clone)]
pub struct Connections {
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// PEM file of certificates to trust besides the system's.
    pub ca_path: Option<PathBuf>,
    /// Allow `http://` to other hosts than this one.
    pub allow_http: bool,
}

/// Why an API cannot be called. A URL may carry a key, so none is shown.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("expected an https:// URL")]
    Url,
    #[error(
        "it is not https, so keys and mail would travel in clear; \
         if that is what you want, set api.allow_http = true"
    )]
    PlainHttp,
    #[error("user and password have no place in it: use a key")]
    Userinfo,
    #[error("expected the base URL alone, without ? and #")]
    NotBase,
    #[error("expected the base URL alone: {0} is appended to it")]
    PathAlready(&'static str),
    #[error("{0:?} does not start with /")]
    Path(String),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Joins a base URL and a path, and refuses to send keys and mail in clear to another host.
///
/// # Errors
/// [`ClientError`]: what is wrong with either.
pub fn url(base: &str, path: &str, allow_http: bool) -> Result<Url, ClientError> {
    if !path.is_empty() && !path.starts_with('/') {
        return Err(ClientError::Path(path.to_owned()));
    }
    let text = format!("{}{path}", base.trim_end_matches('/'));
    let url = Url::parse(&text).map_err(|_| ClientError::Url)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ClientError::Userinfo);
    }
    if base.contains(['?', '#']) {
        return Err(ClientError::NotBase);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) || allow_http => Ok(url),
        "http" => Err(ClientError::PlainHttp),
        _ => Err(ClientError::Url),
    }
}

/// A client for the host of `url`.
///
/// # Errors
/// [`ClientError`], above all when nobody could be trusted.
pub fn client(connections: &Connections, url: &Url) -> Result<reqwest::Client, ClientError> {
    let anchors = match url.scheme() {
        "https" => TrustAnchors::Required,
        _ => TrustAnchors::Optional,
    };
    let tls = tls::client(connections.ca_path.as_deref(), anchors)?;
    let mut client = reqwest::Client::builder();
    if is_loopback(url) {
        // A proxy for the world outside is not for a neighbour on this machine.
        client = client.no_proxy();
    }
    let client = client
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(connections.connect_timeout)
        .pool_idle_timeout(connections.idle_timeout)
        .tcp_nodelay(true)
        .user_agent(concat!("smtp-gateway/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

/// `Bearer <key>`, marked as sensitive.
///
/// # Errors
/// When the key cannot stand in a header field.
pub fn bearer(key: &Secret) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads an answer's body. One that is too long or breaks off counts as none: nobody then finds a
/// documented answer in it.
pub async fn read(mut response: reqwest::Response) -> Vec<u8> {
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

/// No API's answer to a call of ours is near this long.
const MAX_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_change_the_host_and_a_url_carries_no_password() {
        let url = |base, path| url(base, path, false);
        assert!(matches!(
            url("https://api.example", ".evil.example"),
            Err(ClientError::Path(_))
        ));
        assert!(matches!(
            url("https://u:p@api.example", "/v1"),
            Err(ClientError::Userinfo)
        ));
        for base in ["https://api.example#x", "https://api.example?x=1"] {
            assert!(matches!(url(base, "/v1"), Err(ClientError::NotBase)));
        }
        let joined = url("https://api.example/v1/", "/messages").unwrap();
        assert_eq!(joined.as_str(), "https://api.example/v1/messages");
    }

    #[test]
    fn keys_are_not_sent_in_clear_to_other_hosts() {
        for base in [
            "https://api.example/v1",
            "http://127.0.0.1:9",
            "http://[::1]:9",
            "http://localhost",
        ] {
            assert!(url(base, "", false).is_ok(), "{base}");
        }
        for base in ["http://api.example", "http://127.0.0.1.example"] {
            let refused = url(base, "", false);
            assert!(matches!(refused, Err(ClientError::PlainHttp)), "{base}");
        }
        for base in ["", "api.example", "ftp://api.example"] {
            let refused = url(base, "", false);
            assert!(matches!(refused, Err(ClientError::Url)), "{base}");
        }
        assert!(url("http://api.example", "", true).is_ok());
    }
}
