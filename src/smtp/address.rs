//! Addresses of the envelope: mailboxes and paths (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3).
//!
//! A value of these types is right by construction and prints in one canonical form: the domain in
//! lower case, the local part quoted only where it must be. Header addresses are another type
//! (`message::email::VisibleAddress`) on purpose: who is shown and who gets mail are two things.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why the argument of MAIL or RCPT is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("not an address")]
    Syntax,
    /// RFC 6409 §4.2 wants fully qualified domains; `root@localhost` leads nowhere from here.
    #[error("the domain is not fully qualified")]
    NotQualified,
    #[error("longer than {MAX_PATH} octets")]
    TooLong,
}

/// `local-part@domain` (RFC 5321 §2.3.11).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    local_part: String,
    domain: Domain,
}

impl Mailbox {
    /// Reads a whole mailbox, without angle brackets.
    ///
    /// # Errors
    /// [`PathError`] when anything but one mailbox is there.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        let (local_part, rest) = local_part(text)?;
        let Some(domain) = rest.strip_prefix('@') else {
            // `<Postmaster>` is legal (RFC 5321 §4.1.1.3), but a gateway has no local mailbox.
            return Err(if rest.is_empty() {
                PathError::NotQualified
            } else {
                PathError::Syntax
            });
        };
        Ok(Self {
            local_part,
            domain: Domain::parse(domain)?,
        })
    }

    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// True when the address needs no SMTPUTF8 (RFC 6531 §3.3).
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii()
            && match &self.domain {
                Domain::Name(name) => name.is_ascii(),
                Domain::Literal(_) => true,
            }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local_part) {
            f.write_str(&self.local_part)?;
        } else {
            f.write_str("\"")?;
            for c in self.local_part.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        write!(f, "@{}", self.domain)
    }
}

/// Local parts are personal data: the debug form shows the domain only.
impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox(…@{})", self.domain)
    }
}

/// The part behind the `@`: a name, or an address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// Lower case; A-labels or, with SMTPUTF8, U-labels, as the client sent them.
    Name(String),
    Literal(AddressLiteral),
}

impl Domain {
    fn parse(text: &str) -> Result<Self, PathError> {
        if let Some(literal) = text.strip_prefix('[') {
            let literal = literal.strip_suffix(']').ok_or(PathError::Syntax)?;
            return AddressLiteral::parse(literal).map(Self::Literal);
        }
        if text.len() > MAX_DOMAIN || !text.split('.').all(is_label) {
            return Err(PathError::Syntax);
        }
        if !text.contains('.') {
            return Err(PathError::NotQualified);
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Literal(literal) => literal.fmt(f),
        }
    }
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressLiteral(IpAddr);

impl AddressLiteral {
    fn parse(inside: &str) -> Result<Self, PathError> {
        let tagged = inside
            .split_once(':')
            .filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6"));
        let address = match tagged {
            Some((_, v6)) => v6.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => inside.parse::<Ipv4Addr>().map(IpAddr::V4),
        };
        address.map(Self).map_err(|_| PathError::Syntax)
    }
}

impl From<IpAddr> for AddressLiteral {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl fmt::Display for AddressLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "[{v4}]"),
            IpAddr::V6(v6) => write!(f, "[IPv6:{v6}]"),
        }
    }
}

/// The argument of MAIL: where reports go, or nowhere (RFC 5321 §4.5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    Null,
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Takes a path off the front of `text`; what follows it is returned.
    ///
    /// # Errors
    /// [`PathError`] when no path stands there.
    pub fn take(text: &str) -> Result<(Self, &str), PathError> {
        let (path, rest) = take_path(text)?;
        if path.is_empty() {
            return Ok((Self::Null, rest));
        }
        Ok((Self::Mailbox(Mailbox::parse(without_route(path)?)?), rest))
    }

    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

/// The mailbox without brackets; nothing for the null path.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// The argument of RCPT: one recipient (RFC 5321 §4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForwardPath(Mailbox);

impl ForwardPath {
    /// Takes a path off the front of `text`; what follows it is returned.
    ///
    /// # Errors
    /// [`PathError`] when no path stands there, the null path included.
    pub fn take(text: &str) -> Result<(Self, &str), PathError> {
        let (path, rest) = take_path(text)?;
        Ok((Self(Mailbox::parse(without_route(path)?)?), rest))
    }

    pub fn mailbox(&self) -> &Mailbox {
        &self.0
    }
}

/// The mailbox without brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Cuts `<path>` off the front. An address without brackets is taken too, up to the next blank:
/// old clients send `MAIL FROM:app@example.com`.
fn take_path(text: &str) -> Result<(&str, &str), PathError> {
    let Some(inner) = text.strip_prefix('<') else {
        let end = text.find(' ').unwrap_or(text.len());
        let (path, rest) = text.split_at_checked(end).ok_or(PathError::Syntax)?;
        let bare = !path.is_empty() && !path.contains(['<', '>', '"']);
        return bare.then_some((path, rest)).ok_or(PathError::Syntax);
    };
    // A `>` inside a quoted local part does not end the path.
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => {
                let (path, rest) = inner.split_at_checked(at).ok_or(PathError::Syntax)?;
                let rest = rest.strip_prefix('>').ok_or(PathError::Syntax)?;
                let ends = rest.is_empty() || rest.starts_with(' ');
                return ends.then_some((path, rest)).ok_or(PathError::Syntax);
            }
            _ => {}
        }
    }
    Err(PathError::Syntax)
}

