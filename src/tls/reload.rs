//! The certificate in force, and the task that looks for another one in its files.
//!
//! Contents are compared, not dates: Kubernetes swaps a symbolic link, editors and agents rename or
//! write in place. Contents count once two polls in a row see them, since certificate and key are
//! seldom written at the same instant. What cannot be used is told once, and the old pair stays.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, IntGauge};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use x509_parser::time::ASN1Time;

use crate::telemetry::metrics::Registry;
use crate::tls::pair::{Files, Fingerprint, Pair};
use crate::tls::{Config, TlsError};

/// The pair that new sessions are shown. Sessions that have begun keep theirs.
#[derive(Debug)]
pub(super) struct InForce {
    certified: ArcSwap<CertifiedKey>,
    not_after: IntGauge,
    reloads: IntCounterVec,
}

impl InForce {
    pub(super) fn new(pair: Pair, registry: &Registry) -> Self {
        let not_after = registry.gauge(
            "smtp_certificate_not_after_seconds",
            "When the certificate in force expires, in Unix time",
        );
        not_after.set(pair.not_after.timestamp());
        Self {
            certified: ArcSwap::new(pair.certified),
            not_after,
            reloads: registry.counter_by(
                "smtp_certificate_reloads_total",
                "Changes seen in the files of the certificate",
                "result",
                &[LOADED, REFUSED],
            ),
        }
    }

    fn replace(&self, pair: Pair) {
        self.not_after.set(pair.not_after.timestamp());
        self.certified.store(pair.certified);
        self.reloads.with_label_values(&[LOADED]).inc();
    }
}

impl ResolvesServerCert for InForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
    }
}

/// Looks into the files from time to time, and puts a new pair in force.
#[derive(Debug)]
pub struct Watcher {
    config: Config,
    in_force: Arc<InForce>,
    watch: Watch,
}

impl Watcher {
    /// `files` is what the pair in force was made of.
    pub(super) fn new(config: Config, in_force: Arc<InForce>, files: Fingerprint) -> Self {
        Self {
            config,
            in_force,
            watch: Watch::new(files),
        }
    }

    /// Watches until the drain.
    pub async fn run(mut self, draining: CancellationToken) {
        let period = self.config.reload_interval.duration();
        draining.run_until_cancelled(self.poll_each(period)).await;
    }

    async fn poll_each(&mut self, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            self.poll().await;
        }
    }

    async fn poll(&mut self) {
        let config = self.config.clone();
        // Off the threads that serve: a file system may hang.
        let read = tokio::task::spawn_blocking(move || Files::read(&config));
        // Reading ends without a result only when the process ends.
        let Ok(found) = read.await else { return };
        let fingerprint = Fingerprint::of(found.as_ref());
        if !self.watch.sees(fingerprint) {
            return;
        }
        match found.and_then(|files| self.usable(&files)) {
            Ok(pair) => {
                self.watch.loaded(fingerprint);
                let not_after = pair.not_after;
                self.in_force.replace(pair);
                info!("certificate.not_after" = %not_after, "certificate loaded");
            }
            Err(error) => {
                if self.watch.refused(fingerprint) {
                    self.in_force.reloads.with_label_values(&[REFUSED]).inc();
                    warn!("error.detail" = %error, "certificate refused: the old one stays");
                }
            }
        }
    }

    fn usable(&self, files: &Files) -> Result<Pair, TlsError> {
        let pair = Pair::new(&self.config, files)?;
        // The old pair may be good still.
        pair.check_dates(ASN1Time::now())?;
        Ok(pair)
    }
}

/// Decides, by what the polls see, when to look into the files and when to speak.
#[derive(Debug)]
struct Watch {
    in_force: Fingerprint,
    /// By the last poll.
    seen: Fingerprint,
    refused: Option<Fingerprint>,
}

impl Watch {
    fn new(in_force: Fingerprint) -> Self {
        Self {
            in_force,
            seen: in_force,
            refused: None,
        }
    }

    /// Whether to look into what a poll found: seen twice, and not what is in force. What was
    /// refused is looked into again, since its time may have come.
    fn sees(&mut self, found: Fingerprint) -> bool {
        let settled = found == self.seen;
        self.seen = found;
        if settled && found == self.in_force {
            self.refused = None;
        }
        settled && found != self.in_force
    }

    fn loaded(&mut self, found: Fingerprint) {
        self.in_force = found;
        self.refused = None;
    }

    /// Whether that is news.
    fn refused(&mut self, found: Fingerprint) -> bool {
        self.refused.replace(found) != Some(found)
    }
}

