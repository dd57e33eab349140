//! Whole messages to JSON: each `tests/messages/**/*.eml` gives the `.json` beside it.
//!
//! The expectations were reviewed by eye. After a change that is meant, run the tests once with
//! `UPDATE_EXPECTED=1` and review the difference. The octets of the `.eml` files are what the tests
//! are about: some have bare line feeds, raw 8-bit text or no line end at their end.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use smtp_gateway::message::content::Content;
use smtp_gateway::message::date::Date;
use smtp_gateway::message::email::{Email, VisibleAddress};
use smtp_gateway::message::json::JsonForm;
use smtp_gateway::message::mime;
use smtp_gateway::message::raw::RawMessage;
use smtp_gateway::message::received::Received;
use smtp_gateway::message::structure::{Limits, Structure, StructureError};
use smtp_gateway::smtp::address::{ForwardPath, ReversePath};

#[test]
fn every_message_gives_the_json_beside_it() {
    let mut wrong = Vec::new();
    for file in messages() {
        let message = Message::read(fs::read(&file).unwrap()).unwrap();
        let json = message.json(None);
        let beside = file.with_extension("json");
        if update_is_wanted() {
            fs::write(&beside, format!("{json:#}\n")).unwrap();
        }
        let expected = fs::read(&beside).unwrap_or_default();
        if serde_json::from_slice::<Value>(&expected).ok() != Some(json) {
            wrong.push(file);
        }
    }
    assert!(wrong.is_empty(), "other JSON than expected: {wrong:#?}");
}

#[test]
fn every_json_keeps_the_contract() {
    let schema = schema();
    for file in messages() {
        let message = Message::read(fs::read(&file).unwrap()).unwrap();
        let json = message.json(Some(&message.raw()));
        assert_valid(&schema, &json, &file);
        for attachment in json["attachments"].as_array().unwrap() {
            let content = STANDARD.decode(attachment["content"].as_str().unwrap());
            let size = content.unwrap().len() as u64;
            assert_eq!(attachment["size"], size, "{}", file.display());
        }
    }
}

#[test]
fn the_raw_message_that_leaves_says_the_same() {
    for file in messages() {
        let message = Message::read(fs::read(&file).unwrap()).unwrap();
        let raw = message.raw();
        let json = message.json(Some(&raw));
        let left = STANDARD.decode(json["raw"].as_str().unwrap()).unwrap();
        assert_eq!(left, raw.slices().concat());
        for hidden in ["\nbcc", "\nresent-bcc"] {
            let header = format!("\n{}", String::from_utf8_lossy(&left).to_ascii_lowercase());
            let header = header
                .split("\r\n\r\n")
                .next()
                .unwrap_or_default()
                .to_owned();
            assert!(!header.contains(hidden), "{}", file.display());
        }
        let again = Message::read(left).unwrap();
        let mut same = again.json(Some(&again.raw()));
        for addition in ["date", "message_id"] {
            // Fields that are there but cannot be read stay as they are.
            same[addition] = json[addition].clone();
        }
        assert_eq!(same, json, "{}", file.display());
    }
}

#[test]
fn the_example_of_the_documentation_is_true() {
    let page = fs::read_to_string(root().join("docs/json-api.md")).unwrap();
    let example = page.split("```json\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let file = root().join("tests/messages/rfc/example_of_the_contract.eml");
    let message = Message::read(fs::read(&file).unwrap()).unwrap();
    let example: Value = serde_json::from_str(example).unwrap();
    assert_eq!(example, message.json(None));
    assert_valid(&schema(), &example, &file);
}

#[test]
fn ten_thousand_nested_multiparts_are_too_deep() {
    let level = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
    let message = Message::read((0..10_000).map(level).collect::<String>());
    assert_eq!(message.err(), Some(StructureError::TooDeep { limit: 10 }));
}

#[test]
fn a_million_parts_are_too_many() {
    let header = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned();
    let message = Message::read(header + &"--b\r\n\r\n".repeat(1_000_000));
    assert_eq!(
        message.err(),
        Some(StructureError::TooManyParts { limit: 1000 })
    );
}

#[test]
fn a_million_fields_or_ten_megabytes_of_one_are_too_long() {
    let limit = 1024 * 1024;
    for header in [
        "X: y\r\n".repeat(1_000_000),
        format!("Subject: {}\r\n", "x".repeat(10_000_000)),
        format!("Subject: x{}\r\n", "\r\n y".repeat(1_000_000)),
    ] {
        let message = Message::read(header + "\r\nbody");
        assert_eq!(message.err(), Some(StructureError::HeaderTooLong { limit }));
    }
}

#[test]
fn fifty_thousand_messages_inside_each_other_are_one_attachment() {
    let nest = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000) + "Subject: x\r\n\r\ntext";
    for text in [
        nest.clone(),
        format!("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n{nest}\r\n--b--\r\n"),
    ] {
        let message = Message::read(text).unwrap();
        assert_eq!(message.email.attachments.len(), 1);
        let json = message.json(None);
        let attachment = &json["attachments"][0];
        assert_eq!(attachment["filename"], "message.eml");
        assert!(attachment["size"].as_u64().unwrap() > 1_000_000);
    }
}

