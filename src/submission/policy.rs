//! Who may send how much.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota};

use crate::submission::Refusal;
use crate::submission::limits::{self, Limits};

pub(super) struct Policy {
    limits: Limits,
    per_ip: Option<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Policy {
    pub(super) fn new(limits: &Limits) -> Self {
        let quota = NonZeroU32::new(limits.messages_per_minute_per_ip).map(Quota::per_minute);
        Self {
            limits: limits.clone(),
            per_ip: quota.map(DefaultKeyedRateLimiter::keyed),
        }
    }

    pub(super) fn begin(&self, client: IpAddr) -> Result<(), Refusal> {
        match &self.per_ip {
            Some(limiter) if !self.limits.exempts(client) => limiter
                .check_key(&limits::network(client))
                .map_err(|_| Refusal::RateLimited("limits.messages_per_minute_per_ip")),
            _ => Ok(()),
        }
    }

    pub(super) fn tidy(&self) {
        if let Some(limiter) = &self.per_ip {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(per_minute: u32) -> Policy {
        Policy::new(&Limits {
            messages_per_minute_per_ip: per_minute,
            ..Limits::default()
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_message_over_the_rate_is_refused_and_others_are_not() {
        let policy = policy(2);
        let one = address("192.0.2.1");
        assert!(policy.begin(one).is_ok() && policy.begin(one).is_ok());
        assert_eq!(
            policy.begin(one),
            Err(Refusal::RateLimited("limits.messages_per_minute_per_ip"))
        );
        assert!(policy.begin(address("192.0.2.2")).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_client() {
        let policy = policy(1);
        assert!(policy.begin(address("2001:db8::1")).is_ok());
        assert!(policy.begin(address("2001:db8::2")).is_err());
        assert!(policy.begin(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn exempt_networks_and_zero_have_no_rate() {
        let (bounded, off) = (policy(1), policy(0));
        for _ in 0..5 {
            assert!(bounded.begin(address("127.0.0.1")).is_ok());
            assert!(off.begin(address("192.0.2.1")).is_ok());
        }
    }
}
