use serde_json::{Value, json};

use super::*;
use crate::auth::Identity;
use crate::auth::api_key::ApiKey;
use crate::delivery::idempotency::{Fingerprint, Idempotency};
use crate::message::content::Content;
use crate::message::date::Date;
use crate::message::email::VisibleAddress;
use crate::message::mime;
use crate::message::received::Received;
use crate::message::structure::{Limits, Structure};
use crate::smtp::address::{ForwardPath, ReversePath};
use crate::smtp::envelope::Envelope;
use crate::smtp::parameter::MailParameters;

/// A message of this text, from `app@example.com` unless it says so itself.
fn outgoing(text: &str, recipients: &[&str]) -> Outgoing {
    let content = Content::new(text.to_owned());
    let structure = Structure::read(&content, &Limits::default()).unwrap();
    let (reverse_path, _) = ReversePath::take("<app@example.com>").unwrap();
    let mut envelope = Envelope::new(reverse_path, MailParameters::default());
    for recipient in recipients {
        let (path, _) = ForwardPath::take(&format!("<{recipient}>")).unwrap();
        envelope.add_recipient(path);
    }
    let author = VisibleAddress::without_name("app@example.com");
    let email = mime::read(&content, &structure);
    let email = email.complete(Date::from_unix(0), "new@gw".to_owned(), Some(author));
    Outgoing {
        session_id: "s".to_owned(),
        id: "t".to_owned(),
        envelope,
        content,
        structure,
        email,
        received: Received {
            at: Date::from_unix(0),
            by: "gw".to_owned(),
            from: [127, 0, 0, 1].into(),
            helo: None,
            protocol: "ESMTPSA",
            account: None,
        },
        identity: Identity {
            account: "ann".to_owned(),
            api_key: ApiKey::Gateways,
        },
        idempotency: Idempotency::new(Fingerprint::of("ann", &ReversePath::Null, b""), ""),
    }
}

fn settings(change: impl FnOnce(&mut Config)) -> http::Config {
    let mut config = http::Config {
        url: "https://api.example/base/".to_owned(),
        ..http::Config::default()
    };
    change(&mut config.cakemail);
    config
}

fn body(request: &Request) -> Value {
    let octets = request.body.frames().collect::<Vec<_>>().concat();
    assert_eq!(octets.len() as u64, request.body.len());
    serde_json::from_slice(&octets).unwrap()
}

/// The body of the one call for a message, sent by the sender 1042.
fn sent(text: &str, change: impl FnOnce(&mut Config)) -> Result<Value, Unsendable> {
    let cakemail = Cakemail::new(&settings(change)).unwrap();
    let outgoing = outgoing(text, &["ann@example.net"]);
    Ok(body(&cakemail.requests(&outgoing, Some("1042"))?[0]))
}

fn multipart(subtype: &str, parts: &[&str]) -> String {
    let parts: String = parts
        .iter()
        .map(|part| format!("--b\r\n{part}\r\n"))
        .collect();
    format!("Subject: s\r\nContent-Type: multipart/{subtype}; boundary=b\r\n\r\n{parts}--b--\r\n")
}

const PLAIN: &str = "Content-Type: text/plain\r\n\r\nplain";
const HTML: &str = "Content-Type: text/html\r\n\r\n<img src=\"cid:1@x\">";
const PNG: &str = "Content-Type: image/png\r\nContent-ID: <1@x>\r\n\r\nPNG";
const PDF: &str = "Content-Type: application/pdf; name=\"a b.pdf\"\r\n\
                   Content-Transfer-Encoding: base64\r\n\r\nJVBE\r\nRi0=";

#[test]
fn a_message_is_put_into_the_form_of_the_api() {
    let text = "From: Shop <shop@example.com>\r\nTo: all@example.net\r\nCc: b@example.net\r\n\
                Bcc: hidden@example.net\r\nSubject: =?utf-8?Q?Re=C3=A7u?= 7\r\n\
                Reply-To: help@example.com\r\nMessage-ID: <7@example.com>\r\nX-Campaign: c\r\n\
                X-List-Id: 9\r\nX-Tags: receipt,shop\r\nX-Track-Opens: yes\r\n\r\nThanks\r\n";
    let expected = json!({
        "email": "ann@example.net",
        "list_id": 9,
        "sender": {"id": "1042", "name": "Shop"},
        "content": {
            "type": "transactional", "subject": "Reçu 7", "text": "Thanks\n", "encoding": "utf-8"
        },
        "additional_headers": [
            {"name": "Reply-To", "value": "help@example.com"},
            {"name": "Message-ID", "value": "<7@example.com>"},
            {"name": "X-Campaign", "value": "c"}
        ],
        "tracking": {"opens": true, "clicks_html": false, "clicks_text": false},
        "tags": ["all", "shop", "receipt"]
    });
    let found = sent(text, |config| {
        config.tags = vec!["all".into(), "shop".into()];
    })
    .unwrap();
    assert_eq!(found, expected);
}

