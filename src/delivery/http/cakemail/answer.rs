//! What Cakemail's answers mean.
//!
//! Its errors stand in `detail`, a list of what is wrong or a text. A body without it is not
//! Cakemail's, whatever else it says: a router has no say in what becomes of a message.

use serde::Deserialize;
use serde_json::Value;

use crate::delivery::http::provider::{Answer, Response, Sender, SenderPage};
use crate::delivery::{Deferral, Failure, Quote};
use crate::http_client::object::Object;

/// To `POST /v2/emails`. 201 alone says little: `data.status` says what became of the message.
pub(super) fn to_email(response: &Response) -> Answer {
    match (response.status, serde_json::from_slice(&response.body)) {
        (201, Ok(Object(submitted))) => submission(&submitted),
        (200..=299, _) => Answer::Unknown,
        _ => error(response),
    }
}

/// To `GET /brands/default/senders`.
///
/// # Errors
/// What an answer means that is not a list.
pub(super) fn to_senders(response: &Response) -> Result<SenderPage, Answer> {
    if response.status != 200 {
        return Err(match response.status {
            200..=299 => Answer::deferred(Deferral::NotUnderstood),
            _ => error(response),
        });
    }
    let Object::<Page>(page) = serde_json::from_slice(&response.body)
        .map_err(|_| Answer::deferred(Deferral::NotUnderstood))?;
    let pagination = page.pagination.map(|Object(pagination)| pagination);
    let Pagination { per_page, has_more } = pagination.unwrap_or_default();
    let is_full = page.data.len() >= per_page.unwrap_or(SENDERS_PER_PAGE);
    Ok(SenderPage {
        senders: page.data.into_iter().filter_map(sender).collect(),
        has_more: has_more.unwrap_or(is_full),
    })
}

/// Whether the API refuses a message for having a text and HTML, and for nothing else: some of its
/// descriptions allow one of them only.
pub(super) fn is_about_the_texts(response: &Response) -> bool {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    let detail = body.as_ref().and_then(|body| body.get("detail"));
    let is_theirs = |entry: &Value| {
        let place = place(entry);
        let place = place.as_slice();
        matches!(place, [.., "content"] | [.., "content", "html" | "text"])
    };
    matches!(response.status, 400 | 422)
        && match detail {
            Some(Value::Array(list)) => !list.is_empty() && list.iter().all(is_theirs),
            Some(Value::String(text)) => {
                let text = text.to_ascii_lowercase();
                text.contains("html") && text.contains("text")
            }
            _ => false,
        }
}

/// What an answer that is no success means.
fn error(response: &Response) -> Answer {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    let detail = body.as_ref().and_then(Detail::read);
    match (response.status, detail) {
        (425 | 503, _) => Answer::deferred(Deferral::Unavailable),
        (429, _) => Answer::deferred(Deferral::Throttled),
        (408 | 500.., _) => Answer::Unknown,
        (401, Some(detail)) => Answer::KeyRefused {
            reason: Some(detail.reason),
        },
        (403, Some(detail)) => Answer::Forbidden {
            reason: Some(detail.reason),
        },
        (413, Some(detail)) => Answer::refused(Failure::TooLarge, Some(detail.reason)),
        // "Not Found" is what the API says of a path that it does not have: of wrong settings.
        (404, Some(detail)) if !detail.is_list => Answer::deferred(Deferral::NotUnderstood),
        (400 | 404 | 409 | 422, Some(detail)) => {
            let cause = match detail.is_about_the_sender {
                true => Failure::Sender,
                false => Failure::Refused,
            };
            Answer::refused(cause, Some(detail.reason))
        }
        _ => Answer::deferred(Deferral::NotUnderstood),
    }
}

