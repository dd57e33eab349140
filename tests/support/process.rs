//! The real binary, as an operator starts it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::api::FakeApi;
use crate::support::gateway::Certificate;

/// A command with nothing of the tests' own environment, in an empty folder.
pub(crate) fn command(folder: &Path) -> Command {
    command_of(env!("CARGO_BIN_EXE_smtp-gateway"), folder)
}

pub(crate) fn command_of(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs to the end: exit code and what was written to standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().expect("no signal ended it"), errors)
}

/// A settings file that works, for an API at `url`, on ports that the system chooses.
fn settings(folder: &Path, certificate: &Certificate, url: &str) {
    let (chain, key) = (certificate.chain(), certificate.key());
    let text = format!(
        "[smtp]\nhostname = \"gateway.example\"\nlisteners = [\n\
         {{ host = \"127.0.0.1\", port = 0 }},\n\
         {{ host = \"127.0.0.1\", port = 0, tls = \"implicit\" }}]\n\
         [http]\nhost = \"127.0.0.1\"\nport = 0\n\
         [tls]\ncert_path = {chain:?}\nkey_path = {key:?}\n\
         [auth]\nsource = \"static\"\naccounts = [{{ name = \"ann\", password = \"secret\" }}]\n\
         [api]\nprovider = \"json\"\nurl = \"{url}\"\nkey = \"gateway-key\"\n\
         [drain]\npause = \"1s\"\n"
    );
    std::fs::write(folder.join("gateway.toml"), text).unwrap();
}

/// A gateway with that file.
pub(crate) fn serve(folder: &TempDir) -> Command {
    let mut command = command(folder.path());
    command.args(["--config", "gateway.toml"]);
    command
}

/// A folder with that file, and what the file leads to.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) certificate: Certificate,
    pub(crate) api: FakeApi,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::before(FakeApi::start())
    }

    pub(crate) fn before(api: FakeApi) -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            certificate: Certificate::new(),
            api,
        };
        settings(scene.folder.path(), &scene.certificate, &scene.api.url());
        scene
    }
}

/// A gateway in a process of its own. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            log: Vec::new(),
        }
    }

    /// Waits for the log line with this message, and gives it.
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        loop {
            let line = self
                .line()
                .unwrap_or_else(|| panic!("no {message:?} in {:#?}", self.log));
            if let Ok(line) = serde_json::from_str::<Value>(&line)
                && line["message"] == message
            {
                return line;
            }
        }
    }

    /// The next line of output, or nothing at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let line = self.lines.recv_timeout(Duration::from_secs(60)).ok()?;
        self.log.push(line.clone());
        Some(line)
    }

    /// The address in the next "listening for" line.
    pub(crate) fn listening(&mut self, what: &str) -> SocketAddr {
        let line = self.wait_for(&format!("listening for {what}"));
        line["listener.addr"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.id());
        let sent = Command::new("/bin/sh").args(["-c", &kill]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end: how it ended, and all of its output.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        while self.line().is_some() {}
        let status = self.child.wait().unwrap();
        (status, std::mem::take(&mut self.log))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
