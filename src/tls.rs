//! Certificates and their reload, and the rustls settings for both sides.
//!
//! Server side: TLS 1.2 and 1.3, X25519MLKEM768 preferred, no ALPN protocol but our own, so that
//! an HTTPS client led to this port is cut off in the handshake (ALPACA, CVE-2021-3618). Client
//! side: the system's trust anchors and, where a setting names them, others.

pub mod insecure;
mod pair;
pub mod reload;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use tracing::warn;
use x509_parser::time::ASN1Time;

use crate::telemetry::metrics::Registry;
use crate::tls::pair::{Files, Fingerprint, Pair};
use crate::tls::reload::{InForce, Watcher};
use crate::units::Period;

/// The certificate that SMTP clients are shown.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Certificate chain, PEM, the server's own certificate first.
    pub cert_path: PathBuf,
    /// Its private key, PEM: PKCS#8, PKCS#1 or SEC1.
    pub key_path: PathBuf,
    /// Make a certificate in memory at start instead, which no client can verify. For trying out.
    pub self_signed: bool,
    /// How often the two files are looked into for another pair. Zero: never.
    pub reload_interval: Period,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cert_path: "/etc/smtp-gateway/tls/tls.crt".into(),
            key_path: "/etc/smtp-gateway/tls/tls.key".into(),
            self_signed: false,
            reload_interval: Period::seconds(10),
        }
    }
}

/// Whether somebody must be trusted: not by who speaks plain HTTP to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustAnchors {
    Required,
    Optional,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {what} {path}: {error}")]
    Read {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("no {what} in {path}: it must be PEM")]
    Pem { what: &'static str, path: PathBuf },
    #[error("the certificate and its key cannot be used: {0}")]
    Pair(rustls::Error),
    #[error("the certificate was valid until {0}")]
    Expired(ASN1Time),
    #[error("the certificate is not valid before {0}")]
    NotYetValid(ASN1Time),
    #[error("this system has no certificates to trust: install its CA bundle, or name a file")]
    NoTrustAnchors,
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(rcgen::Error),
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

impl TlsError {
    /// The setting that is at fault, for the server's side.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Read { what: KEY, .. } | Self::Pem { what: KEY, .. } => "tls.key_path",
            Self::SelfSigned(_) => "tls.self_signed",
            Self::Read { .. }
            | Self::Pem { .. }
            | Self::Pair(_)
            | Self::Expired(_)
            | Self::NotYetValid(_)
            | Self::NoTrustAnchors
            | Self::Rustls(_) => "tls.cert_path",
        }
    }
}

/// Tells whether the certificate for SMTP clients can be used.
///
/// # Errors
/// [`TlsError`] when the pair is missing, is not PEM, or does not fit together.
pub fn check(config: &Config) -> Result<(), TlsError> {
    match config.self_signed {
        true => Ok(()),
        false => Pair::new(config, &Files::read(config)?).map(drop),
    }
}

/// What SMTP clients meet.
#[derive(Debug)]
pub struct Server {
    pub settings: Arc<ServerConfig>,
    /// Puts new pairs in force while it runs; none where nothing can change.
    pub watcher: Option<Watcher>,
}

impl Server {
    /// # Errors
    /// [`TlsError`], as [`check`], or when no certificate can be made for `hostname`.
    pub fn new(config: &Config, hostname: &str, registry: &Registry) -> Result<Self, TlsError> {
        let (pair, files) = if config.self_signed {
            (Pair::self_signed(hostname)?, None)
        } else {
            let files = Files::read(config)?;
            let pair = Pair::new(config, &files)?;
            (pair, Some(Fingerprint::of(Ok(&files))))
        };
        if let Err(error) = pair.check_dates(ASN1Time::now()) {
            warn!("error.detail" = %error, "clients will not trust the certificate");
        }
        let in_force = Arc::new(InForce::new(pair, registry));
        let watched = !config.reload_interval.duration().is_zero();
        let watcher = files
            .filter(|_| watched)
            .map(|files| Watcher::new(config.clone(), Arc::clone(&in_force), files));
        let mut settings = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(in_force);
        settings.alpn_protocols = vec![b"smtp".to_vec()];
        // All that is offered is strong, but scanners count it against a server that has no order.
        settings.ignore_client_order = true;
        // Clients that connect for every message resume instead of starting over, also those that
        // began under an older certificate.
        settings.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self {
            settings: Arc::new(settings),
            watcher,
        })
    }
}

/// The TLS settings for the email API: the system's trust anchors, and those of `ca_path`.
///
/// # Errors
/// [`TlsError`] when `ca_path` cannot be read or holds no certificate, or nobody could be trusted.
pub fn client(ca_path: Option<&Path>, anchors: TrustAnchors) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_path {
        for certificate in certificates(&read(path, AUTHORITIES)?, AUTHORITIES, path)? {
            roots.add(certificate).map_err(TlsError::Pair)?;
        }
    }
    if anchors == TrustAnchors::Required && roots.is_empty() {
        return Err(TlsError::NoTrustAnchors);
    }
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// aws-lc-rs, whose first key exchange group is X25519MLKEM768.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(
    pem: &[u8],
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(TlsError::Pem {
            what,
            path: path.to_owned(),
        }),
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read {
        what,
        path: path.to_owned(),
        error,
    })
}

const AUTHORITIES: &str = "CA certificates";
const KEY: &str = "private key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_certificate_is_named() {
        let config = Config {
            cert_path: "/nowhere/tls.crt".into(),
            ..Config::default()
        };
        let error = check(&config).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read certificate /nowhere/tls.crt: "),
            "{error}"
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (cert_path, key_path) = (folder.path().join("c"), folder.path().join("k"));
        let one = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        std::fs::write(&cert_path, one.cert.pem()).unwrap();
        std::fs::write(&key_path, other.signing_key.serialize_pem()).unwrap();
        let config = Config {
            cert_path,
            key_path,
            ..Config::default()
        };
        assert!(matches!(check(&config), Err(TlsError::Pair(_))));
        std::fs::write(&config.key_path, "not PEM").unwrap();
        assert!(matches!(check(&config), Err(TlsError::Pem { .. })));
        std::fs::write(&config.key_path, one.signing_key.serialize_pem()).unwrap();
        assert!(check(&config).is_ok());
    }

    #[test]
    fn the_hybrid_post_quantum_group_is_preferred() {
        let first = provider().kx_groups.first().map(|group| group.name());
        assert_eq!(first, Some(rustls::NamedGroup::X25519MLKEM768));
    }
}
