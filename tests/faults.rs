//! Nothing lost, nothing twice, whatever goes wrong: the release binary between a load of clients and
//! an API behind a bad line, while the API restarts and gateways are drained and killed. `make faults`
//! prints what was counted, and fails where a message that got a 250 is not at the API for every
//! recipient, or is there twice without a reason that the gateway could not know of.
//!
//! `MESSAGES` (20 000) and `SEED` can be set.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a run stops at what it does not expect, prints what it counts, and is set by variables"
)]
#![expect(
    dead_code,
    unused_imports,
    reason = "this target uses a part of the support only"
)]

mod support;
mod faults {
    pub(crate) mod api;
    pub(crate) mod client;
    pub(crate) mod message;
    pub(crate) mod plan;
    pub(crate) mod pods;
    pub(crate) mod proxy;
    pub(crate) mod report;
}

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

use crate::faults::api::{Books, Door};
use crate::faults::client::{Counts, History, Load, client};
use crate::faults::plan::Plan;
use crate::faults::pods::Pods;
use crate::faults::proxy::Proxy;
use crate::faults::report::{Calls, Report};
use crate::support::http::Server;

#[test]
fn an_api_that_knows_keys_again_gets_everything_and_nothing_twice() {
    let settings = "path = \"/messages\"\nprovider = \"json\"\nidempotent = true\n\
                    requests = \"per_recipient\"\n";
    let report = run("json-with-keys", settings, Calls::OneARecipient, true);
    assert_eq!(report.repeats(), 0, "there twice: {report}");
}

#[test]
fn an_api_without_keys_gets_twice_what_had_no_clear_answer_and_nothing_else() {
    let settings = "path = \"/messages\"\nprovider = \"json\"\n";
    run("json-without-keys", settings, Calls::OneAMessage, false);
}

#[test]
fn a_call_for_each_recipient_changes_nothing_of_that() {
    let settings = "provider = \"cakemail\"\n";
    run("cakemail", settings, Calls::OneARecipient, false);
}

/// A whole run, held against what must be true of each.
fn run(name: &str, settings: &str, calls: Calls, honours_keys: bool) -> Report {
    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let plan = Plan {
        seed: setting("SEED", seed),
    };
    let messages = setting("MESSAGES", 20_000) as usize;
    println!("\n{name}: {messages} messages, SEED={}", plan.seed);
    let runtime = Runtime::new().unwrap();
    let books = Books::new(plan, honours_keys);
    let server = Server::start(Door(Arc::clone(&books)));
    let proxy = Proxy::start(runtime.handle(), plan, server.address());
    let mut scene = Scene {
        pods: Pods::new(name, runtime.handle(), proxy.address(), settings),
        books,
        server: Some(server),
        proxy,
        runtime,
    };
    let began = Instant::now();
    let (histories, counts) = scene.play(plan, messages);
    let report = Report {
        name: name.to_owned(),
        seed: plan.seed,
        messages,
        calls,
        histories,
        counts,
        closing: scene.books.close(),
        took: began.elapsed(),
        pods: scene.pods.gone,
        proxy: scene.proxy,
    };
    println!("{report}");
    report.check();
    report
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

struct Scene {
    pods: Pods,
    books: Arc<Books>,
    server: Option<Server<Door>>,
    proxy: Proxy,
    runtime: Runtime,
}

impl Scene {
    /// The load, and what happens meanwhile.
    fn play(&mut self, plan: Plan, messages: usize) -> (Vec<History>, Counts) {
        let first = self.pods.start(1);
        let tls = Arc::new(self.pods.certificate().client());
        let patience = Duration::from_secs(120) + Duration::from_millis(40) * messages as u32;
        let load = Arc::new(Load {
            plan,
            messages,
            tls: TlsConnector::from(tls),
            service: Mutex::new(first.smtp),
            until: Instant::now() + patience,
            next: AtomicUsize::new(0),
            done: watch::Sender::new(0),
            counts: Mutex::default(),
        });
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| self.runtime.spawn(client(Arc::clone(&load), number)))
            .collect();

        self.wait(&load, 20);
        self.restart_api();
        // The successor is there before, as in a rolling update.
        self.wait(&load, 35);
        let second = self.pods.start(2);
        *load.service.lock().unwrap() = second.smtp;
        self.pods.drain(first);
        // Nobody is there until the next one has started.
        self.wait(&load, 50);
        self.pods.kill(second);
        let third = self.pods.start(3);
        *load.service.lock().unwrap() = third.smtp;
        self.wait(&load, 75);
        self.pods.drain(third);
        let fourth = self.pods.start(4);
        *load.service.lock().unwrap() = fourth.smtp;

        let mut histories = Vec::with_capacity(messages);
        for client in clients {
            histories.extend(self.runtime.block_on(client).unwrap());
        }
        // It ends when the last calls have, also those that no client waits for.
        self.pods.drain(fourth);
        let counts = std::mem::take(&mut *load.counts.lock().unwrap());
        (histories, counts)
    }

    /// Waits until so many of a hundred messages are done, or there is no time left.
    fn wait(&self, load: &Load, percent: usize) {
        let mut done = load.done.subscribe();
        let reached = done.wait_for(|done| done * 100 >= load.messages * percent);
        let reached = async { timeout_at(load.until, reached).await.is_ok() };
        if !self.runtime.block_on(reached) {
            println!("{percent} % of the messages were not done in time");
        }
    }

    fn restart_api(&mut self) {
        self.proxy.down();
        self.server = None;
        let down = async { sleep(Duration::from_millis(800)).await };
        self.runtime.block_on(down);
        let server = Server::start(Door(Arc::clone(&self.books)));
        self.proxy.up(server.address());
        self.server = Some(server);
    }
}

const CONNECTIONS: usize = 64;
