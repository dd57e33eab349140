//! Text to what may stand in a header field, where only ASCII may (RFC 2047, RFC 5322 §3.4): the
//! inverse of [`words`](crate::message::words).
//!
//! What comes out is one line. Text goes in as [`words::clean`](crate::message::words::clean) left
//! it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::message::email::VisibleAddress;

/// Unstructured text. Words that are not ASCII, or would be taken for encoded ones, are encoded; the
/// others stay as they are, so that an id among them can still be found.
pub fn text(text: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    // Blanks between two words to encode are encoded with them: a reader drops them elsewhere.
    let mut blanks: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        if needs_encoding(word) {
            run.append(&mut blanks);
            run.push(word);
        } else if word.is_empty() && !run.is_empty() {
            blanks.push(word);
        } else {
            end_run(&mut out, &mut run, &mut blanks);
            out.push(word.to_owned());
        }
    }
    end_run(&mut out, &mut run, &mut blanks);
    out.join(" ")
}

/// Addresses of one field, as `Name <local-part@domain>`. `None` where one is not ASCII: there is no
/// other way to write it.
pub fn addresses(addresses: &[VisibleAddress]) -> Option<String> {
    let printed: Option<Vec<String>> = addresses.iter().map(address).collect();
    Some(printed?.join(", "))
}

fn address(address: &VisibleAddress) -> Option<String> {
    let email = &address.email;
    if !email.is_ascii() {
        return None;
    }
    Some(
        match address.name.as_deref().filter(|name| !name.is_empty()) {
            None => email.clone(),
            Some(name) => format!("{} <{email}>", phrase(name)),
        },
    )
}

fn phrase(name: &str) -> String {
    let is_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~ ".contains(c);
    if needs_encoding(name) {
        encoded(name)
    } else if name.chars().all(is_atom) {
        name.to_owned()
    } else {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    }
}

fn end_run(out: &mut Vec<String>, run: &mut Vec<&str>, blanks: &mut Vec<&str>) {
    if !run.is_empty() {
        out.push(encoded(&run.join(" ")));
        run.clear();
    }
    out.extend(blanks.drain(..).map(str::to_owned));
}

fn needs_encoding(word: &str) -> bool {
    !word.bytes().all(|octet| matches!(octet, b' '..=b'~')) || begins_encoded_word(word)
}

/// Whether ASCII holds `=?charset?B?` or `=?charset?Q?`. A `=?` alone stands in many a URL.
fn begins_encoded_word(text: &str) -> bool {
    let begins = |(at, _): (usize, &str)| {
        let behind = text.get(at.saturating_add(2)..).unwrap_or_default();
        let Some((label, behind)) = behind.split_once('?') else {
            return false;
        };
        let is_label = !label.is_empty() && label.bytes().all(|octet| octet.is_ascii_graphic());
        is_label && matches!(behind.as_bytes(), [b'b' | b'B' | b'q' | b'Q', b'?', ..])
    };
    text.match_indices("=?").any(begins)
}

/// Encoded words with a space between them, each with whole characters.
fn encoded(text: &str) -> String {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut end_word = |word: &mut String| {
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(&*word)));
        word.clear();
    };
    for c in text.chars() {
        if word.len().saturating_add(c.len_utf8()) > MAX_OCTETS {
            end_word(&mut word);
        }
        word.push(c);
    }
    end_word(&mut word);
    words.join(" ")
}

/// An encoded word has at most 75 characters (RFC 2047 §2), 12 of them around its text.
const MAX_OCTETS: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::address_list;
    use crate::message::words;
    use proptest::prelude::*;

    #[test]
    fn only_what_must_be_is_encoded() {
        for (plain, field) in [
            ("hello, world", "hello, world"),
            ("", ""),
            ("Über uns <id@x>", "=?utf-8?B?w5xiZXI=?= uns <id@x>"),
            ("a é  ü b", "a =?utf-8?B?w6kgIMO8?= b"),
            ("=?utf-8?Q?a?=", "=?utf-8?B?PT91dGYtOD9RP2E/PQ==?="),
            ("<https://x.example/u?q=?a>", "<https://x.example/u?q=?a>"),
            ("a=??b?c=?d", "a=??b?c=?d"),
        ] {
            assert_eq!(text(plain), field);
        }
        for word in text(&"é".repeat(100)).split(' ') {
            assert!(word.len() <= 75, "{word}");
        }
    }

    #[test]
    fn addresses_are_printed_as_they_may_stand_in_a_field() {
        let printed = |value: &str| addresses(&address_list::parse(value.as_bytes()));
        for (value, field) in [
            ("a@b.c", "a@b.c"),
            ("Ann Lee <a@b.c>, d@e.f", "Ann Lee <a@b.c>, d@e.f"),
            ("\"Lee, Ann\" <a@b.c>", "\"Lee, Ann\" <a@b.c>"),
            ("\"a \\\"b\\\" c.\" <a@b.c>", "\"a \\\"b\\\" c.\" <a@b.c>"),
            ("Zoë <a@b.c>", "=?utf-8?B?Wm/Dqw==?= <a@b.c>"),
            ("", ""),
        ] {
            assert_eq!(printed(value).as_deref(), Some(field));
        }
        assert_eq!(printed("zoë@b.c"), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_again(plain in "([ -~éüł€]|[=?bQ ]{0,4}|=\\?a\\?q\\?|\\?=){0,60}") {
            let plain = words::clean(&plain);
            let field = text(&plain);
            prop_assert!(field.bytes().all(|octet| matches!(octet, b' '..=b'~')));
            prop_assert_eq!(words::text(field.as_bytes()), plain);
        }

        #[test]
        fn a_name_is_read_again(name in "[ -~éüł€]{1,60}") {
            let name = words::clean(&name);
            prop_assume!(!name.is_empty() && !name.contains("=?"));
            let one = VisibleAddress { name: Some(name.clone()), email: "a@b.c".to_owned() };
            let field = addresses(std::slice::from_ref(&one)).unwrap();
            let [read] = address_list::parse(field.as_bytes()).try_into().unwrap();
            let squeezed = |name: Option<String>| {
                name.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" "))
            };
            prop_assert_eq!(read.email, one.email);
            prop_assert_eq!(squeezed(read.name), squeezed(Some(name)));
        }
    }
}
