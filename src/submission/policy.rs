//! Who may send how much.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use governor::clock::DefaultClock;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::auth::Identity;
use crate::bounded::Bounded;
use crate::submission::limits::Limits;
use crate::submission::{Rate, Refusal};
use crate::telemetry::privacy::KeyedHash;

pub(super) struct Policy {
    per_ip: Replaceable<IpAddr>,
    per_account: Replaceable<[u8; 32]>,
    hash: KeyedHash,
}

impl Policy {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            per_ip: Replaceable::new(limits.messages_per_minute_per_ip),
            per_account: Replaceable::new(limits.messages_per_minute_per_account),
            hash: KeyedHash::new(),
        }
    }

    /// A rate that is another one now begins anew; the others go on counting.
    pub(super) fn replace(&self, limits: &Limits) {
        self.per_ip.replace(limits.messages_per_minute_per_ip);
        self.per_account
            .replace(limits.messages_per_minute_per_account);
    }

    /// The account comes first: one that is over its rate must not use up what others may send from
    /// the same address.
    pub(super) fn begin(
        &self,
        limits: &Limits,
        client: IpAddr,
        identity: &Identity,
    ) -> Result<(), Refusal> {
        if let Some(limiter) = &**self.per_account.0.load() {
            let account = self.hash.of(&[identity.scope().as_bytes()]);
            limiter
                .take(&account)
                .ok_or(Refusal::RateLimited(Rate::PerAccount))?;
        }
        let per_ip = self.per_ip.0.load();
        if let (Some(limiter), Some(network)) = (&**per_ip, limits.counted_as(client)) {
            limiter
                .take(&network)
                .ok_or(Refusal::RateLimited(Rate::PerIp))?;
        }
        Ok(())
    }
}

/// A limiter, if there is a bound, that another may take the place of.
struct Replaceable<K: Copy + Eq + Hash + Ord>(ArcSwap<Option<Limiter<K>>>);

impl<K: Copy + Eq + Hash + Ord> Replaceable<K> {
    fn new(per_minute: u32) -> Self {
        Self(ArcSwap::from_pointee(Limiter::new(per_minute)))
    }

    fn replace(&self, per_minute: u32) {
        let present = self
            .0
            .load()
            .as_ref()
            .as_ref()
            .map_or(0, |limiter| limiter.per_minute);
        if present != per_minute {
            self.0.store(Arc::new(Limiter::new(per_minute)));
        }
    }
}

/// Messages a minute, for each key.
struct Limiter<K: Copy + Eq + Hash + Ord> {
    per_minute: u32,
    rates: RateLimiter<K, Kept<K>, DefaultClock>,
}

impl<K: Copy + Eq + Hash + Ord> Limiter<K> {
    /// `None` for 0, which is no bound.
    fn new(per_minute: u32) -> Option<Self> {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute)?);
        let kept = Kept(Mutex::new(Bounded::new(KEYS)));
        let rates = RateLimiter::new(quota, kept, DefaultClock::default());
        Some(Self { per_minute, rates })
    }

    /// `None` for one too many.
    fn take(&self, key: &K) -> Option<()> {
        self.rates.check_key(key).ok()
    }
}

/// What is known of each key: when it will have its whole allowance again.
///
/// The key whose time is the nearest, mostly past, makes room for a new one: little or nothing is lost
/// with it. Whoever has so many addresses or accounts that others are forgotten early has as many
/// allowances anyway.
struct Kept<K>(Mutex<Bounded<K, Nanos, ()>>);

impl<K: Copy + Eq + Hash + Ord> StateStore for Kept<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, time) = measure(kept.rank(key))?;
        kept.put(*key, time, ());
        Ok(outcome)
    }
}