#[test]
fn each_recipient_has_a_call_that_names_nobody_else() {
    let config = settings(|config| config.account_id = NonZeroU64::new(27));
    let cakemail = Cakemail::new(&config).unwrap();
    let outgoing = outgoing(
        "Subject: s\r\n\r\nx\r\n",
        &["a@example.net", "b@example.net"],
    );
    let requests = cakemail.requests(&outgoing, Some("1042")).unwrap();
    let found: Vec<_> = requests
        .iter()
        .map(|request| (request.recipients.clone(), body(request)["email"].clone()))
        .collect();
    assert_eq!(
        found,
        [
            (0..1, json!("a@example.net")),
            (1..2, json!("b@example.net"))
        ]
    );
    for request in &requests {
        assert_eq!(request.method, Method::POST);
        let url = "https://api.example/base/v2/emails?account_id=27";
        assert_eq!(request.url.as_str(), url);
        assert_eq!(request.headers[CONTENT_TYPE], "application/json");
    }
}

#[test]
fn text_and_html_are_both_sent_or_the_html_alone() {
    let message = multipart(
        "alternative",
        &[PLAIN, "Content-Type: text/html\r\n\r\n<p>x</p>"],
    );
    let both = sent(&message, |_| {}).unwrap();
    assert_eq!(both["content"]["text"], "plain");
    assert_eq!(both["content"]["html"], "<p>x</p>");
    let html = |config: &mut Config| config.text_and_html = TextAndHtml::Html;
    let alone = sent(&message, html).unwrap();
    assert_eq!(alone["content"].get("text"), None);
    assert_eq!(alone["content"]["html"], "<p>x</p>");
    let plain = sent("Subject: s\r\n\r\nplain", html).unwrap();
    assert_eq!(plain["content"]["text"], "plain");
}

#[test]
fn a_message_with_both_texts_has_a_form_without_the_plain_one() {
    let message = multipart("alternative", &[PLAIN, HTML]);
    let cakemail = Cakemail::new(&settings(|_| {})).unwrap();
    let fallback = |text: &str| {
        let outgoing = outgoing(text, &["ann@example.net"]);
        let requests = cakemail.requests(&outgoing, Some("1042")).unwrap();
        let [request] = requests.try_into().ok().unwrap();
        let mut full = body(&request);
        full["content"].as_object_mut().unwrap().remove("text");
        let other = request.fallback?;
        let request = Request {
            body: other,
            fallback: None,
            ..request
        };
        assert_eq!(body(&request), full);
        Some(())
    };
    assert!(fallback(&message).is_some());
    for one in ["\r\nplain", "Content-Type: text/html\r\n\r\n<p>x</p>"] {
        assert!(fallback(one).is_none(), "{one}");
    }
}

#[test]
fn what_the_api_does_not_take_empty_is_filled() {
    for text in ["\r\n", "Subject:\r\n\r\n", "Subject: =?utf-8?Q??=\r\n\r\n"] {
        let content = sent(text, |_| {}).unwrap()["content"].clone();
        assert_eq!(content["subject"], "(no subject)");
        assert_eq!(content["text"], " ");
        assert_eq!(content.get("html"), None);
    }
}

#[test]
fn further_texts_go_behind_the_first() {
    let footer = "Content-Type: text/plain; charset=iso-8859-1\r\n\
                  Content-Transfer-Encoding: quoted-printable\r\n\
                  Content-Disposition: inline\r\n\r\n-- =\r\n\r\na <b> & caf=E9";
    let added = "<p style=\"white-space:pre-wrap\">-- \na &lt;b&gt; &amp; café</p>";
    let both = multipart("alternative", &[PLAIN, HTML]).replace("boundary=b", "boundary=a");
    let both = both.replace("--b", "--a").replace("Subject: s\r\n", "");
    let jpeg = "Content-Type: image/jpeg\r\nContent-Disposition: inline; filename=a.jpg\r\n\r\nJ";
    let html = "<img src=\"cid:1@x\">";
    let disclaimer = "Content-Type: text/html\r\n\r\n<i>no</i>";
    for (parts, text, expected) in [
        (&[PLAIN, footer][..], Some("plain\n-- \na <b> & café"), None),
        (
            &[PLAIN, jpeg, footer],
            Some("plain\n-- \na <b> & café"),
            None,
        ),
        (&[HTML, footer], None, Some(format!("{html}{added}"))),
        (
            &[&both, footer],
            Some("plain\n-- \na <b> & café"),
            Some(format!("{html}{added}")),
        ),
        (
            &[HTML, disclaimer],
            None,
            Some(format!("{html}\n<i>no</i>")),
        ),
        (
            &[&both, disclaimer],
            None,
            Some(format!("{html}\n<i>no</i>")),
        ),
        (
            &[PLAIN, disclaimer, footer],
            None,
            Some(format!(
                "<p style=\"white-space:pre-wrap\">plain</p><i>no</i>{added}"
            )),
        ),
    ] {
        let content = sent(&multipart("mixed", parts), |_| {}).unwrap()["content"].clone();
        assert_eq!(content["text"].as_str(), text, "{parts:?}");
        assert_eq!(content["html"].as_str(), expected.as_deref(), "{parts:?}");
    }
}

