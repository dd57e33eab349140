//! Addresses: of the envelope, read and printed; of header fields, where what is shown must be what
//! was checked.
//!
//! The whole input is the argument of MAIL or RCPT, and the value of a From field.

use smtp_gateway::message::address_list;
use smtp_gateway::smtp::address::{Domain, ForwardPath, Mailbox, ReversePath};

pub fn check(input: &[u8]) {
    if let Ok(text) = str::from_utf8(input) {
        paths(text);
        mailbox(text);
    }
    header(input);
}

fn paths(text: &str) {
    if let Ok((path, rest)) = ForwardPath::take(text) {
        assert!(text.ends_with(rest) && (rest.is_empty() || rest.starts_with(' ')));
        assert_eq!(
            ForwardPath::take(&format!("<{path}>")),
            Ok((path.clone(), ""))
        );
        // The two differ in the null path only.
        let (reverse, behind) = ReversePath::take(text).expect("a path is a path");
        assert_eq!((reverse.mailbox(), behind), (Some(path.mailbox()), rest));
        check_mailbox(path.mailbox());
    } else if let Ok((path, _)) = ReversePath::take(text) {
        assert_eq!(path, ReversePath::Null);
    }
}

fn mailbox(text: &str) {
    if let Ok(mailbox) = Mailbox::parse(text) {
        check_mailbox(&mailbox);
    }
}

/// It prints as one word that nothing can be made of but itself.
fn check_mailbox(mailbox: &Mailbox) {
    let printed = mailbox.to_string();
    assert!(!printed.chars().any(char::is_control));
    assert_eq!(
        Mailbox::parse(&printed).as_ref(),
        Ok(mailbox),
        "{printed:?}"
    );
    assert!(printed.starts_with('"') || !printed.contains([' ', '<', '>', '"', ',', '\\']));
    assert_eq!(printed.is_ascii(), mailbox.is_ascii());
    if let Some((_, domain)) = printed.rsplit_once('@') {
        assert_eq!(domain, mailbox.domain().to_string());
    }
    // A policy that reads it in the header sees the mailbox that the envelope has, or none.
    match address_list::parse(printed.as_bytes()).as_slice() {
        [shown] => assert!(shown.email.eq_ignore_ascii_case(&printed), "{printed:?}"),
        shown => assert!(shown.is_empty() && !printed.is_ascii(), "{printed:?}"),
    }
}

fn header(value: &[u8]) {
    for address in address_list::parse(value) {
        let email = &address.email;
        assert!(!email.chars().any(char::is_control), "{email:?}");
        let (_, domain) = email.rsplit_once('@').expect("an address has two sides");
        assert!(!domain.contains(char::is_whitespace), "{email:?}");
        if let Some(name) = &address.name {
            assert!(
                !name.is_empty() && !name.chars().any(char::is_control),
                "{name:?}"
            );
        }
        // Alone or in angle brackets, it is read as what it is.
        for again in [email.clone(), format!("a <{email}>, b@example.com")] {
            let found = address_list::parse(again.as_bytes());
            assert_eq!(found.first().map(|first| &first.email), Some(email));
        }
        // A literal is shown as it was written, and has other forms that mean the same.
        if let Ok(mailbox) = Mailbox::parse(email)
            && let Domain::Name(_) = mailbox.domain()
        {
            assert!(mailbox.to_string().eq_ignore_ascii_case(email), "{email:?}");
        }
    }
}
