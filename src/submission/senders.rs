//! Which senders an account may name: PURE.
//!
//! An account with a list may use the domains on it, in MAIL and in all fields of the header that name
//! an author or a sender (RFC 6409 §6.1). Whoever has a list must write those fields so that they can
//! be read in one way only: what is compared here is then what everybody reads behind us.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::auth::Identity;
use crate::auth::api_key::ApiKey;
use crate::message::exact_addresses;
use crate::message::header::{Field, Header};
use crate::smtp::address::{Domain, ReversePath};

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who may send as whom. An account without an entry may name any sender.
    pub senders: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The user name of the login, in any case; `*` for all that have no entry of their own.
    pub account: String,
    /// `example.com`, `*.example.com` for what is below it, `*` for any.
    pub domains: Vec<String>,
}

/// Why the lists cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendersError {
    #[error("an entry has no account")]
    NoAccount,
    #[error("the account {0:?} is there twice")]
    Twice(String),
    #[error("{0:?} is neither a domain, nor *. and a domain, nor *")]
    Domain(String),
}

/// Where a message names a sender that its account may not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderPlace {
    ReversePath,
    From,
    Sender,
    ResentFrom,
    ResentSender,
    /// A sender of the email API, by its id.
    SenderId,
    /// The header section as a whole.
    Header,
}

impl SenderPlace {
    pub const ALL: [Self; 7] = [
        Self::ReversePath,
        Self::From,
        Self::Sender,
        Self::ResentFrom,
        Self::ResentSender,
        Self::SenderId,
        Self::Header,
    ];

    /// For metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReversePath => "reverse_path",
            Self::From => "from",
            Self::Sender => "sender",
            Self::ResentFrom => "resent_from",
            Self::ResentSender => "resent_sender",
            Self::SenderId => "sender_id",
            Self::Header => "header",
        }
    }
}

/// Why a message does not go out under the names that it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderFault {
    NotAllowed(SenderPlace),
    /// Another reader could find another sender there.
    Unclear(SenderPlace),
}

