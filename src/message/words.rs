//! Header text: unfolding, raw 8-bit octets, encoded words (RFC 5322 §2.2.3, RFC 2047, RFC 6532).
//!
//! All text that comes out of a header field goes through [`clean`]: nothing in it can end a line
//! when somebody makes a header field of it again, whatever an encoded word tried to bring in.

use memchr::memmem;

use crate::message::charset;
use crate::message::transfer;

/// The text of an unstructured field: unfolded, decoded, cleaned, without blanks around.
pub fn text(field_value: &[u8]) -> String {
    clean(&decode(&unfold(field_value)))
}

/// As [`text`], but encoded words stay as they are. For structured fields: a decoded comma would be
/// taken for one between two addresses.
pub fn undecoded(field_value: &[u8]) -> String {
    clean(&charset::decode(&unfold(field_value), None))
}

/// Removes the line ends of folds; the blanks behind them stay.
pub fn unfold(field_value: &[u8]) -> Vec<u8> {
    let mut octets = field_value.to_vec();
    octets.retain(|octet| !matches!(octet, b'\r' | b'\n'));
    octets
}

/// Puts a space in the place of every character that ends a line, ends a string or cannot be seen,
/// and trims (CVE-2020-28247 and its kin).
pub fn clean(text: &str) -> String {
    let unwanted = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.replace(unwanted, " ").trim().to_owned()
}

/// Decodes encoded words wherever they stand and takes the rest for UTF-8 or windows-1252.
///
/// Words with only blanks between them are joined (RFC 2047 §6.2), before their charset is applied:
/// many programs cut in the middle of a character.
fn decode(octets: &[u8]) -> String {
    let mut text = String::new();
    let mut word = Joined::default();
    let mut plain = 0_usize;
    let mut at = 0_usize;
    // Without one more `?=` there is no encoded word: then the rest is not searched again and
    // again.
    while let Some(found) = octets.get(at..).and_then(|rest| memmem::find(rest, b"=?")) {
        let start = at.saturating_add(found);
        let rest = octets.get(start..).unwrap_or_default();
        match EncodedWord::take(rest) {
            Ok((encoded, length)) => {
                let between = octets.get(plain..start).unwrap_or_default();
                if !(word.is_open() && between.trim_ascii().is_empty()) {
                    word.close(&mut text);
                    text.push_str(&charset::decode(between, None));
                }
                word.push(&encoded, &mut text);
                at = start.saturating_add(length);
                plain = at;
            }
            Err(NoWord::Here) => at = start.saturating_add(2),
            Err(NoWord::Left) => break,
        }
    }
    word.close(&mut text);
    text.push_str(&charset::decode(
        octets.get(plain..).unwrap_or_default(),
        None,
    ));
    text
}

/// `=?charset*language?encoding?text?=`
struct EncodedWord<'a> {
    charset: &'a [u8],
    octets: Vec<u8>,
}

enum NoWord {
    Here,
    Left,
}

impl<'a> EncodedWord<'a> {
    /// Takes the encoded word at the front; also says how long it is.
    fn take(octets: &'a [u8]) -> Result<(Self, usize), NoWord> {
        let behind = octets.strip_prefix(b"=?").ok_or(NoWord::Here)?;
        let window = behind.get(..MAX_CHARSET).unwrap_or(behind);
        let end = memchr::memchr(b'?', window).ok_or(NoWord::Here)?;
        let (label, behind) = behind.split_at_checked(end).ok_or(NoWord::Here)?;
        let is_label = !label.is_empty() && label.iter().all(u8::is_ascii_graphic);
        let (base64, behind) = match behind {
            [b'?', b'b' | b'B', b'?', text @ ..] if is_label => (true, text),
            [b'?', b'q' | b'Q', b'?', text @ ..] if is_label => (false, text),
            _ => return Err(NoWord::Here),
        };
        let end = memmem::find(behind, b"?=").ok_or(NoWord::Left)?;
        let text = behind.get(..end).unwrap_or_default();
        let taken = octets.len().saturating_sub(behind.len());
        let word = Self {
            // RFC 2231 §5 puts a language behind the charset.
            charset: label
                .split(|&octet| octet == b'*')
                .next()
                .unwrap_or_default(),
            octets: match base64 {
                true => transfer::decode(text, transfer::TransferEncoding::Base64),
                false => decode_q(text),
            },
        };
        Ok((word, taken.saturating_add(end).saturating_add(2)))
    }
}

/// The octets of encoded words in a row that share a charset.
#[derive(Default)]
struct Joined {
    charset: Option<Vec<u8>>,
    octets: Vec<u8>,
}

impl Joined {
    fn is_open(&self) -> bool {
        self.charset.is_some()
    }

