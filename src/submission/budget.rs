//! The memory that messages may take, of all connections together.
//!
//! Room is asked for before octets are kept: at MAIL for what SIZE= announces, else as mail data
//! grows. There are two kinds, and they are asked for in one order: room for content as it was
//! received, then room for the text in it while it is turned into JSON. Who has the second waits for
//! nothing, so it becomes free again.
//!
//! Half-read messages must not wait for each other in a circle. So a part of the room for content,
//! as much as the largest message takes, is the *last lane*: it goes to one message at a time, which
//! then has all the room it can want. Whoever waits has a message in front that does not.

mod available;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::submission::limits::Limits;
use crate::telemetry::metrics::Registry;
use crate::units::ByteSize;

pub struct Budget {
    content: Arc<Semaphore>,
    last_lane: Arc<Semaphore>,
    last_lane_blocks: u32,
    text: Arc<Semaphore>,
    text_blocks: u32,
    reserved: IntGauge,
    refusals: IntCounter,
}

/// There is no memory for a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// There is no memory for the text of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTextRoom {
    Now,
    /// It takes more than there is.
    Ever,
}

/// The octets that the content of messages may take in all: what `limits.memory` says, else 40 % of
/// what this process may use, or no bound where neither a setting nor the system says.
pub fn octets(limits: &Limits) -> u64 {
    let set = |setting: ByteSize| (setting.octets() > 0).then(|| setting.octets());
    let available = || {
        let found = available::octets(Path::new("/"));
        let least = found.into_iter().chain(set(limits.available_memory)).min();
        least.map(|octets| octets / 5 * 2)
    };
    set(limits.memory).or_else(available).unwrap_or(u64::MAX)
}

impl Budget {
    /// For so many octets of content, and as many of text; `largest` is the largest message, which
    /// is not larger than that.
    pub fn new(octets: u64, largest: u64, registry: &Registry) -> Arc<Self> {
        let (all, largest) = (blocks(octets), blocks(largest));
        let budget = registry.gauge(
            "smtp_memory_budget_bytes",
            "Octets that messages may take in memory as they were received",
        );
        budget.set(gauge(octets));
        Arc::new(Self {
            content: Arc::new(Semaphore::new(size(all.saturating_sub(largest)))),
            last_lane: Arc::new(Semaphore::new(1)),
            last_lane_blocks: largest,
            text: Arc::new(Semaphore::new(size(all))),
            text_blocks: all,
            reserved: registry.gauge(
                "smtp_memory_reserved_bytes",
                "Octets set aside for messages as they are received",
            ),
            refusals: registry.counter(
                "smtp_memory_refusals_total",
                "Messages refused because there was no memory for them, answered 452 4.3.1",
            ),
        })
    }

    /// Room for a message that announces so many octets; 0 where it announces none.
    ///
    /// # Errors
    /// [`NoRoom`] when there is none within five seconds.
    pub async fn reserve(self: &Arc<Self>, announced: u64) -> Result<Room, NoRoom> {
        let mut room = Room {
            budget: Arc::clone(self),
            content: None,
            last_lane: None,
            text: None,
            octets: 0,
            since: Instant::now(),
        };
        room.make(announced).await?;
        room.since = Instant::now();
        Ok(room)
    }

    async fn content(&self, blocks: u32) -> Result<Content, NoRoom> {
        let pool = || Arc::clone(&self.content);
        if let Ok(permit) = pool().try_acquire_many_owned(blocks) {
            return Ok(Content::Pool(permit));
        }
        let granted = async {
            tokio::select! {
                biased;
                permit = pool().acquire_many_owned(blocks) => permit.map(Content::Pool),
                permit = Arc::clone(&self.last_lane).acquire_owned() => permit.map(Content::LastLane),
            }
        };
        self.in_time(granted).await
    }

    async fn in_time<T, E>(
        &self,
        granted: impl Future<Output = Result<T, E>>,
    ) -> Result<T, NoRoom> {
        match timeout(PATIENCE, granted).await {
            Ok(Ok(granted)) => Ok(granted),
            Ok(Err(_)) | Err(_) => {
                self.refusals.inc();
                Err(NoRoom)
            }
        }
    }
}

enum Content {
    Pool(OwnedSemaphorePermit),
    LastLane(OwnedSemaphorePermit),
}

/// Room for one message. Dropping it makes the room free for others.
pub struct Room {
    budget: Arc<Budget>,
    content: Option<OwnedSemaphorePermit>,
    last_lane: Option<OwnedSemaphorePermit>,
    text: Option<OwnedSemaphorePermit>,
    /// What may be kept without asking again.
    octets: u64,
    since: Instant,
}

impl Room {
    /// When room that was announced is for others again, if mail data has not begun to come by then:
    /// a client that says MAIL and then nothing must not keep memory from all.
    pub fn lapses(&self) -> Option<Instant> {
        (self.octets > 0).then(|| self.since + UNUSED)
    }

    /// Makes it free for others. What is needed after all has to be asked for again.
    pub fn give_back(&mut self) {
        let lane = match self.last_lane.take() {
            Some(_) => self.budget.last_lane_blocks,
            None => 0,
        };
        let content = self.content.take().map_or(0, |permit| permit.num_permits());
        let blocks = u64::from(lane).saturating_add(content as u64);
        self.budget.reserved.sub(gauge(blocks * BLOCK));
        self.octets = 0;
    }

