//! The settings file is another one while messages come in: what can change does, what cannot is
//! told, and what is wrong changes nothing (T27).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::support::api::FakeApi;
use crate::support::client::SmtpClient;
use crate::support::gateway::Certificate;
use crate::support::http::request;
use crate::support::process::{Process, command};
use crate::support::wait_until;

struct Reloading {
    process: Process,
    api: FakeApi,
    certificate: Certificate,
    folder: TempDir,
    smtp: std::net::SocketAddr,
    http: std::net::SocketAddr,
}

impl Reloading {
    fn start() -> Self {
        let (api, certificate) = (FakeApi::start(), Certificate::new());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), "secret\n").unwrap();
        let path = folder.path().join("gateway.toml");
        fs::write(&path, settings(&api, &certificate, "")).unwrap();
        let mut command = command(folder.path());
        let mut process = Process::start(command.args(["-c", "gateway.toml"]));
        let (smtp, http) = (process.listening("SMTP"), process.listening("HTTP"));
        Self {
            process,
            api,
            certificate,
            folder,
            smtp,
            http,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    /// Puts other settings in the place of the old ones, as Kubernetes does: at one instant.
    fn swap(&self, more: &str) {
        let new = self.folder.path().join("new.toml");
        fs::write(&new, settings(&self.api, &self.certificate, more)).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, text) = request(self.http, "GET", "/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }

    fn wait_for_reloads(&self, result: &str, count: f64) {
        let name = format!("smtp_settings_reloads_total{{result=\"{result}\"}}");
        wait_until(|| self.metric(&name) == count);
    }

    fn secured(&self) -> SmtpClient {
        SmtpClient::secured(self.smtp, self.certificate.client())
    }

    fn logged_in(&self) -> SmtpClient {
        SmtpClient::logged_in(self.smtp, self.certificate.client())
    }
}

fn settings(api: &FakeApi, certificate: &Certificate, more: &str) -> String {
    format!(
        "reload_interval = \"100ms\"\n\
         smtp.listeners = [{{ host = \"127.0.0.1\", port = 0 }}]\n\
         http = {{ host = \"127.0.0.1\", port = 0 }}\n\
         tls = {{ cert_path = {:?}, key_path = {:?} }}\n\
         api = {{ provider = \"json\", url = \"{}\" }}\n\
         drain.pause = 0\n\
         auth.source = \"static\"\n\
         [[auth.accounts]]\nname = \"ann\"\npassword_file = \"password\"\n{more}",
        certificate.chain(),
        certificate.key(),
        api.url()
    )
}

const TO: [&str; 1] = ["bob@example.net"];

#[test]
fn settings_that_are_swapped_under_load_lose_and_repeat_nothing() {
    let gateway = Reloading::start();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut client = gateway.logged_in();
            let (stop, sent) = (&stop, &sent);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let reply = client.submit(&TO, "Subject: s\r\n\r\nx\r\n");
                    assert!(reply.starts_with("250"), "{reply}");
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                client.ask("QUIT", "221");
            });
        }
        for round in 1..=4 {
            gateway.swap(&format!("[limits]\nrecipients = {round}\n"));
            gateway.wait_for_reloads("loaded", f64::from(round));
        }
        stop.store(true, Ordering::SeqCst);
    });
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent > 0);
    assert_eq!(gateway.api.recorded().len(), sent);
}

#[test]
fn new_limits_and_accounts_hold_for_what_begins_and_old_sessions_go_on() {
    let mut gateway = Reloading::start();
    let mut old = gateway.logged_in();
    gateway.swap(
        "[[auth.accounts]]\nname = \"bob\"\npassword = \"other\"\n\
         [limits]\nrecipients = 1\n[log]\nlevel = \"DEBUG\"\n",
    );
    gateway.process.wait_for("settings loaded");
    let mut new = gateway.secured();
    assert!(new.authenticate("bob", "other").starts_with("235"));
    new.ask("MAIL FROM:<app@example.com>", "250");
    new.ask("RCPT TO:<a@example.net>", "250");
    new.ask("RCPT TO:<b@example.net>", "452 4.5.3");
    new.ask("QUIT", "221");
    // At INFO there is no such line.
    gateway.process.wait_for("session ended");
    old.address(&["a@example.net", "b@example.net"]);

    // A password that is another one in its file, with the settings file as it was.
    fs::write(gateway.folder.path().join("password"), "changed\n").unwrap();
    gateway.process.wait_for("settings loaded");
    let mut late = gateway.secured();
    assert!(late.authenticate("ann", "secret").starts_with("535"));
    assert!(late.authenticate("ann", "changed").starts_with("235"));
    old.ask("RSET", "250");
    assert!(old.submit(&TO, "\r\nx\r\n").starts_with("250"));
}

#[test]
fn other_senders_hold_from_the_next_message_on() {
    let mut gateway = Reloading::start();
    let mut client = gateway.logged_in();
    assert!(client.submit(&TO, "\r\nx\r\n").starts_with("250"));
    for (domain, reply) in [("other.example", "550 5.7.1"), ("example.com", "250")] {
        gateway.swap(&format!(
            "[[policy.senders]]\naccount = \"ann\"\ndomains = [\"{domain}\"]\n"
        ));
        gateway.process.wait_for("settings loaded");
        client.ask("MAIL FROM:<app@example.com>", reply);
        client.ask("RSET", "250");
    }
    assert_eq!(gateway.metric("smtp_settings_waiting_for_restart"), 0.0);
}

#[test]
fn what_only_a_restart_can_change_is_named_and_what_is_wrong_changes_nothing() {
    let mut gateway = Reloading::start();
    gateway.swap("[limits]\nmessage_size = 1000\n[delivery]\ndeadline = \"7s\"\n");
    let line = gateway
        .process
        .wait_for("settings loaded, but these need a restart");
    assert_eq!(
        line["setting.keys"],
        "delivery.deadline, limits.message_size"
    );
    assert_eq!(gateway.metric("smtp_settings_waiting_for_restart"), 2.0);
    let hello = gateway.logged_in().ask("EHLO client.example", "250");
    assert!(hello.contains("SIZE 26214400"), "{hello}");

    gateway.swap("[limits]\nrecipient = 1\n");
    let line = gateway
        .process
        .wait_for("settings refused: the old ones stay");
    let detail = line["error.detail"].as_str().unwrap();
    assert!(detail.contains("limits.recipient: unknown key"), "{detail}");
    half_written(&gateway.file());
    gateway.wait_for_reloads("refused", 2.0);
    assert_eq!(gateway.metric("smtp_settings_refused"), 1.0);
    assert!(
        gateway
            .logged_in()
            .submit(&TO, "\r\nx\r\n")
            .starts_with("250")
    );

    gateway.swap("");
    gateway.process.wait_for("settings loaded");
    assert_eq!(gateway.metric("smtp_settings_refused"), 0.0);
    assert_eq!(gateway.metric("smtp_settings_waiting_for_restart"), 0.0);
}

fn half_written(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, &text[..text.len() / 2]).unwrap();
}
