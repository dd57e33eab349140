//! T10, BDAT (CVE-2017-16943, CVE-2017-16944): octets that are counted are content, never commands,
//! and a count that cannot be trusted ends the session.

use serde_json::Value;
use smtp_gateway::smtp::framing::LoneNewlines;
use smtp_gateway::units::{ByteSize, Period};

use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;
use crate::support::wait_until;

/// Commands of somebody else, who waits for a server to lose count.
const SMUGGLED: &str = "\r\n.\r\nRSET\r\nMAIL FROM:<evil@example.com>\r\n\
                        RCPT TO:<victim@example.net>\r\nBDAT 1 LAST\r\nx";

fn messages(gateway: &Gateway) -> Vec<Value> {
    let list: Value = serde_json::from_str(&gateway.get("/api/messages").1).unwrap();
    list["messages"].as_array().unwrap().clone()
}

fn in_transaction(gateway: &Gateway) -> SmtpClient {
    let mut client = gateway.logged_in();
    client.address(&["ann@example.net"]);
    client
}

fn bdat(chunk: &str, last: &str) -> String {
    format!("BDAT {}{last}\r\n{chunk}", chunk.len())
}

#[test]
fn an_empty_last_chunk_ends_a_message_and_may_be_all_of_it() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = in_transaction(&gateway);
    client.send(bdat("Subject: one\r\n", ""));
    client.expect("250 2.0.0 14 octets received");
    client.ask("BDAT 0 LAST", "250 2.0.0 Ok: queued as");
    client.address(&["ann@example.net"]);
    client.ask("BDAT 0 LAST", "250 2.0.0 Ok: queued as");
    // Nothing is left of them that a third could end.
    client.ask("BDAT 0 LAST", "503 5.5.1");
    assert_eq!(messages(&gateway).len(), 2);
}

#[test]
fn a_size_that_overflows_or_is_none_ends_the_session() {
    let gateway = Gateway::sandbox(|_| {});
    for (size, reply) in [
        // Half of 64 bits, where a signed count turns negative, and what lies around it.
        ("9223372036854775807", "552 5.3.4"),
        ("9223372036854775808", "552 5.3.4"),
        ("18446744073709551615", "552 5.3.4"),
        // 2^64 is 0 to who counts in 64 bits, and 2^64 + 6 is RSET.
        ("18446744073709551616", "501 5.5.4"),
        ("18446744073709551622", "501 5.5.4"),
        ("99999999999999999999999999999999", "501 5.5.4"),
        ("-1", "501 5.5.4"),
        ("-9223372036854775808", "501 5.5.4"),
        ("+6", "501 5.5.4"),
        ("0x6", "501 5.5.4"),
        ("6.0", "501 5.5.4"),
        ("6e0", "501 5.5.4"),
        ("6,LAST", "501 5.5.4"),
        ("", "501 5.5.4"),
    ] {
        for last in ["", " LAST"] {
            let mut client = in_transaction(&gateway);
            client.send(format!("BDAT {size}{last}\r\nRSET\r\n{SMUGGLED}"));
            client.expect(reply);
            client.expect_end();
        }
    }
    assert!(messages(&gateway).is_empty());
    let ended = "smtp_sessions_ended_total{ending=\"unreadable_chunk\"}";
    wait_until(|| gateway.metric(ended) >= 28.0);
}

#[test]
fn leading_zeros_are_decimal_and_bounded() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = in_transaction(&gateway);
    // 14, and not 12 as in octal.
    client.send("BDAT 014\r\nSubject: one\r\nBDAT 00000000000000000006 LAST\r\nRSET\r\n");
    client.expect("250 2.0.0 14 octets received");
    client.expect("250 2.0.0 Ok: queued as");
    client.ask("NOOP", "250");
    client.address(&["ann@example.net"]);
    client.send(format!("BDAT {:0>1000}\r\nRSET\r\n", 6));
    client.expect("501 5.5.4");
    client.expect_end();
    assert_eq!(messages(&gateway).len(), 1);
}

