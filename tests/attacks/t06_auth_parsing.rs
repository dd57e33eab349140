//! T6, AUTH parsing (CVE-2018-6789 and its kin): every odd exchange has a reply of its own, lets
//! nobody in, and leaves the session usable.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use crate::support::gateway::Gateway;

/// Errors end a session; these tests make more of them.
fn gateway() -> Gateway {
    Gateway::sandbox(|config| config.limits.errors = 0)
}

#[test]
fn odd_exchanges_are_refused_and_the_session_goes_on() {
    let gateway = gateway();
    let mut client = gateway.secured();
    let plain = |raw: &str| format!("AUTH PLAIN {}", STANDARD.encode(raw));
    for (line, reply) in [
        ("AUTH".to_owned(), "501 5.5.2"),
        ("AUTH EXTERNAL".to_owned(), "504 5.5.4"),
        ("AUTH NTLM".to_owned(), "504 5.5.4"),
        ("AUTH CRAM-MD5".to_owned(), "504 5.5.4"),
        ("AUTH PLAIN =".to_owned(), "501 5.5.2"),
        ("AUTH PLAIN *".to_owned(), "501 5.7.0"),
        ("AUTH PLAIN AGFubgBzZWNyZXQ".to_owned(), "501 5.5.2"),
        ("AUTH PLAIN AGFubgBzZWNyZXR=".to_owned(), "501 5.5.2"),
        ("AUTH PLAIN AGFubgBzZWNyZXQ==".to_owned(), "501 5.5.2"),
        ("AUTH PLAIN AGFub gBzZWNyZXQ=".to_owned(), "501 5.5.2"),
        (
            format!("AUTH PLAIN {}", STANDARD.encode(b"\0\xff\0\xff")),
            "501 5.5.2",
        ),
        (plain("ann\0secret"), "501 5.5.2"),
        (plain("\0ann\0secret\0"), "501 5.5.2"),
        (plain("bob\0ann\0secret"), "535 5.7.8"),
        (plain("\0ann\0"), "535 5.7.8"),
        (plain("\0\0"), "535 5.7.8"),
        (plain("\0ann\0secret "), "535 5.7.8"),
        (plain("\0ANN\0secret"), "535 5.7.8"),
        // The same text for a person, other octets: passwords are compared as they come.
        (plain("\0ann\0se\u{301}cret"), "535 5.7.8"),
    ] {
        client.ask(&line, reply);
        client.ask("MAIL FROM:<app@example.com>", "530 5.7.0");
    }
    client.ask(&plain("ann\0ann\0secret"), "235 2.7.0");
}

#[test]
fn an_exchange_may_be_12288_octets_long_and_no_longer() {
    let gateway = gateway();
    let mut client = gateway.secured();
    let exact = "A".repeat(12_288 - 2);
    client.ask("AUTH PLAIN", "334");
    client.ask(&exact, "501 5.5.2");
    client.ask("AUTH PLAIN", "334");
    client.ask(&format!("{exact}A"), "500 5.5.6");
    client.ask("AUTH PLAIN", "334");
    client.ask("AGFubgBzZWNyZXQ=", "235 2.7.0");
}

#[test]
fn both_mechanisms_work_with_and_without_initial_response() {
    let gateway = gateway();
    for dialogue in [
        &[("AUTH PLAIN AGFubgBzZWNyZXQ=", "235")][..],
        &[("AUTH PLAIN", "334 \r\n"), ("AGFubgBzZWNyZXQ=", "235")],
        &[
            ("auth login", "334 VXNlcm5hbWU6"),
            ("YW5u", "334 UGFzc3dvcmQ6"),
            ("c2VjcmV0", "235"),
        ],
        &[("AUTH LOGIN YW5u", "334 UGFzc3dvcmQ6"), ("c2VjcmV0", "235")],
    ] {
        let mut client = gateway.secured();
        for (line, reply) in dialogue {
            client.ask(line, reply);
        }
        client.ask("MAIL FROM:<app@example.com>", "250");
    }
}

#[test]
fn no_random_exchange_lets_anybody_in() {
    let gateway = gateway();
    let client = std::cell::RefCell::new(gateway.secured());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    runner
        .run(&"[A-Za-z0-9+/=*]{0,40}", |response| {
            let mut client = client.borrow_mut();
            client.send(format!("AUTH PLAIN {response}\r\n"));
            let reply = client.reply();
            if response.is_empty() {
                prop_assert!(reply.starts_with("334"), "{}", reply);
                client.ask("*", "501");
            } else {
                prop_assert!(reply.starts_with('5'), "{}", reply);
            }
            client.ask("MAIL FROM:<app@example.com>", "530");
            Ok(())
        })
        .unwrap();
}
