//! Where HTML shows parts of its own message: `cid:` URLs (RFC 2392).

use std::fmt;
use std::ops::Range;

use memchr::memchr_iter;

use crate::message::parameters::undo_percents;

/// A `cid:` URL in HTML.
#[derive(Clone, PartialEq, Eq)]
pub struct Reference {
    /// The whole URL, in octets.
    pub range: Range<usize>,
    /// The Content-ID it names, without angle brackets.
    pub content_id: String,
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({:?})", self.range)
    }
}

/// All `cid:` URLs in their order.
pub fn references(html: &str) -> impl Iterator<Item = Reference> + '_ {
    let octets = html.as_bytes();
    memchr_iter(b':', octets).filter_map(|colon| {
        let start = colon.checked_sub(3)?;
        if !octets.get(start..colon)?.eq_ignore_ascii_case(b"cid") {
            return None;
        }
        let url = colon.saturating_add(1);
        let behind = octets.get(url..)?;
        // The colon among them keeps `cid:cid:cid:…` from being read over and over.
        let ends = |octet: &u8| octet.is_ascii_whitespace() || b"\"'<>():".contains(octet);
        let length = behind.iter().position(ends).unwrap_or(behind.len());
        let id = undo_percents(behind.get(..length)?);
        Some(Reference {
            range: start..url.saturating_add(length),
            content_id: String::from_utf8(id).ok().filter(|id| !id.is_empty())?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_found_whole_and_read() {
        let html = "<img src=\"CID:pic%40x\"> é <i style='background: url(cid:b@y)'> cid: cid:ü";
        let found: Vec<_> = references(html)
            .map(|found| (html.get(found.range).unwrap(), found.content_id))
            .collect();
        let expected = [("CID:pic%40x", "pic@x"), ("cid:b@y", "b@y"), ("cid:ü", "ü")];
        assert_eq!(found, expected.map(|(url, id)| (url, id.to_owned())));
    }
}
