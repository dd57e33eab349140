//! A storm of large messages against the release binary, whose memory the system bounds. `make
//! memory` runs it and prints the peak.
//!
//! Where this user may make control groups, the bound is one, and the gateway finds it by itself;
//! elsewhere it is `ulimit -d`, and the setting says so. `MESSAGES` (200) and `SIZE_MIB` (25) can be
//! set.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops at what it does not expect, prints what it measures, and is set by \
              variables"
)]
#![expect(
    dead_code,
    unused_imports,
    reason = "this target uses a part of the support only"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::client::SmtpClient;
use crate::support::gateway::Certificate;
use crate::support::http::{Api, Head, Play, Request, Server};
use crate::support::process::{Process, command_of};

/// What the process may use, in MiB.
const LIMIT: u64 = 256;

/// An API that takes its time, and counts.
#[derive(Default)]
struct Slow(AtomicUsize);

impl Api for Slow {
    fn play(&self, _: &Head) -> Play {
        Play::Take
    }

    fn take(&self, request: Request) -> Play {
        thread::sleep(Duration::from_millis(200));
        assert!(request.body.len() > 20, "the whole body has come");
        let id = self.0.fetch_add(1, Ordering::SeqCst);
        Play::json(201, &serde_json::json!({ "id": format!("m{id}") }))
    }
}

/// A control group of version 1 or 2 with this limit, gone when it is dropped.
struct Group(PathBuf);

impl Group {
    /// Nothing where this user may not make one.
    fn new(octets: u64) -> Option<Self> {
        let name = format!("smtp-gateway-test-{}", std::process::id());
        let kinds = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        kinds.into_iter().find_map(|(mount, limit)| {
            let group = Self(Path::new(mount).join(&name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(limit), octets.to_string()).ok()?;
            Some(group)
        })
    }

    fn octets(&self, names: [&str; 2]) -> Option<u64> {
        names.iter().find_map(|name| {
            let text = fs::read_to_string(self.0.join(name)).ok()?;
            text.trim().parse().ok()
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The gateway under its bound.
fn bounded(group: Option<&Group>, folder: &Path) -> Command {
    let mut shell = command_of("/bin/sh", folder);
    let binary = env!("CARGO_BIN_EXE_smtp-gateway");
    let enter = match group {
        Some(group) => format!("echo $$ > {}", group.0.join("cgroup.procs").display()),
        None => {
            shell.env("GATEWAY__LIMITS__AVAILABLE_MEMORY", format!("{LIMIT}MiB"));
            format!("ulimit -d {}", LIMIT * 1024)
        }
    };
    shell.args(["-c", &format!("{enter} && exec {binary} -c gateway.toml")]);
    shell
}

/// The value of a line such as `VmHWM:  1234 kB`, in MiB.
fn status(process: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    let kib = line.split_ascii_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Messages of three kinds: a file, a text, and a text in an old charset.
fn message(kind: usize, octets: usize) -> Vec<u8> {
    let (fields, line): (&str, &[u8]) = match kind {
        0 => (
            "Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n",
            b"QSBsaW5lIG9mIGJhc2U2NCwgYXMgbG9uZyBhcyBsaW5lcyBvZiBiYXNlNjQgYXJlLg==\r\n",
        ),
        1 => ("", b"A line of text, as long as lines of text are.\r\n"),
        _ => (
            "Content-Type: text/plain; charset=windows-1252\r\n",
            b"\x80\x80\x80\x80\xe9\xe9\xe9\xe9\xfc\xfc\xfc\xfc \x95\x95\x95\x95\x95\r\n",
        ),
    };
    let header = format!("From: App <app@example.com>\r\nSubject: Storm\r\n{fields}\r\n");
    let mut octets_of = header.into_bytes();
    while octets_of.len() + line.len() + 3 < octets {
        octets_of.extend_from_slice(line);
    }
    octets_of.extend_from_slice(b".\r\n");
    octets_of
}

/// The code of the final reply. Every second one announces its size.
fn submit(mut client: SmtpClient, content: &[u8], announces: bool) -> String {
    let size = match announces {
        true => format!(" SIZE={}", content.len()),
        false => String::new(),
    };
    let code = |reply: String| reply.split(' ').take(2).collect::<Vec<_>>().join(" ");
    client.send(format!("MAIL FROM:<app@example.com>{size}\r\n"));
    let reply = client.reply();
    if !reply.starts_with("250") {
        return code(reply);
    }
    client.ask("RCPT TO:<ann@example.net>", "250");
    client.send("DATA\r\n");
    let reply = client.reply();
    if !reply.starts_with("354") {
        return code(reply);
    }
    client.send(content);
    code(client.reply())
}

#[test]
fn a_storm_of_large_messages_ends_in_250_or_4yz_and_the_process_lives() {
    let (messages, size) = (setting("MESSAGES", 200), setting("SIZE_MIB", 25) << 20);
    let api = Server::start(Slow::default());
    let certificate = Certificate::new();
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[smtp]\nlisteners = [{{ host = \"127.0.0.1\", port = 0 }}]\n\
         [http]\nhost = \"127.0.0.1\"\nport = 0\n\
         [tls]\ncert_path = {:?}\nkey_path = {:?}\n\
         [auth]\nsource = \"static\"\naccounts = [{{ name = \"ann\", password = \"secret\" }}]\n\
         [api]\nprovider = \"json\"\nurl = \"http://{}\"\n",
        certificate.chain(),
        certificate.key(),
        api.address()
    );
    fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    let group = Group::new(LIMIT << 20);
    let mut process = Process::start(&mut bounded(group.as_ref(), folder.path()));
    let (smtp, id) = (process.listening("SMTP"), process.id());
    let kinds: Vec<Arc<Vec<u8>>> = (0..3).map(|kind| Arc::new(message(kind, size))).collect();
    let client = || SmtpClient::logged_in(smtp, certificate.client());

    let codes = thread::scope(|scope| {
        let clients: Vec<_> = (0..messages)
            .map(|number| {
                let content = Arc::clone(&kinds[number % kinds.len()]);
                scope.spawn(move || submit(client(), &content, number % 2 == 0))
            })
            .collect();
        let mut codes: BTreeMap<String, usize> = BTreeMap::new();
        for client in clients {
            *codes.entry(client.join().unwrap()).or_default() += 1;
        }
        codes
    });
    let peak = status(id, "VmHWM");
    let after = submit(client(), &message(1, 1000), true);
    println!(
        "{messages} messages of {} MiB at once, {LIMIT} MiB enforced by {}: {codes:?}; peak RSS {peak} MiB{}",
        size >> 20,
        if group.is_some() {
            "a control group"
        } else {
            "ulimit -d"
        },
        match &group {
            None => String::new(),
            Some(group) => format!(
                ", of the group {} MiB",
                group
                    .octets(["memory.max_usage_in_bytes", "memory.peak"])
                    .unwrap_or(0)
                    >> 20
            ),
        }
    );
    assert_eq!(after, "250 2.0.0", "behind the storm a new message passes");
    assert!(
        codes.keys().all(|code| code.starts_with(['2', '4'])),
        "{codes:?}"
    );
    let taken = codes.get("250 2.0.0").copied().unwrap_or(0);
    assert!(taken > 0, "some pass");
    assert_eq!(api.api.0.load(Ordering::SeqCst), taken + 1);
    process.signal("TERM");
    let (ended, _) = process.end();
    assert!(ended.success(), "it was not killed: {ended:?}");
}
