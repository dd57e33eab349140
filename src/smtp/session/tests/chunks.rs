//! The hard rules of BDAT, each by its name.

use super::*;

const ENVELOPE: [&str; 2] = ["MAIL FROM:<ann@example.com>", "RCPT TO:<bob@example.net>"];
/// What must not be read as commands.
const TEMPTING: &str = "RSET\r\nMAIL FROM:<evil@example.org>\r\nQUIT\r\n.\r\nGET / HTTP/1.1\r\n";

/// A driver to which chunks may be sent.
fn in_transaction(settings: Settings) -> Driver<'static> {
    let mut driver = authenticated(settings);
    driver.must(&ENVELOPE);
    driver
}

fn bdat(chunk: &str) -> String {
    format!("BDAT {}\r\n{chunk}", chunk.len())
}

fn bdat_last(chunk: &str) -> String {
    format!("BDAT {} LAST\r\n{chunk}", chunk.len())
}

/// Has no room for the first mail data, and room for all that comes later.
fn no_memory_at_first<'a>() -> Driver<'a> {
    let mut refusals = 1;
    deciding(move |seen| match seen {
        Seen::Data if refusals > 0 => {
            refusals -= 1;
            Reply::new(452, 3, 1, "No memory")
        }
        seen => positive(seen),
    })
}

/// A session in each state in which a chunk is refused, and the reply.
fn refusing() -> Vec<(Driver<'static>, &'static str)> {
    let greeted = || {
        let mut driver = connected();
        driver.must(&["EHLO client.example", "STARTTLS", "EHLO client.example"]);
        driver
    };
    let mail_refused = || {
        let mut driver = authenticated(settings());
        driver.say("MAIL FROM:<> SIZE=999999999");
        driver
    };
    let without_recipients = || {
        let mut driver = authenticated(settings());
        driver.must(&ENVELOPE[..1]);
        driver
    };
    let without_memory = || {
        let mut driver = no_memory_at_first();
        driver.must(&ENVELOPE);
        driver
    };
    let failed = || {
        let mut driver = without_memory();
        driver.say("BDAT 0");
        driver
    };
    let too_large = || in_transaction(limited(|limits| limits.message_size = 20));
    vec![
        (connected(), "503 5.5.1"),
        (greeted(), "503 5.5.1"),
        (authenticated(settings()), "503 5.5.1"),
        (trusted(settings()), "503 5.5.1"),
        (mail_refused(), "503 5.5.1"),
        (without_recipients(), "554 5.5.1"),
        (without_memory(), "452 4.3.1"),
        (failed(), "452 4.3.1"),
        (too_large(), "552 5.3.4"),
    ]
}

#[test]
fn a_refused_chunk_is_never_read_as_commands_and_its_reply_comes_behind_it() {
    for chunk in [bdat(TEMPTING), bdat_last(TEMPTING)] {
        for at in 0..chunk.len() {
            for (mut driver, reply) in refusing() {
                let (left, right) = chunk.split_at(at);
                assert_eq!(driver.send(left), "", "{reply} at {at}");
                let sent = driver.send(format!("{right}NOOP\r\n"));
                assert_eq!(codes(&sent), [reply, "250 2.0.0"], "at {at}");
                assert!(!driver.closed);
                assert!(driver.messages().is_empty());
            }
        }
    }
}

#[test]
fn a_chunk_that_is_taken_is_never_read_as_commands_either() {
    let mut driver = in_transaction(settings());
    assert_eq!(codes(&driver.send(bdat(TEMPTING))), ["250 2.0.0"]);
    assert_eq!(codes(&driver.send(bdat_last(TEMPTING))), ["250 2.0.0"]);
    assert_eq!(driver.messages(), [TEMPTING.repeat(2)]);
}

#[test]
fn a_chunk_that_is_received_is_answered_with_its_size() {
    let mut driver = in_transaction(settings());
    assert_eq!(
        driver.send(bdat("hello")),
        "250 2.0.0 5 octets received\r\n"
    );
}

