//! T18, shell and path (CVE-2020-7247, CVE-2019-10149): no name from outside is ever that of a file
//! or of a program. The real binary, with such names in everything that a client can name.

use std::collections::BTreeSet;
use std::path::Path;

use smtp_gateway::tls::insecure;

use crate::layers;
use crate::support::client::SmtpClient;
use crate::support::http::request;
use crate::support::process::{Process, command};

const NAMES: [&str; 8] = [
    "../../made",
    "../made",
    "made",
    "/tmp/made",
    "$(touch made)",
    "`touch made`",
    "x; touch made",
    "|touch made",
];

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect()
}

/// What the process has open besides sockets and the like.
fn open_files(process: &Process) -> BTreeSet<String> {
    let folder = format!("/proc/{}/fd", process.id());
    std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .filter(|target| target.starts_with('/'))
        .collect()
}

fn children(process: &Process) -> String {
    let id = process.id();
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let children = tasks.map(|task| task.unwrap().path().join("children"));
    children
        .map(|file| std::fs::read_to_string(file).unwrap_or_default())
        .collect()
}

#[test]
fn no_name_from_outside_is_that_of_a_file_or_a_program() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a").join("b");
    std::fs::create_dir_all(&folder).unwrap();
    let mut process = Process::start(
        command(&folder)
            .arg("sandbox")
            .env(
                "GATEWAY__SMTP__LISTENERS",
                "[{host = \"127.0.0.1\", port = 0}]",
            )
            .env("HTTP_PORT", "0")
            .env("GATEWAY__API__PROVIDER", "json"),
    );
    let (smtp, http) = (process.listening("SMTP"), process.listening("HTTP"));
    let open = open_files(&process);
    for name in NAMES {
        let mut client = SmtpClient::secured(smtp, insecure::client().unwrap());
        let told = client.authenticate(name, name);
        assert!(told.starts_with("235"), "{name}: {told}");
        let content = format!(
            "From: \"{name}\" <a@example.com>\r\nSubject: {name}\r\nMessage-ID: <{name}>\r\n\
             X-Name: {name}\r\nContent-ID: <{name}>\r\nContent-Type: {name}; name=\"{name}\"\r\n\
             Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{name}\r\n"
        );
        client.ask(&format!("MAIL FROM:<\"{name}\"@example.com>"), "250");
        client.ask(&format!("RCPT TO:<\"{name}\"@example.net>"), "250");
        client.ask("DATA", "354");
        client.send(format!("{content}.\r\n"));
        client.expect("250");
        let target = name.replace(' ', "%20");
        request(http, "GET", &format!("/{target}"));
        request(http, "GET", &format!("/api/messages/{target}"));
    }
    let (_, list) = request(http, "GET", "/api/messages");
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["messages"].as_array().unwrap().len(), NAMES.len());
    assert_eq!(open_files(&process), open);
    assert_eq!(children(&process), "");
    for folder in [outer.path(), &outer.path().join("a"), &folder] {
        let found = files(folder);
        assert!(!found.iter().any(|path| path.contains("made")), "{found:?}");
    }
    assert!(files(&folder).is_empty() && !Path::new("/tmp/made").exists());
}

/// What is not there cannot be led astray.
#[test]
fn no_program_is_started_and_no_file_written() {
    for (module, text) in layers::sources() {
        for word in [
            "process::Command",
            "Command::new",
            "fs::write",
            "File::create",
            "OpenOptions",
        ] {
            let found = layers::code_lines(&text).any(|line| line.contains(word));
            assert!(!found || layers::is_test(&module), "{word} in {module}");
        }
    }
}
