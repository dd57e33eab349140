//! Which id a From address has at the API, for those that know senders by id.
//!
//! The list of an account is fetched once and kept for some minutes, with one look-up at a time. Who
//! is in the list that is there does not wait for a newer one, nor for an API that cannot give one. An
//! address that is not in it, or not confirmed, is looked up again after a few seconds: its owner may
//! just have confirmed it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::delivery::http::calls::Calls;
use crate::delivery::http::provider::{Answer, Sender, SenderDirectory, WantedSender};
use crate::delivery::{Deferral, Failure, Quote};
use crate::secret::Secret;
use crate::telemetry::privacy::KeyedHash;

/// The lists of senders that were fetched, by a hash of the key and the account they belong to.
pub(super) struct Senders {
    slots: Cache<[u8; 32], Arc<Slot>>,
    hash: KeyedHash,
}

impl fmt::Debug for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Senders({} lists)", self.slots.entry_count())
    }
}

impl Default for Senders {
    fn default() -> Self {
        let slots = Cache::builder()
            .max_capacity(MAX_LISTS)
            .time_to_idle(LIFETIME * 2)
            .build();
        Self {
            slots,
            hash: KeyedHash::new(),
        }
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
        let key = calls.current_key().await?;
        let slot = self.slot(key.as_ref(), wanted).await;
        let address = &wanted.address;
        let old = slot.list();
        let began = Instant::now();
        if let Some(known) = old.answer(address, began) {
            return known;
        }
        if let (Ok(id), true) = (old.id(address), slot.is_being_fetched()) {
            return Ok(id);
        }
        let Ok(_fetching) = timeout_at(calls.deadline, slot.fetching.lock()).await else {
            return Err(Answer::deferred(Deferral::TimedOut));
        };
        let list = slot.list();
        if let Some(known) = list.answer(address, Instant::now()) {
            return known;
        }
        if let Some(answer) = list.failure_since(began) {
            return list.id(address).map_err(|_| answer);
        }
        match fetch(directory, wanted, calls).await {
            Ok(list) => {
                let found = list.id(address);
                slot.keep(list);
                found
            }
            Err(answer) => {
                slot.fail(&answer);
                old.id(address).map_err(|_| answer)
            }
        }
    }

    async fn slot(&self, key: Option<&Secret>, wanted: &WantedSender) -> Arc<Slot> {
        let key = key.map(Secret::reveal).unwrap_or_default();
        let account = wanted.account.as_deref().unwrap_or_default();
        let owner = self.hash.of(&[key.as_bytes(), account.as_bytes()]);
        self.slots.get_with(owner, async { Arc::default() }).await
    }
}

/// Fetches all pages of a list. Of one that breaks off, what came is good for who is in it.
async fn fetch(
    directory: &dyn SenderDirectory,
    wanted: &WantedSender,
    calls: &Calls<'_>,
) -> Result<List, Answer> {
    calls.count_sender_lookup();
    let mut list = List {
        fetched: Some(Instant::now()),
        ..List::default()
    };
    let mut ids = HashSet::new();
    for number in 1..=MAX_PAGES {
        let url = directory.page(wanted.account.as_deref(), number);
        let page = calls
            .get(url, directory.headers(), |response| {
                directory.read(response)
            })
            .await;
        let page = match page {
            Ok(page) => page,
            Err(_) if list.id(&wanted.address).is_ok() => return Ok(list),
            Err(Answer::Forbidden { .. }) => return Err(not_listed()),
            Err(answer) => return Err(answer),
        };
        let known = ids.len();
        ids.extend(page.senders.iter().map(|sender| sender.id.clone()));
        list.add(page.senders);
        // A page that brings nothing new is no page: there is no end to be waited for.
        if !page.has_more || ids.len() == known {
            list.is_whole = true;
            return Ok(list);
        }
    }
    match list.id(&wanted.address) {
        Ok(_) => Ok(list),
        Err(_) => Err(Answer::deferred(Deferral::NotUnderstood)),
    }
}

/// A key may be good for sending and for nothing else.
fn not_listed() -> Answer {
    let reason = "the key may not list senders; name one by X-Sender-Id or api.cakemail.sender_id";
    Answer::refused(Failure::Sender, Some(Quote::new(reason)))
}

/// The list of one account.
#[derive(Default)]
struct Slot {
    list: RwLock<Arc<List>>,
    /// Held by whoever fetches a newer one.
    fetching: Mutex<()>,
}

