//! What a server offers in its reply to EHLO (RFC 5321 §4.1.1.1), as far as it is used.

use crate::smtp::reply::Reply;
use crate::smtp::sasl::Mechanism;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) starttls: bool,
    /// The one to log in with: PLAIN where there is a choice.
    pub(super) mechanism: Option<Mechanism>,
    pub(super) size: bool,
    pub(super) pipelining: bool,
    pub(super) eight_bit_mime: bool,
    pub(super) smtputf8: bool,
}

impl Extensions {
    /// Reads one extension a line, behind the first line; those unknown are skipped.
    pub(super) fn of(reply: &Reply) -> Self {
        let mut extensions = Self::default();
        for line in reply.text().split('\n').skip(1) {
            extensions.take(line);
        }
        extensions
    }

    fn take(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        match words.next().unwrap_or("").to_ascii_uppercase().as_str() {
            "STARTTLS" => self.starttls = true,
            "AUTH" => {
                let mechanisms: Vec<_> = words.filter_map(Mechanism::parse).collect();
                self.mechanism = [Mechanism::Plain, Mechanism::Login]
                    .into_iter()
                    .find(|mechanism| mechanisms.contains(mechanism));
            }
            "SIZE" => self.size = true,
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(text: &'static str) -> Extensions {
        Extensions::of(&Reply::plain(250, text))
    }

    #[test]
    fn extensions_are_read_in_any_case_with_and_without_parameters() {
        let all = offered(
            "host\nSize 1000\npipelining\n8BitMime\nSMTPUTF8\nSTARTTLS\nX-OTHER\n\
             AUTH LOGIN XOAUTH2 plain",
        );
        let expected = Extensions {
            starttls: true,
            mechanism: Some(Mechanism::Plain),
            size: true,
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
        };
        assert_eq!(all, expected);
        assert_eq!(
            offered("host\nAUTH LOGIN").mechanism,
            Some(Mechanism::Login)
        );
        assert_eq!(offered("host\nAUTH CRAM-MD5").mechanism, None);
    }

    #[test]
    fn the_first_line_offers_nothing() {
        assert_eq!(offered("STARTTLS"), Extensions::default());
    }
}
