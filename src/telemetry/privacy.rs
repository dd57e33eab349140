//! What may stand in a log line in place of an address.

use std::fmt::{self, Display, Write as _};

use aws_lc_rs::hmac;

/// A hash that nobody can compute without its key, which lives as long as the process.
pub struct KeyedHash(hmac::Key);

impl KeyedHash {
    pub fn new() -> Self {
        let mut key = [0; 32];
        fill_random(&mut key);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// The hash of several values. Each goes in with its length, so that no two lists run together.
    pub fn of(&self, values: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for value in values {
            context.update(&(value.len() as u64).to_be_bytes());
            context.update(value);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }

    /// Twelve hex digits, for people to compare.
    pub fn short(&self, value: &[u8]) -> String {
        hex(&self.of(&[value]), 6)
    }
}

impl Default for KeyedHash {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHash")
    }
}

/// Hides addresses behind a keyed hash: lines about one address can be put side by side, and
/// nobody without the key can ask which address it is.
#[derive(Default)]
pub struct AddressHash(KeyedHash);

impl AddressHash {
    pub fn new() -> Self {
        Self::default()
    }

    /// Twelve hex digits.
    pub fn of(&self, address: impl Display) -> String {
        self.0.short(address.to_string().as_bytes())
    }
}

/// A new id of sixteen hex digits, for sessions.
pub fn random_id() -> String {
    let mut octets = [0; 8];
    fill_random(&mut octets);
    hex(&octets, octets.len())
}

/// A new number from 0 up to 1, for spreading things out in time.
pub fn random_fraction() -> f64 {
    let mut octets = [0; 4];
    fill_random(&mut octets);
    f64::from(u32::from_be_bytes(octets)) / 2f64.powi(32)
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
    fn values_do_not_run_together() {
        let hash = KeyedHash::new();
        assert_eq!(hash.of(&[b"ann", b"secret"]), hash.of(&[b"ann", b"secret"]));
        for other in [[&b"anns"[..], b"ecret"], [b"", b"annsecret"]] {
            assert_ne!(hash.of(&[b"ann", b"secret"]), hash.of(&other));
        }
    }

    #[test]
    fn ids_differ() {
        assert_ne!(random_id(), random_id());
    }
}
