//! What a server may repeat of a login in its replies, and nobody is to see: some quote the line that
//! they do not understand.

use crate::secret::Secret;
use crate::smtp::sasl::{self, Credentials, Mechanism};

/// The password, as it is and as mechanisms write it. A user name by itself is no secret.
#[derive(Default)]
pub(super) struct Hidden(Vec<Secret>);

impl Hidden {
    pub(super) fn of(credentials: &Credentials) -> Self {
        let plain = sasl::responses(Mechanism::Plain, credentials);
        let login = sasl::responses(Mechanism::Login, credentials).pop();
        let mut secrets = vec![credentials.password.clone()];
        for response in plain.into_iter().chain(login) {
            let unpadded = response.reveal().trim_end_matches('=');
            secrets.push(Secret::new(unpadded));
            secrets.push(response);
        }
        secrets.retain(|secret| !secret.is_empty());
        // One may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        Self(secrets)
    }

    /// The line of a reply without them. Its code stays, whatever the password is.
    pub(super) fn hide(&self, line: &str) -> String {
        let (code, text) = line
            .split_at_checked(4)
            .filter(|(code, _)| is_code(code))
            .unwrap_or(("", line));
        let hide = |text: String, secret: &Secret| text.replace(secret.reveal(), MARK);
        let text = self.0.iter().fold(text.to_owned(), hide);
        format!("{code}{text}")
    }
}

fn is_code(text: &str) -> bool {
    let digits = text.strip_suffix([' ', '-']);
    digits.is_some_and(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))
}

/// What stands in place of a secret.
pub(super) const MARK: &str = "***";
