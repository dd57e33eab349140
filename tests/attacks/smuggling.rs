//! Ends of mail data that are none, and naive readers to compare the gateway with. The readers look
//! at all octets at once and keep no state, so that they share no mistake with a state machine.

use smtp_gateway::smtp::framing::LoneNewlines;

/// Something around a dot that somebody, somewhere, takes for the end of mail data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    before: &'static str,
    dot: &'static str,
    behind: &'static str,
}

impl Variant {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        DOTS.into_iter().flat_map(Self::around)
    }

    /// Each pair of line ends around this dot.
    pub(super) fn around(dot: &'static str) -> impl Iterator<Item = Self> {
        LINE_ENDS.into_iter().flat_map(move |before| {
            LINE_ENDS.into_iter().map(move |behind| Self {
                before,
                dot,
                behind,
            })
        })
    }

    /// A message with this in its midst, and what an attacker puts behind it.
    pub(super) fn content(self, follower: &str) -> String {
        let Self {
            before,
            dot,
            behind,
        } = self;
        format!("A: b\r\n\r\nc{before}{dot}{behind}{follower}")
    }

    /// The true end is among the variants too: it shows that two messages would be seen.
    pub(super) fn is_the_end(self) -> bool {
        self.before.ends_with("\r\n") && self.dot == "." && self.behind.starts_with("\r\n")
    }
}

/// What smtpsmug has, and what one may think of.
const LINE_ENDS: [&str; 12] = [
    "\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\n", "\r\n\0", "\0\r\n", "\r\0\n", "\0", "\u{2028}",
    "",
];

const DOTS: [&str; 6] = [".", "..", ". ", " .", "\0.", ".\0"];

/// What an attacker hopes to be heard with.
pub(super) const SECOND_MESSAGE: &str =
    "MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n\r\nmore";

/// A message as one reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) content: Vec<u8>,
}

/// The messages in a dialogue, as RFC 5321 alone would have it read.
pub(super) fn strictly(mut dialogue: &[u8], lone: LoneNewlines) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let mut envelope: Option<(String, Vec<String>)> = None;
    while let Some(end) = dialogue.windows(2).position(|pair| pair == b"\r\n") {
        let line = String::from_utf8_lossy(&dialogue[..end]).into_owned();
        dialogue = &dialogue[end + 2..];
        let path = |verb| {
            line.strip_prefix(verb)?
                .strip_suffix('>')
                .map(str::to_owned)
        };
        if let Some(path) = path("MAIL FROM:<") {
            envelope = Some((path, Vec::new()));
        } else if let (Some(path), Some((_, to))) = (path("RCPT TO:<"), &mut envelope) {
            to.push(path);
        } else if line == "DATA" {
            let (Some((from, to)), Some((data, rest))) =
                (envelope.take(), cut(dialogue, &["\r\n"], &["\r\n"]))
            else {
                return deliveries;
            };
            if lone == LoneNewlines::Refuse && has_lone_line_break(data) {
                return deliveries;
            }
            deliveries.push(Delivery {
                from,
                to,
                content: with_crlf(&unstuffed(data)),
            });
            dialogue = rest;
        }
    }
    deliveries
}

/// How many messages are in mail data for a reader that takes any line end for any other, as some
/// do; none where their end is missing.
pub(super) fn leniently(mut data: &[u8]) -> Option<usize> {
    let mut messages = 0;
    while !data.is_empty() {
        (_, data) = cut(data, &["\r", "\n"], &["\r\n", "\r", "\n"])?;
        messages += 1;
    }
    Some(messages)
}

/// What stands before the first end of mail data, and what behind it.
fn cut<'a>(data: &'a [u8], before: &[&str], behind: &[&str]) -> Option<(&'a [u8], &'a [u8])> {
    (0..data.len()).find_map(|at| {
        let (text, rest) = data.split_at(at);
        let rest = rest.strip_prefix(b".")?;
        let at_line = text.is_empty() || before.iter().any(|end| text.ends_with(end.as_bytes()));
        let rest = behind
            .iter()
            .find_map(|end| rest.strip_prefix(end.as_bytes()))?;
        at_line.then_some((text, rest))
    })
}

fn unstuffed(data: &[u8]) -> Vec<u8> {
    let is_stuffing = |at: usize| data[at] == b'.' && (at == 0 || data[..at].ends_with(b"\r\n"));
    let kept = (0..data.len()).filter(|at| !is_stuffing(*at));
    kept.map(|at| data[at]).collect()
}

pub(super) fn has_lone_line_break(data: &[u8]) -> bool {
    let whole = String::from_utf8_lossy(data).replace("\r\n", "");
    whole.contains(['\r', '\n'])
}

/// Every line end made CRLF.
pub(super) fn with_crlf(mut data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some((octet, rest)) = data.split_first() {
        match octet {
            b'\r' | b'\n' => {
                text.extend_from_slice(b"\r\n");
                data = data.strip_prefix(b"\r\n").unwrap_or(rest);
            }
            octet => {
                text.push(*octet);
                data = rest;
            }
        }
    }
    text
}

/// Content as DATA must bring it: each line ends.
pub(super) fn with_last_line_end(mut content: Vec<u8>) -> Vec<u8> {
    if !content.is_empty() && !content.ends_with(b"\r\n") {
        content.extend_from_slice(b"\r\n");
    }
    content
}
