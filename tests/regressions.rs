//! Inputs that once broke something (`tests/regressions/<target>/<what it broke>`), those that the
//! fuzz targets are grown from, and those they have found worth keeping (`fuzz/corpus`): none of
//! them breaks a check of `fuzz/src`.
//!
//! `FUZZ_SEEDS=<folder> cargo test seeds_` writes the seeds there, for `make fuzz`.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use smtp_gateway::smtp::framing::{normalise, stuff};

use crate::dialogues::{self, Authentication, Listener, Setup};
use crate::message_corpus;

#[path = "../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "it is a crate of its own for the fuzz targets"
)]
mod checks;

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 8] = [
    ("address", checks::address::check),
    ("api_answer", checks::api_answer::check),
    ("client_reply", checks::client_reply::check),
    ("command", checks::command::check),
    ("data_framing", checks::data_framing::check),
    ("mime_to_json", checks::mime_to_json::check),
    ("proxy_header", checks::proxy_header::check),
    ("session", checks::session::check),
];

#[test]
fn every_fuzz_target_is_run_here_too() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let names = manifest.lines().filter_map(|line| {
        let path = line.strip_prefix("path = \"fuzz_targets/")?;
        path.strip_suffix(".rs\"").map(str::to_owned)
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}

#[test]
fn kept_inputs_break_nothing() {
    let mut count = 0;
    let mut broken = Vec::new();
    for (target, check) in TARGETS {
        for folder in ["tests/regressions", "fuzz/corpus"] {
            let inputs = files(&root().join(folder).join(target));
            count += inputs.len();
            broken.extend(breaking(target, check, &inputs));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count > 500, "the corpora are not there: {count}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "where the fuzzer is to find them, not a setting of the gateway"
)]
fn seeds_break_nothing() {
    let folder = std::env::var("FUZZ_SEEDS").ok();
    let mut broken = Vec::new();
    for (target, check) in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() > 10, "{target}");
        broken.extend(breaking(target, check, &seeds));
        if let Some(folder) = &folder {
            let folder = Path::new(folder).join(target);
            fs::create_dir_all(&folder).unwrap();
            for (name, input) in seeds {
                fs::write(folder.join(name), input).unwrap();
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The inputs that break the check.
fn breaking(target: &str, check: Check, inputs: &[(String, Vec<u8>)]) -> Vec<String> {
    let broken = inputs
        .iter()
        .filter(|(_, input)| catch_unwind(|| check(input)).is_err());
    broken.map(|(name, _)| format!("{target}/{name}")).collect()
}

/// What a target begins with: the transcripts and messages of the other tests.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dialogues = || dialogues::read_all().unwrap().into_iter();
    match target {
        "session" => dialogues()
            .flat_map(|(name, dialogue)| {
                let input = session(&dialogue.setup, &dialogue.said());
                let mut refused = input.clone();
                // No to the third question, later to the sixth.
                refused[3..5].copy_from_slice(&[0x22, 0x15]);
                [(name.clone(), input), (format!("{name}-refused"), refused)]
            })
            .collect(),
        "command" => dialogues()
            .map(|(name, dialogue)| (name, with([0, 0], &dialogue.said())))
            .collect(),
        "client_reply" => dialogues()
            .map(|(name, dialogue)| {
                let input = session(&dialogue.setup, &dialogue.said());
                let (tls, login) = match dialogue.setup.listener {
                    Listener::Off => (0, 0),
                    Listener::StartTls => (1, 1),
                    Listener::Implicit => (2, 1),
                };
                let said = checks::session::server_says(&input);
                (name, with([tls, login, 0, 0], &said))
            })
            .chain([(
                "login_repeated".to_owned(),
                with([2, 1, 0, 0], LOGIN_REPEATED),
            )])
            .collect(),
        "data_framing" => messages()
            .map(|(name, content)| {
                let data = [stuff(&normalise(&content)), b".\r\n".to_vec()].concat();
                (name, with([0, 0, 0, 64], &data))
            })
            .chain(dialogues().map(|(name, dialogue)| (name, with([0; 4], &dialogue.said()))))
            .collect(),
        "mime_to_json" => messages()
            .map(|(name, content)| (name, with([0; 3], &content)))
            .collect(),
        "address" => dialogues()
            .flat_map(|(name, dialogue)| addresses(&name, &dialogue.said()))
            .chain(messages().flat_map(|(name, content)| addresses(&name, &content)))
            .collect(),
        "api_answer" => ANSWERS
            .iter()
            .enumerate()
            .map(|(number, (status, body))| {
                let input = with(u16::to_be_bytes(*status), body.as_bytes());
                (format!("answer-{number}"), input)
            })
            .collect(),
        "proxy_header" => HEADERS
            .iter()
            .enumerate()
            .map(|(number, header)| {
                let input = [header, &b"EHLO client.example\r\n"[..]].concat();
                (format!("header-{number}"), input)
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn session(setup: &Setup, said: &[u8]) -> Vec<u8> {
    let listener = match (setup.listener, setup.authentication) {
        (Listener::StartTls, Authentication::Required) => 0,
        (Listener::Implicit, Authentication::Required) => 1,
        (Listener::Off, Authentication::Waived) => 2,
        (Listener::StartTls, Authentication::Waived) => 3,
        (Listener::Implicit, Authentication::Waived) => 4,
        (Listener::Off, Authentication::Required) => 5,
    };
    let has = |name: &str| setup.settings.iter().any(|(known, _)| known == name);
    let refuses = u8::from(has("smtp.lone_newlines"));
    let limits = match has("limits.message_size") || has("limits.recipients") {
        true => 1,
        false => 4 * u8::from(has("limits.errors")),
    };
    with([listener, refuses, limits, 0, 0, 0, 0, 0], said)
}

/// The arguments of MAIL and RCPT, and the values of address fields.
fn addresses(name: &str, octets: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lines = octets.split(|octet| *octet == b'\n').enumerate();
    let addresses = lines.filter_map(|(number, line)| {
        let colon = line.iter().position(|octet| *octet == b':')?;
        let (field, value) = line.split_at(colon);
        let fields = [
            &b"MAIL FROM"[..],
            b"RCPT TO",
            b"From",
            b"To",
            b"Cc",
            b"Reply-To",
        ];
        let is_one = fields.iter().any(|name| field.eq_ignore_ascii_case(name));
        is_one.then(|| (format!("{name}-{number}"), value[1..].trim_ascii().to_vec()))
    });
    addresses.collect()
}

fn messages() -> impl Iterator<Item = (String, Vec<u8>)> {
    message_corpus::messages().into_iter().map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read(path).unwrap())
    })
}

fn with<const N: usize>(choices: [u8; N], rest: &[u8]) -> Vec<u8> {
    [&choices, rest].concat()
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let files = entries.map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read(path).unwrap())
    });
    files.collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Answers of each kind that an API is known to give.
const ANSWERS: [(u16, &str); 21] = [
    (
        201,
        r#"{"email":"a@b.c","object":"email","submitted":true,"data":{"id":"6F0c","status":"queued"}}"#,
    ),
    (
        201,
        r#"{"submitted":false,"data":{"id":"1","status":"rejected"}}"#,
    ),
    (201, r#"{"data":{"id":"1","status":"error"}}"#),
    (200, r#"{"message_id":"m1"}"#),
    (202, r#"{"data":{"id":7}}"#),
    (203, r#"{"id":"m1"}"#),
    (204, ""),
    (302, "Wed, 21 Oct 2026 07:28:00 GMT\n"),
    (429, "120\n"),
    (503, "Service Unavailable"),
    (
        400,
        r#"{"detail":[{"loc":["body","sender","id"],"msg":"b","type":"x"}]}"#,
    ),
    (
        422,
        r#"{"detail":[{"loc":["content","text"],"msg":"no"},{"loc":["content"],"msg":"no"}]}"#,
    ),
    (404, r#"{"detail":"Not Found"}"#),
    (413, r#"{"error":{"message":"too large"}}"#),
    (
        401,
        r#"{"detail":[{"msg":"expired","type":"unauthorized"}],"challenge":"c"}"#,
    ),
    (403, r#"{"message":"no"}"#),
    (
        422,
        r#"{"detail":[{"msg":"no","type":"x","loc":["body","username"]}]}"#,
    ),
    (
        200,
        r#"{"access_token":"eyJ","token_type":"bearer","expires_in":600,"refresh_token":"r"}"#,
    ),
    (200, r#"{"api_key":"k","expires_in":900,"account_id":"a"}"#),
    (
        200,
        r#"{"data":[{"id":"1","email":"a@b.c","confirmed":true},{"id":2,"email":"d@e.f"}],"pagination":{"has_more":false,"per_page":50}}"#,
    ),
    (200, "<html>Welcome</html>"),
];

/// A server that quotes the password of the client.
const LOGIN_REPEATED: &[u8] = b"220 hi\r\n250-hi\r\n250 AUTH PLAIN\r\n535 5.7.8 correct horse?\r\n\
                                221 2.0.0 AGFubgBjb3JyZWN0IGhvcnNl\r\n";

const HEADERS: [&[u8]; 11] = [
    b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 587\r\n",
    b"PROXY TCP6 2001:db8::1 2001:db8::9 56324 587\r\n",
    b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 65535\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN a b c\r\n",
    b"PROXY TCP4 192.0.2.1",
    b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x09\xdc\x04\x02\x4b",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x240123456789abcdef0123456789abcdef\xdc\x04\x02\x4b",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13\xc0\x00\x02\x01\xc0\x00\x02\x09\xdc\x04\x02\x4b\x04\x00\x04mail",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
];