#[test]
fn the_largest_header_that_is_taken_is_read_in_no_time() {
    let fill = |piece: &str| piece.repeat(1_000_000_usize.div_euclid(piece.len()));
    for header in [
        format!("To: {}", fill("a@b,")),
        format!("From: {}", fill("(((")),
        format!("Subject: {}", fill("=?utf-8?Q?a?= ")),
        format!("Subject: {}", fill("=?utf-8?B?")),
        format!("Content-Type: text/plain{}", fill(";name*0=a")),
        format!("Content-Type: text/plain{}", fill(";charset=(")),
        format!(
            "Content-Disposition: attachment{}",
            fill("; filename*99=\"")
        ),
        format!("X: y\r\n{}", fill("a:\r\n")),
        format!("Subject: x{}", fill("\r\n \r\n\t")),
    ] {
        let message = Message::read(header + "\r\n\r\nbody").unwrap();
        assert_eq!(message.json(None)["version"], 1);
    }
}

/// A message read with fixed answers to all that is not in it.
struct Message {
    content: Content,
    structure: Structure,
    email: Email,
}

impl Message {
    fn read(octets: impl Into<Vec<u8>>) -> Result<Self, StructureError> {
        let content = Content::new(octets.into());
        let structure = Structure::read(&content, &Limits::default())?;
        let author = VisibleAddress::without_name("bounces@example.com");
        let id = "added@gateway.example.com".to_owned();
        let email = mime::read(&content, &structure).complete(arrival(), id, Some(author));
        Ok(Self {
            content,
            structure,
            email,
        })
    }

    fn raw(&self) -> RawMessage {
        RawMessage::new(&self.content, &self.structure, &self.email, None)
    }

    fn json(&self, raw: Option<&RawMessage>) -> Value {
        let received = Received {
            at: arrival(),
            by: "gateway.example.com".to_owned(),
            from: "192.0.2.10".parse().unwrap(),
            helo: Some("app.example.com".to_owned()),
            protocol: "ESMTPSA",
            account: Some("acme".to_owned()),
        };
        let form = JsonForm::new(&self.email, &self.content, "018ccf2c9a40", &received, raw);
        let (from, _) = ReversePath::take("<bounces@example.com>").unwrap();
        let (to, _) = ForwardPath::take("<ann@example.net>").unwrap();
        let pieces = form.addressed_to(&from, &[to]);
        let octets = pieces.frames().collect::<Vec<_>>().concat();
        assert_eq!(octets.len() as u64, pieces.len());
        serde_json::from_slice(&octets).unwrap()
    }
}

fn arrival() -> Date {
    Date::from_unix(1_704_092_401)
}

pub(crate) fn messages() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for kind in ["rfc", "legacy", "malformed", "clients"] {
        let folder = root().join("tests/messages").join(kind);
        let entries = fs::read_dir(folder).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    assert!(files.len() > 60);
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema() -> jsonschema::Validator {
    let schema = fs::read_to_string(root().join("docs/json-api.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&schema).unwrap()
}

fn assert_valid(schema: &jsonschema::Validator, json: &Value, file: &Path) {
    let faults: Vec<String> = schema
        .iter_errors(json)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{}: {faults:#?}", file.display());
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch for those who change the tests, not a setting of the gateway"
)]
fn update_is_wanted() -> bool {
    std::env::var("UPDATE_EXPECTED").is_ok()
}
