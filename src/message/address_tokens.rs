//! The words and signs that header fields with addresses are made of (RFC 5322 §3.2).
//!
//! Whatever is opened and never closed is text. No octet is looked at more than a few times,
//! however many quotes and parentheses a field is made of.

use memchr::memchr;

/// RFC 5322 §3.2.1. The dot is left to the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Blanks, however many.
    Space,
    /// A word, its dots included, or an encoded word with all that is in it.
    Atom(&'a [u8]),
    /// Without the quotes.
    Quoted(Vec<u8>),
    /// Without the outer parentheses.
    Comment(&'a [u8]),
    /// With its brackets.
    Literal(&'a [u8]),
    /// One of `<>@,:;`
    Special(u8),
}

impl Token<'_> {
    pub(super) fn is_at(&self) -> bool {
        *self == Self::Special(b'@')
    }

    pub(super) fn is_space(&self) -> bool {
        *self == Self::Space
    }

    pub(super) fn starts_with_dot(&self) -> bool {
        matches!(self, Self::Atom(text) if text.starts_with(b"."))
    }

    pub(super) fn ends_with_dot(&self) -> bool {
        matches!(self, Self::Atom(text) if text.ends_with(b"."))
    }
}

pub(super) struct Tokens<'a> {
    rest: &'a [u8],
    /// Once a quote, a comment or a literal turned out to have no end, the octet that opens one is
    /// taken for text, and the field is not searched for its end again.
    open_ended: [bool; 3],
}

impl<'a> Tokens<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self {
            rest: octets,
            open_ended: [false; 3],
        }
    }

    fn enclosed(&mut self) -> Option<Token<'a>> {
        let (&opener, text) = self.rest.split_first()?;
        let kind = OPENERS.iter().position(|&octet| octet == opener)?;
        let open_ended = self.open_ended.get_mut(kind)?;
        if *open_ended {
            return None;
        }
        let length = match opener {
            b'"' => quoted_length(text),
            b'(' => comment_length(text),
            _ => memchr(b']', text),
        };
        let Some(length) = length else {
            *open_ended = true;
            return None;
        };
        let whole = self.rest.get(..length.saturating_add(2))?;
        let inner = text.get(..length)?;
        self.rest = self.rest.get(whole.len()..)?;
        Some(match opener {
            b'"' => Token::Quoted(unescape(inner)),
            b'(' => Token::Comment(inner),
            _ => Token::Literal(whole),
        })
    }

    /// The length of the word at the front, at least 1.
    fn atom_length(&self) -> usize {
        if let Some(length) = encoded_word_length(self.rest) {
            return length;
        }
        let ends = |octet: &u8| *octet == b' ' || OPENERS.contains(octet) || is_special(*octet);
        let behind_first = self.rest.get(1..).unwrap_or_default();
        let length = behind_first
            .iter()
            .position(ends)
            .unwrap_or(behind_first.len());
        length.saturating_add(1)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (&first, behind) = self.rest.split_first()?;
        if first == b' ' {
            let end = self.rest.iter().position(|&octet| octet != b' ');
            self.rest = self.rest.get(end.unwrap_or(self.rest.len())..)?;
            return Some(Token::Space);
        }
        if is_special(first) {
            self.rest = behind;
            return Some(Token::Special(first));
        }
        if let Some(token) = self.enclosed() {
            return Some(token);
        }
        let (atom, rest) = self.rest.split_at_checked(self.atom_length())?;
        self.rest = rest;
        Some(Token::Atom(atom))
    }
}

fn is_special(octet: u8) -> bool {
    b"<>@,:;".contains(&octet)
}

/// Where the quote ends that `text` stands behind.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|&octet| {
        let ends = octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
        ends
    })
}

/// Where the comment ends that `text` stands behind. Comments nest (RFC 5322 §3.2.2).
fn comment_length(text: &[u8]) -> Option<usize> {
    let (mut depth, mut escaped) = (1_usize, false);
    text.iter().position(|&octet| {
        match octet {
            b'(' if !escaped => depth = depth.saturating_add(1),
            b')' if !escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = octet == b'\\' && !escaped;
        depth == 0
    })
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut escaped = false;
    for &octet in text {
        if octet == b'\\' && !escaped {
            escaped = true;
            continue;
        }
        octets.push(octet);
        escaped = false;
    }
    octets
}

/// The length of an encoded word at the front. Programs leave commas and colons in them as they
/// are, so it is taken as one; but not with blanks, quotes or an address in it.
fn encoded_word_length(octets: &[u8]) -> Option<usize> {
    let behind = octets.strip_prefix(b"=?")?;
    let inner = |octet: &u8| octet.is_ascii_graphic() && !b"?<>@\"".contains(octet);
    let label = behind.iter().take_while(|octet| inner(octet)).count();
    let [b'?', b'b' | b'B' | b'q' | b'Q', b'?', text @ ..] = behind.get(label..)? else {
        return None;
    };
    let length = text.iter().take_while(|octet| inner(octet)).count();
    let ends = text.get(length..)?.starts_with(b"?=");
    let frame = octets.len().saturating_sub(text.len()).saturating_add(2);
    ends.then(|| frame.saturating_add(length))
}

/// What opens a quoted string, a comment and a domain literal.
const OPENERS: [u8; 3] = *b"\"([";
/// What a word of an address cannot hold.
pub(super) const SPECIALS: &str = "()<>[]:;@\\,\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_comments_and_literals_are_told_apart() {
        let tokens: Vec<Token<'_>> =
            Tokens::new(b"a.b \"c \\\"d\"(e (f) \\) g)@[h],=?x?q?i,j?=").collect();
        assert_eq!(
            tokens,
            [
                Token::Atom(b"a.b"),
                Token::Space,
                Token::Quoted(b"c \"d".to_vec()),
                Token::Comment(b"e (f) \\) g"),
                Token::Special(b'@'),
                Token::Literal(b"[h]"),
                Token::Special(b','),
                Token::Atom(b"=?x?q?i,j?="),
            ]
        );
    }

    #[test]
    fn what_is_never_closed_is_text() {
        let tokens: Vec<Token<'_>> = Tokens::new(b"a\"b (c [d").collect();
        assert_eq!(
            tokens,
            [
                Token::Atom(b"a"),
                Token::Atom(b"\"b"),
                Token::Space,
                Token::Atom(b"(c"),
                Token::Space,
                Token::Atom(b"[d"),
            ]
        );
    }
}