impl Slot {
    fn list(&self) -> Arc<List> {
        Arc::clone(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, list: List) {
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
    }

    fn is_being_fetched(&self) -> bool {
        self.fetching.try_lock().is_err()
    }

    /// Those who have waited need not ask again what could not be told.
    fn fail(&self, answer: &Answer) {
        let old = self.list();
        self.keep(List {
            failed: Some((Instant::now(), answer.clone())),
            senders: old.senders.clone(),
            ..*old
        });
    }
}

#[derive(Default)]
struct List {
    /// `None`: never.
    fetched: Option<Instant>,
    /// When the last try to get a newer one failed, and how.
    failed: Option<(Instant, Answer)>,
    /// Whether nobody is missing.
    is_whole: bool,
    /// By address in lower case.
    senders: HashMap<String, Sender>,
}

impl List {
    /// Of senders with one address the first confirmed one counts.
    fn add(&mut self, senders: Vec<Sender>) {
        for sender in senders {
            let address = sender.address.to_lowercase();
            match self.senders.get(&address) {
                Some(known) if known.confirmed || !sender.confirmed => {}
                _ => {
                    self.senders.insert(address, sender);
                }
            }
        }
    }

    /// What is known of an address; nothing where it is worth asking again.
    fn answer(&self, address: &str, now: Instant) -> Option<Result<String, Answer>> {
        let found = self.id(address);
        let believed = match (&found, self.is_whole) {
            (Ok(_), _) => LIFETIME,
            (Err(_), true) => DOUBT,
            (Err(_), false) => Duration::ZERO,
        };
        let age = now.saturating_duration_since(self.fetched?);
        (age < believed).then_some(found)
    }

    fn failure_since(&self, began: Instant) -> Option<Answer> {
        let (at, answer) = self.failed.as_ref()?;
        (*at >= began).then(|| answer.clone())
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

    fn list(senders: Vec<Sender>, now: Instant) -> List {
        let mut list = List {
            fetched: Some(now),
            is_whole: true,
            ..List::default()
        };
        list.add(senders);
        list
    }

    fn with_ann(now: Instant) -> List {
        list(vec![sender("1", "ann@example.com", true)], now)
    }

    #[test]
    fn a_sender_is_found_by_its_address_in_any_case() {
        let all = vec![
            sender("1", "Ann@Example.com", false),
            sender("2", "ann@example.com", true),
            sender("3", "ann@example.com", true),
            sender("4", "bob@example.com", false),
        ];
        let list = list(all, Instant::now());
        assert_eq!(list.id("ANN@example.COM"), Ok("2".to_owned()));
        let told = "bob@example.com is not confirmed";
        assert_eq!(list.id("bob@example.com"), Err(refusal(told)));
        let told = "eve@example.com is not a sender of this account";
        assert_eq!(list.id("eve@example.com"), Err(refusal(told)));
    }

    #[test]
    fn a_list_grows_old_sooner_for_those_who_are_not_in_it() {
        let now = Instant::now();
        let list = with_ann(now);
        for (address, age, is_known) in [
            ("ann@example.com", LIFETIME - Duration::from_secs(1), true),
            ("ann@example.com", LIFETIME, false),
            ("bob@example.com", DOUBT - Duration::from_secs(1), true),
            ("bob@example.com", DOUBT, false),
        ] {
            let known = list.answer(address, now + age).is_some();
            assert_eq!(known, is_known, "{address}");
        }
    }

    #[test]
    fn a_list_that_broke_off_says_nothing_of_who_is_not_in_it() {
        let now = Instant::now();
        let list = List {
            is_whole: false,
            ..with_ann(now)
        };
        assert_eq!(
            list.answer("ann@example.com", now),
            Some(Ok("1".to_owned()))
        );
        assert_eq!(list.answer("bob@example.com", now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_for_those_who_waited_for_it_and_leaves_the_old_list() {
        let slot = Slot::default();
        slot.keep(with_ann(Instant::now()));
        let before = Instant::now();
        tokio::time::advance(LIFETIME).await;
        let down = Answer::deferred(Deferral::Unavailable);
        slot.fail(&down);
        tokio::time::advance(Duration::from_millis(1)).await;
        let list = slot.list();
        assert_eq!(list.failure_since(before), Some(down));
        assert_eq!(list.failure_since(Instant::now()), None);
        assert_eq!(list.answer("ann@example.com", Instant::now()), None);
        assert_eq!(list.id("ann@example.com"), Ok("1".to_owned()));
    }
}
