//! The real application, in this process, on free ports of loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use smtp_gateway::app::App;
use smtp_gateway::auth::Source;
use smtp_gateway::auth::static_keys::Account;
use smtp_gateway::config::Config;
use smtp_gateway::delivery::BackendName;
use smtp_gateway::delivery::http::ProviderName;
use smtp_gateway::ingress::smtp::{ListenerConfig, ListenerTls};
use smtp_gateway::secret::Secret;
use smtp_gateway::units::Period;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::cakemail::Cakemail;
use crate::support::client::SmtpClient;

/// A certificate for `localhost` and `127.0.0.1`, made for one test.
pub(crate) struct Certificate {
    pub(crate) folder: TempDir,
    der: Vec<u8>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut wanted = CertificateParams::new(names).unwrap();
        change(&mut wanted);
        let key = KeyPair::generate().unwrap();
        let made = wanted.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls.crt"), made.pem()).unwrap();
        std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
        Self {
            folder,
            der: made.der().to_vec(),
        }
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// Settings of a client that trusts this certificate and no other.
    pub(crate) fn client(&self) -> ClientConfig {
        trusting(&[self])
    }
}

/// Settings of a client that trusts these certificates and no other.
pub(crate) fn trusting(certificates: &[&Certificate]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.der.clone().into()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A running gateway. Dropping it drains it, and fails the test if it did not end well.
pub(crate) struct Gateway {
    pub(crate) certificate: Certificate,
    smtp: Vec<SocketAddr>,
    http: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// A loopback port that the system chooses.
pub(crate) fn listener(tls: ListenerTls) -> ListenerConfig {
    ListenerConfig {
        host: [127, 0, 0, 1].into(),
        port: 0,
        tls,
        ..ListenerConfig::default()
    }
}

impl Gateway {
    /// With the sandbox behind it: STARTTLS first, implicit TLS second, and an account `ann` whose
    /// password is `secret`.
    pub(crate) fn sandbox(change: impl FnOnce(&mut Config)) -> Self {
        Self::start(|config| {
            config.backend = BackendName::Sandbox;
            change(config);
        })
    }

    /// The same, with an email API of one's own behind it.
    pub(crate) fn before(api: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::start(|config| {
            config.api.url = api.to_owned();
            config.api.key = Some(Secret::new("gateway-key"));
            change(config);
        })
    }

    /// The same, with Cakemail behind it; where keys come from and what requests look like is what
    /// the defaults say.
    pub(crate) fn before_cakemail(cakemail: &Cakemail, change: impl FnOnce(&mut Config)) -> Self {
        let defaults = Config::default();
        Self::start(|config| {
            config.auth = defaults.auth;
            config.auth.url = cakemail.url();
            config.api = defaults.api;
            config.api.url = cakemail.url();
            change(config);
        })
    }

    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let certificate = Certificate::new();
        let mut config = Config::default();
        config.api.provider = ProviderName::Json;
        config.smtp.hostname = "gateway.example".to_owned();
        config.smtp.listeners = vec![
            listener(ListenerTls::Starttls),
            listener(ListenerTls::Implicit),
        ];
        config.tls.cert_path = certificate.chain();
        config.tls.key_path = certificate.key();
        config.auth.source = Source::Static;
        config.auth.accounts = vec![Account {
            name: "ann".to_owned(),
            password: Some(Secret::new("secret")),
            ..Account::default()
        }];
        config.http.host = [127, 0, 0, 1].into();
        config.http.port = 0;
        config.drain.pause = Period::seconds(0);
        config.drain.deadline = Period::seconds(5);
        change(&mut config);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let (bound, addresses) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let app = App::bind(config).await.unwrap();
                let smtp = app
                    .listeners()
                    .unwrap()
                    .into_iter()
                    .map(|(address, _)| address);
                bound
                    .send((smtp.collect(), app.http_address().unwrap()))
                    .unwrap();
                app.run(stopped).await.unwrap();
            });
        });
        let (smtp, http) = addresses.recv().expect("the gateway starts");
        Self {
            certificate,
            smtp,
            http,
            stop,
            thread: Some(thread),
        }
    }

    /// The address of a listener, by its place in the settings.
    pub(crate) fn smtp(&self, place: usize) -> SocketAddr {
        self.smtp[place]
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// A client before any command, in clear.
    pub(crate) fn connect(&self) -> SmtpClient {
        SmtpClient::connect(self.smtp(0))
    }

    /// A client that has said EHLO, STARTTLS and EHLO.
    pub(crate) fn secured(&self) -> SmtpClient {
        SmtpClient::secured(self.smtp(0), self.certificate.client())
    }

    /// A client that may send.
    pub(crate) fn logged_in(&self) -> SmtpClient {
        SmtpClient::logged_in(self.smtp(0), self.certificate.client())
    }

    /// GET over HTTP/1.1: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> (u16, String) {
        super::http::request(self.http, method, path)
    }

    /// The value of a metric, with its labels as printed.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("there is no metric {name}"))
            .parse()
            .unwrap()
    }

    /// Begins the drain, without waiting for its end.
    pub(crate) fn begin_drain(&self) {
        self.stop.cancel();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the gateway ends well");
            }
        }
    }
}
