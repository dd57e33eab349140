//! Messages that others collected, read by us and by Python's `email`: Python's own test messages
//! and the corpus of mail-parser. `make interop` runs it.
//!
//! Both read what arrives when such a file is submitted. What we make of it otherwise stands in
//! `tests/interop/differences.txt` with its reason; any other difference fails, and so does one
//! that is listed and not there. The messages stay where they are installed: their licences are
//! not ours.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets something unexpected has failed, and says what it compared"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use smtp_gateway::message::content::Content;
use smtp_gateway::message::date::Date;
use smtp_gateway::message::json::JsonForm;
use smtp_gateway::message::mime;
use smtp_gateway::message::raw::RawMessage;
use smtp_gateway::message::received::Received;
use smtp_gateway::message::structure::{Limits, Structure, StructureError};
use smtp_gateway::smtp::address::{ForwardPath, ReversePath};
use smtp_gateway::smtp::framing::normalise;

#[test]
fn the_test_messages_of_python_are_read_as_python_reads_them() {
    let asked = "import sys, sysconfig; print('%d.%d' % sys.version_info[:2]); \
                 print(sysconfig.get_path('stdlib'))";
    let answer = output_of(Command::new("python3").args(["-I", "-c", asked]));
    let (version, library) = answer.trim_end().split_once('\n').unwrap();
    let folder = Path::new(library).join("test/test_email/data");
    assert!(
        folder.is_dir(),
        "there is no {}: please install libpython{version}-testsuite",
        folder.display()
    );
    let corpus = Corpus::of("python", &folder, "txt");
    assert!(corpus.messages.len() > 40, "{}", corpus.messages.len());
    corpus.compare();
}

#[test]
fn the_corpus_of_mail_parser_is_read_as_python_reads_it() {
    let asked = ["metadata", "--format-version=1", "--offline", "--locked"];
    let answer = output_of(Command::new(env!("CARGO")).args(asked));
    let metadata: Value = serde_json::from_str(&answer).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|it| it["name"] == "mail-parser");
    let manifest = Path::new(package.unwrap()["manifest_path"].as_str().unwrap());
    let folder = manifest.with_file_name("resources").join("eml");
    let corpus = Corpus::of("mail-parser", &folder, "eml");
    assert!(corpus.messages.len() > 100, "{}", corpus.messages.len());
    corpus.compare();
}

/// The files of one collection.
struct Corpus {
    name: &'static str,
    messages: Vec<Message>,
}

/// A file, and its content as it would arrive.
struct Message {
    name: String,
    content: Content,
}

impl Corpus {
    /// The files below `folder` with that extension.
    fn of(name: &'static str, folder: &Path, extension: &str) -> Self {
        let mut messages = Vec::new();
        for path in files_below(folder) {
            if path.extension().is_some_and(|found| found == extension) {
                let below = path.strip_prefix(folder).unwrap().to_str().unwrap();
                messages.push(Message {
                    name: format!("{name}/{below}"),
                    content: Content::new(normalise(&fs::read(&path).unwrap())),
                });
            }
        }
        messages.sort_by(|a, b| a.name.cmp(&b.name));
        Self { name, messages }
    }

    fn compare(&self) {
        let listed: BTreeSet<Difference> = listed_differences()
            // Older versions of Python have fewer messages.
            .filter(|(name, _)| self.messages.iter().any(|message| message.name == *name))
            .collect();
        let expected = self.read_by_python();
        let (mut found, mut unexplained) = (BTreeSet::new(), Vec::new());
        for message in &self.messages {
            let python = &expected[&message.name];
            let differences = match read(&message.content) {
                Ok(ours) => differences(&ours, python),
                Err(fault) => vec![("refused", json!(fault.to_string()), Value::Null)],
            };
            for (what, ours, python) in differences {
                let difference = (message.name.clone(), what.to_owned());
                if what == LOST || !listed.contains(&difference) {
                    let name = &message.name;
                    unexplained.push(format!(
                        "{name}: {what}\n  ours   {ours}\n  Python {python}"
                    ));
                }
                found.insert(difference);
            }
        }
        let differing: BTreeSet<_> = found.iter().map(|(name, _)| name).collect();
        println!(
            "{}: {} messages compared, {} of them with differences, all in all {}",
            self.name,
            self.messages.len(),
            differing.len(),
            found.len()
        );
        let gone: Vec<&Difference> = listed.difference(&found).collect();
        let unexplained = unexplained.join("\n");
        assert!(unexplained.is_empty(), "not listed:\n{unexplained}");
        assert!(gone.is_empty(), "listed, but not there: {gone:#?}");
    }

    /// What Python makes of all the messages, by their names.
    fn read_by_python(&self) -> Value {
        let folder = tempfile::tempdir().unwrap();
        for message in &self.messages {
            let path = folder.path().join(&message.name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, message.content.octets()).unwrap();
        }
        let script = root().join("tests/interop/read.py");
        let mut python = Command::new("python3");
        python.arg("-I").arg(script).arg(folder.path());
        serde_json::from_str(&output_of(&mut python)).unwrap()
    }
}

/// The name of a message, and in what our reading of it differs.
type Difference = (String, String);