fn submission(submitted: &Submitted) -> Answer {
    let Submitted {
        submitted,
        data: Object(data),
    } = submitted;
    match data.status.as_str() {
        // It has an id and was not sent. Nobody says that it will not be: that is for the client to
        // find out, later.
        "error" => Answer::Deferred {
            cause: Deferral::NotUnderstood,
            reason: Some(Quote::new("status error")),
        },
        status if status == "rejected" || !submitted => Answer::refused(Failure::Rejected, None),
        "queued" if !data.id.is_empty() => Answer::Taken {
            id: Quote::new(&data.id),
        },
        _ => Answer::Unknown,
    }
}

#[derive(Deserialize)]
struct Submitted {
    #[serde(default = "yes")]
    submitted: bool,
    data: Object<Submission>,
}

#[derive(Deserialize)]
struct Submission {
    #[serde(default)]
    id: String,
    status: String,
}

fn yes() -> bool {
    true
}

/// `detail` of an error.
struct Detail {
    /// The reason with its place: the first, but one about the sender before others.
    reason: Quote,
    is_list: bool,
    is_about_the_sender: bool,
}

impl Detail {
    fn read(body: &Value) -> Option<Self> {
        match body.get("detail")? {
            Value::String(text) => Some(Self {
                reason: Quote::new(text),
                is_list: false,
                is_about_the_sender: false,
            }),
            Value::Array(list) => {
                let about_the_sender = list.iter().find(|entry| place(entry).contains(&"sender"));
                let entry = about_the_sender.or(list.first())?;
                let text = entry.get("msg")?.as_str()?;
                let reason = match place(entry) {
                    place if place.is_empty() => text.to_owned(),
                    place => format!("{}: {text}", place.join(".")),
                };
                Some(Self {
                    reason: Quote::new(&reason),
                    is_list: true,
                    is_about_the_sender: about_the_sender.is_some(),
                })
            }
            _ => None,
        }
    }
}

