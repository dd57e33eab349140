//! Addresses of header fields: mailboxes, groups, and what programs write in their place
//! (RFC 5322 §3.4, §4.4, RFC 6854, RFC 6531).
//!
//! What is shown must be what was checked: where a list could be read in two ways, the doubtful
//! address is left out rather than guessed (CVE-2023-27043, CVE-2025-13033). Encoded words become
//! text of a name and never syntax. Work is linear in the length of the field.

use crate::message::address_tokens::{SPECIALS, Token, Tokens};
use crate::message::charset;
use crate::message::email::VisibleAddress;
use crate::message::words;

/// The mailboxes of a field, those of groups among them. Groups and entries without an address
/// (`undisclosed-recipients:;`) leave nothing.
pub fn parse(field_value: &[u8]) -> Vec<VisibleAddress> {
    let mut octets = words::unfold(field_value);
    for octet in &mut octets {
        if octet.is_ascii_control() {
            *octet = b' ';
        }
    }
    let mut list = List::default();
    for token in Tokens::new(&octets) {
        list.take(token);
    }
    list.end_entry();
    list.addresses
}

/// The list as far as it is read, and the entry that is being read.
#[derive(Default)]
struct List<'a> {
    addresses: Vec<VisibleAddress>,
    /// What stands outside angle brackets.
    outside: Vec<Token<'a>>,
    angle: Angle<'a>,
    comment: Option<&'a [u8]>,
    doubtful: bool,
}

