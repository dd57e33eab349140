//! A certificate chain with its private key: read from files or made in memory, and whether the two
//! fit together and when they are valid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::CertificateError;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use crate::tls::{Config, KEY, TlsError, certificates, provider, read};

/// What the two files hold, not looked into yet.
pub(super) struct Files {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    /// # Errors
    /// [`TlsError::Read`].
    pub(super) fn read(config: &Config) -> Result<Self, TlsError> {
        Ok(Self {
            chain: read(&config.cert_path, CERTIFICATE)?,
            key: read(&config.key_path, KEY)?.into(),
        })
    }
}

/// Stands for the contents of the files, or for the fault met in reading them, without keeping a
/// key: SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(pub(super) [u8; 32]);

impl Fingerprint {
    pub(super) fn of(found: Result<&Files, &TlsError>) -> Self {
        let mut sum = digest::Context::new(&digest::SHA256);
        match found {
            Ok(files) => {
                for octets in [files.chain.as_slice(), files.key.as_slice()] {
                    sum.update(&octets.len().to_be_bytes());
                    sum.update(octets);
                }
            }
            Err(error) => sum.update(error.to_string().as_bytes()),
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(sum.finish().as_ref());
        Self(fingerprint)
    }
}

/// A chain and the key that belongs to it.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// From when to when the server's own certificate is valid.
    not_before: ASN1Time,
    pub(super) not_after: ASN1Time,
}

impl Pair {
    /// Of any date: see [`Pair::check_dates`].
    ///
    /// # Errors
    /// [`TlsError`] when the files are not PEM or do not fit together.
    pub(super) fn new(config: &Config, files: &Files) -> Result<Self, TlsError> {
        let chain = certificates(&files.chain, CERTIFICATE, &config.cert_path)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| TlsError::Pem {
            what: KEY,
            path: config.key_path.clone(),
        })?;
        Self::from_der(chain, key)
    }

    /// # Errors
    /// [`TlsError::SelfSigned`] when the host's name cannot stand in a certificate.
    pub(super) fn self_signed(hostname: &str) -> Result<Self, TlsError> {
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
        Self::from_der(vec![made.cert.der().clone()], key.into())
    }

    fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Pair)?;
        let own = certified.end_entity_cert().map_err(TlsError::Pair)?;
        let (_, own) = parse_x509_certificate(own)
            .map_err(|_| TlsError::Pair(CertificateError::BadEncoding.into()))?;
        let validity = own.validity();
        let (not_before, not_after) = (validity.not_before, validity.not_after);
        Ok(Self {
            certified: Arc::new(certified),
            not_before,
            not_after,
        })
    }

    /// From its first to its last second.
    pub(super) fn dates(&self) -> RangeInclusive<ASN1Time> {
        self.not_before..=self.not_after
    }

    /// Whether clients whose clocks say `now` would take it.
    ///
    /// # Errors
    /// [`TlsError::Expired`], [`TlsError::NotYetValid`].
    pub(super) fn check_dates(&self, now: ASN1Time) -> Result<(), TlsError> {
        if now > self.not_after {
            Err(TlsError::Expired(self.not_after))
        } else if now < self.not_before {
            Err(TlsError::NotYetValid(self.not_before))
        } else {
            Ok(())
        }
    }
}

const CERTIFICATE: &str = "certificate";

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_pair_is_good_from_its_first_to_its_last_second() {
        let key = KeyPair::generate().unwrap();
        let mut wanted = CertificateParams::new(["a.example".to_owned()]).unwrap();
        wanted.not_before = date_time_ymd(2030, 1, 1);
        wanted.not_after = date_time_ymd(2030, 4, 1);
        let made = wanted.self_signed(&key).unwrap();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let pair = Pair::from_der(vec![made.der().clone()], der.into()).unwrap();
        let at = |seconds| pair.check_dates(ASN1Time::from_timestamp(seconds).unwrap());
        let first = wanted.not_before.unix_timestamp();
        let last = wanted.not_after.unix_timestamp();
        assert!(matches!(at(first - 1), Err(TlsError::NotYetValid(_))));
        assert!(at(first).is_ok() && at(last).is_ok());
        assert!(matches!(at(last + 1), Err(TlsError::Expired(_))));
    }

    #[test]
    fn contents_and_faults_have_fingerprints_of_their_own() {
        let files = |chain: &str, key: &str| Files {
            chain: chain.into(),
            key: Zeroizing::new(key.into()),
        };
        let of = |chain: &str, key: &str| Fingerprint::of(Ok(&files(chain, key)));
        assert_eq!(of("ab", "c"), of("ab", "c"));
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(of("ab", "c"), of("ab", "d"));
        let missing = |what| TlsError::Pem {
            what,
            path: "tls".into(),
        };
        let fault = |what| Fingerprint::of(Err(&missing(what)));
        assert_eq!(fault(KEY), fault(KEY));
        assert_ne!(fault(KEY), fault(CERTIFICATE));
    }
}
