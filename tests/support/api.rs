//! An email API over real HTTP that records what it gets and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub(crate) use crate::support::http::Play;
use crate::support::http::{Api, Head, Nobody, Request, Server};

/// Takes every message, except where the script says otherwise.
pub(crate) struct FakeApi {
    server: Server<Script>,
}

#[derive(Default)]
struct Script {
    plays: Mutex<VecDeque<Play>>,
    recorded: Mutex<Vec<Arc<Request>>>,
    arrived: Condvar,
}

impl Api for Script {
    fn play(&self, _: &Head) -> Play {
        let next = self.plays.lock().unwrap().pop_front();
        next.unwrap_or(Play::Take)
    }

    fn take(&self, request: Request) -> Play {
        let mut recorded = self.recorded.lock().unwrap();
        recorded.push(Arc::new(request));
        self.arrived.notify_all();
        Play::answer(
            202,
            &format!("{{\"message_id\":\"api-{}\"}}", recorded.len()),
        )
    }
}

impl FakeApi {
    pub(crate) fn start() -> Self {
        Self::play([])
    }

    /// Plays the script, one entry a request, then takes everything.
    pub(crate) fn play(script: impl IntoIterator<Item = Play>) -> Self {
        let server = Server::start(Script {
            plays: Mutex::new(script.into_iter().collect()),
            ..Script::default()
        });
        Self { server }
    }

    /// Takes every message, where there was nobody before.
    pub(crate) fn instead_of(nobody: Nobody) -> Self {
        let server = Server::start_instead_of(nobody, Script::default());
        Self { server }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn recorded(&self) -> Vec<Arc<Request>> {
        self.server.api.recorded.lock().unwrap().clone()
    }

    /// Waits until that many requests have come.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Arc<Request>> {
        let script = &self.server.api;
        let recorded = script.recorded.lock().unwrap();
        let (recorded, waited) = script
            .arrived
            .wait_timeout_while(recorded, Duration::from_secs(20), |all| all.len() < count)
            .unwrap();
        assert!(
            !waited.timed_out(),
            "{} of {count} requests came",
            recorded.len()
        );
        recorded.clone()
    }
}
