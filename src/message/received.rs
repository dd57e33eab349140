//! How the message came to the gateway: its trace (RFC 5321 §4.4).

use std::net::IpAddr;

use crate::message::date::Date;
use crate::message::words;

/// The facts of one transaction that a reader of the message may want to know.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    pub at: Date,
    /// Our name.
    pub by: String,
    pub from: IpAddr,
    /// What the client called itself.
    pub helo: Option<String>,
    /// `ESMTPSA` and its kin (RFC 3848, RFC 6531 §4.3).
    pub protocol: &'static str,
    /// Whose key was used.
    pub account: Option<String>,
}

impl Received {
    /// The header field for raw content that leaves, with its line end. The account is not named in
    /// it: recipients see this field.
    pub fn field(&self, id: &str) -> String {
        let from = match self.from.to_canonical() {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        let helo = word(self.helo.as_deref().unwrap_or_default());
        let from = match helo.is_empty() {
            true => from,
            false => format!("{helo} ({from})"),
        };
        format!(
            "Received: from {from}\r\n\tby {} with {} id {};\r\n\t{}\r\n",
            word(&self.by),
            word(self.protocol),
            word(id),
            self.at.rfc5322()
        )
    }
}

/// One word that ends nothing: a client may call itself what it likes.
fn word(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.:[]".contains(*c);
    words::clean(text)
        .chars()
        .filter(plain)
        .take(MAX_WORD)
        .collect()
}

/// RFC 5321 §4.5.3.1.2, the longest name of a host.
const MAX_WORD: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn received(helo: &str, from: &str) -> String {
        let received = Received {
            at: Date::from_unix(0),
            by: "gw.example".to_owned(),
            from: from.parse().unwrap(),
            helo: Some(helo.to_owned()),
            protocol: "ESMTPSA",
            account: Some("acme".to_owned()),
        };
        received.field("4f2a")
    }

    #[test]
    fn the_field_names_client_gateway_and_time() {
        assert_eq!(
            received("app.example", "192.0.2.1"),
            concat!(
                "Received: from app.example ([192.0.2.1])\r\n\tby gw.example with ESMTPSA id 4f2a;",
                "\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
            )
        );
        assert!(received("", "2001:db8::1").starts_with("Received: from [IPv6:2001:db8::1]\r\n"));
    }

    #[test]
    fn a_client_cannot_write_a_field_of_its_own() {
        let field = received("x) by evil;\r\nBcc: a@b.c\r\n\r\n<", "192.0.2.1");
        assert!(field.starts_with("Received: from xbyevilBcc:ab.c ([192.0.2.1])\r\n\tby "));
        assert_eq!(field.matches("\r\n").count(), 3);
    }
}