    fn push(&mut self, word: &EncodedWord<'_>, text: &mut String) {
        let same = |charset: &Vec<u8>| charset.eq_ignore_ascii_case(word.charset);
        if !self.charset.as_ref().is_some_and(same) {
            self.close(text);
            self.charset = Some(word.charset.to_vec());
        }
        self.octets.extend_from_slice(&word.octets);
    }

    fn close(&mut self, text: &mut String) {
        if let Some(charset) = self.charset.take() {
            text.push_str(&charset::decode(&self.octets, Some(&charset)));
            self.octets.clear();
        }
    }
}

/// The Q encoding (RFC 2047 §4.2).
fn decode_q(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = match rest {
            [b'=', high, low, ..] => hex_octet(*high, *low),
            _ => None,
        };
        rest = match escaped {
            Some(_) => rest.get(3..).unwrap_or_default(),
            None => behind,
        };
        octets.push(match (escaped, first) {
            (Some(octet), _) => octet,
            (None, b'_') => b' ',
            (None, other) => other,
        });
    }
    octets
}

/// The octet that two hexadecimal digits stand for.
pub(super) fn hex_octet(high: u8, low: u8) -> Option<u8> {
    let digit = |octet: u8| {
        char::from(octet)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    digit(high)?.checked_mul(16)?.checked_add(digit(low)?)
}

/// Longer than any name of a charset.
const MAX_CHARSET: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoded_words_are_decoded() {
        for (value, decoded) in [
            (" Hello", "Hello"),
            (" =?utf-8?Q?Caf=C3=A9_au_lait?=", "Café au lait"),
            ("=?UTF-8?b?w6TDtsO8?= and more", "äöü and more"),
            ("Re: =?iso-8859-2?q?=B1?= x", "Re: ą x"),
            ("=?us-ascii*en?Q?Keith?=", "Keith"),
            ("=?utf-8?Q?a?=\r\n =?utf-8?Q?b?=", "ab"),
            ("=?utf-8?Q?a?= =?iso-8859-1?Q?=E9?= c", "aé c"),
            ("=?utf-8?Q?a?= b =?utf-8?Q?c?=", "a b c"),
            ("=?utf-8?B?w6Q=?==?utf-8?B?w7Y?=", "äö"),
            ("=?utf-8?Q?=C3?=\r\n =?UTF-8?Q?=A9?=", "é"),
            ("=?utf-8?Q??=x", "x"),
            ("=?utf-8?Q?a b = c?=", "a b = c"),
            ("=?utf-8?Q?Really?_Yes?=", "Really? Yes"),
            ("=?x-unknown?Q?caf=E9?=", "café"),
            ("=?utf-8?X?a?= =?? =?utf-8?", "=?utf-8?X?a?= =?? =?utf-8?"),
            ("=?utf-8?Q?no end", "=?utf-8?Q?no end"),
            ("a\r\n folded\r\n\tsubject", "a folded subject"),
        ] {
            assert_eq!(text(value.as_bytes()), decoded, "{value:?}");
        }
    }

    #[test]
    fn raw_octets_are_utf_8_or_windows_1252() {
        assert_eq!(text("Zażółć".as_bytes()), "Zażółć");
        assert_eq!(text(b"Rapport d'\xe9t\xe9"), "Rapport d'été");
    }

    #[test]
    fn nothing_that_ends_a_line_comes_out() {
        for value in [
            "=?utf-8?Q?a=0D=0ABcc:_b?=",
            "=?utf-8?B?YQ0KQmNjOiBi?=",
            "=?utf-16be?B?AGEADQAKAEIAYwBjADoAIABi?=",
            "a\u{2028}\u{2029}Bcc: b",
            "a\0\u{85}Bcc: b",
            "a\r\u{b}Bcc: b",
        ] {
            let decoded = text(value.as_bytes());
            assert_eq!(decoded.replace(' ', ""), "aBcc:b", "{value:?}");
        }
    }

    #[test]
    fn a_field_full_of_half_words_is_read_in_no_time() {
        for half in ["=?", "=?a?q?", "=?utf-8?B?x ", " =?utf-8?Q?a?= =?"] {
            let value = half.repeat(500_000_usize.div_euclid(half.len()));
            let _ = text(value.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_its_encoding(original in "\\PC{0,40}", cut in 0_usize..40) {
            let encode = |octets: &[u8]| -> String {
                octets.iter().map(|octet| format!("={octet:02X}")).collect()
            };
            let (left, right) = original.as_bytes().split_at(cut.min(original.len()));
            let value = format!("=?utf-8?Q?{}?= =?utf-8?Q?{}?=", encode(left), encode(right));
            prop_assert_eq!(text(value.as_bytes()), clean(original.trim_start_matches('\u{feff}')));
        }

        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = text(&octets);
        }
    }
}
