//! Keys that were looked up, and logins that were refused, for a while; one look-up at a time for
//! the same credentials.
//!
//! What is kept is found by a hash under a key of this process. A look-up belongs to all who wait
//! for it: one that leaves ends it for nobody else. A look-up that came to nothing is not kept, but
//! all who waited share its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use prometheus::IntCounter;
use tokio::time::Instant;

use crate::auth::Denied;
use crate::auth::key_api::dialect::Granted;
use crate::secret::Secret;
use crate::telemetry::metrics::Registry;

/// What stands for user name and password.
pub type Digest = [u8; 32];

/// How long things are kept, and how many of each.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub keys: u64,
    pub keys_for: Duration,
    pub refusals_for: Duration,
}

/// A key that was looked up.
#[derive(Debug)]
pub struct CachedKey {
    pub key: Secret,
    /// Gives another key once this one has expired.
    pub refresh_token: Option<Secret>,
    expires: Option<Instant>,
    kept_until: Instant,
    proof: Proof,
}

impl CachedKey {
    fn new(granted: Granted, proof: Proof, kept_for: Duration) -> Self {
        let now = Instant::now();
        let life = granted.expires_in.map(|life| {
            let margin = (life / 10).min(MAX_MARGIN);
            life.saturating_sub(margin).min(MAX_LIFE)
        });
        let kept_for = life.map_or(kept_for, |life| life.min(kept_for));
        Self {
            key: granted.key,
            refresh_token: granted.refresh_token,
            expires: life.map(|life| now + life),
            kept_until: now + kept_for,
            proof,
        }
    }

    /// Whether its own life is over, by what the API said of it.
    pub fn has_expired(&self) -> bool {
        self.expires.is_some_and(|at| at <= Instant::now())
    }

    fn is_kept(&self) -> bool {
        Instant::now() < self.kept_until
    }
}

/// What a key was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    Password,
    /// This says nothing about whether the password is still good.
    RefreshToken,
}

/// What a key is looked for.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// To let a client in: the password must have been good.
    Login,
    /// To use it.
    Use,
    /// To use it in place of this one, which the API has refused.
    InsteadOf(Secret),
}

impl Wanted {
    fn accepts(&self, key: &CachedKey) -> bool {
        match self {
            Self::Login => key.proof == Proof::Password,
            Self::Use => true,
            Self::InsteadOf(refused) => key.key != *refused,
        }
    }
}

type LookedUp = Result<(Granted, Proof), Denied>;
type Found = Result<Arc<CachedKey>, Denied>;
type LookUp = Shared<BoxFuture<'static, Found>>;
type InFlight = HashMap<(Digest, Proof), WeakShared<BoxFuture<'static, Found>>>;

#[derive(Debug)]
pub struct KeyCache {
    keys: Cache<Digest, Arc<CachedKey>>,
    refusals: Cache<Digest, (Denied, Instant)>,
    bounds: Bounds,
    /// Look-ups on their way. Some may need nobody's password, so nobody may log in by those.
    in_flight: Mutex<InFlight>,
    hits: IntCounter,
    misses: IntCounter,
}

impl KeyCache {
    pub fn new(bounds: Bounds, registry: &Registry) -> Self {
        // The newest has its place even when many come once: it belongs to a session.
        let keys = Cache::builder()
            .max_capacity(bounds.keys)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(bounds.keys_for)
            .build();
        let counted: Cache<Digest, Arc<CachedKey>> = keys.clone();
        registry.gauge_of(SIZE.0, SIZE.1, move || {
            counted.iter().filter(|(_, key)| key.is_kept()).count()
        });
        Self {
            keys,
            refusals: Cache::builder()
                .max_capacity(bounds.keys)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(bounds.refusals_for)
                .build(),
            bounds,
            in_flight: Mutex::default(),
            hits: registry.counter(
                "smtp_api_key_cache_hits_total",
                "Keys and refusals that were at hand",
            ),
            misses: registry.counter(
                "smtp_api_key_cache_misses_total",
                "Keys that had to be waited for",
            ),
        }
    }

