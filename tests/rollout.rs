//! Two gateways behind a balancer are replaced one after the other, as a Deployment does it, while
//! 200 messages a second are sent: nothing is lost, nothing comes twice, and no connection is refused.
//! `make rollout` runs it with the release binary, and prints what it counts.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a run stops at what it does not expect, prints what it counts, and sends by the clock"
)]
#![expect(
    dead_code,
    unused_imports,
    reason = "this target uses a part of the support only"
)]

mod support;
mod rollout {
    pub(crate) mod balancer;
    pub(crate) mod client;
}

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::rollout::balancer::{Balancer, Endpoint, PROBE_PERIOD};
use crate::rollout::client::{Client, Sent};
use crate::support::api::{FakeApi, Play};
use crate::support::process::{Process, Scene, serve};

#[test]
fn while_gateways_are_replaced_nothing_is_lost_or_repeated_and_nobody_is_refused() {
    let scene = Scene::before(FakeApi::play(vec![SLOWLY; MOST_MESSAGES]));
    let balancer = Balancer::start();
    let pods = [(); 2].map(|()| Pod::start(&scene, &balancer));
    let (tls, stop) = (scene.certificate.client(), AtomicBool::new(false));
    let began = Instant::now();
    let sent: Vec<Sent> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| Client::new(number, balancer.address, tls.clone()))
            .map(|client| scope.spawn(|| client.send(PERIOD, &stop)))
            .collect();
        let [first, second] = pods;
        thread::sleep(BETWEEN);
        // With maxSurge = 1 the successor is there before.
        let _third = Pod::start(&scene, &balancer);
        first.drain();
        thread::sleep(BETWEEN);
        // With maxUnavailable = 1 it comes when the place is free.
        second.drain();
        let _fourth = Pod::start(&scene, &balancer);
        thread::sleep(BETWEEN);
        stop.store(true, Ordering::SeqCst);
        let sent = clients.into_iter().map(|client| client.join().unwrap());
        sent.collect()
    });
    let took = began.elapsed();

    let mut arrived = BTreeMap::<String, usize>::new();
    for request in scene.api.recorded() {
        let subject = request.json()["subject"].as_str().unwrap().to_owned();
        *arrived.entry(subject).or_default() += 1;
    }
    let accepted = || sent.iter().flat_map(|client| &client.accepted);
    let lost: Vec<_> = accepted().filter(|id| !arrived.contains_key(*id)).collect();
    let twice: Vec<_> = arrived.iter().filter(|(_, times)| **times > 1).collect();
    let (messages, refused) = (accepted().count(), balancer.refused());
    let sum = |count: fn(&Sent) -> usize| sent.iter().map(count).sum::<usize>();
    println!(
        "{messages} messages in {took:.1?}, {:.0} a second, over {} connections; two gateways replaced\n\
         {} lost, {} twice, {refused} connections refused; {} told to connect again, the slowest \
         message took {:.0?}",
        messages as f64 / took.as_secs_f64(),
        sum(|client| client.connections),
        lost.len(),
        twice.len(),
        sum(|client| client.told_to_connect_again),
        sent.iter().map(|client| client.slowest).max().unwrap(),
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(twice.is_empty(), "twice: {twice:?}");
    assert_eq!(refused, 0, "connections that no gateway took");
    assert_eq!(arrived.len(), messages, "without a 250");
}

/// A gateway among the endpoints of the Service.
struct Pod(Process);

impl Pod {
    fn start(scene: &Scene, balancer: &Balancer) -> Self {
        let mut command = serve(&scene.folder);
        let mut process = Process::start(command.env("GATEWAY__DRAIN__PAUSE", DRAIN_PAUSE));
        let smtp = process.listening("SMTP");
        balancer.add(Endpoint {
            smtp,
            http: process.listening("HTTP"),
        });
        Self(process)
    }

    /// SIGTERM, and waits for the end, which must be a good one. The balancer finds out by itself.
    fn drain(self) {
        self.0.signal("TERM");
        let (status, log) = self.0.end();
        assert_eq!(status.code(), Some(0), "{log:#?}");
        let errors = log.iter().find(|line| line.contains("\"level\":\"ERROR\""));
        assert_eq!(errors, None);
    }
}

/// With the period, 200 messages a second. Half of them keep their connection.
const CLIENTS: usize = 50;
const PERIOD: Duration = Duration::from_millis(250);
const BETWEEN: Duration = Duration::from_secs(4);
/// Longer than the balancer needs to find out.
const DRAIN_PAUSE: &str = "2s";
const _: () = assert!(PROBE_PERIOD.as_millis() < 1000);
/// Far more than there is time for.
const MOST_MESSAGES: usize = 100_000;
/// Some 100 ms, so that calls are under way at any time.
const SLOWLY: Play = Play::Drip(Duration::from_millis(5));
