//! Which request is which, for an API that takes none twice: PURE.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use crate::smtp::address::{ForwardPath, ReversePath};

/// Which message this is: whose, from whom, and with which content. The same everywhere and at any
/// time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// `scope` is what tells apart who sends.
    pub fn of(scope: &str, reverse_path: &ReversePath, content: &[u8]) -> Self {
        let reverse_path = reverse_path.to_string();
        Self(hash([scope.as_bytes(), reverse_path.as_bytes(), content]))
    }
}

/// What a fingerprint is for some recipients.
pub type Key = [u8; SHA256_OUTPUT_LEN];

impl Fingerprint {
    /// The message for these recipients, in whatever order.
    pub fn key(&self, recipients: &[ForwardPath]) -> Key {
        let mut recipients: Vec<String> = recipients.iter().map(ToString::to_string).collect();
        recipients.sort_unstable();
        let parts = recipients.iter().map(String::as_bytes);
        hash(std::iter::once(self.0.as_slice()).chain(parts))
    }
}

/// Makes the keys of a message's requests.
#[derive(Clone, Copy)]
pub struct Idempotency(Fingerprint);

impl Idempotency {
    /// `id` tells apart what the fingerprint cannot: the client's Message-ID is a part of the
    /// content, so it may be empty; where there is none, two intended messages may look the same.
    pub fn new(fingerprint: Fingerprint, id: &str) -> Self {
        Self(Fingerprint(hash([&fingerprint.0, id.as_bytes()])))
    }

    /// The key of the request for these recipients: 32 hex digits.
    pub fn key(&self, recipients: &[ForwardPath]) -> String {
        let digest = self.0.key(recipients);
        digest
            .iter()
            .take(16)
            .fold(String::new(), |mut key, octet| {
                // Writing to a String cannot fail.
                let _ = write!(key, "{octet:02x}");
                key
            })
    }
}

/// Each part with its length, so that no two lists of parts look the same.
fn hash<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; SHA256_OUTPUT_LEN] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; SHA256_OUTPUT_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<ForwardPath> {
        text.split(' ')
            .map(|path| ForwardPath::take(&format!("<{path}>")).unwrap().0)
            .collect()
    }

    fn key(account: &str, content: &str, id: &str, recipients: &str) -> String {
        let fingerprint = Fingerprint::of(account, &ReversePath::Null, content.as_bytes());
        Idempotency::new(fingerprint, id).key(&paths(recipients))
    }

    #[test]
    fn a_key_is_the_same_for_the_same_and_another_for_anything_else() {
        let one = key("ann", "text", "", "a@b.example c@d.example");
        assert_eq!(one.len(), 32);
        assert_eq!(one, key("ann", "text", "", "c@d.example a@b.example"));
        for other in [
            key("bob", "text", "", "a@b.example c@d.example"),
            key("ann", "text.", "", "a@b.example c@d.example"),
            key("ann", "text", "1", "a@b.example c@d.example"),
            key("ann", "text", "", "a@b.example"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let (null, content) = (ReversePath::Null, b"bc");
        assert!(Fingerprint::of("a", &null, content) != Fingerprint::of("ab", &null, b"c"));
    }
}
