//! Messages: whatever the octets, what leaves is valid JSON of the length that was told, keeps its
//! contract, and shows nobody who was hidden.
//!
//! Three octets choose the limits, the settings of the providers, and the number of recipients. The
//! rest is the content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use smtp_gateway::auth::Identity;
use smtp_gateway::auth::api_key::ApiKey;
use smtp_gateway::delivery::http::cakemail::{Cakemail, InlineImages, TextAndHtml};
use smtp_gateway::delivery::http::json::Json;
use smtp_gateway::delivery::http::provider::{Provider, Request, Unsendable};
use smtp_gateway::delivery::http::{Config, Requests, cakemail};
use smtp_gateway::delivery::idempotency::{Fingerprint, Idempotency};
use smtp_gateway::delivery::{Outcome, Outgoing};
use smtp_gateway::message::content::Content;
use smtp_gateway::message::date::Date;
use smtp_gateway::message::email::VisibleAddress;
use smtp_gateway::message::mime;
use smtp_gateway::message::pieces::Pieces;
use smtp_gateway::message::raw::RawMessage;
use smtp_gateway::message::received::Received;
use smtp_gateway::message::structure::{Limits, Structure};
use smtp_gateway::smtp::address::{ForwardPath, ReversePath};
use smtp_gateway::smtp::envelope::Envelope;
use smtp_gateway::smtp::parameter::MailParameters;

use super::choices::Choices;

pub fn check(input: &[u8]) {
    let mut choices = Choices::new(input);
    let limits = choices.one_of(&LIMITS);
    let settings = choices.octet();
    let recipients = choices.one_of(&[1, 3]);
    let content = Content::new(choices.rest().to_vec());
    let Ok(structure) = Structure::read(&content, &limits) else {
        return;
    };
    check_structure(&structure, &limits, &content);
    let outgoing = outgoing(content, structure, recipients);
    json(&outgoing, settings);
    cakemail(&outgoing, settings);
    raw(&outgoing, &limits);
}

fn check_structure(structure: &Structure, limits: &Limits, content: &Content) {
    let parts = structure.parts();
    // The first is the message itself, which does not count.
    assert!(!parts.is_empty() && (limits.parts == 0 || parts.len() <= limits.parts + 1));
    for part in parts {
        assert!(part.header.range.end <= part.body.start);
        assert!(part.body.start <= part.body.end && part.body.end <= content.len());
        let header = part.header.range.len();
        assert!(limits.header_octets == 0 || header <= limits.header_octets);
        let mut depth = usize::from(part.is_multipart);
        let mut around = part.parent;
        while let Some(index) = around {
            depth += 1;
            around = parts[index].parent;
        }
        assert!(limits.depth == 0 || depth <= limits.depth);
    }
}

/// A message from and to fixed addresses, completed as a submission is.
fn outgoing(content: Content, structure: Structure, recipients: usize) -> Outgoing {
    let (reverse_path, _) = ReversePath::take("<app@example.com>").expect("a path");
    let mut envelope = Envelope::new(reverse_path.clone(), MailParameters::default());
    for number in 0..recipients {
        let text = format!("<hidden{number}@example.net>");
        envelope.add_recipient(ForwardPath::take(&text).expect("a path").0);
    }
    let now = Date::from_unix(1_704_092_401);
    let author = VisibleAddress::without_name(reverse_path.to_string());
    let email = mime::read(&content, &structure).complete(
        now,
        "added@gateway.example".to_owned(),
        Some(author),
    );
    let fingerprint = Fingerprint::of("ann", &reverse_path, content.octets());
    Outgoing {
        session_id: "s".to_owned(),
        id: "t".to_owned(),
        envelope,
        content,
        structure,
        email,
        received: Received {
            at: now,
            by: "gateway.example".to_owned(),
            from: [192, 0, 2, 1].into(),
            helo: Some("client.example".to_owned()),
            protocol: "ESMTPSA",
            account: Some("ann".to_owned()),
        },
        identity: Identity {
            account: "ann".to_owned(),
            api_key: ApiKey::Gateways,
        },
        idempotency: Idempotency::new(fingerprint, "t"),
    }
}

