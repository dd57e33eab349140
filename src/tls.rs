//! Certificates, and the rustls settings for both sides.
//!
//! Server side: TLS 1.2 and 1.3, X25519MLKEM768 preferred, no ALPN protocol but our own, so that
//! an HTTPS client led to this port is cut off in the handshake (ALPACA, CVE-2021-3618). Client
//! side: the system's trust anchors and, where a setting names them, others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cert_path: "/etc/smtp-gateway/tls/tls.crt".into(),
            key_path: "/etc/smtp-gateway/tls/tls.key".into(),
            self_signed: false,
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
            | Self::NoTrustAnchors
            | Self::Rustls(_) => "tls.cert_path",
        }
    }
}

/// The TLS settings for SMTP clients.
///
/// # Errors
/// [`TlsError`] when the pair is missing, is not PEM, or does not fit together.
pub fn server(config: &Config, hostname: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = if config.self_signed {
        self_signed(hostname)?
    } else {
        load_pair(config)?
    };
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    server.alpn_protocols = vec![b"smtp".to_vec()];
    // Clients that connect for every message resume instead of starting over.
    server.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(server))
}

/// The TLS settings for the email API: the system's trust anchors, and those of `ca_path`.
///
/// # Errors
/// [`TlsError`] when `ca_path` cannot be read or holds no certificate, or nobody could be trusted.
pub fn client(ca_path: Option<&Path>, anchors: TrustAnchors) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_path {
        for certificate in load_chain(path, "CA certificates")? {
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

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn load_pair(config: &Config) -> Result<Pair, TlsError> {
    let chain = load_chain(&config.cert_path, "certificate")?;
    let pem = read(&config.key_path, KEY)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Pem {
        what: KEY,
        path: config.key_path.clone(),
    })?;
    Ok((chain, key))
}

fn load_chain(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, what)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
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

fn self_signed(hostname: &str) -> Result<Pair, TlsError> {
    let mut names = vec![
        "localhost".to_owned(),
        IpAddr::from(Ipv4Addr::LOCALHOST).to_string(),
        IpAddr::from(Ipv6Addr::LOCALHOST).to_string(),
    ];
    if !names.iter().any(|name| name == hostname) {
        names.push(hostname.to_owned());
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(TlsError::SelfSigned)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

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
        let error = server(&config, "gateway.example").unwrap_err().to_string();
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
            self_signed: false,
        };
        assert!(matches!(
            server(&config, "a.example"),
            Err(TlsError::Pair(_))
        ));
        std::fs::write(&config.key_path, "not PEM").unwrap();
        assert!(matches!(
            server(&config, "a.example"),
            Err(TlsError::Pem { .. })
        ));
        std::fs::write(&config.key_path, one.signing_key.serialize_pem()).unwrap();
        assert!(server(&config, "a.example").is_ok());
    }

    #[test]
    fn the_hybrid_post_quantum_group_is_preferred() {
        let first = provider().kx_groups.first().map(|group| group.name());
        assert_eq!(first, Some(rustls::NamedGroup::X25519MLKEM768));
    }
}
