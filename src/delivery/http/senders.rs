//! Which id a From address has at the API, for those that know senders by id.
//!
//! The list of an account is fetched once and kept for some minutes, with one look-up at a time;
//! whoever comes meanwhile waits for it, within their own deadline. An address that is not in the
//! list, or not confirmed, is looked up again after a few seconds: its owner may just have confirmed
//! it. A look-up that fails is not remembered.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use moka::future::Cache;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::delivery::http::calls::Calls;
use crate::delivery::http::provider::{Answer, Sender, SenderDirectory, WantedSender};
use crate::delivery::{Deferral, Failure, Quote};
use crate::secret::Secret;

/// The lists of senders that were fetched.
pub(super) struct Senders(Cache<Owner, Arc<Slot>>);

impl fmt::Debug for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Senders({} lists)", self.0.entry_count())
    }
}

impl Default for Senders {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(MAX_LISTS)
            .time_to_idle(LIFETIME)
            .build();
        Self(cache)
    }
}

impl Senders {
    /// The id of a sender.
    ///
    /// # Errors
    /// What is to become of the message instead.
    pub(super) async fn find(
        &self,
        directory: &dyn SenderDirectory,
        wanted: &WantedSender,
        calls: &Calls<'_>,
    ) -> Result<String, Answer> {
        let owner = Owner::new(calls.current_key().await?.as_ref(), wanted);
        let slot = self.0.get_with(owner, async { Arc::default() }).await;
        let Ok(mut kept) = timeout_at(calls.deadline, slot.0.lock()).await else {
            return Err(Answer::deferred(Deferral::TimedOut));
        };
        let address = &wanted.address;
        if let Some(list) = &*kept
            && !list.is_worth_a_look_up(address, Instant::now())
        {
            return list.id(address);
        }
        let list = fetch(directory, wanted, calls).await?;
        kept.insert(list).id(address)
    }
}

/// Fetches all pages of a list.
async fn fetch(
    directory: &dyn SenderDirectory,
    wanted: &WantedSender,
    calls: &Calls<'_>,
) -> Result<List, Answer> {
    calls.count_sender_lookup();
    let mut senders = Vec::new();
    let mut ids = HashSet::new();
    for number in 1..=MAX_PAGES {
        let url = directory.page(wanted.account.as_deref(), number);
        let page = calls
            .get(url, directory.headers(), |response| {
                directory.read(response)
            })
            .await?;
        let known = ids.len();
        ids.extend(page.senders.iter().map(|sender| sender.id.clone()));
        senders.extend(page.senders);
        // A page that brings nothing new is no page: there is no end to be waited for.
        if !page.has_more || ids.len() == known {
            return Ok(List::new(senders, Instant::now()));
        }
    }
    Err(Answer::deferred(Deferral::NotUnderstood))
}

/// Whose list it is: a hash of the key and the account. Two clients may call themselves alike.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Owner([u8; SHA256_OUTPUT_LEN]);

impl Owner {
    fn new(key: Option<&Secret>, wanted: &WantedSender) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(key.map(Secret::reveal).unwrap_or_default().as_bytes());
        context.update(b"\0");
        context.update(wanted.account.as_deref().unwrap_or_default().as_bytes());
        let mut hash = [0; SHA256_OUTPUT_LEN];
        for (octet, hashed) in hash.iter_mut().zip(context.finish().as_ref()) {
            *octet = *hashed;
        }
        Self(hash)
    }
}

/// A list, once it was fetched. Locked while it is.
#[derive(Default)]
struct Slot(Mutex<Option<List>>);

struct List {
    fetched: Instant,
    /// By address in lower case.
    senders: HashMap<String, Sender>,
}

impl List {
    /// Of senders with one address the first confirmed one counts.
    fn new(all: Vec<Sender>, fetched: Instant) -> Self {
        let mut senders: HashMap<String, Sender> = HashMap::new();
        for sender in all {
            let address = sender.address.to_lowercase();
            match senders.get(&address) {
                Some(known) if known.confirmed || !sender.confirmed => {}
                _ => {
                    senders.insert(address, sender);
                }
            }
        }
        Self { fetched, senders }
    }

    fn is_worth_a_look_up(&self, address: &str, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.fetched);
        age >= LIFETIME || (age >= DOUBT && self.id(address).is_err())
    }

    fn id(&self, address: &str) -> Result<String, Answer> {
        let reason = match self.senders.get(&address.to_lowercase()) {
            Some(sender) if sender.confirmed => return Ok(sender.id.clone()),
            Some(_) => format!("{address} is not confirmed"),
            None => format!("{address} is not a sender of this account"),
        };
        let reason = Some(Quote::new(&reason));
        Err(Answer::refused(Failure::Sender, reason))
    }
}

const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How long a list is believed that an address is not in it.
const DOUBT: Duration = Duration::from_secs(30);
const MAX_LISTS: u64 = 10_000;
/// Of 50 senders, as a rule.
const MAX_PAGES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(id: &str, address: &str, confirmed: bool) -> Sender {
        Sender {
            id: id.to_owned(),
            address: address.to_owned(),
            confirmed,
        }
    }

    fn refusal(reason: &str) -> Answer {
        Answer::refused(Failure::Sender, Some(Quote::new(reason)))
    }

    #[test]
    fn a_sender_is_found_by_its_address_in_any_case() {
        let all = vec![
            sender("1", "Ann@Example.com", false),
            sender("2", "ann@example.com", true),
            sender("3", "ann@example.com", true),
            sender("4", "bob@example.com", false),
        ];
        let list = List::new(all, Instant::now());
        assert_eq!(list.id("ANN@example.COM"), Ok("2".to_owned()));
        let told = "bob@example.com is not confirmed";
        assert_eq!(list.id("bob@example.com"), Err(refusal(told)));
        let told = "eve@example.com is not a sender of this account";
        assert_eq!(list.id("eve@example.com"), Err(refusal(told)));
    }

    #[test]
    fn a_list_grows_old_sooner_for_those_who_are_not_in_it() {
        let now = Instant::now();
        let list = List::new(vec![sender("1", "ann@example.com", true)], now);
        for (address, age, worth) in [
            ("ann@example.com", LIFETIME - Duration::from_secs(1), false),
            ("ann@example.com", LIFETIME, true),
            ("bob@example.com", DOUBT - Duration::from_secs(1), false),
            ("bob@example.com", DOUBT, true),
        ] {
            assert_eq!(
                list.is_worth_a_look_up(address, now + age),
                worth,
                "{address}"
            );
        }
    }

    #[test]
    fn lists_are_kept_apart_by_key_and_account() {
        let owner = |key: Option<&str>, account: Option<&str>| {
            let wanted = WantedSender {
                address: String::new(),
                account: account.map(str::to_owned),
            };
            Owner::new(key.map(Secret::new).as_ref(), &wanted)
        };
        let all = [
            owner(None, None),
            owner(Some("a"), None),
            owner(Some("b"), None),
            owner(Some("a"), Some("7")),
        ];
        let different: HashSet<_> = all.iter().map(|owner| owner.0).collect();
        assert_eq!(different.len(), all.len());
    }
}