    /// Makes sure that so many octets of content may be kept. Read nothing while this waits.
    ///
    /// # Errors
    /// [`NoRoom`] when there is none within five seconds. What is there stays.
    pub async fn make(&mut self, octets: u64) -> Result<(), NoRoom> {
        if octets <= self.octets {
            return Ok(());
        }
        // What grows goes on growing, and its buffer doubles too.
        let wanted = octets.max(self.octets.saturating_mul(2));
        let more = blocks(wanted - self.octets);
        match self.budget.content(more).await? {
            Content::Pool(permit) => {
                self.octets = self.octets.saturating_add(u64::from(more) * BLOCK);
                self.budget.reserved.add(gauge(u64::from(more) * BLOCK));
                match &mut self.content {
                    Some(content) => content.merge(permit),
                    None => self.content = Some(permit),
                }
            }
            Content::LastLane(permit) => {
                let lane = u64::from(self.budget.last_lane_blocks) * BLOCK;
                self.budget.reserved.add(gauge(lane));
                self.octets = u64::MAX;
                self.last_lane = Some(permit);
            }
        }
        Ok(())
    }

    /// Room to turn text into another form, which takes so many octets. The content is whole:
    /// nothing more is asked for afterwards.
    ///
    /// # Errors
    /// [`NoTextRoom::Now`] when there is none within five seconds.
    pub async fn make_for_text(&mut self, octets: u64) -> Result<(), NoTextRoom> {
        let blocks = blocks(octets);
        if blocks > self.budget.text_blocks {
            return Err(NoTextRoom::Ever);
        }
        let text = Arc::clone(&self.budget.text).acquire_many_owned(blocks);
        self.text = Some(
            self.budget
                .in_time(text)
                .await
                .map_err(|_| NoTextRoom::Now)?,
        );
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Octets in a block, which is what is counted.
const BLOCK: u64 = 1024;
/// Who waits for longer is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time enough for all recipients.
const UNUSED: Duration = Duration::from_secs(10);

/// As many blocks as hold these octets; more than 4 TiB is as good as no bound.
fn blocks(octets: u64) -> u32 {
    u32::try_from(octets.div_ceil(BLOCK)).unwrap_or(u32::MAX)
}

fn size(blocks: u32) -> usize {
    usize::try_from(blocks).unwrap_or(Semaphore::MAX_PERMITS)
}

fn gauge(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn budget(mib: u64, largest: u64) -> Arc<Budget> {
        Budget::new(mib * MIB, largest * MIB, &Registry::default())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_announced_is_set_aside_and_free_again_afterwards() {
        let budget = budget(50, 25);
        let one = budget.reserve(20 * MIB).await.unwrap();
        // Beyond the pool there is the last lane, and then nothing.
        let two = budget.reserve(20 * MIB).await.unwrap();
        assert_eq!(budget.reserved.get(), 45 * (1 << 20));
        let started = Instant::now();
        assert!(budget.reserve(20 * MIB).await.is_err());
        assert_eq!(started.elapsed(), PATIENCE);
        assert_eq!(budget.refusals.get(), 1);
        drop((one, two));
        assert_eq!(budget.reserved.get(), 0);
        assert!(budget.reserve(20 * MIB).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_room_that_becomes_free() {
        let budget = budget(25, 20);
        let one = budget.reserve(5 * MIB).await.unwrap();
        let lane = budget.reserve(20 * MIB).await.unwrap();
        let waiting = budget.reserve(5 * MIB);
        let freed = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            drop(one);
        };
        let (room, ()) = tokio::join!(waiting, freed);
        assert!(room.is_ok());
        drop(lane);
    }

    /// Without the last lane, all of these would wait for each other until all had to give up.
    #[tokio::test(start_paused = true)]
    async fn half_read_messages_do_not_wait_for_each_other_in_a_circle() {
        let budget = budget(32, 16);
        let mut rooms = Vec::new();
        for _ in 0..8 {
            let mut room = budget.reserve(0).await.unwrap();
            room.make(2 * MIB).await.unwrap();
            rooms.push(room);
        }
        let taken = rooms.into_iter().map(async |mut room| {
            for octets in 2..=16 {
                room.make(octets * MIB).await?;
            }
            // The API takes its time.
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, NoRoom>(())
        });
        let taken = futures_util::future::join_all(taken).await;
        let taken = taken.into_iter().filter(Result::is_ok).count();
        // One after the other by the last lane, and those that the room they leave is enough for.
        assert!(taken >= 5, "{taken}");
        assert_eq!(budget.reserved.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn text_has_room_of_its_own() {
        let budget = budget(30, 20);
        let mut one = budget.reserve(10 * MIB).await.unwrap();
        let mut two = budget.reserve(20 * MIB).await.unwrap();
        one.make_for_text(30 * MIB).await.unwrap();
        assert_eq!(two.make_for_text(1).await, Err(NoTextRoom::Now));
        drop(one);
        two.make_for_text(1).await.unwrap();
        let ever = two.make_for_text(30 * MIB + 1).await;
        assert_eq!(ever, Err(NoTextRoom::Ever));
    }

    #[test]
    fn a_setting_goes_before_what_the_machine_has() {
        let octets = |memory, available_memory| {
            octets(&Limits {
                memory: ByteSize(memory),
                available_memory: ByteSize(available_memory),
                ..Limits::default()
            })
        };
        let found = octets(0, 0);
        assert!(found > MIB);
        assert_eq!(octets(5, 0), 5);
        assert_eq!(octets(5, MIB), 5);
        assert_eq!(octets(0, 5 * MIB), 2 * MIB);
        // There is not more than the system allows.
        assert_eq!(octets(0, u64::MAX), found);
    }
}