/// Where in the request the fault is.
fn place(entry: &Value) -> Vec<&str> {
    let levels = entry.get("loc").and_then(Value::as_array);
    let levels = levels.into_iter().flatten();
    levels.filter_map(Value::as_str).collect()
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Value>,
    pagination: Option<Object<Pagination>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pagination {
    per_page: Option<usize>,
    has_more: Option<bool>,
}

/// A sender in the list.
#[derive(Deserialize)]
struct Listed {
    id: Value,
    email: String,
    confirmed: Option<bool>,
}

/// Nothing for an entry that is none: it must not hide the others.
fn sender(entry: Value) -> Option<Sender> {
    let Object::<Listed>(listed) = serde_json::from_value(entry).ok()?;
    let id = match listed.id {
        Value::String(id) if !id.is_empty() => id,
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    Some(Sender {
        id,
        address: listed.email,
        confirmed: listed.confirmed.unwrap_or(false),
    })
}

/// The API's own default.
pub(super) const SENDERS_PER_PAGE: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn email(status: u16, body: &str) -> Answer {
        to_email(&Response {
            status,
            body: body.into(),
        })
    }

    fn refused(cause: Failure, reason: &str) -> Answer {
        Answer::refused(cause, Some(Quote::new(reason)))
    }

    const DETAIL: &str = r#"{"detail":[{"loc":["body","email"],"msg":"no","type":"x"}]}"#;
    const SENDER: &str =
        r#"{"detail":[{"loc":["content"],"msg":"a"},{"loc":["body","sender","id"],"msg":"b"}]}"#;

    #[test]
    fn taken_is_what_is_queued() {
        let queued = Answer::Taken {
            id: Quote::new("6F0c"),
        };
        for submitted in [r#""submitted":true,"#, ""] {
            let body = format!(
                r#"{{"email":"a@b.c","object":"email",{submitted}"data":{{"id":"6F0c","status":"queued"}}}}"#
            );
            assert_eq!(email(201, &body), queued);
            for status in [200, 202, 204] {
                assert_eq!(email(status, &body), Answer::Unknown, "{status}");
            }
        }
        for body in [
            "",
            "{}",
            "<html>Welcome</html>",
            r#"{"data":{"id":"1"}}"#,
            r#"{"data":{"id":"","status":"queued"}}"#,
            r#"{"data":{"status":"queued"}}"#,
            r#"{"data":{"id":"1","status":"accepted"}}"#,
            r#"{"submitted":"no","data":{"id":"1","status":"queued"}}"#,
            r#"{"data":{"id":"1","status":"que"#,
            r#"[true,{"id":"1","status":"queued"}]"#,
            r#"{"data":["1","queued"]}"#,
        ] {
            assert_eq!(email(201, body), Answer::Unknown, "{body}");
        }
    }

    #[test]
    fn a_201_that_is_a_refusal_is_a_refusal() {
        let rejected = Answer::refused(Failure::Rejected, None);
        for body in [
            r#"{"submitted":true,"data":{"id":"1","status":"rejected"}}"#,
            r#"{"submitted":false,"data":{"id":"1","status":"queued"}}"#,
            r#"{"submitted":false,"data":{"status":"rejected"}}"#,
        ] {
            assert_eq!(email(201, body), rejected, "{body}");
        }
        let error = email(
            201,
            r#"{"submitted":false,"data":{"id":"1","status":"error"}}"#,
        );
        assert!(matches!(error, Answer::Deferred { .. }) && !error.is_repeatable());
    }

    #[test]
    fn only_a_documented_error_is_permanent() {
        for status in [400, 404, 409, 422] {
            assert_eq!(
                email(status, DETAIL),
                refused(Failure::Refused, "body.email: no")
            );
            assert_eq!(
                email(status, SENDER),
                refused(Failure::Sender, "body.sender.id: b")
            );
        }
        let text = r#"{"detail":"List Management"}"#;
        assert_eq!(
            email(400, text),
            refused(Failure::Refused, "List Management")
        );
        assert_eq!(
            email(413, DETAIL),
            refused(Failure::TooLarge, "body.email: no")
        );
        let not_understood = Answer::deferred(Deferral::NotUnderstood);
        for body in [
            "",
            "<html>404 page not found</html>",
            r#"{"message":"no Route matched"}"#,
            r#"{"error":"no"}"#,
            r#"{"detail":[]}"#,
            r#"{"detail":[{"loc":["sender"]}]}"#,
            r#"{"detail":{"msg":"no"}}"#,
            "[1]",
        ] {
            for status in [400, 402, 403, 404, 405, 409, 413, 415, 418, 422] {
                assert_eq!(email(status, body), not_understood, "{status} {body}");
            }
        }
        for (status, body) in [
            (404, r#"{"detail":"Not Found"}"#),
            (405, r#"{"detail":"Method Not Allowed"}"#),
            (301, DETAIL),
            (302, ""),
        ] {
            assert_eq!(email(status, body), not_understood, "{status}");
        }
    }

    #[test]
    fn a_refusal_of_the_texts_is_told_by_its_place_or_its_words() {
        let found = |status, detail: &str| {
            let body = format!(r#"{{"detail":{detail}}}"#).into_bytes();
            is_about_the_texts(&Response { status, body })
        };
        for (status, place, expected) in [
            (400, r#"["content"]"#, true),
            (422, r#"["body","content"]"#, true),
            (422, r#"["body","content","text"]"#, true),
            (422, r#"["body","content","subject"]"#, false),
            (400, r#"["body","email"]"#, false),
            (500, r#"["content"]"#, false),
        ] {
            let detail = format!(r#"[{{"loc":{place},"msg":"no"}}]"#);
            assert_eq!(found(status, &detail), expected, "{place}");
        }
        let two = r#"[{"loc":["content","text"],"msg":"no"},{"loc":["LIST"],"msg":"no"}]"#;
        for (detail, expected) in [
            (two.replace("LIST", "content"), true),
            (two.replace("LIST", "list_id"), false),
            ("[]".to_owned(), false),
            (r#""Only one of HTML and text""#.to_owned(), true),
            (r#""html is too long""#.to_owned(), false),
        ] {
            assert_eq!(found(422, &detail), expected, "{detail}");
        }
    }

    #[test]
    fn a_refused_key_and_passing_faults_are_told_apart() {
        let key = |reason: &str| Answer::KeyRefused {
            reason: Some(Quote::new(reason)),
        };
        let unauthorized = r#"{"detail":[{"msg":"expired","type":"unauthorized"}]}"#;
        let foreign = r#"{"message":"Unauthorized"}"#;
        for (status, body, expected) in [
            (401, unauthorized, key("expired")),
            (401, r#"{"detail":"expired"}"#, key("expired")),
            (401, foreign, Answer::deferred(Deferral::NotUnderstood)),
            (
                403,
                unauthorized,
                Answer::Forbidden {
                    reason: Some(Quote::new("expired")),
                },
            ),
            (403, foreign, Answer::deferred(Deferral::NotUnderstood)),
            (408, "", Answer::Unknown),
            (425, "", Answer::deferred(Deferral::Unavailable)),
            (429, "", Answer::deferred(Deferral::Throttled)),
            (500, DETAIL, Answer::Unknown),
            (502, "", Answer::Unknown),
            (503, "", Answer::deferred(Deferral::Unavailable)),
            (504, "", Answer::Unknown),
            (520, "", Answer::Unknown),
        ] {
            assert_eq!(email(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_the_api_says_cannot_break_a_reply() {
        let body = r#"{"detail":"a\r\n250 Ok\u2028"}"#;
        assert_eq!(email(400, body), refused(Failure::Refused, "a??250 Ok?"));
    }

    fn senders(status: u16, body: &str) -> Result<(Vec<(String, bool)>, bool), Answer> {
        let page = to_senders(&Response {
            status,
            body: body.into(),
        })?;
        let show = |sender: Sender| {
            (
                format!("{} {}", sender.id, sender.address),
                sender.confirmed,
            )
        };
        Ok((page.senders.into_iter().map(show).collect(), page.has_more))
    }

    #[test]
    fn the_list_of_senders_is_read() {
        let list = r#"{"data":[
            {"id":"1","email":"a@b.c","confirmed":true,"name":"A"},
            {"id":2,"email":"d@e.f","confirmed":false},{"id":3,"email":"g@h.i"},
            {"id":4,"email":null},{"id":"","email":"j@k.l"}],"pagination":null}"#;
        let expected = [("1 a@b.c", true), ("2 d@e.f", false), ("3 g@h.i", false)];
        let expected: Vec<_> = expected.map(|(shown, is)| (shown.to_owned(), is)).into();
        assert_eq!(senders(200, list), Ok((expected, false)));

        let many = |count: usize, pagination: &str| {
            let one = r#"{"id":"1","email":"a@b.c","confirmed":true}"#;
            let list = vec![one; count].join(",");
            let page = senders(200, &format!(r#"{{"data":[{list}]{pagination}}}"#));
            page.unwrap().1
        };
        assert!(many(50, ""));
        assert!(many(3, r#","pagination":{"per_page":3}"#));
        assert!(!many(
            50,
            r#","pagination":{"has_more":false,"per_page":50}"#
        ));
        assert!(many(1, r#","pagination":{"has_more":true}"#));
    }

    #[test]
    fn what_is_no_list_is_no_reason_to_bounce() {
        let not_understood = Answer::deferred(Deferral::NotUnderstood);
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, "[[],null]"),
            (201, r#"{"data":[]}"#),
            (404, ""),
        ] {
            assert_eq!(
                senders(status, body),
                Err(not_understood.clone()),
                "{status}"
            );
        }
        let key = senders(401, r#"{"detail":[{"msg":"no"}]}"#);
        assert!(matches!(key, Err(Answer::KeyRefused { .. })));
    }
}
