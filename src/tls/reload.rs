//! The certificate in force, and the task that looks for another one in its files.
//!
//! Contents are compared, not dates: Kubernetes swaps a symbolic link, editors and agents rename or
//! write in place. Contents count once two polls in a row see them, since certificate and key are
//! seldom written at the same instant. What cannot be used is told once, and the old pair stays;
//! one that is not valid now is taken once it is.

use std::ops::RangeInclusive;
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
    refused: IntGauge,
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
            refused: registry.gauge(
                "smtp_certificate_refused",
                "1 while the files hold a certificate that cannot be used",
            ),
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
            let is_refused = self.watch.refused.is_some();
            self.in_force.refused.set(is_refused.into());
        }
    }

    async fn poll(&mut self) {
        let (config, mut watch) = (self.config.clone(), self.watch.clone());
        let now = ASN1Time::now();
        // Off the threads that serve: a file system may hang, and a key takes time to check.
        let looking = tokio::task::spawn_blocking(move || {
            let found = look(&config, &mut watch, now);
            (watch, found)
        });
        // It ends without a result only when the process ends.
        let Ok((watch, found)) = looking.await else {
            return;
        };
        self.watch = watch;
        let Some((contents, found)) = found else {
            return;
        };
        let dates = found.as_ref().ok().map(Pair::dates);
        // The old pair may be good still.
        match found.and_then(|pair| pair.check_dates(now).map(|()| pair)) {
            Ok(pair) => {
                self.watch.loaded(contents);
                let not_after = pair.not_after;
                self.in_force.replace(pair);
                info!("certificate.not_after" = %not_after, "certificate loaded");
            }
            Err(error) => {
                if self.watch.refused(contents, dates) {
                    self.in_force.reloads.with_label_values(&[REFUSED]).inc();
                    warn!("error.detail" = %error, "certificate refused: the old one stays");
                }
            }
        }
    }
}

/// What the files hold, where that is to be looked into.
fn look(
    config: &Config,
    watch: &mut Watch,
    now: ASN1Time,
) -> Option<(Fingerprint, Result<Pair, TlsError>)> {
    let files = Files::read(config);
    let contents = Fingerprint::of(files.as_ref());
    let pair = || files.and_then(|files| Pair::new(config, &files));
    watch.sees(contents, now).then(|| (contents, pair()))
}

/// Decides, by what the polls see, when to look into the files and when to speak.
#[derive(Debug, Clone)]
struct Watch {
    in_force: Fingerprint,
    /// By the last poll.
    seen: Fingerprint,
    refused: Option<Refused>,
}

#[derive(Debug, Clone)]
struct Refused {
    contents: Fingerprint,
    /// When they are valid, where that is all that stands in their way.
    dates: Option<RangeInclusive<ASN1Time>>,
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
    /// refused is looked into again only once its time has come.
    fn sees(&mut self, found: Fingerprint, now: ASN1Time) -> bool {
        let settled = found == self.seen;
        self.seen = found;
        if settled && found == self.in_force {
            self.refused = None;
        }
        let refused = self.refused.as_ref().is_some_and(|refused| {
            let dates = refused.dates.as_ref();
            refused.contents == found && !dates.is_some_and(|dates| dates.contains(&now))
        });
        settled && found != self.in_force && !refused
    }

    fn loaded(&mut self, found: Fingerprint) {
        self.in_force = found;
        self.refused = None;
    }

    /// Whether that is news.
    fn refused(&mut self, contents: Fingerprint, dates: Option<RangeInclusive<ASN1Time>>) -> bool {
        let before = self.refused.replace(Refused { contents, dates });
        before.is_none_or(|before| before.contents != contents)
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
            if !watch.sees(found, ASN1Time::now()) {
                continue;
            }
            if contents % 2 == 0 {
                watch.loaded(found);
                told.push((contents, LOADED));
            } else if watch.refused(found, None) {
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
    fn what_was_refused_is_looked_into_again_only_once_its_time_has_come() {
        let at = |seconds| ASN1Time::from_timestamp(seconds).unwrap();
        let found = Fingerprint([1; 32]);
        let looked_into = |dates: Option<RangeInclusive<ASN1Time>>| {
            let mut watch = Watch::new(Fingerprint([0; 32]));
            assert!(!watch.sees(found, at(15)) && watch.sees(found, at(15)));
            assert!(watch.refused(found, dates.clone()));
            let polls = [9, 10, 20, 21].map(|seconds| watch.sees(found, at(seconds)));
            assert!(!watch.refused(found, dates));
            polls
        };
        assert_eq!(
            looked_into(Some(at(10)..=at(20))),
            [false, true, true, false]
        );
        assert_eq!(looked_into(None), [false; 4]);
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