#[test]
fn rset_inside_a_chunk_is_content_and_behind_it_ends_the_transaction() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = in_transaction(&gateway);
    client.send("BDAT 6\r\n");
    client.send("RSET\r\n");
    client.expect("250 2.0.0 6 octets received");
    client.ask("RSET", "250 2.0.0 Ok");
    client.ask("BDAT 0 LAST", "503 5.5.1");
    assert!(messages(&gateway).is_empty());
}

#[test]
fn a_blank_before_bdat_does_not_make_commands_of_its_octets() {
    let gateway = Gateway::sandbox(|_| {});
    for blank in [" ", "\t", " \t "] {
        let mut client = in_transaction(&gateway);
        client.send(format!("{blank}{}", bdat(SMUGGLED, " LAST")));
        client.expect("501 5.5.4");
        client.expect_end();
    }
    assert!(messages(&gateway).is_empty());
}

#[test]
fn a_client_that_leaves_or_goes_silent_in_the_middle_leaves_no_message() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.data_timeout = Period::seconds(1);
        config.limits.idle_timeout = Period::seconds(2);
    });
    let half = [
        "BDAT 100 LAST\r\nSubject: half\r\n",
        "BDAT 15\r\nSubject: half\r\n",
    ];
    for sent in half {
        let mut client = in_transaction(&gateway);
        client.send(sent);
        drop(client);
    }
    for sent in half {
        let mut client = in_transaction(&gateway);
        client.send(sent);
        if sent.contains("15") {
            client.expect("250 2.0.0 15 octets received");
        }
        client.expect("421 4.4.2");
        client.expect_end();
    }
    wait_until(|| gateway.metric("smtp_active_connections") == 0.0);
    assert!(messages(&gateway).is_empty());
    // The next one is served.
    let mut client = in_transaction(&gateway);
    client.send(bdat("\r\nx\r\n", " LAST"));
    client.expect("250 2.0.0 Ok: queued as");
}

#[test]
fn commands_pipelined_behind_a_refused_chunk_are_read_and_those_in_it_are_not() {
    let gateway = Gateway::sandbox(|_| {});
    let small = Gateway::sandbox(|config| config.limits.message_size = ByteSize(64));
    let mut secured = gateway.secured();
    let mut logged_in = gateway.logged_in();
    let mut without_recipient = gateway.logged_in();
    without_recipient.address(&[]);
    let mut too_large = in_transaction(&small);
    for (client, reply) in [
        (&mut secured, "503 5.5.1"),
        (&mut logged_in, "503 5.5.1"),
        (&mut without_recipient, "554 5.5.1"),
        (&mut too_large, "552 5.3.4"),
    ] {
        assert!(SMUGGLED.len() > 64);
        for last in ["", " LAST"] {
            client.send(format!("{}VRFY x\r\n", bdat(SMUGGLED, last)));
            client.expect(reply);
            client.expect("252");
        }
        client.ask("NOOP", "250 2.0.0 Ok");
    }
    assert!(messages(&gateway).is_empty());
    assert!(messages(&small).is_empty());
}

/// Who may not send does not make the gateway read ten large messages for each error.
#[test]
fn a_stranger_is_not_read_beyond_the_largest_message() {
    let gateway = Gateway::sandbox(|_| {});
    let mut clear = gateway.connect();
    clear.expect("220");
    for mut client in [clear, gateway.secured(), gateway.logged_in()] {
        client.send("BDAT 26214401\r\n");
        client.expect("503 5.5.1");
        client.expect_end();
    }
}

#[test]
fn a_refused_chunk_is_awaited_to_its_last_octet() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = gateway.logged_in();
    let chunk = bdat(SMUGGLED, " LAST");
    for octet in chunk.bytes() {
        client.send([octet]);
    }
    client.expect("503 5.5.1");
    client.ask("NOOP", "250 2.0.0 Ok");
    // The only message is the one that is sent now.
    assert!(
        client
            .submit(&["ann@example.net"], "\r\nx\r\n")
            .starts_with("250")
    );
    assert_eq!(messages(&gateway).len(), 1);
}

