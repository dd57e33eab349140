//! T2, smuggling out: what reaches the API is one message also for those who send it on over SMTP,
//! be they as strict as RFC 5321 or as lenient as the worst reader in the field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtp_gateway::smtp::framing::{LoneNewlines, stuff};

use crate::attacks::smuggling::{
    SECOND_MESSAGE, Variant, has_lone_line_break, leniently, strictly, with_crlf,
};
use crate::support::api::FakeApi;
use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;

fn by_data(client: &mut SmtpClient, content: &str) {
    client.begin(&["ann@example.net"]);
    client.send(format!("{content}\r\n.\r\n"));
}

fn by_chunk(client: &mut SmtpClient, content: &str) {
    client.address(&["ann@example.net"]);
    client.send(format!("BDAT {} LAST\r\n{content}", content.len()));
}

#[test]
fn what_came_by_data_is_one_message_for_every_reader_behind_the_api() {
    let variants = Variant::all().filter(|variant| !variant.is_the_end());
    sent_on_as_one(by_data, variants);
}

/// In a chunk, CRLF.CRLF is content too.
#[test]
fn what_came_in_a_chunk_is_one_message_for_every_reader_behind_the_api() {
    sent_on_as_one(by_chunk, Variant::around(".").chain(Variant::around("..")));
}

fn sent_on_as_one(send: fn(&mut SmtpClient, &str), variants: impl Iterator<Item = Variant>) {
    let api = FakeApi::start();
    let gateway = Gateway::before(&api.url(), |config| config.api.raw = true);
    let mut client = gateway.logged_in();
    let mut sent = 0;
    for variant in variants {
        send(&mut client, &variant.content(SECOND_MESSAGE));
        client.expect("250 2.0.0 Ok: queued as");
        sent += 1;
    }
    let requests = api.recorded();
    assert_eq!(requests.len(), sent);
    for request in requests {
        let body = request.json();
        let raw = STANDARD.decode(body["raw"].as_str().unwrap()).unwrap();
        is_one_message(&raw);
        let text = body["text"].as_str().unwrap();
        assert!(
            !text.contains('\r'),
            "a line of text ends with LF: {text:?}"
        );
        is_one_message(&with_crlf(format!("{text}\n").as_bytes()));
    }
}

/// Dot-stuffed and ended, as any client does it.
fn is_one_message(content: &[u8]) {
    let shown = String::from_utf8_lossy(content);
    assert!(!has_lone_line_break(content), "{shown:?}");
    let data = [&stuff(content), &b".\r\n"[..]].concat();
    assert_eq!(leniently(&data), Some(1), "{shown:?}");
    let opening = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
    let seen = strictly(&[opening, &data[..]].concat(), LoneNewlines::Refuse);
    assert_eq!(seen.len(), 1, "{shown:?}");
    assert_eq!(seen[0].content, content, "dot-stuffing comes undone");
}

/// The controls: without dot-stuffing, or with lone line breaks, there would be two.
#[test]
fn the_readers_behind_the_api_can_be_led_astray() {
    assert_eq!(leniently(b"a\r\n.\r\nb\r\n.\r\n"), Some(2));
    assert_eq!(leniently(b"a\n.\nb\r\n.\r\n"), Some(2));
    assert_eq!(leniently(b"a\r.\r\nb\r\n.\r\n"), Some(2));
    assert_eq!(leniently(b"a\r\n..\r\nb\r\n.\r\n"), Some(1));
    assert_eq!(leniently(b"a\r\n"), None);
}
