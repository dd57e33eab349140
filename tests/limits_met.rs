//! Each limit, met on purpose: what the client is told, which counter moves, and that
//! `docs/limits.md` says just that.

use std::thread;

use smtp_gateway::config::Config;
use smtp_gateway::delivery::BackendName;
use smtp_gateway::delivery::http::Requests;
use smtp_gateway::units::{ByteSize, Period};

use crate::support::client::SmtpClient;
use crate::support::gateway::Gateway;
use crate::support::wait_until;

struct Row {
    limit: &'static str,
    reply: &'static str,
    counter: &'static str,
    set: fn(&mut Config),
    /// Goes beyond the limit, and gives the reply to that.
    meet: fn(&Gateway) -> String,
}

const MAIL: &str = "MAIL FROM:<app@example.com>";

fn say(client: &mut SmtpClient, line: &str) -> String {
    client.send(format!("{line}\r\n"));
    client.reply()
}

fn submit(gateway: &Gateway, content: &str) -> String {
    let content = format!("{content}\r\n");
    gateway.logged_in().submit(&["ann@example.net"], &content)
}

/// The reply to one transaction more than one.
fn two_transactions(gateway: &Gateway) -> String {
    let mut client = gateway.logged_in();
    client.ask(MAIL, "250");
    client.ask("RSET", "250");
    say(&mut client, MAIL)
}

fn two_connections(gateway: &Gateway) -> String {
    let mut one = gateway.connect();
    one.expect("220");
    gateway.connect().reply()
}

fn multipart(depth: usize) -> String {
    (0..depth).rev().fold("\r\nx\r\n".to_owned(), |inner, n| {
        format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n{inner}--b{n}--\r\n")
    })
}

