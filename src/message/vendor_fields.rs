//! Header fields that speak to an email service over SMTP: what they are to another service.
//!
//! None of them may leave: they can hold a customer's data. Most ask for things that the reader of
//! the message does not see, such as statistics. A few change what is sent, to whom or when; who
//! leaves those out sends people a text full of `-name-`, or a test to customers.

use serde_json::Value;

use crate::message::email::HeaderField;

/// What a service's own field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VendorField {
    /// Nothing that anyone would miss in the message.
    Harmless,
    /// A message other than this one; the words say which.
    Another(String),
}

/// Whether the field speaks to one of the services that are known, and how.
pub fn read(field: &HeaderField) -> Option<VendorField> {
    let name = field.name.to_ascii_lowercase();
    let value = field.value.trim();
    let known =
        PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name.as_str());
    if !known {
        return None;
    }
    let asked = match name.as_str() {
        _ if value.is_empty() => None,
        "x-smtpapi" => json_wish(value, &SENDGRID),
        "x-msys-api" => json_wish(value, &SPARKPOST),
        "x-mailgun-drop-message" if is_no(value) => None,
        _ if CHANGING.iter().any(|changing| name.starts_with(changing)) => Some(String::new()),
        _ => None,
    };
    Some(match asked {
        None => VendorField::Harmless,
        Some(member) if member.is_empty() => VendorField::Another(field.name.clone()),
        Some(member) => VendorField::Another(format!("{} ({member})", field.name)),
    })
}

/// The first of these members that says something. A text that is no object is a wish too, one that
/// nobody can read.
fn json_wish(value: &str, members: &[&str]) -> Option<String> {
    let Ok(Value::Object(wishes)) = serde_json::from_str(value) else {
        return Some("not JSON".to_owned());
    };
    let says_something = |path: &&&str| {
        let first = path.split('/').next().unwrap_or_default();
        let found = wishes.get(first).and_then(|found| {
            let rest = path.get(first.len()..).unwrap_or_default();
            found.pointer(rest)
        });
        found.is_some_and(|found| match found {
            Value::Null | Value::Bool(false) => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(table) => !table.is_empty(),
            Value::Number(number) => number.as_u64() != Some(0),
            Value::String(text) => !text.is_empty() && text != "0",
            Value::Bool(true) => true,
        })
    };
    members
        .iter()
        .find(says_something)
        .map(|member| (*member).to_owned())
}

fn is_no(value: &str) -> bool {
    ["no", "false", "0"]
        .iter()
        .any(|no| no.eq_ignore_ascii_case(value))
}

/// Fields of `SendGrid`, Mandrill, Mailgun, SES, Postmark, `SparkPost`, Brevo, Mailjet and Resend.
const PREFIXES: [&str; 7] = [
    "x-mc-",
    "x-mailgun-",
    "x-ses-",
    "x-pm-",
    "x-mailin-",
    "x-mailjet-",
    "x-mj-",
];
const NAMES: [&str; 3] = ["x-smtpapi", "x-msys-api", "resend-idempotency-key"];
/// What changes the content, the recipients or the time.
const CHANGING: [&str; 12] = [
    "x-mc-mergevars",
    "x-mc-template",
    "x-mc-bccaddress",
    "x-mc-sendat",
    "x-mailgun-recipient-variables",
    "x-mailgun-template-",
    "x-mailgun-deliver-by",
    "x-mailgun-delivery-time-optimize-period",
    "x-mailgun-time-zone-localize",
    "x-mailgun-drop-message",
    "x-mj-template",
    "x-mj-vars",
];
/// Members of X-SMTPAPI that do, as JSON pointers without the first slash.
const SENDGRID: [&str; 9] = [
    "to",
    "sub",
    "section",
    "send_at",
    "send_each_at",
    "filters/template/settings/enable",
    "filters/templates/settings/enable",
    "filters/footer/settings/enable",
    "filters/bcc/settings/enable",
];
const SPARKPOST: [&str; 4] = ["cc", "bcc", "archive", "options/sandbox"];

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Option<VendorField> {
        read(&HeaderField {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    #[test]
    fn fields_of_services_are_told_from_others() {
        for (name, value) in [
            (
                "X-SMTPAPI",
                r#"{"category":["a"],"to":[],"filters":{"opentrack":{}}}"#,
            ),
            (
                "x-smtpapi",
                r#"{"filters":{"footer":{"settings":{"enable":0}}}}"#,
            ),
            ("X-SMTPAPI", ""),
            ("X-MC-Tags", "a"),
            ("X-Mailgun-Tag", "a"),
            ("X-Mailgun-Drop-Message", "no"),
            ("X-SES-CONFIGURATION-SET", "a"),
            ("X-PM-Metadata-order", "7"),
            ("X-MSYS-API", r#"{"tags":["a"]}"#),
            ("X-MSYS-API", r#"{"options":{"sandbox":false}}"#),
            ("X-Mailin-Tag", "a"),
            ("Resend-Idempotency-Key", "a"),
        ] {
            assert_eq!(field(name, value), Some(VendorField::Harmless), "{name}");
        }
        for name in ["X-Campaign", "List-Unsubscribe", "X-MCX", "X-SMTPAPI-2"] {
            assert_eq!(field(name, "x"), None, "{name}");
        }
    }

    #[test]
    fn what_changes_the_message_is_named() {
        for (name, value, told) in [
            ("X-SMTPAPI", r#"{"to":["a@b.c"]}"#, "X-SMTPAPI (to)"),
            ("X-SMTPAPI", r#"{"sub":{"-a-":["b"]}}"#, "X-SMTPAPI (sub)"),
            ("X-SMTPAPI", r#"{"send_at":1}"#, "X-SMTPAPI (send_at)"),
            (
                "X-SMTPAPI",
                r#"{"filters":{"templates":{"settings":{"enable":1}}}}"#,
                "X-SMTPAPI (filters/templates/settings/enable)",
            ),
            (
                "X-SMTPAPI",
                r#"{"filters":{"template":{"settings":{"enable":1}}}}"#,
                "X-SMTPAPI (filters/template/settings/enable)",
            ),
            (
                "X-MSYS-API",
                r#"{"options":{"sandbox":true}}"#,
                "X-MSYS-API (options/sandbox)",
            ),
            (
                "X-Mailgun-Delivery-Time-Optimize-Period",
                "24h",
                "X-Mailgun-Delivery-Time-Optimize-Period",
            ),
            (
                "X-Mailgun-Time-Zone-Localize",
                "09:00",
                "X-Mailgun-Time-Zone-Localize",
            ),
            ("X-SMTPAPI", "{", "X-SMTPAPI (not JSON)"),
            ("X-MSYS-API", r#"{"bcc":["a@b.c"]}"#, "X-MSYS-API (bcc)"),
            ("X-MC-MergeVars", "{}", "X-MC-MergeVars"),
            ("x-mc-template", "a", "x-mc-template"),
            (
                "X-Mailgun-Recipient-Variables",
                "{}",
                "X-Mailgun-Recipient-Variables",
            ),
            ("X-Mailgun-Template-Name", "a", "X-Mailgun-Template-Name"),
            ("X-Mailgun-Drop-Message", "yes", "X-Mailgun-Drop-Message"),
            ("X-MJ-TemplateID", "7", "X-MJ-TemplateID"),
        ] {
            let another = VendorField::Another(told.to_owned());
            assert_eq!(field(name, value), Some(another), "{name}");
        }
    }
}