#[test]
fn what_follows_a_refused_chunk_is_refused_up_to_last() {
    let mut driver = no_memory_at_first();
    driver.must(&ENVELOPE);
    for _ in 0..30 {
        // Asked again, the answer would be yes: half a message would pass for a whole one.
        assert_eq!(codes(&driver.send(bdat("hello"))), ["452 4.3.1"]);
    }
    assert_eq!(driver.say("RCPT TO:<carol@example.net>"), "503 5.5.1");
    assert_eq!(driver.say("DATA"), "503 5.5.1");
    assert_eq!(codes(&driver.send(bdat_last("hello"))), ["452 4.3.1"]);
    assert!(driver.messages().is_empty());
    // The transaction is over, and the next one has its chance.
    assert_eq!(driver.say("RCPT TO:<bob@example.net>"), "503 5.5.1");
    driver.must(&ENVELOPE);
    assert_eq!(codes(&driver.send(bdat_last("hello\r\n"))), ["250 2.0.0"]);
    assert_eq!(driver.messages(), ["hello\r\n"]);
}

#[test]
fn a_chunk_without_recipients_refuses_its_message_whatever_recipients_follow() {
    let mut driver = authenticated(settings());
    driver.must(&ENVELOPE[..1]);
    assert_eq!(codes(&driver.send(bdat("first half, "))), ["554 5.5.1"]);
    assert_eq!(driver.say(ENVELOPE[1]), "503 5.5.1");
    assert_eq!(codes(&driver.send(bdat_last("second half"))), ["554 5.5.1"]);
    assert!(driver.messages().is_empty());
}

#[test]
fn rset_and_ehlo_end_a_message_in_chunks_refused_or_not() {
    for reset in ["RSET", "EHLO client.example", "HELO client.example"] {
        for mut driver in [authenticated(settings()), no_memory_at_first()] {
            driver.must(&ENVELOPE);
            driver.send(bdat("dropped"));
            driver.must(&[reset]);
            assert_eq!(driver.session.buffered(), 0);
            assert_eq!(codes(&driver.send(bdat_last("lost"))), ["503 5.5.1"]);
            driver.must(&ENVELOPE);
            driver.send(bdat_last("kept\r\n"));
            assert_eq!(driver.messages(), ["kept\r\n"], "{reset}");
        }
    }
}

#[test]
fn data_may_follow_a_message_in_chunks_in_the_same_session() {
    let mut driver = in_transaction(settings());
    driver.send(bdat_last("one\r\n"));
    driver.must(&ENVELOPE);
    driver.must(&["DATA", "two\r\n."]);
    driver.must(&ENVELOPE);
    driver.send(bdat_last("three\r\n"));
    assert_eq!(driver.messages(), ["one\r\n", "two\r\n", "three\r\n"]);
}

#[test]
fn an_oversized_message_in_chunks_is_kept_nowhere_and_the_session_goes_on() {
    let mut driver = in_transaction(limited(|limits| limits.message_size = 1000));
    assert_eq!(codes(&driver.send(bdat(&"x".repeat(1000)))), ["250 2.0.0"]);
    for _ in 0..100 {
        let line = "BDAT 10000\r\n";
        assert_eq!(driver.send(line), "");
        for _ in 0..10 {
            assert!(driver.session.buffered() <= 1000);
            driver.session.receive(&[b'x'; 999]);
            assert_eq!(driver.session.buffered(), 0);
        }
        assert_eq!(codes(&driver.send("0123456789")), ["552 5.3.4"]);
    }
    assert_eq!(codes(&driver.send(bdat_last(""))), ["552 5.3.4"]);
    driver.must(&ENVELOPE);
    assert_eq!(codes(&driver.send(bdat_last("small\r\n"))), ["250 2.0.0"]);
    assert_eq!(driver.messages(), ["small\r\n"]);
    assert_eq!(driver.session.peer.errors, 0);
}

#[test]
fn a_huge_chunk_has_no_memory_set_aside_and_counts_without_overflow() {
    let mut driver = in_transaction(limited(|limits| limits.message_size = 0));
    for size in [u64::MAX, 1 << 63] {
        driver.send(format!("BDAT {size}\r\n"));
        assert!(driver.in_chunk());
        assert_eq!(driver.session.buffered(), 0);
        driver.send("hello");
        assert_eq!(driver.session.buffered(), 5);
        driver.session.timed_out();
        driver = in_transaction(limited(|limits| limits.message_size = 0));
    }
}