const ROWS: [Row; 20] = [
    Row {
        limit: "`limits.message_size`",
        reply: "552 5.3.4",
        counter: "smtp_limits_hit_total{limit=\"message_size\"}",
        set: |config| config.limits.message_size = ByteSize(1000),
        meet: |gateway| submit(gateway, &"x".repeat(1001)),
    },
    Row {
        limit: "`limits.recipients`",
        reply: "452 4.5.3",
        counter: "smtp_limits_hit_total{limit=\"recipients\"}",
        set: |config| config.limits.recipients = 1,
        meet: |gateway| {
            let mut client = gateway.logged_in();
            client.address(&["ann@example.net"]);
            say(&mut client, "RCPT TO:<bob@example.net>")
        },
    },
    Row {
        limit: "`limits.memory`",
        reply: "452 4.3.1",
        counter: "smtp_memory_refusals_total",
        set: |config| {
            config.limits.memory = ByteSize(1 << 20);
            config.limits.message_size = ByteSize(1 << 20);
        },
        meet: |gateway| {
            let mut one = gateway.logged_in();
            one.ask(&format!("{MAIL} SIZE={}", 1 << 20), "250");
            say(&mut gateway.logged_in(), &format!("{MAIL} SIZE=1000"))
        },
    },
    Row {
        limit: "`limits.fan_out`",
        reply: "452 4.5.3",
        counter: "smtp_limits_hit_total{limit=\"fan_out\"}",
        set: |config| {
            config.limits.fan_out = ByteSize(1000);
            config.api.requests = Requests::PerRecipient;
            // In the sandbox nothing leaves, and so nothing leaves twice.
            config.backend = BackendName::Http;
            config.api.url = "http://127.0.0.1:9".to_owned();
        },
        meet: |gateway| {
            let two = ["ann@example.net", "bob@example.net"];
            gateway
                .logged_in()
                .submit(&two, &format!("{}\r\n", "x".repeat(501)))
        },
    },
    Row {
        limit: "`limits.connections`",
        reply: "421 4.7.0",
        counter: "smtp_refused_connections_total{limit=\"connections\"}",
        set: |config| config.limits.connections = 1,
        meet: two_connections,
    },
    Row {
        limit: "`limits.connections_per_ip`",
        reply: "421 4.7.0",
        counter: "smtp_refused_connections_total{limit=\"connections_per_ip\"}",
        set: |config| {
            config.limits.connections_per_ip = 1;
            config.limits.exempt_networks.clear();
        },
        meet: two_connections,
    },
    Row {
        limit: "`limits.messages_per_minute_per_ip`",
        reply: "451 4.7.1",
        counter: "smtp_rate_limited_total{limit=\"messages_per_minute_per_ip\"}",
        set: |config| {
            config.limits.messages_per_minute_per_ip = 1;
            config.limits.exempt_networks.clear();
        },
        meet: two_transactions,
    },
    Row {
        limit: "`limits.messages_per_minute_per_account`",
        reply: "451 4.7.1",
        counter: "smtp_rate_limited_total{limit=\"messages_per_minute_per_account\"}",
        set: |config| config.limits.messages_per_minute_per_account = 1,
        meet: two_transactions,
    },
    Row {
        limit: "`limits.auth_failures`",
        reply: "421 4.7.0",
        counter: "smtp_auth_failures_total{reason=\"throttled\"}",
        set: |config| {
            config.limits.auth_failures = 1;
            config.limits.exempt_networks.clear();
        },
        meet: |gateway| {
            let mut client = gateway.secured();
            client.authenticate("ann", "wrong");
            client.authenticate("ann", "secret")
        },
    },
    Row {
        limit: "`limits.errors`",
        reply: "421 4.7.0",
        counter: "smtp_sessions_ended_total{ending=\"errors\"}",
        set: |config| config.limits.errors = 2,
        meet: |gateway| {
            let mut client = gateway.secured();
            client.ask("FOO", "500");
            say(&mut client, "FOO")
        },
    },
    Row {
        limit: "`limits.command_line`",
        reply: "500 5.5.2",
        counter: "smtp_limits_hit_total{limit=\"command_line\"}",
        set: |config| config.limits.command_line = 600,
        meet: |gateway| say(&mut gateway.secured(), &format!("NOOP {}", "x".repeat(600))),
    },
    Row {
        limit: "`limits.idle_timeout`",
        reply: "421 4.4.2",
        counter: "smtp_sessions_ended_total{ending=\"timed_out\"}",
        set: |config| config.limits.idle_timeout = Period::seconds(1),
        meet: |gateway| gateway.secured().reply(),
    },
    Row {
        limit: "`limits.data_timeout`",
        reply: "421 4.4.2",
        counter: "smtp_sessions_ended_total{ending=\"timed_out\"}",
        set: |config| config.limits.data_timeout = Period::seconds(1),
        meet: |gateway| {
            let mut client = gateway.logged_in();
            client.begin(&["ann@example.net"]);
            client.reply()
        },
    },
    Row {
        limit: "`limits.data_rate`",
        reply: "421 4.4.2",
        counter: "smtp_sessions_ended_total{ending=\"timed_out\"}",
        set: |config| {
            config.limits.data_timeout = Period::seconds(1);
            config.limits.data_rate = ByteSize(10 << 20);
        },
        meet: |gateway| {
            let mut client = gateway.logged_in();
            client.address(&["ann@example.net"]);
            let mut reply = String::new();
            wait_until(|| {
                client.send("BDAT 1\r\nx");
                reply = client.reply();
                !reply.starts_with("250")
            });
            reply
        },
    },
    Row {
        limit: "`limits.session_age`",
        reply: "421 4.4.2",
        counter: "smtp_sessions_ended_total{ending=\"expired\"}",
        set: |config| config.limits.session_age = Period::seconds(1),
        meet: |gateway| gateway.secured().reply(),
    },
    Row {
        limit: "`limits.mime_depth`",
        reply: "554 5.6.0",
        counter: "smtp_limits_hit_total{limit=\"mime_depth\"}",
        set: |config| config.limits.mime_depth = 1,
        meet: |gateway| submit(gateway, &multipart(2)),
    },
    Row {
        limit: "`limits.mime_parts`",
        reply: "554 5.6.0",
        counter: "smtp_limits_hit_total{limit=\"mime_parts\"}",
        set: |config| config.limits.mime_parts = 1,
        meet: |gateway| submit(gateway, &multipart(2)),
    },
    Row {
        limit: "`limits.header_size`",
        reply: "554 5.6.0",
        counter: "smtp_limits_hit_total{limit=\"header_size\"}",
        set: |config| config.limits.header_size = ByteSize(100),
        meet: |gateway| {
            submit(
                gateway,
                &format!("X-Long: {}\r\n\r\nx\r\n", "x".repeat(100)),
            )
        },
    },
    Row {
        limit: "`limits.received_fields`",
        reply: "554 5.4.6",
        counter: "smtp_limits_hit_total{limit=\"received_fields\"}",
        set: |config| config.limits.received_fields = 1,
        meet: |gateway| {
            submit(
                gateway,
                &format!("{}\r\nx\r\n", "Received: x\r\n".repeat(2)),
            )
        },
    },
    Row {
        limit: "HTTP on an SMTP port",
        reply: "421 4.7.0",
        counter: "smtp_sessions_ended_total{ending=\"not_smtp\"}",
        set: |_| {},
        meet: |gateway| say(&mut gateway.secured(), "GET / HTTP/1.1"),
    },
];