#[test]
fn html_cut_in_two_is_still_one_of_two_forms() {
    let cut = multipart(
        "mixed",
        &[HTML, PDF, "Content-Type: text/html\r\n\r\n<p>two</p>"],
    );
    let cut = cut.replace("Subject: s\r\n", "");
    let whole = multipart("alternative", &[PLAIN, "@"]).replace("boundary=b", "boundary=a");
    let whole = whole.replace("--b", "--a").replace('@', &cut);
    let email = sent(&whole, |_| {}).unwrap();
    assert_eq!(email["content"]["text"], "plain");
    assert_eq!(
        email["content"]["html"],
        "<img src=\"cid:1@x\">\n<p>two</p>"
    );
    assert_eq!(email["attachment"].as_array().unwrap().len(), 1);
}

#[test]
fn a_text_that_is_a_file_is_no_further_text() {
    let inner = multipart("mixed", &[PLAIN]).replace("--b", "--a");
    let inner = inner
        .replace("boundary=b", "boundary=a")
        .replace("Subject: s", "Content-Disposition: attachment");
    for file in [
        "Content-Disposition: attachment\r\n\r\nx",
        "Content-Type: text/plain; name=a.txt\r\n\r\nx",
        "Content-Type: text/html\r\nContent-Disposition: inline; filename=a.html\r\n\r\nx",
        &inner,
    ] {
        let refused = sent(&multipart("mixed", &[PLAIN, file]), |_| {});
        assert!(matches!(refused, Err(Unsendable::CannotCarry(_))), "{file}");
    }
    let forms = multipart("alternative", &[PLAIN, HTML, PLAIN]);
    assert!(sent(&forms, |_| {}).is_err());
}

#[test]
fn attachments_go_along_under_names_that_fit() {
    let found = sent(&multipart("mixed", &[PLAIN, PDF, PDF]), |_| {}).unwrap();
    let file = |name: &str| json!({"filename": name, "type": "pdf", "content": "JVBERi0="});
    assert_eq!(
        found["attachment"],
        json!([file("a-b.pdf"), file("a-b-2.pdf")])
    );
    assert_eq!(sent("\r\nx", |_| {}).unwrap().get("attachment"), None);
}

#[test]
fn images_of_the_html_are_files_or_data_or_refused() {
    let message = multipart("related", &[HTML, PNG, PDF]);
    let attached = sent(&message, |_| {}).unwrap();
    assert_eq!(attached["content"]["html"], "<img src=\"cid:1@x\">");
    assert_eq!(attached["attachment"][0]["filename"], "image.png");

    let data = sent(&message, |config| config.inline_images = InlineImages::Data).unwrap();
    assert_eq!(
        data["content"]["html"],
        "<img src=\"data:image/png;base64,UE5H\">"
    );
    assert_eq!(data["attachment"].as_array().unwrap().len(), 1);

    let refused = sent(&message, |config| {
        config.inline_images = InlineImages::Refuse;
    });
    assert!(matches!(refused, Err(Unsendable::CannotCarry(_))));
}

#[test]
fn a_gif_of_the_html_is_put_into_it() {
    let gif = "Content-Type: image/gif; name=image001.gif\r\nContent-ID: <1@x>\r\n\
               Content-Disposition: inline\r\n\r\nGIF";
    let email = sent(&multipart("related", &[HTML, gif]), |_| {}).unwrap();
    let html = "<img src=\"data:image/gif;base64,R0lG\">";
    assert_eq!(email["content"]["html"], html);
    assert_eq!(email.get("attachment"), None);
    let unseen = multipart("related", &[HTML, &gif.replace("1@x", "2@x")]);
    assert!(sent(&unseen, |_| {}).is_err());
}

#[test]
fn a_calendar_leaves_in_utf_8() {
    for (charset, octet) in [
        ("; charset=iso-8859-1", "=E9"),
        ("; charset=utf-8", "=C3=A9"),
    ] {
        let calendar = format!(
            "Content-Type: text/calendar; method=REQUEST{charset}\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\nSUMMARY:caf{octet}\r\nEND"
        );
        let email = sent(&multipart("alternative", &[PLAIN, &calendar]), |_| {}).unwrap();
        let file = &email["attachment"][0];
        assert_eq!(file["filename"], "calendar.ics");
        assert_eq!(file["content"], "U1VNTUFSWTpjYWbDqQ0KRU5E", "{charset}");
    }
}