    /// The key that is at hand, or else comes from `look_up`, which is run only if nobody has begun
    /// the same.
    ///
    /// # Errors
    /// [`Denied`]
    pub async fn find<F>(
        self: &Arc<Self>,
        digest: Digest,
        wanted: Wanted,
        proof: Proof,
        look_up: impl FnOnce() -> F + Send + 'static,
    ) -> Found
    where
        F: Future<Output = LookedUp> + Send + 'static,
    {
        if let Wanted::InsteadOf(refused) = &wanted {
            self.forget(&digest, refused).await;
        }
        let known = self.known(&digest, |key| wanted.accepts(key)).await;
        if let Some(known) = known {
            self.hits.inc();
            return known;
        }
        self.misses.inc();
        self.join((digest, proof), wanted, look_up).await
    }

    /// Forgets a key that the API has refused.
    pub async fn forget(&self, digest: &Digest, refused: &Secret) {
        let cached = self.keys.get(digest).await;
        if cached.is_some_and(|cached| cached.key == *refused) {
            self.keys.invalidate(digest).await;
        }
    }

    /// Wipes what is not kept any more. Call it now and then.
    pub async fn tidy(&self) {
        self.keys.run_pending_tasks().await;
        self.refusals.run_pending_tasks().await;
        let is_awaited = |look_up: &WeakShared<_>| look_up.upgrade().is_some();
        self.in_flight().retain(|_, look_up| is_awaited(look_up));
    }

    async fn known(&self, digest: &Digest, accepts: impl Fn(&CachedKey) -> bool) -> Option<Found> {
        if let Some((denied, until)) = self.refusals.get(digest).await
            && Instant::now() < until
        {
            return Some(Err(denied));
        }
        let key = self.keys.get(digest).await?;
        (key.is_kept() && accepts(&key)).then_some(Ok(key))
    }

    fn join<F>(
        self: &Arc<Self>,
        flight: (Digest, Proof),
        wanted: Wanted,
        look_up: impl FnOnce() -> F + Send + 'static,
    ) -> LookUp
    where
        F: Future<Output = LookedUp> + Send + 'static,
    {
        let mut in_flight = self.in_flight();
        if let Some(begun) = in_flight.get(&flight).and_then(WeakShared::upgrade) {
            return begun;
        }
        let cache = Arc::clone(self);
        let begun = async move {
            // One may have ended since the caller looked. Its key is for all who wait here.
            let (digest, proof) = &flight;
            let accepts = |key: &CachedKey| {
                wanted.accepts(key) && (*proof == Proof::RefreshToken || key.proof == *proof)
            };
            let found = match cache.known(digest, accepts).await {
                Some(known) => known,
                None => cache.keep(*digest, look_up().await).await,
            };
            cache.in_flight().remove(&flight);
            found
        };
        let begun = begun.boxed().shared();
        if let Some(weak) = begun.downgrade() {
            in_flight.insert(flight, weak);
        }
        begun
    }

