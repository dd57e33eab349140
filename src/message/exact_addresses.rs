//! Header fields with addresses that can be read in one way only.
//!
//! [`address_list`] reads what programs write, and leaves out what it doubts; two readers of such a
//! field may find two senders (CVE-2023-27043, CVE-2025-13033). Where it matters who the sender is,
//! a field must be plain: mailboxes of RFC 5322 §3.4 with a dot-atom in front of the `@`, or a quoted
//! string of the same letters, and a domain name behind it; no routes, no comments in or before an
//! address, no blanks in it, and nothing in a name that a hasty reader could take for an address. What
//! is found is what `address_list` finds, or nothing.

use crate::message::address_list;
use crate::message::address_tokens::{Token, Tokens};
use crate::message::email::VisibleAddress;
use crate::message::words;

/// The domains of all addresses of a field, in the order in which [`address_list::parse`] gives its
/// addresses; `None` where another reader could find others.
pub fn domains(field_value: &[u8]) -> Option<Vec<String>> {
    let mut octets = words::unfold(field_value);
    for blank in octets.iter_mut().filter(|octet| **octet == b'\t') {
        *blank = b' ';
    }
    if octets.iter().any(u8::is_ascii_control) {
        return None;
    }
    let mut list = List::default();
    for token in Tokens::new(&octets) {
        list.take(token)?;
    }
    let found = list.end()?;
    let read = address_list::parse(field_value);
    let same = |(address, mailbox): (&VisibleAddress, &Mailbox)| {
        let Mailbox { local_part, domain } = mailbox;
        let quoted = format!("\"{local_part}\"@{domain}");
        address.email == format!("{local_part}@{domain}") || address.email == quoted
    };
    let agree = read.len() == found.len() && read.iter().zip(&found).all(same);
    agree.then(|| found.into_iter().map(|mailbox| mailbox.domain).collect())
}

struct Mailbox {
    local_part: String,
    domain: String,
}

#[derive(Default)]
struct List<'a> {
    found: Vec<Mailbox>,
    entry: Vec<Token<'a>>,
    group: Group,
}

#[derive(Default, PartialEq, Eq)]
enum Group {
    #[default]
    None,
    Open,
    /// Only a comma may follow.
    Closed,
}

impl<'a> List<'a> {
    fn take(&mut self, token: Token<'a>) -> Option<()> {
        match (token, &self.group) {
            (Token::Special(b','), Group::Closed) => self.group = Group::None,
            (Token::Special(b','), Group::None | Group::Open) => self.end_entry()?,
            (Token::Special(b':'), Group::None) => {
                let name = std::mem::take(&mut self.entry);
                let named = name.iter().any(|token| !token.is_space());
                if !named || !is_name(&name) {
                    return None;
                }
                self.group = Group::Open;
            }
            (Token::Special(b';'), Group::Open) => {
                self.end_entry()?;
                self.group = Group::Closed;
            }
            (Token::Special(b':' | b';'), _) => return None,
            (Token::Space, Group::Closed) => {}
            (_, Group::Closed) => return None,
            (token, Group::None | Group::Open) => self.entry.push(token),
        }
        Some(())
    }

    fn end_entry(&mut self) -> Option<()> {
        let entry = std::mem::take(&mut self.entry);
        self.found.extend(mailbox(&entry)?);
        Some(())
    }

    fn end(mut self) -> Option<Vec<Mailbox>> {
        self.end_entry()?;
        (self.group != Group::Open).then_some(self.found)
    }
}