#[test]
fn a_stranger_is_not_made_to_wait_for_a_huge_chunk() {
    for size in ["262144001", "9223372036854775808", "18446744073709551615"] {
        let mut driver = connected();
        assert_eq!(driver.say(&format!("BDAT {size}")), "552 5.3.4");
        assert_eq!(driver.ending(), Some(Ending::UnreadableChunk));
    }
}

#[test]
fn a_refused_chunk_is_read_only_up_to_the_size_of_a_message() {
    for limit in [1000, 0] {
        let settings = || limited(|limits| limits.message_size = limit);
        let most = if limit == 0 { 26_214_400 } else { limit };
        let no_memory = || {
            let mut driver = authenticated(settings());
            driver.decide = Box::new(|seen| match seen {
                Seen::Data => Reply::new(452, 3, 1, "No memory"),
                seen => positive(seen),
            });
            driver.must(&ENVELOPE);
            driver
        };
        let failed = || {
            let mut driver = no_memory();
            driver.say("BDAT 0");
            driver
        };
        let without_recipients = || {
            let mut driver = authenticated(settings());
            driver.must(&ENVELOPE[..1]);
            driver
        };
        let refusing: [(&dyn Fn() -> Driver<'static>, &str); 5] = [
            (&|| with(settings()), "503 5.5.1"),
            (&|| authenticated(settings()), "503 5.5.1"),
            (&without_recipients, "554 5.5.1"),
            (&no_memory, "452 4.3.1"),
            (&failed, "452 4.3.1"),
        ];
        for (driver, reply) in refusing {
            let mut awaited = driver();
            assert_eq!(awaited.say(&format!("BDAT {most}")), "", "{reply}");
            assert!(awaited.in_chunk());
            let mut ended = driver();
            assert_eq!(ended.say(&format!("BDAT {}", most + 1)), reply);
            assert_eq!(ended.ending(), Some(Ending::UnreadableChunk));
        }
    }
}

/// Else what follows would count for nobody, as often as he likes.
#[test]
fn chunks_of_a_stranger_are_errors_behind_a_mail_with_a_bad_address_too() {
    let mut driver = connected();
    driver.must(&["EHLO client.example"]);
    for _ in 0..10 {
        driver.say("MAIL FROM:<bad");
        driver.send(bdat_last("x"));
    }
    assert_eq!(driver.ending(), Some(Ending::Errors));
}

#[test]
fn refused_chunks_are_errors_of_the_client_once_a_message() {
    let mut driver = authenticated(settings());
    for _ in 0..5 {
        driver.must(&ENVELOPE[..1]);
        for _ in 0..5 {
            driver.send(bdat("x"));
        }
        driver.send(bdat_last(""));
    }
    assert_eq!(driver.session.peer.errors, 5);
    // Behind a refused MAIL they were in the pipeline already.
    for _ in 0..20 {
        driver.say("MAIL FROM:<> SIZE=999999999");
        driver.send(bdat_last("x"));
    }
    assert_eq!(driver.session.peer.errors, 5);
    for _ in 0..5 {
        driver.must(&["RSET"]);
        driver.send(bdat("x"));
    }
    assert_eq!(driver.ending(), Some(Ending::Errors));
}

/// Else octets that drip in between two chunks would hold a message in memory for ever.
#[test]
fn a_chunk_is_waited_for_as_mail_data_and_its_command_as_a_command() {
    let mut driver = in_transaction(settings());
    driver.send("BDAT 5\r\n");
    assert_eq!(driver.session.waiting_for(), Wait::MailData);
    driver.send("hello");
    assert_eq!(driver.session.waiting_for(), Wait::Chunk, "the next one");
    driver.send("BDAT 0 LAST\r\n");
    assert_eq!(driver.session.waiting_for(), Wait::Command);
    driver.send("BDAT 5\r\n");
    assert_eq!(driver.session.waiting_for(), Wait::MailData, "refused");
}

#[test]
fn without_room_every_chunk_that_is_left_is_refused() {
    let mut driver = in_transaction(settings());
    driver.send("BDAT 5\r\nhel");
    driver.session.no_room();
    assert_eq!(codes(&driver.send("lo")), ["452 4.3.1"]);
    assert_eq!(codes(&driver.send("BDAT 5\r\nworld")), ["452 4.3.1"]);
    assert_eq!(driver.session.buffered(), 0);
    assert_eq!(codes(&driver.send("BDAT 0 LAST\r\n")), ["452 4.3.1"]);
    assert!(driver.messages().is_empty());
    driver.must(&["MAIL FROM:<>"]);
}

/// Mail data may take its time, as long as it goes on; what a stranger sends may not.
#[test]
fn a_chunk_before_auth_must_be_whole_in_time_as_a_command() {
    let mut driver = connected();
    driver.send("BDAT 5\r\nhell");
    assert!(driver.in_chunk());
    assert_eq!(driver.session.waiting_for(), Wait::Command);
}

#[test]
fn draining_waits_for_a_message_in_chunks() {
    let mut driver = in_transaction(settings());
    driver.send("BDAT 5\r\nhel");
    driver.session.draining();
    driver.run();
    assert_eq!(codes(&driver.send("lo")), ["250 2.0.0"]);
    let sent = driver.send(format!("{}{}", bdat_last("\r\n"), ENVELOPE[0]));
    assert_eq!(codes(&sent), ["250 2.0.0", "421 4.3.2"]);
    assert_eq!(driver.ending(), Some(Ending::Draining));
    assert_eq!(driver.messages(), ["hello\r\n"]);
}

#[test]
fn draining_waits_between_two_chunks_and_for_no_message_that_is_refused() {
    let mut driver = in_transaction(settings());
    driver.send(bdat("hello"));
    driver.session.draining();
    driver.run();
    assert_eq!(driver.say("NOOP"), "250 2.0.0");
    assert_eq!(driver.say("BDAT 0 LAST"), "250 2.0.0, 421 4.3.2");
    assert_eq!(driver.messages(), ["hello\r\n"]);

    let mut driver = no_memory_at_first();
    driver.must(&ENVELOPE);
    driver.send(bdat("hello"));
    driver.session.draining();
    driver.run();
    assert_eq!(driver.ending(), Some(Ending::Draining));
}

#[test]
fn the_last_call_says_so_between_two_chunks_and_nothing_inside_of_one() {
    for (sent, reply) in [("BDAT 5\r\nhello", "421 4.3.2"), ("BDAT 5\r\nhell", "")] {
        let mut driver = in_transaction(settings());
        driver.send(sent);
        driver.session.draining();
        driver.run();
        assert!(!driver.closed);
        let before = driver.sends.len();
        driver.session.last_call();
        driver.run();
        let told = codes(&text(&driver.sends[before..].concat())).join(", ");
        assert_eq!(told, reply, "{sent:?}");
        assert_eq!(driver.ending(), Some(Ending::Draining));
        assert_eq!(driver.session.buffered(), 0);
        assert!(driver.messages().is_empty());
    }
}

#[test]
fn draining_does_not_wait_for_the_chunk_of_a_stranger() {
    let mut driver = connected();
    driver.send("BDAT 5\r\nhell");
    driver.session.draining();
    driver.run();
    assert_eq!(driver.ending(), Some(Ending::Draining));
}

#[test]
fn a_time_out_takes_no_half_message() {
    for sent in [
        "BDAT 5\r\nhel",
        "BDAT 5\r\nhello",
        "BDAT 5\r\nhelloBDAT 1 LAST\r\n",
    ] {
        let mut driver = in_transaction(settings());
        driver.send(sent);
        driver.session.timed_out();
        driver.run();
        assert_eq!(codes(&text(driver.sends.last().unwrap())), ["421 4.4.2"]);
        assert_eq!(driver.send("x\r\nBDAT 0 LAST\r\n"), "");
        assert!(driver.messages().is_empty());
        assert_eq!(driver.session.buffered(), 0);
    }
}

#[test]
fn a_421_to_the_first_chunk_ends_the_session_at_once() {
    let mut driver = deciding(|seen| match seen {
        Seen::Data => Reply::new(421, 3, 0, "Enough"),
        seen => positive(seen),
    });
    driver.must(&ENVELOPE);
    assert_eq!(driver.say("BDAT 1000000"), "421 4.3.0");
    assert_eq!(driver.ending(), Some(Ending::Refused));
}

#[test]
fn the_question_whether_mail_data_may_come_is_asked_once_a_message() {
    let mut driver = in_transaction(settings());
    for _ in 0..5 {
        driver.send(bdat("x"));
    }
    driver.send(bdat_last(""));
    let asked = driver.questions().filter(|seen| **seen == Seen::Data);
    assert_eq!(asked.count(), 1);
}

#[test]
fn lone_line_breaks_in_chunks_are_refused_behind_the_last_where_they_are() {
    for chunks in [["a\nb", "\r\n"], ["a\r", "b\r\n"], ["a", "\nb\r\n"]] {
        let mut driver = in_transaction(refusing_lone_newlines());
        let chunks = chunks.map(bdat).concat();
        assert_eq!(codes(&driver.send(chunks)), ["250 2.0.0", "250 2.0.0"]);
        let sent = driver.send("BDAT 0 LAST\r\nNOOP\r\n");
        assert_eq!(codes(&sent), ["550 5.5.2"]);
        assert_eq!(driver.ending(), Some(Ending::LoneLineBreak));
        assert!(driver.messages().is_empty());
    }
    // The two halves of a CRLF are no lone ones.
    let mut driver = in_transaction(refusing_lone_newlines());
    driver.send(format!("{}{}", bdat("a\r"), bdat_last("\n")));
    assert_eq!(driver.messages(), ["a\r\n"]);
}

#[test]
fn chunks_are_pipelined_with_commands_and_answered_in_order() {
    let mut driver = authenticated(settings());
    let before = driver.sends.len();
    let sent = driver.send(format!(
        "{}\r\n{}\r\nRCPT TO:<root@localhost>\r\n{}NOOP\r\n{}{}\r\nQUIT\r\n",
        ENVELOPE[0],
        ENVELOPE[1],
        bdat("Subject: x\r\n"),
        bdat_last("\r\nhello\r\n"),
        ENVELOPE[0]
    ));
    let expected = [
        "250 2.1.0",
        "250 2.1.5",
        "554 5.1.2",
        "250 2.0.0",
        "250 2.0.0",
        "250 2.0.0",
        "250 2.1.0",
        "221 2.0.0",
    ];
    assert_eq!(codes(&sent), expected);
    // What comes before the message leaves before it is decided, the rest behind it.
    assert_eq!(driver.sends.len(), before + 2);
    assert_eq!(driver.messages(), ["Subject: x\r\n\r\nhello\r\n"]);
}

#[test]
fn the_envelope_of_a_message_in_chunks_is_the_one_before_its_first_chunk() {
    let mut driver = in_transaction(settings());
    driver.send(bdat("x"));
    assert_eq!(driver.say("RCPT TO:<eve@example.org>"), "503 5.5.1");
    assert_eq!(driver.say("MAIL FROM:<eve@example.org>"), "503 5.5.1");
    driver.send(bdat_last(""));
    let Some(Seen::Message(envelope, _)) = driver.questions().last() else {
        panic!("the message is asked about");
    };
    assert_eq!(envelope.reverse_path().to_string(), "ann@example.com");
    assert_eq!(envelope.recipients().len(), 1);
}

#[test]
fn auth_between_chunks_is_503_and_changes_nothing() {
    let tls = Tls::Established;
    let mut driver = Driver::new(settings(), tls, Authentication::Waived, positive);
    driver.must(&["EHLO client.example"]);
    driver.must(&ENVELOPE);
    driver.send(bdat("x"));
    assert_eq!(driver.say("AUTH PLAIN AGFubgBzZWNyZXQ="), "503 5.5.1");
    driver.send(bdat_last("\r\n"));
    assert_eq!(driver.messages(), ["x\r\n"]);
}

#[test]
fn a_bdat_line_over_its_limit_ends_the_session_however_it_is_cut() {
    let zeros = format!("bdat {:0>1$}", 1, 600);
    let blanks = |count| " ".repeat(count) + "BDAT 1";
    for line in [zeros, blanks(507), blanks(509), blanks(600)] {
        let octets = format!("{line}\r\n{TEMPTING}");
        for at in 0..octets.len() {
            let (left, right) = octets.split_at(at);
            let mut driver = connected();
            let mut sent = driver.send(left);
            sent.push_str(&driver.send(right));
            assert_eq!(codes(&sent), ["501 5.5.4"], "{line:?} at {at}");
            assert_eq!(driver.ending(), Some(Ending::UnreadableChunk));
        }
    }
}