/// A difference, what we make of it and what Python does.
type Found = (&'static str, Value, Value);

/// Lines that are not indented are reasons; those below them say which message differs in what.
fn listed_differences() -> impl Iterator<Item = Difference> {
    let list = include_str!("interop/differences.txt");
    let indented = list.lines().filter_map(|line| line.strip_prefix("  "));
    indented.flat_map(|line| {
        let (name, differences) = line.split_once(": ").unwrap();
        let differences = differences.split(", ");
        differences.map(|what| (name.to_owned(), what.to_owned()))
    })
}

/// The JSON that would leave, raw message and all.
fn read(content: &Content) -> Result<Value, StructureError> {
    let structure = Structure::read(content, &Limits::default())?;
    let email = mime::read(content, &structure);
    let raw = RawMessage::new(content, &structure, &email, None);
    let received = Received {
        at: Date::from_unix(0),
        by: "gateway.example.com".to_owned(),
        from: "192.0.2.10".parse().unwrap(),
        helo: None,
        protocol: "ESMTPSA",
        account: None,
    };
    let form = JsonForm::new(&email, content, "018ccf2c9a40", &received, Some(&raw));
    let (from, _) = ReversePath::take("<app@example.com>").unwrap();
    let (to, _) = ForwardPath::take("<ann@example.net>").unwrap();
    let octets = form.addressed_to(&from, &[to]).frames().collect::<Vec<_>>();
    let json: Value = serde_json::from_slice(&octets.concat()).unwrap();
    assert_eq!(octets_of(&json["raw"]), raw.slices().concat());
    Ok(json)
}

/// In what the two differ, with what we and what Python make of it.
fn differences(ours: &Value, python: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    for body in ["text", "html"] {
        found.extend(differ(body, &ours[body], &with_lf(&python[body])));
    }
    let subjects = [ours, python].map(|it| shown(&it["subject"]));
    found.extend(differ("subject", &subjects[0], &subjects[1]));
    for field in ["from", "to"] {
        let lists = [ours, python].map(|it| addresses(&it[field]));
        found.extend(differ(field, &lists[0], &lists[1]));
    }
    found.extend(attachments_differ(ours, python));
    found
}

/// In what the attachments differ: whether they are there with the same octets, names and types.
fn attachments_differ(ours: &Value, python: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    let mut attachments = ours["attachments"].as_array().unwrap().clone();
    let bodies = ["text", "html"].iter().filter(|it| ours[**it].is_string());
    let carried = attachments.len() + bodies.count();
    let leaves = python["leaves"].as_array().unwrap().iter();
    let (bodies, mut leaves): (Vec<_>, Vec<_>) = leaves
        .filter(|leaf| !is_nothing(leaf))
        .partition(|leaf| leaf["is_body"] == true);
    // Of parts with the same content, the one that Python takes for a body is our body, too.
    leaves.extend(bodies);
    if leaves.len() > carried {
        found.push((LOST, json!(attachments), json!(leaves)));
    }
    let (mut only_ours, mut only_pythons) = (Vec::new(), Vec::new());
    for leaf in leaves {
        let is_body = leaf["is_body"] == true;
        let same = |it: &Value| it["content"] == leaf["content"];
        let same_name = |it: &Value| same(it) && it["filename"] == leaf["name"];
        let at = attachments.iter().position(same_name);
        let at = at.or_else(|| attachments.iter().position(same));
        match at.map(|at| attachments.remove(at)) {
            None if is_body => {}
            None => only_pythons.push(leaf.clone()),
            Some(attachment) if is_body => only_ours.push(attachment),
            Some(attachment) => {
                // An attached message without a name gets one from us, of its subject.
                if !(leaf["media_type"] == "message/rfc822" && leaf["name"].is_null()) {
                    found.extend(differ("names", &attachment["filename"], &leaf["name"]));
                }
                let media_type = attachment["content_type"].as_str().unwrap();
                let media_type = json!(media_type.split(';').next());
                found.extend(differ("types", &media_type, &leaf["media_type"]));
            }
        }
    }
    only_ours.extend(attachments);
    let nothing = only_ours.is_empty() && only_pythons.is_empty();
    found.extend((!nothing).then(|| ("attachments", json!(only_ours), json!(only_pythons))));
    found
}

fn differ(what: &'static str, ours: &Value, python: &Value) -> Option<Found> {
    (ours != python).then(|| (what, ours.clone(), python.clone()))
}

/// An empty text that nobody would want for an attachment.
fn is_nothing(leaf: &Value) -> bool {
    octets_of(&leaf["content"]).trim_ascii().is_empty() && leaf["name"].is_null()
}

fn octets_of(base64: &Value) -> Vec<u8> {
    STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

fn with_lf(text: &Value) -> Value {
    let lf = |text: &str| json!(text.replace("\r\n", "\n").replace('\r', "\n"));
    text.as_str().map_or(Value::Null, lf)
}

fn shown(text: &Value) -> Value {
    let shown = |text: &str| json!(text.replace('\t', " ").trim());
    text.as_str().map_or(Value::Null, shown)
}

/// Only the addresses: Python does not read names in comments.
fn addresses(list: &Value) -> Value {
    list.as_array()
        .unwrap()
        .iter()
        .map(|it| it["email"].clone())
        .collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}

/// What a program prints, once it has ended well.
fn output_of(command: &mut Command) -> String {
    let program = command.get_program().to_owned();
    let output = command.current_dir(root()).output();
    let output = output.unwrap_or_else(|fault| panic!("{program:?} is needed: {fault}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program:?}: {}, {errors}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The one difference that no reason allows.
const LOST: &str = "lost";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