#[test]
fn each_limit_is_told_to_the_client_and_counted_for_the_operator() {
    let meet = |row: &Row| {
        let gateway = Gateway::sandbox(row.set);
        assert_eq!(gateway.metric(row.counter), 0.0, "{}", row.limit);
        let reply = (row.meet)(&gateway);
        assert!(reply.starts_with(row.reply), "{}: {reply}", row.limit);
        wait_until(|| gateway.metric(row.counter) == 1.0);
    };
    thread::scope(|scope| {
        for row in &ROWS {
            scope.spawn(move || meet(row));
        }
    });
}

#[test]
fn the_page_of_limits_says_what_happens_and_leaves_none_out() {
    let page = include_str!("../docs/limits.md");
    let rows: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .collect();
    let expected: Vec<_> = ROWS
        .iter()
        .map(|row| format!("| {} | {} | `{}` |", row.limit, row.reply, row.counter))
        .collect();
    assert_eq!(rows, expected);

    let settings = include_str!("../docs/settings.md").lines();
    let limits = settings.filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let limits = limits.filter(|key| key.starts_with("`limits."));
    for limit in limits.filter(|key| !NO_LIMITS.contains(key)) {
        assert!(ROWS.iter().any(|row| row.limit == limit), "{limit}");
    }
}

/// What stands beside the limits, and is met by nobody.
const NO_LIMITS: [&str; 2] = ["`limits.available_memory`", "`limits.exempt_networks`"];

#[test]
fn a_limit_is_counted_once_for_each_time_it_is_met() {
    let gateway = Gateway::sandbox(|config| {
        config.limits.message_size = ByteSize(1000);
        config.limits.recipients = 1;
    });
    let mut client = gateway.logged_in();
    client.ask(&format!("{MAIL} SIZE=1001"), "552 5.3.4");
    // Refused with each chunk, and one message all the same.
    client.address(&["ann@example.net"]);
    client.send(format!("BDAT 1001\r\n{}BDAT 0 LAST\r\n", "x".repeat(1001)));
    client.expect("552 5.3.4");
    client.expect("552 5.3.4");
    client.address(&["ann@example.net"]);
    client.send("RCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nRSET\r\n");
    client.expect("452 4.5.3");
    client.expect("452 4.5.3");
    client.expect("250");
    let hit = |limit| gateway.metric(&format!("smtp_limits_hit_total{{limit=\"{limit}\"}}"));
    assert_eq!((hit("message_size"), hit("recipients")), (2.0, 2.0));
    assert_eq!(hit("command_line"), 0.0);
}