/// The mailbox that the tokens between two commas are; `Some(None)` where there are none.
fn mailbox(entry: &[Token<'_>]) -> Option<Option<Mailbox>> {
    let (entry, comment) = without_last_comment(trimmed(entry));
    if !comment.is_none_or(is_harmless) {
        return None;
    }
    if entry.is_empty() {
        return comment.is_none().then_some(None);
    }
    let address = match entry.split_last()? {
        (Token::Special(b'>'), before) => {
            let open = before
                .iter()
                .position(|token| *token == Token::Special(b'<'))?;
            let (name, inside) = before.split_at_checked(open)?;
            if !is_name(name) {
                return None;
            }
            inside.get(1..)?
        }
        _ => entry,
    };
    addr_spec(address).map(Some)
}

fn addr_spec(tokens: &[Token<'_>]) -> Option<Mailbox> {
    let [local_part, Token::Special(b'@'), Token::Atom(domain)] = tokens else {
        return None;
    };
    let local_part = match local_part {
        Token::Atom(text) => std::str::from_utf8(text).ok()?.to_owned(),
        Token::Quoted(text) => String::from_utf8(text.clone()).ok()?,
        Token::Space | Token::Comment(_) | Token::Literal(_) | Token::Special(_) => return None,
    };
    let domain = std::str::from_utf8(domain).ok()?.to_owned();
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    let plain = is_plain(&local_part) && domain.split('.').all(is_label);
    plain.then_some(Mailbox { local_part, domain })
}

/// Whether this, in front of an `@`, says the same to everybody: letters of an atom, dots between
/// them, and no encoded word.
pub fn is_plain(local_part: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let is_atom = |atom: &str| !atom.is_empty() && atom.chars().all(is_letter);
    local_part.split('.').all(is_atom) && !local_part.contains("=?")
}

/// A name of a mailbox or a group: words, quoted or encoded ones too.
fn is_name(tokens: &[Token<'_>]) -> bool {
    let mut unquoted = Vec::new();
    for token in tokens {
        match token {
            Token::Space | Token::Quoted(_) => unquoted.push(b' '),
            // A quote or a comment that has no end.
            Token::Atom(text) if text.iter().any(|octet| b"\"()[]\\".contains(octet)) => {
                return false;
            }
            Token::Atom(text) => unquoted.extend_from_slice(text),
            Token::Comment(_) | Token::Literal(_) | Token::Special(_) => return false,
        }
    }
    // Who decodes before reading must not find another address.
    !words::text(&unquoted).contains(['@', '<', '>'])
}

/// The comment at the end, which is how names were once given, apart from the address.
fn without_last_comment<'t, 'a>(entry: &'t [Token<'a>]) -> (&'t [Token<'a>], Option<&'a [u8]>) {
    match entry {
        [before @ .., Token::Space, Token::Comment(comment)] => (trimmed(before), Some(comment)),
        _ => (entry, None),
    }
}

/// Whether nobody could find an address, or the end of one, in a comment.
fn is_harmless(comment: &[u8]) -> bool {
    let decoded = words::text(comment);
    !decoded.contains(['@', '<', '>', ',', ';', ':', '"', '(', ')', '\\'])
}

fn trimmed<'t, 'a>(mut tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    while let [Token::Space, rest @ ..] | [rest @ .., Token::Space] = tokens {
        tokens = rest;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Option<Vec<String>> {
        domains(value.as_bytes())
    }

    #[test]
    fn plain_fields_are_read() {
        for (value, found) in [
            (" ann@example.net", &["example.net"][..]),
            ("Ann <ann@Example.NET>", &["Example.NET"]),
            ("\"Doe, Ann\" <ann@a.b>, bob@c.d", &["a.b", "c.d"]),
            ("John Q. Public <john.q+x@a.b>", &["a.b"]),
            ("=?utf-8?Q?Zo=C3=AB,_Doe?= <zoe@a.b>", &["a.b"]),
            ("Zoë <zoë@bücher.example>", &["bücher.example"]),
            ("ann@a.b (Ann Doe)", &["a.b"]),
            ("Ann <ann@a.b> (her comment)", &["a.b"]),
            ("\"ann@c.d\" <ann@a.b>", &["a.b"]),
            ("\"ann\"@a.b", &["a.b"]),
            ("Ann\r\n <ann@a.b>,\r\n\tbob@c.d", &["a.b", "c.d"]),
            (
                "Team: ann@a.b, Bob <bob@c.d>; , e@f.g",
                &["a.b", "c.d", "f.g"],
            ),
            ("undisclosed-recipients:;", &[]),
            ("", &[]),
            (",ann@a.b,,", &["a.b"]),
        ] {
            assert_eq!(
                read(value).as_deref(),
                Some(found)
                    .map(|f| f.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{value:?}"
            );
        }
    }

    #[test]
    fn what_others_could_read_otherwise_is_not() {
        for value in [
            "ann",
            "<>",
            "@a.b",
            "Ann ann@a.b",
            "ann @ a.b",
            "Ann <ann@a.b",
            "<ann@a.b> <bob@c.d>",
            "<ann@a.b>, <bob@c.d> eve",
            "<ann@a.b>bob@c.d",
            "<<ann@a.b>>",
            "<@c.d:ann@a.b>",
            "<ann@c.d,bob@a.b>",
            "ann@c.d@a.b",
            "\"ann@c.d\"@a.b",
            "\"ann@c.d, \"@a.b",
            "\"a b\"@a.b",
            "\"ann\\\"\"@a.b",
            "ann\"x\"@a.b",
            "ann(x)@a.b",
            "ann@a.b(.c.d)",
            "ann@(x)a.b",
            "(eve@c.d) ann@a.b",
            "ann@a.b (eve@c.d)",
            "ann@a.b (x) (y)",
            "ann@a.b, (nobody)",
            "<ann@a.b(x)>",
            "Ann (x) <ann@a.b>",
            "\"Ann <ann@a.b>",
            "Ann ( <ann@a.b>",
            "=?utf-8?Q?eve=40c.d?= <ann@a.b>",
            "=?utf-8?Q?eve=40c.d=2C?= <ann@a.b>",
            "=?utf-8?Q?ann?=@a.b",
            "ann@=?utf-8?Q?a.b?=",
            "ann@[192.0.2.1]",
            "ann@a_b.c",
            "ann@a..b",
            "ann@a.b.",
            ".ann@a.b",
            "ann@a.b; bob@c.d",
            "mailto:ann@a.b",
            "Team: ann@a.b",
            "Team: ann@a.b; bob@c.d",
            "Team: Inner: ann@a.b;;",
            ": ann@a.b;",
            "eve@c.d: ann@a.b;",
            "ann\u{ff20}c.d@a.b",
            "ann@a\u{3002}b",
            "ann@a\0.b",
            "ann@a.b\u{200b}",
        ] {
            assert_eq!(read(value), None, "{value:?}");
        }
        assert_eq!(domains(b"ann@a\xff.b"), None);
    }

    #[test]
    fn a_field_made_to_be_slow_is_not() {
        for piece in [
            "(",
            "\"",
            "[",
            "((a)",
            "<",
            "<@",
            "=?",
            "=?a?q?",
            "a@",
            ",",
            "\\\"",
            " .",
            "a ",
            ":",
            "a@b.c,",
            "a <b@c.d>,",
            "=?utf-8?q?a?= ",
            "a:;,",
            " ",
        ] {
            let value = piece.repeat(300_000_usize.div_euclid(piece.len()));
            let _ = read(&value);
            let _ = read(&format!("{value}<a@b.c>"));
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_the_other_reader_finds(
            value in "[a-c@.,:;<>\"\\\\()\\[\\] é=?]{0,40}"
        ) {
            if let Some(domains) = read(&value) {
                let addresses = address_list::parse(value.as_bytes());
                prop_assert_eq!(addresses.len(), domains.len());
                for (address, domain) in addresses.iter().zip(&domains) {
                    let (local_part, found) = address.email.rsplit_once('@').unwrap();
                    prop_assert_eq!(found, domain);
                    prop_assert!(!local_part.contains('@'));
                }
            }
        }
    }
}