/// Source routes are parsed and ignored (RFC 5321 §4.1.1.3, appendix C).
fn without_route(path: &str) -> Result<&str, PathError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let (route, mailbox) = path.split_once(':').ok_or(PathError::Syntax)?;
    let hops = route.split(',').all(|hop| {
        hop.strip_prefix('@')
            .is_some_and(|name| name.split('.').all(is_label))
    });
    hops.then_some(mailbox).ok_or(PathError::Syntax)
}

/// Reads a local part, undoing quotes; what follows it is returned.
fn local_part(text: &str) -> Result<(String, &str), PathError> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find('@').unwrap_or(text.len());
        let (local, rest) = text.split_at_checked(end).ok_or(PathError::Syntax)?;
        return is_dot_string(local)
            .then(|| (local.to_owned(), rest))
            .ok_or(PathError::Syntax);
    };
    let mut local = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '"' => return Ok((local, chars.as_str())),
            '\\' => chars.next().ok_or(PathError::Syntax)?,
            c => c,
        };
        if c != ' ' && !is_visible(c) {
            return Err(PathError::Syntax);
        }
        local.push(c);
    }
    Err(PathError::Syntax)
}

fn is_dot_string(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5322 §3.2.3, and RFC 6531 §3.3 beyond ASCII.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && is_visible(c))
}

/// One label of a name. The underscore is no hostname character, but hosts with one exist.
fn is_label(label: &str) -> bool {
    let letters = label.chars().all(|c| {
        c.is_ascii_alphanumeric()
            || matches!(c, '-' | '_')
            || (!c.is_ascii() && is_visible(c) && !is_dot_like(c))
    });
    let bounded = !label.is_empty() && label.len() <= MAX_LABEL;
    letters && bounded && !label.starts_with('-') && !label.ends_with('-')
}

/// Neither blank nor control nor a format character. The latter (line separators, direction marks,
/// zero-width joints) look like nothing and mean something else to the next reader.
fn is_visible(c: char) -> bool {
    !c.is_control()
        && !c.is_whitespace()
        && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        && !matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}')
}

/// Characters that IDNA turns into a dot: with them, two readers see two different domains.
fn is_dot_like(c: char) -> bool {
    matches!(c, '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
}

/// RFC 5321 §4.5.3.1.3, without the two brackets.
const MAX_PATH: usize = 254;
/// RFC 5321 §4.5.3.1.2.
const MAX_DOMAIN: usize = 255;
/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reverse(text: &str) -> Result<String, PathError> {
        ReversePath::take(text).map(|(path, _)| path.to_string())
    }

    #[test]
    fn paths_are_read_and_printed_in_one_form() {
        for (text, printed) in [
            ("<app@Example.COM>", "app@example.com"),
            ("<>", ""),
            ("<@a.example,@b.example:app@c.example>", "app@c.example"),
            ("<\"a b\"@example.com>", "\"a b\"@example.com"),
            ("<\"app\"@example.com>", "app@example.com"),
            ("<\"a\\\"@b>\"@example.com>", "\"a\\\"@b>\"@example.com"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("<a@[ipv6:2001:DB8::1]>", "a@[IPv6:2001:db8::1]"),
            ("<a@xn--bcher-kva.example>", "a@xn--bcher-kva.example"),
            ("<ünï@bücher.example>", "ünï@bücher.example"),
            ("app@example.com", "app@example.com"),
        ] {
            assert_eq!(reverse(text).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "<",
            "<a@example.com",
            "a@example.com>",
            "<a@example.com>x",
            "<a b@example.com>",
            "<a..b@example.com>",
            "<.a@example.com>",
            "<a@example.com.>",
            "<a@-example.com>",
            "<a@exa mple.com>",
            "<a@b@example.com>",
            "<@a.example:>",
            "<a@[192.0.2.256]>",
            "<a@[x:y]>",
            "<\"a@example.com>",
            "<\"a\u{7}\"@example.com>",
            "<a@ex\u{3002}ample.com>",
            "<a\u{2028}b@example.com>",
            "<a\u{200b}b@example.com>",
        ] {
            assert_eq!(reverse(text), Err(PathError::Syntax), "{text}");
        }
        assert_eq!(reverse("<root@localhost>"), Err(PathError::NotQualified));
        assert_eq!(reverse("<postmaster>"), Err(PathError::NotQualified));
        let long = format!("<{}@example.com>", "a".repeat(250));
        assert_eq!(reverse(&long), Err(PathError::TooLong));
        assert!(ForwardPath::take("<>").is_err());
    }

    #[test]
    fn debug_output_hides_the_local_part() {
        let (path, _) = ForwardPath::take("<ann@example.net>").unwrap();
        assert!(!format!("{path:?}").contains("ann"));
    }

    proptest! {
        #[test]
        fn parsing_what_was_printed_gives_the_same_mailbox(
            local in "[ -~é]{1,20}", domain in "[a-z0-9]{1,9}(\\.[a-zé]{1,9}){1,3}"
        ) {
            let quoted = local.replace('\\', "\\\\").replace('"', "\\\"");
            let mailbox = Mailbox::parse(&format!("\"{quoted}\"@{domain}")).unwrap();
            prop_assert_eq!(mailbox.local_part(), local);
            prop_assert_eq!(Mailbox::parse(&mailbox.to_string()), Ok(mailbox));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
            let _ = ReversePath::take(&text);
            let _ = ForwardPath::take(&text);
        }
    }
}