impl SenderFault {
    pub fn place(self) -> SenderPlace {
        match self {
            Self::NotAllowed(place) | Self::Unclear(place) => place,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Senders {
    lists: HashMap<String, SenderList>,
    /// For keys whose user name says nothing, where no list is for all.
    nobody: SenderList,
}

impl Senders {
    /// # Errors
    /// [`SendersError`]: the first entry that cannot be used.
    pub fn new(config: &Config) -> Result<Self, SendersError> {
        let mut lists = HashMap::new();
        for Entry { account, domains } in &config.senders {
            if account.is_empty() {
                return Err(SendersError::NoAccount);
            }
            let allowed: Result<_, _> = domains.iter().map(|text| Allowed::parse(text)).collect();
            if lists
                .insert(account_key(account), SenderList(allowed?))
                .is_some()
            {
                return Err(SendersError::Twice(account.clone()));
            }
        }
        Ok(Self {
            lists,
            nobody: SenderList::default(),
        })
    }

    /// Whether an entry is for one account by its name.
    pub fn name_accounts(&self) -> bool {
        self.lists.keys().any(|account| account != ALL)
    }

    /// What an account may send as; `None` where that is not bounded.
    ///
    /// Where the password is the key, the user name is free, and proves nothing: only the list for all
    /// holds, and without one such a login may not name any sender, or every list could be evaded.
    pub fn of(&self, identity: &Identity) -> Option<&SenderList> {
        if self.lists.is_empty() {
            return None;
        }
        let all = self.lists.get(ALL);
        match &identity.api_key {
            ApiKey::Passed(_) => all.or(Some(&self.nobody)),
            ApiKey::Gateways | ApiKey::Fixed(_) | ApiKey::LookedUp(_) => {
                self.lists.get(&account_key(&identity.account)).or(all)
            }
        }
    }
}

/// The senders of one account.
#[derive(Debug, Clone, Default)]
pub struct SenderList(Vec<Allowed>);

impl SenderList {
    /// Judges the argument of MAIL. The null path names nobody: the header decides.
    ///
    /// # Errors
    /// [`SenderFault`]
    pub fn reverse_path(&self, path: &ReversePath) -> Result<(), SenderFault> {
        let refused = Err(SenderFault::NotAllowed(SenderPlace::ReversePath));
        let Some(mailbox) = path.mailbox() else {
            return Ok(());
        };
        match mailbox.domain() {
            _ if self.allows_any() => Ok(()),
            Domain::Name(name) if exact_addresses::is_plain(mailbox.local_part()) => {
                if self.allows(name) { Ok(()) } else { refused }
            }
            Domain::Name(_) | Domain::Literal(_) => refused,
        }
    }

    /// Judges all fields of a header section that name a sender.
    ///
    /// # Errors
    /// [`SenderFault`]: the first one.
    pub fn header(&self, octets: &[u8], header: &Header) -> Result<(), SenderFault> {
        if self.allows_any() {
            return Ok(());
        }
        // A line that is no field ends the section for us, and for others it may not.
        if header.body == header.range.end && header.body < octets.len() {
            return Err(SenderFault::Unclear(SenderPlace::Header));
        }
        for field in header.fields(octets) {
            if let Some(place) = place(&field) {
                self.field(&field, place)?;
            }
        }
        Ok(())
    }

    fn field(&self, field: &Field<'_>, place: SenderPlace) -> Result<(), SenderFault> {
        if place == SenderPlace::SenderId {
            // Whose domain that is, only the API knows.
            return match field.value.iter().all(u8::is_ascii_whitespace) {
                true => Ok(()),
                false => Err(SenderFault::NotAllowed(place)),
            };
        }
        let domains = exact_addresses::domains(field.value).ok_or(SenderFault::Unclear(place))?;
        for domain in domains {
            let domain = a_labels(&domain).ok_or(SenderFault::Unclear(place))?;
            if !self.allows(&domain) {
                return Err(SenderFault::NotAllowed(place));
            }
        }
        Ok(())
    }

    fn allows_any(&self) -> bool {
        self.0.contains(&Allowed::Any)
    }

    fn allows(&self, domain: &str) -> bool {
        let Some(domain) = a_labels(domain) else {
            return false;
        };
        self.0.iter().any(|allowed| match allowed {
            Allowed::Any => true,
            Allowed::Domain(name) => domain == *name,
            Allowed::Below(name) => {
                let above = domain.strip_suffix(name.as_str());
                above.is_some_and(|above| above.ends_with('.'))
            }
        })
    }
}

/// Domains in lower case, as A-labels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Any,
    Domain(String),
    Below(String),
}

impl Allowed {
    fn parse(text: &str) -> Result<Self, SendersError> {
        if text == ALL {
            return Ok(Self::Any);
        }
        let (name, allowed): (_, fn(String) -> Self) = match text.strip_prefix("*.") {
            Some(name) => (name, Self::Below),
            None => (text, Self::Domain),
        };
        let name = a_labels(name).ok_or_else(|| SendersError::Domain(text.to_owned()))?;
        Ok(allowed(name))
    }
}

/// The one form of a domain that all its spellings share; `None` for what is no domain, and for
/// spellings that not everybody takes for the same domain: other letters that look or sound alike, and
/// those that became others between two versions of the standard.
fn a_labels(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_strict(domain).ok()?;
    let lower = domain.to_lowercase();
    let (unicode, valid) = idna::domain_to_unicode(&ascii);
    let is_itself = lower == ascii || lower == unicode;
    let deviates = unicode.contains(['ß', 'ς', '\u{200c}', '\u{200d}']);
    (valid.is_ok() && is_itself && !deviates).then_some(ascii)
}

fn account_key(account: &str) -> String {
    account.trim().to_lowercase()
}

fn place(field: &Field<'_>) -> Option<SenderPlace> {
    let places = [
        ("From", SenderPlace::From),
        ("Sender", SenderPlace::Sender),
        ("Resent-From", SenderPlace::ResentFrom),
        ("Resent-Sender", SenderPlace::ResentSender),
        ("X-Sender-Id", SenderPlace::SenderId),
    ];
    let named = places.iter().find(|(name, _)| field.is(name))?;
    Some(named.1)
}

/// All accounts, or all domains.
const ALL: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    fn list(domains: &[&str]) -> SenderList {
        let allowed = domains.iter().map(|text| Allowed::parse(text).unwrap());
        SenderList(allowed.collect())
    }

    fn senders(entries: &[(&str, &[&str])]) -> Result<Senders, SendersError> {
        let entry = |(account, domains): &(&str, &[&str])| Entry {
            account: (*account).to_owned(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        };
        Senders::new(&Config {
            senders: entries.iter().map(entry).collect(),
        })
    }

    fn path(text: &str) -> ReversePath {
        ReversePath::take(&format!("<{text}>")).unwrap().0
    }

    fn identity(account: &str) -> Identity {
        Identity {
            account: account.to_owned(),
            api_key: ApiKey::Gateways,
        }
    }

    #[test]
    fn domains_are_compared_whole_and_in_any_case_and_spelling() {
        let list = list(&["Example.com", "*.example.org", "bücher.example"]);
        for domain in [
            "example.com",
            "EXAMPLE.com",
            "a.example.org",
            "a.b.Example.org",
            "bücher.example",
            "BÜCHER.example",
            "xn--bcher-kva.example",
            "XN--BCHER-KVA.example",
        ] {
            assert!(list.allows(domain), "{domain}");
        }
        for domain in [
            "example.org",
            "a.example.com",
            "badexample.org",
            "example.com.evil.example",
            "bucher.example",
            "examp\u{2113}e.com",
            "ｅxample.com",
            "example.com.",
            "exam_ple.com",
            "=?utf-8?q?x?=.example.org",
            "xn--a.example.org",
            "stra\u{df}e.example.org",
            "",
        ] {
            assert!(!list.allows(domain), "{domain}");
        }
    }

    #[test]
    fn an_account_has_its_own_list_or_that_of_all() {
        let senders = senders(&[("Ann", &["a.example"]), ("*", &["b.example"])]).unwrap();
        let allows = |account: &str, domain: &str| {
            let list = senders.of(&identity(account)).unwrap();
            list.allows(domain)
        };
        for account in ["ann", "ANN", " ann "] {
            assert!(allows(account, "a.example") && !allows(account, "b.example"));
        }
        assert!(allows("bob", "b.example") && !allows("bob", "a.example"));
    }

    #[test]
    fn an_account_without_an_entry_is_not_bounded() {
        let none = senders(&[]).unwrap();
        assert!(none.of(&identity("ann")).is_none());
        let others = senders(&[("bob", &[])]).unwrap();
        assert!(others.of(&identity("ann")).is_none());
        assert!(others.of(&identity("bob")).is_some());
    }

    #[test]
    fn lists_that_cannot_be_used_are_told() {
        for (entries, error) in [
            (&[("", &["a.example"][..])][..], SendersError::NoAccount),
            (
                &[("ann", &[]), ("ANN", &[])],
                SendersError::Twice("ANN".to_owned()),
            ),
            (
                &[("ann", &["*example"])],
                SendersError::Domain("*example".to_owned()),
            ),
            (
                &[("ann", &["a@b.example"])],
                SendersError::Domain("a@b.example".to_owned()),
            ),
            (&[("ann", &[""])], SendersError::Domain(String::new())),
            (&[("ann", &["*."])], SendersError::Domain("*.".to_owned())),
        ] {
            assert_eq!(senders(entries).err(), Some(error));
        }
    }

    #[test]
    fn the_reverse_path_is_judged_and_the_null_path_is_nobody() {
        let list = list(&["a.example"]);
        for (text, allowed) in [
            ("app@a.example", true),
            ("app@A.EXAMPLE", true),
            ("\"app\"@a.example", true),
            ("", true),
            ("@a.example:app@b.example", false),
            ("app@b.example", false),
            ("app@x.a.example", false),
            ("\"app@b.example\"@a.example", false),
            ("\"app b\"@a.example", false),
            ("app@[192.0.2.1]", false),
        ] {
            assert_eq!(list.reverse_path(&path(text)).is_ok(), allowed, "{text}");
        }
        assert!(
            self::list(&["*"])
                .reverse_path(&path("app@[192.0.2.1]"))
                .is_ok()
        );
    }

    #[test]
    fn every_field_that_names_a_sender_is_judged() {
        use SenderFault::{NotAllowed, Unclear};
        let judge = |text: &str| {
            let header = Header::find(text.as_bytes(), 0, None, |_| false).unwrap();
            list(&["a.example"]).header(text.as_bytes(), &header)
        };
        let evil = "evil@b.example";
        for (text, verdict) in [
            ("Subject: s\r\n\r\nx".to_owned(), Ok(())),
            (
                "From: a@a.example\r\nTo: evil@b.example\r\n\r\n".to_owned(),
                Ok(()),
            ),
            ("X-Sender-Id: \r\n\r\n".to_owned(), Ok(())),
            (
                format!("From: a@a.example, {evil}\r\n\r\n"),
                Err(NotAllowed(SenderPlace::From)),
            ),
            (
                format!("From: a@a.example\r\nfrom : {evil}\r\n\r\n"),
                Err(NotAllowed(SenderPlace::From)),
            ),
            (
                format!("Sender: a@a.example\r\nSENDER: {evil}\r\n\r\n"),
                Err(NotAllowed(SenderPlace::Sender)),
            ),
            (
                format!("Resent-From: {evil}\r\n\r\n"),
                Err(NotAllowed(SenderPlace::ResentFrom)),
            ),
            (
                format!("Resent-Sender: {evil}\r\n\r\n"),
                Err(NotAllowed(SenderPlace::ResentSender)),
            ),
            (
                "X-Sender-Id: 7\r\n\r\n".to_owned(),
                Err(NotAllowed(SenderPlace::SenderId)),
            ),
            (
                "From: a\r\n\r\n".to_owned(),
                Err(Unclear(SenderPlace::From)),
            ),
            (
                "Sender: a@a.b@a.example\r\n\r\n".to_owned(),
                Err(Unclear(SenderPlace::Sender)),
            ),
            (
                format!("From: a@a.example\r\nno field\r\nFrom: {evil}\r\n\r\n"),
                Err(Unclear(SenderPlace::Header)),
            ),
        ] {
            assert_eq!(judge(&text), verdict, "{text}");
        }
    }
}
