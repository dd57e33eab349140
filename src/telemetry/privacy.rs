//! What may stand in a log line in place of an address.

use std::fmt::{Display, Write as _};

use aws_lc_rs::hmac;

/// Hides addresses behind a keyed hash: lines about one address can be put side by side, and
/// nobody without the key can ask which address it is. The key lives as long as the process.
pub struct AddressHash(hmac::Key);

impl AddressHash {
    pub fn new() -> Self {
        let mut key = [0; 32];
        fill_random(&mut key);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// Twelve hex digits.
    pub fn of(&self, address: impl Display) -> String {
        hex(
            hmac::sign(&self.0, address.to_string().as_bytes()).as_ref(),
            6,
        )
    }
}

impl Default for AddressHash {
    fn default() -> Self {
        Self::new()
    }
}

/// A new id of sixteen hex digits, for sessions.
pub fn random_id() -> String {
    let mut octets = [0; 8];
    fill_random(&mut octets);
    hex(&octets, octets.len())
}

fn fill_random(octets: &mut [u8]) {
    aws_lc_rs::rand::fill(octets).expect("the system's random source answers");
}

fn hex(octets: &[u8], count: usize) -> String {
    octets
        .iter()
        .take(count)
        .fold(String::new(), |mut text, octet| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{octet:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_address_has_the_same_hash_under_one_key_only() {
        let (one, other) = (AddressHash::new(), AddressHash::new());
        assert_eq!(one.of("ann@example.net"), one.of("ann@example.net"));
        assert_ne!(one.of("ann@example.net"), one.of("bob@example.net"));
        assert_ne!(one.of("ann@example.net"), other.of("ann@example.net"));
        assert_eq!(one.of("ann@example.net").len(), 12);
    }

    #[test]
    fn ids_differ() {
        assert_ne!(random_id(), random_id());
    }
}