#[test]
fn what_cannot_be_carried_is_refused_with_the_reason() {
    for (text, told) in [
        (multipart("signed", &[PLAIN, PDF]), "signed"),
        (multipart("encrypted", &[PDF]), "encrypted"),
        (multipart("report", &[PLAIN]), "report"),
        (
            multipart("mixed", &[PLAIN, "Content-Type: application/zip\r\n\r\nPK"]),
            "application/zip",
        ),
        ("X-MC-Template: t\r\n\r\nx".to_owned(), "X-MC-Template"),
        (
            format!("X-Tags: {}\r\n\r\nx", "a,".repeat(200_000)),
            "X-Tags",
        ),
    ] {
        let Err(Unsendable::CannotCarry(reason)) = sent(&text, |_| {}) else {
            panic!("{text} was taken");
        };
        assert!(reason.contains(told), "{reason}");
    }
}

#[test]
fn the_sender_is_the_messages_own_then_that_of_the_settings_then_the_one_found() {
    let config = settings(|_| {});
    let fixed = settings(|config| config.sender_id = Some("7".to_owned()));
    for (config, text, wanted, id) in [
        (
            &config,
            "From: Ann <Ann@example.com>, b@example.com\r\n\r\n",
            Some("Ann@example.com"),
            "1042",
        ),
        (&config, "\r\nx", Some("app@example.com"), "1042"),
        (&config, "X-Sender-Id: 8\r\n\r\n", None, "8"),
        (&fixed, "From: ann@example.com\r\n\r\n", None, "7"),
        (&fixed, "X-Sender-Id: 8\r\n\r\n", None, "8"),
    ] {
        let cakemail = Cakemail::new(config).unwrap();
        let outgoing = outgoing(text, &["ann@example.net"]);
        let found = cakemail.wanted(&outgoing).unwrap();
        let address = found.as_ref().map(|wanted| wanted.address.as_str());
        assert_eq!(address, wanted, "{text}");
        let sender = found.map(|_| "1042");
        let requests = cakemail.requests(&outgoing, sender).unwrap();
        assert_eq!(body(&requests[0])["sender"]["id"], id, "{text}");
    }
}

#[test]
fn a_message_of_nobody_is_refused() {
    let mut nobodys = outgoing("\r\nx", &["ann@example.net"]);
    nobodys.email.from.clear();
    let cakemail = Cakemail::new(&settings(|_| {})).unwrap();
    assert!(matches!(
        cakemail.wanted(&nobodys),
        Err(Unsendable::Sender(_))
    ));
    // Who is named by an id needs no address.
    let cakemail = Cakemail::new(&settings(|c| c.sender_id = Some("7".to_owned()))).unwrap();
    assert!(cakemail.wanted(&nobodys).unwrap().is_none());
    assert!(cakemail.requests(&nobodys, None).is_ok());
}

#[test]
fn senders_are_looked_up_in_the_account_that_is_acted_for() {
    let cakemail =
        Cakemail::new(&settings(|config| config.account_id = NonZeroU64::new(27))).unwrap();
    for (text, account) in [("\r\n", "27"), ("X-Account-Id: 28\r\n\r\n", "28")] {
        let wanted = cakemail.wanted(&outgoing(text, &[])).unwrap().unwrap();
        assert_eq!(wanted.account.as_deref(), Some(account));
    }
    assert_eq!(
        cakemail.page(Some("28"), 3).as_str(),
        "https://api.example/base/brands/default/senders?page=3&per_page=50&account_id=28"
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let fault = |change: fn(&mut http::Config)| {
        let mut config = settings(|_| {});
        change(&mut config);
        Cakemail::new(&config).unwrap_err().setting()
    };
    for (change, setting) in [
        (
            (|c| c.path = "/v1".into()) as fn(&mut http::Config),
            "api.path",
        ),
        (|c| c.url = "https://api.example/v2".into(), "api.url"),
        (
            |c| c.url = "https://api.example/v2/emails/".into(),
            "api.url",
        ),
        (|c| c.url = "https://api.example/?key=7".into(), "api.url"),
        (|c| c.raw = true, "api.raw"),
        (|c| c.idempotent = true, "api.idempotent"),
        (
            |c| c.cakemail.sender_id = Some(String::new()),
            "api.cakemail.sender_id",
        ),
        (
            |c| c.cakemail.tags = vec!["two words".into()],
            "api.cakemail.tags",
        ),
    ] {
        assert_eq!(fault(change), setting);
    }
}