const LOADED: &str = "loaded";
const REFUSED: &str = "refused";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;
    use crate::tls::Server;
    use crate::units::Period;

    /// What is told at these polls. 0 is in force at first; even contents are good.
    fn told(polls: &[u8]) -> Vec<(u8, &'static str)> {
        let mut watch = Watch::new(Fingerprint([0; 32]));
        let mut told = Vec::new();
        for &contents in polls {
            let found = Fingerprint([contents; 32]);
            if !watch.sees(found) {
                continue;
            }
            if contents % 2 == 0 {
                watch.loaded(found);
                told.push((contents, LOADED));
            } else if watch.refused(found) {
                told.push((contents, REFUSED));
            }
        }
        told
    }

    #[test]
    fn contents_count_once_two_polls_in_a_row_see_them() {
        assert_eq!(told(&[0, 0, 0]), []);
        assert_eq!(told(&[2, 0, 2]), []);
        assert_eq!(told(&[2, 2, 2, 2]), [(2, LOADED)]);
        assert_eq!(told(&[2, 2, 0, 0]), [(2, LOADED), (0, LOADED)]);
        // The certificate is written, the key not yet.
        assert_eq!(told(&[1, 2, 2]), [(2, LOADED)]);
    }

    #[test]
    fn bad_contents_are_told_once_until_good_ones_are_there() {
        assert_eq!(told(&[1, 1, 1, 1, 1]), [(1, REFUSED)]);
        assert_eq!(told(&[1, 1, 3, 1, 1]), [(1, REFUSED)]);
        assert_eq!(told(&[1, 1, 3, 3]), [(1, REFUSED), (3, REFUSED)]);
        assert_eq!(told(&[1, 1, 0, 0, 1, 1]), [(1, REFUSED), (1, REFUSED)]);
        let recovered = [(1, REFUSED), (2, LOADED), (1, REFUSED)];
        assert_eq!(told(&[1, 1, 2, 2, 1, 1]), recovered);
    }

    #[test]
    fn what_was_refused_is_looked_into_again() {
        let mut watch = Watch::new(Fingerprint([0; 32]));
        let found = Fingerprint([1; 32]);
        assert!(!watch.sees(found) && watch.sees(found));
        assert!(watch.refused(found));
        assert!(watch.sees(found));
        assert!(!watch.refused(found));
    }

    struct Scene {
        folder: TempDir,
        watcher: Watcher,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = Config {
                cert_path: folder.path().join("tls.crt"),
                key_path: folder.path().join("tls.key"),
                ..Config::default()
            };
            write(folder.path(), 2020, 2100);
            let server = Server::new(&config, "a.example", &Registry::default()).unwrap();
            let watcher = server.watcher.expect("files are watched");
            Self { folder, watcher }
        }

        /// Polls several times: pairs loaded and pairs refused so far, and whether another one than
        /// `before` is in force.
        async fn polled(&mut self, before: &Arc<CertifiedKey>) -> (u64, u64, bool) {
            for _ in 0..4 {
                self.watcher.poll().await;
            }
            let count = |result| {
                let reloads = &self.watcher.in_force.reloads;
                reloads.with_label_values(&[result]).get()
            };
            let changed = !Arc::ptr_eq(before, &self.in_force());
            (count(LOADED), count(REFUSED), changed)
        }

        fn in_force(&self) -> Arc<CertifiedKey> {
            self.watcher.in_force.certified.load_full()
        }
    }

    /// Writes a new pair that is valid in these years.
    fn write(folder: &Path, from: i32, until: i32) {
        let key = KeyPair::generate().unwrap();
        let mut wanted = CertificateParams::new(["a.example".to_owned()]).unwrap();
        wanted.not_before = date_time_ymd(from, 1, 1);
        wanted.not_after = date_time_ymd(until, 1, 1);
        let made = wanted.self_signed(&key).unwrap();
        std::fs::write(folder.join("tls.crt"), made.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    }

    #[tokio::test]
    async fn a_pair_written_in_place_is_loaded_once() {
        let mut scene = Scene::new();
        let before = scene.in_force();
        assert_eq!(scene.polled(&before).await, (0, 0, false));
        write(scene.folder.path(), 2020, 2101);
        assert_eq!(scene.polled(&before).await, (1, 0, true));
        let until = date_time_ymd(2101, 1, 1).unix_timestamp();
        assert_eq!(scene.watcher.in_force.not_after.get(), until);
    }

    #[tokio::test]
    async fn a_bad_pair_is_refused_once_and_the_old_one_stays() {
        let mut scene = Scene::new();
        let before = scene.in_force();
        let key = scene.folder.path().join("tls.key");
        let good = std::fs::read(&key).unwrap();
        std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert_eq!(scene.polled(&before).await, (0, 1, false));
        std::fs::write(&key, "not PEM").unwrap();
        assert_eq!(scene.polled(&before).await, (0, 2, false));
        std::fs::remove_file(&key).unwrap();
        assert_eq!(scene.polled(&before).await, (0, 3, false));
        std::fs::write(&key, good).unwrap();
        assert_eq!(scene.polled(&before).await, (0, 3, false));
        let until = date_time_ymd(2100, 1, 1).unix_timestamp();
        assert_eq!(scene.watcher.in_force.not_after.get(), until);
    }

    #[tokio::test]
    async fn a_pair_that_is_not_valid_now_replaces_none() {
        let mut scene = Scene::new();
        let before = scene.in_force();
        write(scene.folder.path(), 2020, 2021);
        assert_eq!(scene.polled(&before).await, (0, 1, false));
        write(scene.folder.path(), 2099, 2100);
        assert_eq!(scene.polled(&before).await, (0, 2, false));
        write(scene.folder.path(), 2020, 2100);
        assert_eq!(scene.polled(&before).await, (1, 2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn watching_ends_with_the_drain() {
        let scene = Scene::new();
        let draining = CancellationToken::new();
        draining.cancel();
        let watching = scene.watcher.run(draining);
        let ended = tokio::time::timeout(Duration::from_secs(60), watching).await;
        assert!(ended.is_ok());
    }

    #[test]
    fn what_cannot_change_is_not_watched() {
        let watcher = |config: &Config| {
            let server = Server::new(config, "a.example", &Registry::default());
            server.unwrap().watcher
        };
        let mut config = Scene::new().watcher.config;
        config.self_signed = true;
        assert!(watcher(&config).is_none());

        let scene = Scene::new();
        let mut config = scene.watcher.config.clone();
        config.reload_interval = Period::seconds(0);
        assert!(watcher(&config).is_none());
    }
}