fn json(outgoing: &Outgoing, settings: u8) {
    let config = Config {
        raw: settings & 1 != 0,
        requests: match settings & 2 {
            0 => Requests::PerMessage,
            _ => Requests::PerRecipient,
        },
        ..config()
    };
    let provider = Json::new(&config).expect("settings of ours");
    let requests = provider
        .requests(outgoing, None)
        .expect("it carries everything");
    check_recipients(&provider, &requests, outgoing);
    for request in &requests {
        let json = read(&request.body);
        let named = outgoing.envelope.recipients()[request.recipients.clone()].iter();
        let named: Vec<_> = named.map(ForwardPath::to_string).collect();
        assert_eq!(json["envelope"]["to"], Value::from(named));
        check_contract(&json);
    }
}

/// What `docs/json-api.schema.json` says of texts that must not break out of a line.
fn check_contract(json: &Value) {
    let lists = ["from", "to", "cc", "reply_to"];
    let lists = lists
        .iter()
        .filter_map(|name| json[name].as_array())
        .flatten();
    for address in lists.chain(json.get("sender")) {
        let email = address["email"].as_str().expect("an address");
        let (local, domain) = email.rsplit_once('@').expect("an address has two sides");
        assert!(!local.is_empty() && is_line(local), "{email:?}");
        assert!(is_word(domain), "{email:?}");
        assert!(address.get("name").is_none_or(is_some_line));
    }
    assert!(is_word(json["message_id"].as_str().expect("an id")));
    assert!(
        json.get("subject")
            .and_then(Value::as_str)
            .is_none_or(is_line)
    );
    for field in json["headers"].as_array().expect("a list") {
        let name = field["name"].as_str().expect("a name");
        let lower = name.to_ascii_lowercase();
        assert!(!["bcc", "resent-bcc"].contains(&lower.as_str()));
        assert!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|octet| matches!(octet, b'!'..=b'9' | b';'..=b'~'))
        );
        assert!(field["value"].as_str().is_some_and(is_line), "{field}");
    }
    for attachment in json["attachments"].as_array().expect("a list") {
        assert!(attachment.get("filename").is_none_or(is_some_line));
        let id = attachment
            .get("content_id")
            .map(|id| id.as_str().expect("text"));
        assert!(id.is_none_or(is_word), "{id:?}");
        let content_type = attachment["content_type"].as_str().expect("a type");
        assert!(is_line(content_type) && content_type.contains('/'));
        let content = decoded(&attachment["content"]);
        assert_eq!(attachment["size"], content.len());
    }
}

fn cakemail(outgoing: &Outgoing, settings: u8) {
    let config = Config {
        cakemail: cakemail::Config {
            text_and_html: match settings & 4 {
                0 => TextAndHtml::Both,
                _ => TextAndHtml::Html,
            },
            inline_images: match settings & 24 {
                0 => InlineImages::Attach,
                8 => InlineImages::Refuse,
                _ => InlineImages::Data,
            },
            ..cakemail::Config::default()
        },
        ..config()
    };
    let provider = Cakemail::new(&config).expect("settings of ours");
    let wanted = provider
        .senders()
        .expect("it knows senders")
        .wanted(outgoing);
    if let Err(unsendable) = wanted {
        refused(unsendable);
    }
    let requests = match provider.requests(outgoing, Some("1042")) {
        Ok(requests) => requests,
        Err(unsendable) => return refused(unsendable),
    };
    check_recipients(&provider, &requests, outgoing);
    for request in &requests {
        let recipient = &outgoing.envelope.recipients()[request.recipients.start];
        for body in [Some(&request.body), request.fallback.as_ref()]
            .into_iter()
            .flatten()
        {
            let json = read(body);
            assert_eq!(json["email"], recipient.to_string());
            let others = outgoing
                .envelope
                .recipients()
                .iter()
                .filter(|other| *other != recipient);
            check_call(&json, outgoing, others);
        }
    }
}