    async fn keep(&self, digest: Digest, looked_up: LookedUp) -> Found {
        match looked_up {
            Ok((granted, proof)) => {
                let key = Arc::new(CachedKey::new(granted, proof, self.bounds.keys_for));
                if key.is_kept() {
                    self.keys.insert(digest, Arc::clone(&key)).await;
                }
                Ok(key)
            }
            Err(denied @ (Denied::Unavailable | Denied::Throttled)) => Err(denied),
            Err(denied @ (Denied::Credentials | Denied::Challenge)) => {
                let until = Instant::now() + self.bounds.refusals_for;
                self.refusals.insert(digest, (denied, until)).await;
                Err(denied)
            }
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and meaning of the fixed gauge.
pub const SIZE: (&str, &str) = ("smtp_api_key_cache_size", "API keys in the cache");
/// A key is not used in the last tenth of its life, so that it does not expire on its way; of a
/// long life a minute is enough.
const MAX_MARGIN: Duration = Duration::from_secs(60);
/// More than any cache keeps: what an API says must not overflow the clock.
const MAX_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const ANN: Digest = [1; 32];
    const BOB: Digest = [2; 32];

    /// A cache before something that can be asked for keys, and counts.
    struct Scene {
        cache: Arc<KeyCache>,
        registry: Registry,
        asked: Arc<AtomicUsize>,
    }

    impl Scene {
        fn new() -> Self {
            Self::keeping(15 * MINUTE)
        }

        fn keeping(keys_for: Duration) -> Self {
            let registry = Registry::default();
            let bounds = Bounds {
                keys: 3,
                keys_for,
                refusals_for: MINUTE / 2,
            };
            Self {
                cache: Arc::new(KeyCache::new(bounds, &registry)),
                registry,
                asked: Arc::default(),
            }
        }

        async fn find(&self, digest: Digest, wanted: Wanted, answer: LookedUp) -> Found {
            self.find_behind(digest, wanted, answer, Arc::new(Semaphore::new(1)))
                .await
        }

        /// The answer waits for a permit.
        async fn find_behind(
            &self,
            digest: Digest,
            wanted: Wanted,
            answer: LookedUp,
            gate: Arc<Semaphore>,
        ) -> Found {
            let proof = match &answer {
                Ok((_, proof)) => *proof,
                Err(_) => Proof::Password,
            };
            let asked = Arc::clone(&self.asked);
            let look_up = async move || {
                asked.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.unwrap().forget();
                answer
            };
            self.cache.find(digest, wanted, proof, look_up).await
        }

        async fn log_in(&self, answer: LookedUp) -> Result<String, Denied> {
            let found = self.find(ANN, Wanted::Login, answer).await;
            found.map(|found| found.key.reveal().to_owned())
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        fn metric(&self, name: &str) -> String {
            let text = String::from_utf8(self.registry.text()).unwrap();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap().to_owned()
        }
    }

    fn living(key: &str, expires_in: Option<Duration>) -> LookedUp {
        let granted = Granted {
            key: Secret::new(key),
            expires_in,
            refresh_token: None,
        };
        Ok((granted, Proof::Password))
    }

    fn key(key: &str) -> LookedUp {
        living(key, None)
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_at_once_make_one_look_up_and_share_its_end() {
        for (answer, expected) in [
            (key("k"), Ok(Secret::new("k"))),
            (Err(Denied::Credentials), Err(Denied::Credentials)),
            (Err(Denied::Unavailable), Err(Denied::Unavailable)),
        ] {
            let scene = Scene::new();
            let gate = Arc::new(Semaphore::new(0));
            let logins = (0..50).map(|_| {
                let answer = match &answer {
                    Ok(_) => key("k"),
                    Err(denied) => Err(*denied),
                };
                scene.find_behind(ANN, Wanted::Login, answer, Arc::clone(&gate))
            });
            let open = async {
                tokio::task::yield_now().await;
                gate.add_permits(1);
            };
            let (found, ()) = tokio::join!(join_all(logins), open);
            for found in found {
                assert_eq!(found.map(|found| found.key.clone()), expected);
            }
            assert_eq!(scene.asked(), 1);
            assert_eq!(scene.metric("smtp_api_key_cache_misses_total"), "50");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_leaves_ends_the_look_up_for_nobody_else() {
        let scene = Scene::new();
        let gate = Arc::new(Semaphore::new(0));
        let login = || scene.find_behind(ANN, Wanted::Login, key("k"), Arc::clone(&gate));
        let mut first = Box::pin(login());
        let mut second = Box::pin(login());
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        gate.add_permits(1);
        assert_eq!(second.await.unwrap().key, Secret::new("k"));
        assert_eq!(scene.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_all_have_left_is_forgotten() {
        let scene = Scene::new();
        let gate = Arc::new(Semaphore::new(0));
        let mut login =
            Box::pin(scene.find_behind(ANN, Wanted::Login, key("k"), Arc::clone(&gate)));
        assert!(futures_util::poll!(&mut login).is_pending());
        drop(login);
        scene.cache.tidy().await;
        assert!(scene.cache.in_flight().is_empty());
        assert_eq!(scene.log_in(key("k")).await, Ok("k".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_kept_for_its_time_or_until_shortly_before_its_own_end() {
        for (life, kept_for) in [
            (None, 15 * MINUTE),
            (Some(Duration::from_secs(432_000)), 15 * MINUTE),
            (Some(Duration::from_secs(u64::MAX)), 15 * MINUTE),
            (Some(Duration::from_secs(900)), 14 * MINUTE),
            (Some(Duration::from_secs(600)), 9 * MINUTE),
            (Some(Duration::from_secs(10)), Duration::from_secs(9)),
        ] {
            let scene = Scene::new();
            assert_eq!(scene.log_in(living("a", life)).await, Ok("a".to_owned()));
            advance(kept_for - Duration::from_millis(1)).await;
            assert_eq!(scene.log_in(key("b")).await, Ok("a".to_owned()), "{life:?}");
            advance(Duration::from_millis(1)).await;
            assert_eq!(scene.log_in(key("b")).await, Ok("b".to_owned()), "{life:?}");
            assert_eq!(scene.metric("smtp_api_key_cache_hits_total"), "1");
            assert_eq!(scene.metric("smtp_api_key_cache_misses_total"), "2");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_whose_life_is_over_is_good_for_the_one_who_asked() {
        let scene = Scene::new();
        let over = || living("a", Some(Duration::ZERO));
        for asked in 1..=2 {
            let found = scene.find(ANN, Wanted::Login, over()).await.unwrap();
            assert!(found.has_expired());
            assert_eq!(scene.asked(), asked);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_remembered_for_half_a_minute_and_failures_are_not() {
        for denied in [Denied::Credentials, Denied::Challenge] {
            let scene = Scene::new();
            assert_eq!(scene.log_in(Err(denied)).await, Err(denied));
            advance(MINUTE / 2 - Duration::from_millis(1)).await;
            assert_eq!(scene.log_in(key("k")).await, Err(denied));
            advance(Duration::from_millis(1)).await;
            assert_eq!(scene.log_in(key("k")).await, Ok("k".to_owned()));
        }
        let scene = Scene::new();
        let down = scene.log_in(Err(Denied::Unavailable)).await;
        assert_eq!(down, Err(Denied::Unavailable));
        assert_eq!(scene.log_in(key("k")).await, Ok("k".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_is_forgotten_and_another_is_not() {
        let scene = Scene::new();
        let instead_of = |key: &str| Wanted::InsteadOf(Secret::new(key));
        scene.log_in(key("a")).await.unwrap();
        let found = scene.find(ANN, instead_of("a"), key("b")).await.unwrap();
        assert_eq!(found.key, Secret::new("b"));
        let found = scene.find(ANN, instead_of("a"), key("c")).await.unwrap();
        assert_eq!(found.key, Secret::new("b"));
        assert_eq!(scene.asked(), 2);
        let down = Err(Denied::Unavailable);
        assert!(scene.find(ANN, instead_of("b"), down).await.is_err());
        assert_eq!(scene.metric(SIZE.0), "0");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_logs_in_by_a_key_that_needed_no_password() {
        let scene = Scene::new();
        let refreshed = || key("r").map(|(granted, _)| (granted, Proof::RefreshToken));
        let used = scene.find(ANN, Wanted::Use, refreshed()).await.unwrap();
        assert_eq!(used.key, Secret::new("r"));
        let denied = scene.log_in(Err(Denied::Credentials)).await;
        assert_eq!(denied, Err(Denied::Credentials));

        let scene = Scene::new();
        let gate = Arc::new(Semaphore::new(0));
        let mut using =
            Box::pin(scene.find_behind(ANN, Wanted::Use, refreshed(), Arc::clone(&gate)));
        assert!(futures_util::poll!(&mut using).is_pending());
        assert_eq!(scene.log_in(key("p")).await, Ok("p".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_size_is_that_of_the_keys_in_use_and_is_bounded() {
        let scene = Scene::new();
        assert_eq!(scene.metric(SIZE.0), "0");
        scene.log_in(key("a")).await.unwrap();
        let short = living("b", Some(Duration::from_secs(10)));
        scene.find(BOB, Wanted::Login, short).await.unwrap();
        let refused = Err(Denied::Credentials);
        assert!(scene.find([3; 32], Wanted::Login, refused).await.is_err());
        assert_eq!(scene.metric(SIZE.0), "2");
        advance(Duration::from_secs(10)).await;
        assert_eq!(scene.metric(SIZE.0), "1");
        for digest in 4..9 {
            let found = scene.find([digest; 32], Wanted::Login, key("c")).await;
            found.unwrap();
        }
        scene.cache.tidy().await;
        assert_eq!(scene.metric(SIZE.0), "3");
        // The newest is there.
        scene.find([8; 32], Wanted::Login, key("d")).await.unwrap();
        assert_eq!(scene.metric("smtp_api_key_cache_hits_total"), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_of_zero_keeps_nothing() {
        let scene = Scene::keeping(Duration::ZERO);
        for asked in 1..=2 {
            scene.log_in(key("a")).await.unwrap();
            assert_eq!(scene.asked(), asked);
        }
        assert_eq!(scene.metric(SIZE.0), "0");
    }
}
