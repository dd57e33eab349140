//! The gateway as processes that come and go: what a Deployment does to its pods.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::support::gateway::Certificate;
use crate::support::http::try_request;
use crate::support::process::{Process, command};

/// All pods of a run: one serves, those before it have gone.
pub(crate) struct Pods {
    /// Of the run, for the files of their logs.
    name: String,
    runtime: Handle,
    folder: tempfile::TempDir,
    settings: String,
    certificate: Certificate,
    /// The API, as gateways see it.
    api: SocketAddr,
    pub(crate) gone: Vec<Gone>,
}

/// A gateway that runs.
pub(crate) struct Pod {
    number: usize,
    process: Process,
    pub(crate) smtp: SocketAddr,
    http: SocketAddr,
    /// The last metrics that were seen.
    metrics: Metrics,
}

/// A gateway that has ended.
pub(crate) struct Gone {
    pub(crate) number: usize,
    /// When it was killed, if it was.
    pub(crate) killed: Option<Instant>,
    pub(crate) metrics: Metrics,
    /// From the signal to its end.
    pub(crate) took: Duration,
    pub(crate) errors: Vec<String>,
    pub(crate) log: PathBuf,
}

impl Gone {
    pub(crate) fn ending(&self) -> &'static str {
        match self.killed {
            Some(_) => "killed",
            None => "drained",
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Metrics {
    pub(crate) unknown: u64,
    pub(crate) retries: u64,
    pub(crate) remembered: u64,
    pub(crate) panics: u64,
    pub(crate) lookups: u64,
}

impl Pods {
    pub(crate) fn new(name: &str, runtime: &Handle, api: SocketAddr, settings: &str) -> Self {
        Self {
            name: name.to_owned(),
            runtime: runtime.clone(),
            folder: tempfile::tempdir().unwrap(),
            settings: settings.to_owned(),
            certificate: Certificate::new(),
            api,
            gone: Vec::new(),
        }
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Starts a gateway and waits until it listens.
    pub(crate) fn start(&mut self, number: usize) -> Pod {
        let api = format!("http://{}/pod-{number}", self.api);
        let settings = format!(
            "[smtp]\nlisteners = [{{ host = \"127.0.0.1\", port = 0 }}]\n\
             [http]\nhost = \"127.0.0.1\"\nport = 0\n\
             [tls]\ncert_path = {:?}\nkey_path = {:?}\n\
             [auth]\nurl = {api:?}\ntimeout = \"3s\"\n\
             [delivery]\ndeadline = \"{DEADLINE:?}\"\n\
             [drain]\npause = \"500ms\"\ndeadline = \"15s\"\n\
             [log]\nlevel = \"info\"\n\
             [api]\nurl = {api:?}\nconcurrency = 500\n{}",
            self.certificate.chain(),
            self.certificate.key(),
            self.settings,
        );
        let file = format!("pod-{number}.toml");
        std::fs::write(self.folder.path().join(&file), settings).unwrap();
        let mut process = Process::start(command(self.folder.path()).args(["-c", &file]));
        Pod {
            number,
            smtp: process.listening("SMTP"),
            http: process.listening("HTTP"),
            process,
            metrics: Metrics::default(),
        }
    }

    /// SIGTERM, and waits for the end, which must be a good one.
    pub(crate) fn drain(&mut self, mut pod: Pod) {
        let began = Instant::now();
        pod.process.signal("TERM");
        // What happens in the drain counts too.
        while pod.look() && began.elapsed() < Duration::from_secs(60) {
            let a_while = async { sleep(Duration::from_millis(20)).await };
            self.runtime.block_on(a_while);
        }
        let (number, metrics) = (pod.number, pod.metrics);
        let (status, log) = pod.process.end();
        assert_eq!(status.code(), Some(0), "pod {number} ended badly: {log:#?}");
        self.keep(number, metrics, None, began.elapsed(), &log);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, mut pod: Pod) {
        pod.look();
        let killed = Instant::now();
        pod.process.signal("KILL");
        let (_, log) = pod.process.end();
        self.keep(
            pod.number,
            pod.metrics,
            Some(killed),
            killed.elapsed(),
            &log,
        );
    }

    fn keep(
        &mut self,
        number: usize,
        metrics: Metrics,
        killed: Option<Instant>,
        took: Duration,
        log: &[String],
    ) {
        let errors = log
            .iter()
            .filter(|line| line.contains("\"level\":\"ERROR\""));
        let file = format!("faults-{}-pod-{number}.log", self.name);
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
        std::fs::write(&file, log.join("\n")).unwrap();
        self.gone.push(Gone {
            number,
            killed,
            metrics,
            took,
            errors: errors.cloned().collect(),
            log: file,
        });
    }
}

impl Pod {
    /// Reads the metrics. False when there is nobody to ask.
    fn look(&mut self) -> bool {
        let Some((_, _, text)) = try_request(self.http, "GET", "/metrics", "", "") else {
            return false;
        };
        let sum = |name: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name));
            let values = lines.filter(|rest| rest.starts_with([' ', '{']));
            let values = values.filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok());
            values.sum()
        };
        self.metrics = Metrics {
            unknown: sum("smtp_unknown_outcomes_total"),
            retries: sum("smtp_api_retries_total"),
            remembered: sum("smtp_recipients_remembered_total"),
            panics: sum("smtp_task_panics_total"),
            lookups: sum("smtp_auth_lookups_total"),
        };
        true
    }
}

/// For everything outward that one message needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);