/// A call names its own recipient, and others only where the message itself does.
fn check_call<'a>(
    json: &Value,
    outgoing: &Outgoing,
    others: impl Iterator<Item = &'a ForwardPath>,
) {
    let content = &json["content"];
    assert!(content["subject"].as_str().is_none_or(is_line));
    let headers = json["additional_headers"].as_array();
    for field in headers.into_iter().flatten() {
        assert!(field["name"].as_str().is_some_and(is_line), "{field}");
        assert!(field["value"].as_str().is_some_and(is_line), "{field}");
    }
    let attachments = json["attachments"]
        .as_array()
        .or(content["attachments"].as_array());
    for attachment in attachments.into_iter().flatten() {
        decoded(&attachment["content"]);
    }
    let shown = json.to_string();
    let octets = outgoing.content.octets();
    for other in others {
        let other = other.to_string();
        let said = octets
            .windows(other.len())
            .any(|found| found.eq_ignore_ascii_case(other.as_bytes()));
        assert!(
            said || !shown.contains(&other),
            "a call that names another recipient"
        );
    }
}

/// What leaves raw hides who was hidden, and says the same when it is read again.
fn raw(outgoing: &Outgoing, limits: &Limits) {
    let Outgoing {
        content,
        structure,
        email,
        received,
        ..
    } = outgoing;
    let field = received.field("t");
    let raw = RawMessage::new(content, structure, email, Some(&field));
    let octets = raw.slices().concat();
    assert_eq!(octets.len(), raw.len());
    assert!(octets.starts_with(field.as_bytes()));
    let content = Content::new(octets);
    // It is longer than what came, by what was added.
    let limits = Limits {
        header_octets: 0,
        ..*limits
    };
    let again = Structure::read(&content, &limits).expect("as many parts as before");
    assert_eq!(again.parts().len(), structure.parts().len());
    let header = again.header().expect("a header");
    for field in header.fields(content.octets()) {
        assert!(!field.is("Bcc") && !field.is("Resent-Bcc"));
    }
    let found = mime::read(&content, &again);
    assert!(found.text == email.text && found.html == email.html);
    assert!(found.to == email.to && found.cc == email.cc && found.subject == email.subject);
    assert_eq!(found.attachments.len(), email.attachments.len());
    assert_eq!(found.received_count, email.received_count + 1);
}

fn check_recipients(provider: &dyn Provider, requests: &[Request], outgoing: &Outgoing) {
    let recipients = outgoing.envelope.recipients().len();
    assert_eq!(requests.len(), provider.calls(recipients));
    let mut next = 0;
    for request in requests {
        assert!(request.recipients.start == next && request.recipients.end > next);
        next = request.recipients.end;
    }
    assert_eq!(next, recipients);
}

fn read(pieces: &Pieces) -> Value {
    let mut octets = Vec::new();
    for frame in pieces.frames() {
        assert!(!frame.is_empty() && frame.len() <= 64 * 1024);
        octets.extend_from_slice(&frame);
    }
    assert_eq!(octets.len() as u64, pieces.len());
    assert!(pieces.text_len() <= pieces.len());
    serde_json::from_slice(&octets).expect("valid JSON")
}

/// Why it cannot be sent is told to the client.
fn refused(unsendable: Unsendable) {
    let outcome = Outcome::from(unsendable);
    let Outcome::Failed {
        reason: Some(reason),
        ..
    } = outcome
    else {
        panic!("a message that cannot be carried fails, and says why");
    };
    assert!(is_line(reason.as_str()) && reason.as_str().is_ascii());
}

/// Canonical base64: padded, without line breaks, no stray bits.
fn decoded(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("base64");
    STANDARD
        .decode(text)
        .expect("base64 that strict readers take")
}

fn is_some_line(text: &Value) -> bool {
    text.as_str()
        .is_some_and(|text| !text.is_empty() && is_line(text))
}

fn is_line(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

fn is_word(text: &str) -> bool {
    is_line(text) && !text.is_empty() && !text.contains(' ')
}

fn config() -> Config {
    Config {
        url: "https://api.example".to_owned(),
        ..Config::default()
    }
}

const LIMITS: [Limits; 3] = [
    Limits {
        depth: 10,
        parts: 1000,
        header_octets: 1024 * 1024,
    },
    Limits {
        depth: 2,
        parts: 4,
        header_octets: 300,
    },
    Limits {
        depth: 0,
        parts: 0,
        header_octets: 0,
    },
];