#[test]
fn data_and_bdat_are_not_mixed_in_one_transaction() {
    let gateway = Gateway::sandbox(|_| {});
    let mut client = in_transaction(&gateway);
    client.send(bdat("Subject: one\r\n", ""));
    client.expect("250 2.0.0 14 octets received");
    client.ask("DATA", "503 5.5.1");
    client.ask("RSET", "250");
    // With mail data behind it, DATA ends the session.
    client.address(&["ann@example.net"]);
    client.send(format!("{}DATA\r\nSubject: two\r\n.\r\n", bdat("x", "")));
    client.expect("250 2.0.0 1 octets received");
    client.expect("503 5.5.1");
    client.expect_end();
    // Inside of mail data, BDAT is text.
    let mut client = gateway.logged_in();
    let reply = client.submit(&["ann@example.net"], "\r\nBDAT 1000 LAST\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    client.ask("NOOP", "250");
    assert_eq!(messages(&gateway).len(), 1);
}

#[test]
fn bare_line_feeds_in_a_chunk_cut_nothing() {
    let gateway = Gateway::sandbox(|_| {});
    for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\r\n", "\r\n.\n", "\r"] {
        let mut client = in_transaction(&gateway);
        client.send(bdat(
            &format!("Subject: one\r\n\r\nfirst{end}{SMUGGLED}"),
            " LAST",
        ));
        client.expect("250 2.0.0 Ok: queued as");
        client.ask("NOOP", "250 2.0.0 Ok");
    }
    let messages = messages(&gateway);
    assert_eq!(messages.len(), 6);
    for message in messages {
        assert_eq!(
            message["envelope"]["to"],
            serde_json::json!(["ann@example.net"])
        );
    }
}

#[test]
fn bare_line_feeds_in_a_chunk_or_behind_bdat_can_be_refused() {
    let gateway = Gateway::sandbox(|config| config.smtp.lone_newlines = LoneNewlines::Refuse);
    let mut client = in_transaction(&gateway);
    client.send(bdat("Subject: one\n.\r\n", " LAST"));
    client.expect("550 5.5.2");
    client.expect_end();
    let mut client = in_transaction(&gateway);
    client.send("BDAT 6 LAST\nRSET\r\n");
    client.expect("501 5.5.4");
    client.expect_end();
    assert!(messages(&gateway).is_empty());
}

/// A stranger that lets a chunk drip in is as slow as one that lets a command drip in.
#[test]
fn a_chunk_before_auth_must_be_whole_in_the_time_of_a_command() {
    let gateway = Gateway::sandbox(|config| config.limits.idle_timeout = Period::seconds(1));
    let mut client = gateway.secured();
    client.send("BDAT 1000000\r\n");
    drip_to_the_end(&gateway, client);
}

/// Else one octet now and then would hold the message that has come so far for ever.
#[test]
fn a_command_between_chunks_must_be_whole_in_time() {
    let gateway = Gateway::sandbox(|config| config.limits.idle_timeout = Period::seconds(1));
    let mut client = in_transaction(&gateway);
    client.send(bdat("Subject: half\r\n", ""));
    client.expect("250 2.0.0 15 octets received");
    client.send("NOOP ");
    drip_to_the_end(&gateway, client);
    assert!(messages(&gateway).is_empty());
}

/// Sends octet by octet, without a pause in which the session could end for silence, until it ends.
fn drip_to_the_end(gateway: &Gateway, mut client: SmtpClient) {
    let ended = "smtp_sessions_ended_total{ending=\"timed_out\"}";
    wait_until(|| client.try_send(b"x").is_err() || gateway.metric(ended) > 0.0);
    client.expect("421 4.4.2");
    client.expect_end();
}