#[derive(Default)]
enum Angle<'a> {
    #[default]
    None,
    Open(Vec<Token<'a>>),
    Closed(Vec<Token<'a>>),
}

impl<'a> List<'a> {
    fn take(&mut self, token: Token<'a>) {
        if let Angle::Open(inside) = &mut self.angle {
            let is_route = matches!(inside.first(), Some(Token::Special(b'@')));
            match token {
                Token::Special(b'>') => self.angle = Angle::Closed(std::mem::take(inside)),
                // RFC 5322 §4.4: a route is read and ignored.
                Token::Special(b',') if is_route => {}
                Token::Special(b':') if is_route => inside.clear(),
                Token::Special(b',' | b';') => self.end_entry(),
                Token::Special(b'<' | b':') => self.doubtful |= !inside.is_empty(),
                Token::Comment(_) => {}
                Token::Space if inside.is_empty() => {}
                other => inside.push(other),
            }
            return;
        }
        match token {
            Token::Special(b'<') => {
                if matches!(self.angle, Angle::Closed(_)) {
                    // `<a@x> <b@y>`: a comma was forgotten.
                    self.end_entry();
                }
                self.angle = Angle::Open(Vec::new());
            }
            Token::Special(b',' | b';') => self.end_entry(),
            Token::Special(b':') if self.doubtful => {}
            Token::Special(b':') if self.outside.iter().any(Token::is_at) => self.doubtful = true,
            // What came before was the name of a group.
            Token::Special(b':') => self.forget_entry(),
            Token::Special(b'>') => {}
            Token::Comment(comment) => {
                self.comment.get_or_insert(comment);
            }
            other => self.outside.push(other),
        }
    }

    fn forget_entry(&mut self) {
        self.outside.clear();
        self.angle = Angle::None;
        self.comment = None;
        self.doubtful = false;
    }

    fn end_entry(&mut self) {
        if !self.doubtful {
            self.addresses.extend(self.address());
        }
        self.forget_entry();
    }

    fn address(&self) -> Option<VisibleAddress> {
        let (email, phrase) = match &self.angle {
            Angle::Open(inside) | Angle::Closed(inside) => {
                (addr_spec(inside)?, phrase(&self.outside))
            }
            Angle::None => bare(&self.outside)?,
        };
        // `app@example.com (The App)` is how names were once given.
        let comment = || {
            self.comment
                .map(words::text)
                .filter(|name| !name.is_empty())
        };
        Some(VisibleAddress {
            name: Some(phrase)
                .filter(|name| !name.is_empty())
                .or_else(comment),
            email,
        })
    }
}

/// The one address among words without angle brackets, and the name the other words make. With a
/// dot next to it, across a blank, nobody knows where the address ends.
fn bare(tokens: &[Token<'_>]) -> Option<(String, String)> {
    if let Some(email) = addr_spec(tokens) {
        return Some((email, String::new()));
    }
    let at = tokens.iter().position(Token::is_at)?;
    let (left, right) = tokens.split_at_checked(at)?;
    let right = right.get(1..)?;
    let blank = |token: &&Token<'_>| token.is_space();
    let word = |token: &&Token<'_>| !token.is_space();
    let blanks = left.iter().rev().take_while(blank).count();
    let local = left.iter().rev().skip(blanks).take_while(word).count();
    let start = left.len().checked_sub(blanks)?.checked_sub(local)?;
    let blanks = right.iter().take_while(blank).count();
    let domain = right.iter().skip(blanks).take_while(word).count();
    let end = blanks.checked_add(domain)?;

    let (before, local) = left.split_at_checked(start)?;
    let (domain, behind) = right.split_at_checked(end)?;
    let doubtful = ends_with_dot(before)
        || starts_with_dot(local)
        || ends_with_dot(domain)
        || starts_with_dot(behind)
        || behind.iter().any(Token::is_at);
    let email = addr_spec(tokens.get(start..tokens.len().checked_sub(behind.len())?)?)?;
    let name = phrase(&[before, &[Token::Space], behind].concat());
    (!doubtful).then_some((email, name))
}

fn starts_with_dot(tokens: &[Token<'_>]) -> bool {
    let first = tokens.iter().find(|token| !token.is_space());
    first.is_some_and(Token::starts_with_dot)
}

fn ends_with_dot(tokens: &[Token<'_>]) -> bool {
    let last = tokens.iter().rev().find(|token| !token.is_space());
    last.is_some_and(Token::ends_with_dot)
}

/// Prints `local-part@domain`, if that is what the tokens are and nothing else.
fn addr_spec(tokens: &[Token<'_>]) -> Option<String> {
    let mut sides = tokens.split(Token::is_at);
    let (local, domain) = (sides.next()?, sides.next()?);
    if sides.next().is_some() {
        return None;
    }
    let local = match without_spaces(local)?.as_slice() {
        [Token::Quoted(text)] => quoted(&charset::decode(text, None))?,
        atoms => joined(atoms)?,
    };
    let domain = match without_spaces(domain)?.as_slice() {
        [Token::Literal(text)] => charset::decode(text, None),
        atoms => joined(atoms)?,
    };
    let labels = domain.starts_with('[') || domain.split('.').all(|label| !label.is_empty());
    (labels && is_plain(&domain)).then(|| format!("{local}@{domain}"))
}

/// Blanks may stand around the dots of an address (RFC 5322 §4.4), and nowhere else in it.
fn without_spaces<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<Vec<&'t Token<'a>>> {
    let mut words: Vec<&Token<'_>> = Vec::new();
    let mut spaced = false;
    for token in tokens {
        if token.is_space() {
            spaced = true;
            continue;
        }
        let dotted = |last: &&Token<'_>| last.ends_with_dot() || token.starts_with_dot();
        if spaced && !words.last().is_none_or(dotted) {
            return None;
        }
        spaced = false;
        words.push(token);
    }
    Some(words)
}

fn joined(atoms: &[&Token<'_>]) -> Option<String> {
    let mut octets = Vec::new();
    for atom in atoms {
        let Token::Atom(text) = atom else {
            return None;
        };
        octets.extend_from_slice(text);
    }
    let text = charset::decode(&octets, None);
    (is_plain(&text) && !text.contains(|c| SPECIALS.contains(c)) && !text.is_empty())
        .then_some(text)
}

/// A local part that was quoted, quoted again only where it must be.
fn quoted(local: &str) -> Option<String> {
    let is_atom =
        |atom: &str| !atom.is_empty() && is_plain(atom) && !atom.contains(|c| SPECIALS.contains(c));
    if local.split('.').all(is_atom) {
        return Some(local.to_owned());
    }
    let visible = local.split(' ').all(is_plain);
    let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
    visible.then(|| format!("\"{escaped}\""))
}

/// Neither blanks nor control characters, nor those that look like nothing, nor those that IDNA
/// reads as a dot: in an address two readers must see the same.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}')
            || matches!(c, '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
    })
}

fn phrase(tokens: &[Token<'_>]) -> String {
    let mut octets: Vec<u8> = Vec::new();
    for token in tokens {
        match token {
            Token::Space => octets.push(b' '),
            Token::Atom(text) | Token::Literal(text) => octets.extend_from_slice(text),
            Token::Comment(_) => {}
            Token::Quoted(text) => octets.extend_from_slice(text),
            Token::Special(octet) => octets.push(*octet),
        }
    }
    words::text(&octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Vec<String> {
        let show = |address: VisibleAddress| match address.name {
            Some(name) => format!("{name} <{}>", address.email),
            None => address.email,
        };
        parse(value.as_bytes()).into_iter().map(show).collect()
    }

    #[test]
    fn addresses_are_read_with_their_names() {
        for (value, addresses) in [
            (" ann@example.net", &["ann@example.net"][..]),
            ("Ann <ann@example.net>", &["Ann <ann@example.net>"]),
            (
                "\"Doe, Ann\" <ann@Example.NET>, bob@example.net",
                &["Doe, Ann <ann@Example.NET>", "bob@example.net"],
            ),
            ("<ann@example.net>", &["ann@example.net"]),
            (
                "ann@example.net (Ann (the \\( one))",
                &["Ann (the \\( one) <ann@example.net>"],
            ),
            (
                "Ann (her comment) <ann@example.net>",
                &["Ann <ann@example.net>"],
            ),
            (
                "=?utf-8?Q?Zo=C3=AB,_Doe?= <zoe@example.net>",
                &["Zoë, Doe <zoe@example.net>"],
            ),
            (
                "=?utf-8?B?Wm/D?= =?utf-8?B?qw==?= <zoe@example.net>",
                &["Zoë <zoe@example.net>"],
            ),
            (
                "\"=?utf-8?Q?Zo=C3=AB?=\" <zoe@example.net>",
                &["Zoë <zoe@example.net>"],
            ),
            (
                "Zoë Müller <zoë@bücher.example>",
                &["Zoë Müller <zoë@bücher.example>"],
            ),
            (
                "\"quoted \\\"name\\\" \\\\\" <a@b.c>",
                &["quoted \"name\" \\ <a@b.c>"],
            ),
            (
                "John Q. Public <john@example.net>",
                &["John Q. Public <john@example.net>"],
            ),
            (
                "Ann\r\n <ann@example.net>,\r\n\tbob@example.net",
                &["Ann <ann@example.net>", "bob@example.net"],
            ),
            (
                "a@[192.0.2.1], b@[IPv6:2001:db8::1]",
                &["a@[192.0.2.1]", "b@[IPv6:2001:db8::1]"],
            ),
            (",, ,ann@example.net,", &["ann@example.net"]),
            ("root@localhost", &["root@localhost"]),
            ("da.me..@docomo.example", &["da.me..@docomo.example"]),
        ] {
            assert_eq!(read(value), addresses, "{value:?}");
        }
    }

    #[test]
    fn groups_are_flattened() {
        for (value, addresses) in [
            ("undisclosed-recipients:;", &[][..]),
            (
                "Team: ann@example.net, Bob <bob@example.net>;",
                &["ann@example.net", "Bob <bob@example.net>"],
            ),
            (
                "a@b.c, \"My: Team\": d@e.f;, g@h.i",
                &["a@b.c", "d@e.f", "g@h.i"],
            ),
            ("A:B:c@d.e;;", &["c@d.e"]),
            ("a@b.c; d@e.f", &["a@b.c", "d@e.f"]),
            ("mailto:a@b.c", &["a@b.c"]),
        ] {
            assert_eq!(read(value), addresses, "{value:?}");
        }
    }

    #[test]
    fn old_and_sloppy_forms_are_understood() {
        for (value, addresses) in [
            (
                "<@a.example,@b.example:ann@c.example>",
                &["ann@c.example"][..],
            ),
            ("< ann . lee @ example . net >", &["ann.lee@example.net"]),
            ("ann @ example.net", &["ann@example.net"]),
            (
                "ann . lee @ example  . net (Ann)",
                &["Ann <ann.lee@example.net>"],
            ),
            ("Ann ann@example.net", &["Ann <ann@example.net>"]),
            ("Ann <ann@example.net", &["Ann <ann@example.net>"]),
            (
                "Ann <ann@example.net, Bob <bob@example.net>",
                &["Ann <ann@example.net>", "Bob <bob@example.net>"],
            ),
            ("<a@b.c> <d@e.f>", &["a@b.c", "d@e.f"]),
            ("<<a@b.c>>", &["a@b.c"]),
            ("\"Ann <ann@example.net>", &["\"Ann <ann@example.net>"]),
            ("Ann :( <ann@example.net>", &["( <ann@example.net>"]),
            ("a@b.c (no end", &["(no end <a@b.c>"]),
        ] {
            assert_eq!(read(value), addresses, "{value:?}");
        }
    }

    #[test]
    fn an_address_is_never_read_out_of_something_else() {
        for (value, addresses) in [
            (
                "\"victim@example.net x\"@evil.example",
                &["\"victim@example.net x\"@evil.example"][..],
            ),
            (
                "\"victim@example.net\" <me@evil.example>",
                &["victim@example.net <me@evil.example>"],
            ),
            ("\"a@b.c> \"@d.e", &["\"a@b.c> \"@d.e"]),
            ("\"ann\"@example.net", &["ann@example.net"]),
            ("\"a\\\"b\"@example.net", &["\"a\\\"b\"@example.net"]),
            (
                "=?utf-8?Q?victim=40example.net=2C?= <me@evil.example>",
                &["victim@example.net, <me@evil.example>"],
            ),
            ("=?utf-8?Q?victim=40example.net?=", &[]),
            (
                "(victim@example.net) me@evil.example",
                &["victim@example.net <me@evil.example>"],
            ),
            ("a@b@c.d", &[]),
            (
                "Dr. J ann@example.net. , ann@example .net Lee, Ann ann@example.net .",
                &[],
            ),
            ("a@b.c:d@e.f", &[]),
            ("<a@b.c <d@e.f>", &[]),
            ("<a b@c.d>", &[]),
            ("a@b..c, @b.c, a@, <>, <@b.c>, ann", &[]),
            ("a\u{200b}b@c.d, a@b\u{3002}c, a\u{2028}b@c.d", &[]),
            ("a\"b\"@c.d", &[]),
        ] {
            assert_eq!(read(value), addresses, "{value:?}");
        }
    }

    #[test]
    fn nothing_that_ends_a_line_comes_out() {
        assert_eq!(
            read("=?utf-8?Q?Ann=0D=0ABcc:_b=40c.d?= <ann@example.net>"),
            ["Ann  Bcc: b@c.d <ann@example.net>"]
        );
        assert_eq!(read("\"a\0\rb\"@c.d"), ["\"a b\"@c.d"]);
    }

    #[test]
    fn a_field_made_to_be_slow_is_not() {
        for piece in [
            "(", "\"", "[", "((a)", "<", "<@", "=?", "=?a?q?", "a@", ",", "\\\"", "\\(", " .",
            "a ", ":",
        ] {
            let value = piece.repeat(300_000_usize.div_euclid(piece.len()));
            let _ = parse(value.as_bytes());
            let _ = parse(format!("{}@{value}", "a ".repeat(100_000)).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&octets);
        }

        #[test]
        fn reading_what_was_read_gives_the_same_address(
            value in "[a-c@.,:;<>\"\\\\()\\[\\] é]{0,40}"
        ) {
            for address in parse(value.as_bytes()) {
                let again = parse(format!("<{}>", address.email).as_bytes());
                prop_assert_eq!(again.first().map(|a| &a.email), Some(&address.email));
            }
        }
    }
}
