//! Runs the tables of docs/smtp-session.md: the document is the test.

use std::fmt::Write as _;

use super::*;
use crate::smtp::command::Command;

const DOCUMENT: &str = include_str!("../../../../docs/smtp-session.md");

/// A table of the document, found by the heading above it.
struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

impl Table {
    fn under(heading: &str) -> Self {
        let (_, section) = DOCUMENT
            .split_once(&format!("\n## {heading}\n"))
            .unwrap_or_else(|| panic!("the document has no section {heading:?}"));
        let mut lines = section
            .lines()
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .map(cells);
        let header = lines.next().expect("a table under the heading");
        let rows: Vec<_> = lines.skip(1).collect();
        assert!(!rows.is_empty(), "{heading}: a table without rows");
        for row in &rows {
            assert_eq!(row.len(), header.len(), "{heading}: cells of {row:?}");
        }
        Self { header, rows }
    }

    fn column(&self, at: usize) -> Vec<&'static str> {
        self.rows.iter().map(|row| row[at]).collect()
    }
}

fn cells(line: &'static str) -> Vec<&'static str> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(str::trim).collect()
}

/// What stands in code quotes.
fn code(cell: &'static str) -> Option<&'static str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

/// `250 2.1.0 → mail`: the reply, and the next phase where it is another one.
fn expected(cell: &'static str) -> (&'static str, Option<&'static str>) {
    match cell.split_once(" → ") {
        Some((reply, phase)) => (reply, Some(phase)),
        None => (cell, None),
    }
}

/// The faults found in a table, told together.
#[derive(Default)]
struct Faults(String);

impl Faults {
    fn check(&mut self, place: &str, expected: &str, found: &str) {
        if expected != found {
            let _ = writeln!(self.0, "{place}: the document says {expected}, got {found}");
        }
    }

    fn report(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

/// The name of the phase that a session is in. That the last MAIL was refused changes no reply, only
/// what counts as an error.
fn phase(driver: &Driver<'_>) -> &'static str {
    let session = &driver.session;
    let peer = &session.peer;
    if session.refused_chunk.is_some() {
        return "chunk";
    }
    match &session.phase {
        Phase::Greeting if peer.tls == Tls::Established => "tls",
        Phase::Greeting => "start",
        Phase::Ready | Phase::MailRefused if peer.authentication == Authentication::Waived => {
            "trusted"
        }
        Phase::Ready | Phase::MailRefused if peer.authenticated => "authenticated",
        Phase::Ready | Phase::MailRefused if peer.tls == Tls::Established => "greeted",
        Phase::Ready | Phase::MailRefused => "clear",
        Phase::Authenticating(_) => "exchange",
        Phase::Transaction(envelope) if envelope.recipients().is_empty() => "mail",
        Phase::Transaction(_) => "rcpt",
        Phase::MailData(..) => "data",
        Phase::Chunk(..) => "chunk",
        Phase::Chunks(..) => "chunks",
        Phase::ChunksRefused(_) => "refused",
        Phase::TlsHandshake => "handshake",
        Phase::Closing => "closed",
    }
}

/// A session in the phase of this name, or nothing where the phase takes no commands.
fn enter(name: &str) -> Option<Driver<'static>> {
    let mut driver = match name {
        "start" | "clear" | "tls" | "greeted" | "exchange" => connected(),
        "authenticated" | "mail" | "rcpt" | "chunks" => authenticated(settings()),
        "refused" => deciding(no_memory),
        "trusted" => trusted(settings()),
        "handshake" | "data" | "chunk" | "closed" => return None,
        _ => panic!("no phase has the name {name:?}"),
    };
    let lines: &[&str] = match name {
        "clear" => &["EHLO client.example"],
        "tls" => &["STARTTLS"],
        "greeted" => &["STARTTLS", "EHLO client.example"],
        "exchange" => &["STARTTLS", "EHLO client.example", "AUTH PLAIN"],
        "mail" => &["MAIL FROM:<ann@example.com>"],
        "rcpt" | "chunks" | "refused" => {
            &["MAIL FROM:<ann@example.com>", "RCPT TO:<bob@example.com>"]
        }
        _ => &[],
    };
    driver.must(lines);
    match name {
        "chunks" => driver.must(&["BDAT 0"]),
        "refused" => assert_eq!(driver.say("BDAT 0"), "452 4.3.1"),
        _ => {}
    }
    assert_eq!(phase(&driver), name);
    Some(driver)
}

/// Has no room for mail data.
fn no_memory(seen: &Seen) -> Reply {
    match seen {
        Seen::Data => Reply::new(452, 3, 1, "No memory"),
        seen => positive(seen),
    }
}

/// The octets that a row of the phase table stands for.
fn octets(row: &'static str, phase: &str) -> Vec<u8> {
    if let Some(line) = code(row) {
        return format!("{line}\r\n").into_bytes();
    }
    match row {
        "an empty line" => b"\r\n".to_vec(),
        "a line over its limit" => {
            let limit = if phase == "exchange" { AUTH_LINE } else { 512 };
            format!("NOOP {:x>1$}\r\n", "", limit - 6).into_bytes()
        }
        "a chunk of 5 octets" => b"BDAT 5\r\nhello".to_vec(),
        "a last chunk of 5 octets" => b"BDAT 5 LAST\r\nhello".to_vec(),
        "a line that is not UTF-8" => b"NOOP \xff\r\n".to_vec(),
        "a line with a NUL" => b"NOOP \0\r\n".to_vec(),
        "a TLS ClientHello" => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n".to_vec(),
        _ => panic!("no octets are known for {row:?}"),
    }
}

/// Walks through all commands: a new one does not compile until it is named here, and is then
/// missed in the document.
fn after(command: Option<&Command>) -> Option<&'static str> {
    match command {
        None => Some("EHLO"),
        Some(Command::Ehlo(_)) => Some("HELO"),
        Some(Command::Helo(_)) => Some("STARTTLS"),
        Some(Command::StartTls) => Some("AUTH"),
        Some(Command::Auth(..)) => Some("MAIL"),
        Some(Command::Mail(..)) => Some("RCPT"),
        Some(Command::Rcpt(_)) => Some("DATA"),
        Some(Command::Data) => Some("BDAT"),
        Some(Command::Bdat(_)) => Some("RSET"),
        Some(Command::Rset) => Some("NOOP"),
        Some(Command::Noop) => Some("VRFY"),
        Some(Command::Vrfy) => Some("HELP"),
        Some(Command::Help) => Some("QUIT"),
        Some(Command::Quit) => None,
    }
}

/// Rows that stand for no [`Command`], and forms that one row for each would not show.
const OTHER_ROWS: [&str; 20] = [
    "`AUTH PLAIN AGFubgBzZWNyZXQ=`",
    "`AUTH PLAIN`",
    "`AUTH LOGIN`",
    "`AUTH CRAM-MD5`",
    "`AGFubgBzZWNyZXQ=`",
    "`*`",
    "`EXPN staff`",
    "`BDAT 0 LAST`",
    "a chunk of 5 octets",
    "a last chunk of 5 octets",
    "`BDAT five`",
    "`FOO`",
    "an empty line",
    "`EHLO`",
    "`DATA now`",
    "a line over its limit",
    "a line that is not UTF-8",
    "a line with a NUL",
    "`GET / HTTP/1.1`",
    "a TLS ClientHello",
];

#[test]
fn every_line_in_every_phase_gets_the_reply_of_the_phase_table() {
    let table = Table::under("The phase table");
    let mut faults = Faults::default();
    for row in &table.rows {
        for (name, cell) in table.header.iter().zip(row).skip(1) {
            let name = code(name).expect("a phase in code quotes");
            let mut driver = enter(name).expect("a phase that takes commands");
            let (reply, next) = expected(cell);
            let errors = driver.session.peer.errors;
            // Step by step, to see the phase before the handshake.
            driver.session.receive(&octets(row[0], name));
            let mut sent = String::new();
            loop {
                match driver.session.step() {
                    Step::Send(octets) => sent.push_str(&text(&octets)),
                    Step::Ask(question) => driver.session.answer(&positive(&question.into())),
                    Step::Receive | Step::StartTls | Step::Close => break,
                }
            }
            let place = format!("{} in {name}", row[0]);
            faults.check(&place, reply, &codes(&sent).join(", "));
            faults.check(&place, next.unwrap_or(name), phase(&driver));
            let counted = driver.session.peer.errors - errors;
            let error = u32::from(reply.starts_with('5') && next != Some("closed"));
            faults.check(
                &format!("{place}, errors"),
                &error.to_string(),
                &counted.to_string(),
            );
        }
    }
    faults.report();
}

#[test]
fn the_phase_table_has_a_row_for_every_command() {
    let rows = Table::under("The phase table").column(0);
    for row in OTHER_ROWS {
        assert!(rows.contains(&row), "no row for {row}");
    }
    let commands: Vec<_> = rows
        .iter()
        .filter_map(|row| Command::parse(code(row)?.as_bytes()).ok())
        .collect();
    let mut command = None;
    while let Some(verb) = after(command) {
        let found = commands
            .iter()
            .find(|command| command.to_string().split(' ').next() == Some(verb));
        command = Some(found.unwrap_or_else(|| panic!("no row for {verb}")));
    }
}

#[test]
fn the_phase_table_has_a_column_for_every_phase_that_takes_commands() {
    let columns = Table::under("The phase table").header;
    let phases = Table::under("The phases").column(0);
    let taking: Vec<_> = phases
        .iter()
        .filter(|phase| enter(code(phase).expect("a phase in code quotes")).is_some())
        .copied()
        .collect();
    assert_eq!(columns[1..], taking);
    // The names that phase() gives, and no others.
    assert_eq!(taking.len(), 11);
    for name in ["`handshake`", "`data`", "`chunk`", "`closed`"] {
        assert!(phases.contains(&name), "{name}");
    }
}

#[test]
fn mail_data_and_the_handshake_lead_where_the_document_says() {
    let mut driver = enter("rcpt").unwrap();
    driver.must(&["DATA"]);
    assert_eq!(phase(&driver), "data");
    driver.must(&["."]);
    assert_eq!(phase(&driver), "authenticated");
    let mut driver = trusted(settings());
    driver.must(&["MAIL FROM:<>", "RCPT TO:<a@b.example>", "DATA", "."]);
    assert_eq!(phase(&driver), "trusted");
    let mut driver = enter("clear").unwrap();
    driver.must(&["STARTTLS"]);
    assert_eq!(phase(&driver), "tls");
}

#[test]
fn chunks_get_the_replies_of_the_document_and_bring_its_content() {
    let mut faults = Faults::default();
    for row in Table::under("Chunks").rows {
        // A first chunk that has not come whole has no reply yet.
        let (replies, next) = match row[1].strip_prefix("→ ") {
            Some(phase) => ("", Some(phase)),
            None => expected(row[1]),
        };
        let mut driver = enter("rcpt").unwrap();
        let sent = driver.send(unescape(code(row[0]).expect("octets in code quotes")));
        faults.check(row[0], replies, &codes(&sent).join(", "));
        faults.check(row[0], next.expect("a phase"), phase(&driver));
        let content: Vec<_> = code(row[2]).map(unescape).into_iter().collect();
        faults.check(
            row[0],
            &format!("{content:?}"),
            &format!("{:?}", driver.messages()),
        );
    }
    faults.report();
}

/// The octets that `\r`, `\n`, `\t` and `\0` stand for.
fn unescape(text: &str) -> String {
    text.replace("\\r", "\r")
        .replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace("\\0", "\0")
}

#[test]
fn ehlo_offers_what_the_document_says() {
    let table = Table::under("What EHLO offers");
    let columns = [
        (enter("start"), "in clear, STARTTLS offered"),
        (enter("tls"), "under TLS"),
        (enter("trusted"), "without TLS"),
    ];
    for (at, (driver, name)) in columns.into_iter().enumerate() {
        assert_eq!(table.header[at + 1], name);
        let sent = driver.unwrap().send("EHLO client.example\r\n");
        let offered: Vec<_> = sent.lines().skip(1).map(|line| &line[4..]).collect();
        let documented: Vec<_> = table
            .rows
            .iter()
            .filter(|row| row[at + 1] == "yes")
            .filter_map(|row| code(row[0]))
            .collect();
        assert_eq!(offered, documented, "{name}");
    }
}

#[test]
fn authentication_goes_as_the_document_says() {
    let mut faults = Faults::default();
    for row in Table::under("Authentication").rows {
        let (replies, next) = expected(row[1]);
        let mut driver = enter("greeted").unwrap();
        let lines = code(row[0]).expect("lines in code quotes").split("`, `");
        let found: Vec<_> = lines.map(|line| driver.say(line)).collect();
        faults.check(row[0], replies, &found.join(", "));
        faults.check(row[0], next.unwrap_or("greeted"), phase(&driver));
    }
    faults.report();
}

#[test]
fn parameters_of_mail_get_the_replies_of_the_document() {
    let mut faults = Faults::default();
    for row in Table::under("Parameters of MAIL").rows {
        let mut driver = enter("authenticated").unwrap();
        let found = driver.say(code(row[0]).expect("a line in code quotes"));
        faults.check(row[0], row[1], &found);
        let next = if row[1].starts_with("250") {
            "mail"
        } else {
            "authenticated"
        };
        faults.check(row[0], next, phase(&driver));
    }
    faults.report();
}

#[test]
fn paths_get_the_replies_of_the_document() {
    let mut faults = Faults::default();
    for row in Table::under("Paths").rows {
        let path = code(row[0]).expect("a path in code quotes");
        let mut driver = enter("authenticated").unwrap();
        faults.check(path, row[1], &driver.say(&format!("MAIL FROM:{path}")));
        for (cell, parameter) in [(row[2], ""), (row[3], " SMTPUTF8")] {
            let mut driver = enter("authenticated").unwrap();
            driver.must(&[&format!("MAIL FROM:<ann@example.com>{parameter}")]);
            faults.check(path, cell, &driver.say(&format!("RCPT TO:{path}")));
        }
    }
    faults.report();
}

/// What is sent to stay just within a limit, or to go one beyond it.
fn to_the_limit(limit: &str, number: usize) -> Vec<(Driver<'static>, Vec<u8>)> {
    let padded = |start: &str, end: &str, length: usize| {
        let middle = "x".repeat(length - start.len() - end.len());
        format!("{start}{middle}{end}").into_bytes()
    };
    let both =
        |make: &dyn Fn(usize) -> (Driver<'static>, Vec<u8>)| vec![make(number), make(number + 1)];
    match limit {
        "octets of a command line with CRLF" => both(&|length| {
            let settings = limited(|limits| limits.command_line = number);
            (with(settings), padded("NOOP ", "\r\n", length))
        }),
        // Blanks fill the line: base64 comes in groups of four only.
        "octets of an AUTH line with CRLF" => both(&|length| {
            let blanks = " ".repeat(length - "AUTHPLAIN AGFubgBzZWNyZXQ=\r\n".len());
            let line = format!("AUTH{blanks}PLAIN AGFubgBzZWNyZXQ=\r\n");
            (enter("greeted").unwrap(), line.into_bytes())
        }),
        "octets of a response in an AUTH exchange with CRLF" => {
            both(&|length| (enter("exchange").unwrap(), padded("", "\r\n", length)))
        }
        "what SIZE= announces" => both(&|size| {
            let driver = authenticated(limited(|limits| limits.message_size = number as u64));
            (driver, format!("MAIL FROM:<> SIZE={size}\r\n").into_bytes())
        }),
        "octets of a message" => both(&|size| {
            let mut driver = authenticated(limited(|limits| limits.message_size = number as u64));
            driver.must(&["MAIL FROM:<>", "RCPT TO:<bob@example.net>", "DATA"]);
            // Two dots count as one, and the end of data not at all.
            (driver, padded("..", "\r\n.\r\n", size + 4))
        }),
        "octets of a message in chunks" => both(&|size| {
            let mut driver = authenticated(limited(|limits| limits.message_size = number as u64));
            driver.must(&["MAIL FROM:<>", "RCPT TO:<bob@example.net>"]);
            driver.must(&["BDAT 0"]);
            (
                driver,
                padded(
                    &format!("BDAT {size} LAST\r\n"),
                    "\r\n",
                    size + "BDAT 100 LAST\r\n".len(),
                ),
            )
        }),
        "octets of a chunk, which is ten times the largest message" => both(&|size| {
            let limit = number as u64 / 10;
            let mut driver = authenticated(limited(|limits| limits.message_size = limit));
            driver.must(&["MAIL FROM:<>", "RCPT TO:<bob@example.net>"]);
            let line = format!("BDAT {size}\r\n");
            (driver, padded(&line, "", line.len() + size))
        }),
        "octets of a chunk that no transaction takes" => both(&|size| {
            let driver = with(limited(|limits| limits.message_size = number as u64));
            let line = format!("BDAT {size}\r\n");
            (driver, padded(&line, "", line.len() + size))
        }),
        "octets of such a chunk where messages have no limit" => both(&|size| {
            let driver = with(limited(|limits| limits.message_size = 0));
            let line = format!("BDAT {size}\r\n");
            (driver, padded(&line, "", line.len() + size))
        }),
        "recipients of a transaction" => both(&|count| {
            let mut driver = authenticated(limited(|limits| limits.recipients = number));
            driver.must(&["MAIL FROM:<>"]);
            for at in 1..count {
                driver.must(&[&format!("RCPT TO:<r{at}@example.net>")]);
            }
            (driver, b"RCPT TO:<last@example.net>\r\n".to_vec())
        }),
        "what SIZE= announces times two recipients" => both(&|octets| {
            let mut driver = authenticated(limited(|limits| limits.fan_out = number as u64));
            let size = octets.div_ceil(2);
            driver.must(&[
                &format!("MAIL FROM:<> SIZE={size}"),
                "RCPT TO:<r1@example.net>",
            ]);
            (driver, b"RCPT TO:<r2@example.net>\r\n".to_vec())
        }),
        "errors of a session, the last one ending it" => {
            let made = |count: usize| {
                let errors = u32::try_from(number).unwrap();
                let mut driver = with(limited(|limits| limits.errors = errors));
                for _ in 1..count {
                    driver.say("FOO");
                }
                (driver, b"FOO\r\n".to_vec())
            };
            vec![made(number - 1), made(number)]
        }
        _ => panic!("nothing is known about the limit {limit:?}"),
    }
}

#[test]
fn limits_hold_to_the_octet_as_the_document_says() {
    // A new limit does not compile until it is named here, and is then missed in the document.
    let Limits {
        command_line: _,
        message_size: _,
        recipients: _,
        fan_out: _,
        errors: _,
    } = settings().limits;
    let table = Table::under("Limits");
    for setting in [
        "command_line",
        "message_size",
        "recipients",
        "fan_out",
        "errors",
    ] {
        let name = format!("`limits.{setting}`");
        assert!(table.column(1).contains(&&*name), "no row for {name}");
    }
    let mut faults = Faults::default();
    for row in table.rows {
        let number = row[2].parse().expect("a number");
        let attempts = to_the_limit(row[0], number);
        for ((mut driver, octets), cell) in attempts.into_iter().zip(&row[3..]) {
            let (reply, next) = expected(cell);
            faults.check(row[0], reply, &codes(&driver.send(octets)).join(", "));
            let closed = if next == Some("closed") {
                "closed"
            } else {
                "open"
            };
            faults.check(
                row[0],
                closed,
                if driver.closed { "closed" } else { "open" },
            );
        }
    }
    faults.report();
}

/// A session that ended in this way, with the last codes it sent.
fn ended(what: &str) -> (Driver<'static>, Ending) {
    let mut driver = match what {
        "a lone CR or LF in a message, where `smtp.lone_newlines` is `refuse`" => {
            authenticated(refusing_lone_newlines())
        }
        "BDAT in a line that ends in LF alone, where `smtp.lone_newlines` is `refuse`" => {
            with(refusing_lone_newlines())
        }
        "octets behind a DATA that was refused" => deciding(no_memory),
        "no time is left in the shutdown for the next chunk"
        | "no time is left in the shutdown for the rest of mail data" => authenticated(settings()),
        "the answer to a question was 421" => deciding(|_| Reply::new(421, 7, 0, "Enough")),
        _ => connected(),
    };
    let transaction = ["MAIL FROM:<>", "RCPT TO:<bob@example.net>"];
    let ending = match what {
        "QUIT" => {
            driver.say("QUIT");
            Ending::Quit
        }
        "nothing came in time" => {
            driver.session.timed_out();
            Ending::TimedOut
        }
        "the session has lasted long enough, and no message is in flight" => {
            driver.session.expired();
            Ending::Expired
        }
        "the gateway shuts down, and no message is in flight" => {
            driver.session.draining();
            Ending::Draining
        }
        "no time is left in the shutdown for the next chunk" => {
            driver.must(&transaction);
            driver.must(&["BDAT 0"]);
            driver.session.last_call();
            Ending::Draining
        }
        "no time is left in the shutdown for the rest of mail data" => {
            driver.must(&transaction);
            driver.must(&["DATA"]);
            driver.send("Subject: x\r\n");
            driver.session.last_call();
            Ending::Draining
        }
        "the last of `limits.errors`" => {
            for _ in 0..10 {
                driver.say("FOO");
            }
            Ending::Errors
        }
        "a request line of HTTP" => {
            driver.say("POST / HTTP/1.1");
            Ending::NotSmtp
        }
        "a TLS record in clear" => {
            driver.send(b"\x16\x03\x01\x02\x00");
            Ending::NotSmtp
        }
        "a PROXY header that nobody expects" => {
            driver.send("PROXY TCP4 192.0.2.1 192.0.2.9 56324 587\r\nEHLO x\r\n");
            Ending::NotSmtp
        }
        "octets behind STARTTLS" => {
            driver.send("STARTTLS\r\nEHLO x\r\n");
            Ending::EarlyOctets
        }
        "octets behind a DATA that came too early" => {
            driver.send("DATA\r\nSubject: x\r\n");
            Ending::EarlyOctets
        }
        "octets behind a DATA that was refused" => {
            driver.must(&transaction);
            driver.send("DATA\r\nSubject: x\r\n");
            Ending::EarlyOctets
        }
        "BDAT without a size that can be read" => {
            driver.send("BDAT LAST\r\nSubject: x\r\n");
            Ending::UnreadableChunk
        }
        "BDAT in a line that is too long" => {
            driver.send(format!("BDAT {:>1$}\r\nSubject: x\r\n", 12, 512));
            Ending::UnreadableChunk
        }
        "BDAT in a line that ends in LF alone, where `smtp.lone_newlines` is `refuse`" => {
            driver.send("BDAT 12\nSubject: x\r\n");
            Ending::UnreadableChunk
        }
        "a chunk of more than ten times the largest message" => {
            driver.send("BDAT 262144001\r\nSubject: x\r\n");
            Ending::UnreadableChunk
        }
        "a chunk that no transaction takes, larger than the largest message" => {
            driver.send("BDAT 26214401\r\nSubject: x\r\n");
            Ending::UnreadableChunk
        }
        "a lone CR or LF in a message, where `smtp.lone_newlines` is `refuse`" => {
            driver.must(&transaction);
            driver.must(&["DATA"]);
            driver.send("a\nb\r\n.\r\n");
            Ending::LoneLineBreak
        }
        "the answer to a question was 421" => {
            driver.say("MAIL FROM:<>");
            Ending::Refused
        }
        _ => panic!("nothing is known about the ending {what:?}"),
    };
    driver.run();
    (driver, ending)
}

/// Walks through all endings, as [`after`] does through commands.
fn after_ending(ending: Option<Ending>) -> Option<Ending> {
    match ending {
        None => Some(Ending::Quit),
        Some(Ending::Quit) => Some(Ending::TimedOut),
        Some(Ending::TimedOut) => Some(Ending::Expired),
        Some(Ending::Expired) => Some(Ending::Draining),
        Some(Ending::Draining) => Some(Ending::Errors),
        Some(Ending::Errors) => Some(Ending::NotSmtp),
        Some(Ending::NotSmtp) => Some(Ending::EarlyOctets),
        Some(Ending::EarlyOctets) => Some(Ending::UnreadableChunk),
        Some(Ending::UnreadableChunk) => Some(Ending::LoneLineBreak),
        Some(Ending::LoneLineBreak) => Some(Ending::Refused),
        Some(Ending::Refused) => None,
    }
}

#[test]
fn sessions_end_as_the_document_says() {
    let table = Table::under("Endings");
    let mut ending = None;
    while let Some(next) = after_ending(ending) {
        let name = format!("`{next:?}`");
        assert!(table.column(0).contains(&&*name), "no row for {name}");
        ending = Some(next);
    }
    let mut faults = Faults::default();
    for row in table.rows {
        let (driver, ending) = ended(row[1]);
        assert_eq!(driver.ending(), Some(ending), "{}", row[1]);
        faults.check(row[1], row[0], &format!("`{ending:?}`"));
        let codes = codes(&text(&driver.sent()));
        faults.check(row[1], row[2], codes.last().expect("a last reply"));
    }
    faults.report();
}