/// Of each kind; some hundred octets each.
const KEYS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::api_key::ApiKey;

    const PER_IP: Result<(), Refusal> = Err(Refusal::RateLimited(Rate::PerIp));
    const PER_ACCOUNT: Result<(), Refusal> = Err(Refusal::RateLimited(Rate::PerAccount));

    fn policy(per_ip: u32, per_account: u32) -> Policy {
        Policy::new(&Limits {
            messages_per_minute_per_ip: per_ip,
            messages_per_minute_per_account: per_account,
            ..Limits::default()
        })
    }

    fn begin(policy: &Policy, client: &str, account: &str) -> Result<(), Refusal> {
        let identity = Identity {
            account: account.to_owned(),
            api_key: ApiKey::Gateways,
        };
        policy.begin(&Limits::default(), client.parse().unwrap(), &identity)
    }

    #[test]
    fn the_message_over_the_rate_is_refused_and_others_are_not() {
        let policy = policy(2, 0);
        let one = "192.0.2.1";
        assert_eq!(begin(&policy, one, "ann"), Ok(()));
        assert_eq!(begin(&policy, one, "ann"), Ok(()));
        assert_eq!(begin(&policy, one, "bob"), PER_IP);
        assert_eq!(begin(&policy, "192.0.2.2", "ann"), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_client() {
        let policy = policy(1, 0);
        assert_eq!(begin(&policy, "2001:db8::1", "ann"), Ok(()));
        assert_eq!(begin(&policy, "2001:db8::2", "ann"), PER_IP);
        assert_eq!(begin(&policy, "2001:db8:0:1::1", "ann"), Ok(()));
    }

    #[test]
    fn exempt_networks_have_no_rate_per_address_and_zero_is_none() {
        let (bounded, off) = (policy(1, 0), policy(0, 0));
        for _ in 0..5 {
            assert_eq!(begin(&bounded, "127.0.0.1", "ann"), Ok(()));
            assert_eq!(begin(&off, "192.0.2.1", "ann"), Ok(()));
        }
    }

    #[test]
    fn an_account_has_one_rate_from_all_its_addresses() {
        let policy = policy(0, 2);
        assert_eq!(begin(&policy, "192.0.2.1", "ann"), Ok(()));
        assert_eq!(begin(&policy, "127.0.0.1", "ann"), Ok(()));
        assert_eq!(begin(&policy, "192.0.2.3", "ann"), PER_ACCOUNT);
        assert_eq!(begin(&policy, "192.0.2.3", "bob"), Ok(()));
    }

    #[test]
    fn an_account_over_its_rate_uses_up_nothing_of_its_address() {
        let policy = policy(2, 1);
        let one = "192.0.2.1";
        assert_eq!(begin(&policy, one, "ann"), Ok(()));
        for _ in 0..5 {
            assert_eq!(begin(&policy, one, "ann"), PER_ACCOUNT);
        }
        assert_eq!(begin(&policy, one, "bob"), Ok(()));
        assert_eq!(begin(&policy, one, "cid"), PER_IP);
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_frees_nobody_who_is_over_the_rate() {
        let policy = policy(3, 0);
        while begin(&policy, "192.0.2.1", "ann").is_ok() {}
        for number in 0..3 * u32::try_from(KEYS).unwrap() {
            let client = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            assert_eq!(begin(&policy, &client.to_string(), "ann"), Ok(()));
        }
        assert_eq!(begin(&policy, "192.0.2.1", "ann"), PER_IP);
        let per_ip = policy.per_ip.0.into_inner();
        let per_ip = Arc::into_inner(per_ip).flatten().unwrap();
        let kept = per_ip.rates.into_state_store().0;
        assert_eq!(kept.into_inner().unwrap().len(), KEYS);
    }

    #[test]
    fn a_rate_that_is_another_one_begins_anew_and_the_others_go_on() {
        let policy = policy(1, 2);
        let rates = |per_ip, per_account| Limits {
            messages_per_minute_per_ip: per_ip,
            messages_per_minute_per_account: per_account,
            ..Limits::default()
        };
        assert_eq!(begin(&policy, "192.0.2.1", "ann"), Ok(()));
        policy.replace(&rates(1, 2));
        assert_eq!(begin(&policy, "192.0.2.1", "bob"), PER_IP);
        policy.replace(&rates(5, 2));
        assert_eq!(begin(&policy, "192.0.2.1", "ann"), Ok(()));
        assert_eq!(begin(&policy, "192.0.2.1", "ann"), PER_ACCOUNT);
        policy.replace(&rates(0, 0));
        for _ in 0..9 {
            assert_eq!(begin(&policy, "192.0.2.1", "ann"), Ok(()));
        }
    }
}
