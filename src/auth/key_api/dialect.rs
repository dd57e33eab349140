//! What is said to an authentication API, and what its answers mean. Nothing is sent here.
//!
//! Only an answer in the documented form is an answer. All else, such as the page of something in
//! between, says nothing about the credentials: a client throws a refused password away.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::auth::Denied;
use crate::http_client;
use crate::http_client::object::Object;
use crate::secret::Secret;
use crate::smtp::sasl::Credentials;

/// The form of requests and answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `POST /token`, a form, as OAuth 2 has it: an access token with a life and a refresh token.
    #[default]
    Token,
    /// `POST /validate`, JSON: an API key.
    Validate,
}

/// What a login gives.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    pub key: Secret,
    /// How long the key is good for.
    pub expires_in: Option<Duration>,
    /// For another key without the password.
    pub refresh_token: Option<Secret>,
}

/// Octets of a request, wiped when it has been sent.
pub(super) type Body = Zeroizing<Vec<u8>>;

impl Dialect {
    /// Appended to the base URL.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Token => "/token",
            Self::Validate => "/validate",
        }
    }

    /// What to GET with a password that is a key itself.
    pub(in crate::auth) fn check_path(self) -> &'static str {
        match self {
            Self::Token => "/accounts/self",
            Self::Validate => "",
        }
    }

    /// Whether the path of a URL cannot be that of a base: this one is in it already, or it is that
    /// of Cakemail's older API.
    pub(super) fn is_no_base(self, path: &str) -> bool {
        let older = self == Self::Token && (path.ends_with("/v1") || path.ends_with("/v1/auth"));
        older || path.ends_with(self.path())
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Token => "application/x-www-form-urlencoded",
            Self::Validate => "application/json",
        }
    }

    pub(super) fn login(self, credentials: &Credentials) -> Body {
        let Credentials { username, password } = credentials;
        match self {
            Self::Token => form(&[
                ("grant_type", "password"),
                ("username", username),
                ("password", password.reveal()),
            ]),
            Self::Validate => {
                let fields = Login {
                    username,
                    password: password.reveal(),
                };
                // An octet has six at most; what grows would leave a copy behind.
                let length = 6 * (username.len() + password.reveal().len()) + 64;
                let mut body = Zeroizing::new(Vec::with_capacity(length));
                serde_json::to_writer(&mut *body, &fields).expect("two strings can be written");
                body
            }
        }
    }

    /// Reads the answer to a login.
    ///
    /// # Errors
    /// [`Denied`]
    pub fn granted(self, status: u16, body: &[u8]) -> Result<Granted, Denied> {
        if let (Self::Token, 200 | 401) = (self, status)
            && is_challenge(body)
        {
            return Err(Denied::Challenge);
        }
        match (self, status) {
            (Self::Token, 200) => read::<Token>(body)
                .filter(|token| token.token_type.eq_ignore_ascii_case("bearer"))
                .and_then(|token| {
                    let expires_in = Some(Duration::from_secs(token.expires_in));
                    granted(token.access_token, expires_in, token.refresh_token)
                })
                .ok_or(Denied::Unavailable),
            (Self::Validate, 200) => read::<Validated>(body)
                .and_then(|found| {
                    let expires_in = found.expires_in.map(Duration::from_secs);
                    granted(found.api_key, expires_in, None)
                })
                .ok_or(Denied::Unavailable),
            (Self::Token, 401 | 403) if has_details(body) => Err(Denied::Credentials),
            // A user name that is no address is no better than an unknown one. What else the API
            // does not like about the request is not the client's fault.
            (Self::Token, 400 | 422) if is_about_the_login(body) => Err(Denied::Credentials),
            (Self::Validate, 401 | 403) if is_error(body) => Err(Denied::Credentials),
            _ => Err(Denied::Unavailable),
        }
    }

    /// Reads the answer to a refresh: whatever the API refuses then, the password may still be good.
    ///
    /// # Errors
    /// [`Denied`]
    pub fn refreshed(self, status: u16, body: &[u8]) -> Result<Granted, Denied> {
        match status {
            400 | 401 | 403 | 422 if is_error(body) => Err(Denied::Credentials),
            _ => self.granted(status, body),
        }
    }
}

/// Another access token for a refresh token (RFC 6749 §6).
pub(super) fn refresh(refresh_token: &Secret) -> Body {
    form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token.reveal()),
    ])
}

/// Reads the answer to a GET that needs a good key.
///
/// # Errors
/// [`Denied`]
pub fn checked(status: u16, body: &[u8]) -> Result<(), Denied> {
    match status {
        200 if read::<Value>(body).is_some_and(|body| body.is_object()) => Ok(()),
        // A genuine key that may do other things than this.
        403 if is_error(body) => Ok(()),
        401 if is_error(body) => Err(Denied::Credentials),
        _ => Err(Denied::Unavailable),
    }
}

#[derive(Serialize)]
struct Login<'a> {
    username: &'a str,
    password: &'a str,
}

#[derive(Deserialize)]
struct Token {
    access_token: Secret,
    token_type: String,
    expires_in: u64,
    refresh_token: Option<Secret>,
}

#[derive(Deserialize)]
struct Validated {
    api_key: Secret,
    expires_in: Option<u64>,
}

/// Reads nothing else of an answer, which may hold a key.
#[derive(Deserialize)]
struct Asked {
    #[serde(rename = "challenge")]
    _challenge: Secret,
}

#[derive(Deserialize)]
struct AskedInDetail {
    #[serde(rename = "detail")]
    _detail: Object<Asked>,
}

fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Option<T> {
    let read = serde_json::from_slice(body);
    read.map(|Object(read)| read).ok()
}

/// `None` for a key that no request could carry.
fn granted(
    key: Secret,
    expires_in: Option<Duration>,
    refresh_token: Option<Secret>,
) -> Option<Granted> {
    is_sendable(&key).then_some(Granted {
        key,
        expires_in,
        refresh_token: refresh_token.filter(|token| !token.is_empty()),
    })
}

/// Whether a request can carry this as its key.
pub(super) fn is_sendable(key: &Secret) -> bool {
    !key.is_empty() && http_client::bearer(key).is_ok()
}

/// The API asks for a second factor: `challenge`, in place of a token or of the reason.
fn is_challenge(body: &[u8]) -> bool {
    read::<Asked>(body).is_some() || read::<AskedInDetail>(body).is_some()
}

/// Whether the details name the user or the password, or nothing in particular.
fn is_about_the_login(body: &[u8]) -> bool {
    let named = |body: Value| {
        let place = body.pointer("/detail/0/loc")?.as_array()?.last()?.clone();
        Some(["username", "password", "body"].contains(&place.as_str()?))
    };
    has_details(body) && read::<Value>(body).and_then(named).unwrap_or(false)
}

/// `{"detail":[{"msg":"…","type":"…"}]}`
fn has_details(body: &[u8]) -> bool {
    read::<Value>(body).is_some_and(|body| {
        ["/detail/0/msg", "/detail/0/type"]
            .iter()
            .all(|place| body.pointer(place).is_some_and(Value::is_string))
    })
}

/// The forms that APIs have for an error: `error`, `error.message`, `message`, `detail`.
fn is_error(body: &[u8]) -> bool {
    let places = ["/error", "/error/message", "/message", "/detail"];
    has_details(body)
        || read::<Value>(body).is_some_and(|body| {
            places
                .iter()
                .any(|place| body.pointer(place).is_some_and(Value::is_string))
        })
}

/// `application/x-www-form-urlencoded`. Every octet but the unreserved ones is coded, `+` too.
fn form(fields: &[(&str, &str)]) -> Body {
    let length = fields
        .iter()
        .map(|(name, value)| name.len() + 3 * value.len() + 2)
        .sum();
    // What grows would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(length));
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for octet in value.bytes() {
            match octet {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(octet.into());
                }
                // Writing to a String cannot fail.
                _ => drop(write!(text, "%{octet:02X}")),
            }
        }
    }
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETAIL: &str = r#"{"detail":[{"msg":"no","type":"unauthorized"}]}"#;

    fn credentials(username: &str, password: &str) -> Credentials {
        Credentials {
            username: username.into(),
            password: Secret::new(password),
        }
    }

    fn text(body: &Body) -> &str {
        std::str::from_utf8(body).unwrap()
    }

    #[test]
    fn requests_carry_every_octet_and_do_not_grow() {
        let ann = credentials("ann+app@example.com", "p&a=ss \u{e9}\"\\\u{1}");
        let token = Dialect::Token.login(&ann);
        assert_eq!(
            text(&token),
            "grant_type=password&username=ann%2Bapp%40example.com\
             &password=p%26a%3Dss%20%C3%A9%22%5C%01"
        );
        let validate = Dialect::Validate.login(&ann);
        let json: Value = serde_json::from_slice(&validate).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"username": ann.username, "password": ann.password.reveal()})
        );
        assert_eq!(
            text(&refresh(&Secret::new("r/1"))),
            "grant_type=refresh_token&refresh_token=r%2F1"
        );
        for octet in ["\u{1}", "&", "a"] {
            let long = octet.repeat(1000);
            let long = credentials(&long, &long);
            for (dialect, length) in [
                (Dialect::Token, 10 + 8 + 2000 * 3 + 30),
                (Dialect::Validate, 2000 * 6 + 64),
            ] {
                let body = dialect.login(&long);
                assert!(body.capacity() <= length + 20, "{dialect:?} {octet:?}");
            }
        }
    }

    #[test]
    fn a_token_is_found_in_the_documented_answer_only() {
        let granted = |body: &str| Dialect::Token.granted(200, body.as_bytes());
        let found = granted(
            r#"{"access_token":"eyJ","token_type":"bearer","expires_in":600,"refresh_token":"r",
                "accounts":[27]}"#,
        );
        let expected = Granted {
            key: Secret::new("eyJ"),
            expires_in: Some(Duration::from_secs(600)),
            refresh_token: Some(Secret::new("r")),
        };
        assert_eq!(found, Ok(expected));
        let found = granted(r#"{"access_token":"k","token_type":"Bearer","expires_in":1}"#);
        assert_eq!(found.unwrap().refresh_token, None);
        for body in [
            "",
            "<html>Welcome</html>",
            "{}",
            r#"{"access_token":"","token_type":"bearer","expires_in":600}"#,
            r#"{"access_token":"a\nb","token_type":"bearer","expires_in":600}"#,
            r#"{"access_token":"a","token_type":"mac","expires_in":600}"#,
            r#"{"access_token":"a","token_type":"bearer"}"#,
            r#"{"access_token":"a","token_type":"bearer","expires_in":-1}"#,
            r#"{"api_key":"k"}"#,
            r#"["a","bearer",600,"r"]"#,
            r#"["c"]"#,
            r#"{"detail":["c"]}"#,
        ] {
            assert_eq!(granted(body), Err(Denied::Unavailable), "{body}");
        }
    }

    #[test]
    fn a_key_is_found_in_the_documented_answer_only() {
        let granted = |body: &str| Dialect::Validate.granted(200, body.as_bytes());
        let found = granted(r#"{"api_key":"k","expires_in":900}"#).unwrap();
        assert_eq!(found.expires_in, Some(Duration::from_secs(900)));
        let found = granted(r#"{"api_key":"k","account_id":"a"}"#).unwrap();
        assert_eq!((found.key, found.expires_in), (Secret::new("k"), None));
        for body in [
            "",
            "{}",
            r#"{"api_key":""}"#,
            r#"{"challenge":"c"}"#,
            r#"["k",900]"#,
        ] {
            assert_eq!(granted(body), Err(Denied::Unavailable), "{body}");
        }
    }

    #[test]
    fn only_a_documented_refusal_says_that_credentials_are_wrong() {
        let denied = |dialect: Dialect, status, body: &str| {
            dialect.granted(status, body.as_bytes()).unwrap_err()
        };
        let coded = r#"{"detail":[{"msg":"no","type":"forbidden","code":7,"loc":["body"]}]}"#;
        let username = r#"{"detail":[{"msg":"no","type":"x","loc":["body","username"]}]}"#;
        for (status, body) in [
            (401, DETAIL),
            (401, coded),
            (403, DETAIL),
            (403, coded),
            (400, coded),
            (422, coded),
            (422, username),
        ] {
            let denied = denied(Dialect::Token, status, body);
            assert_eq!(denied, Denied::Credentials, "{status} {body}");
        }
        let scopes = r#"{"detail":[{"msg":"no","type":"x","loc":["body","scopes"]}]}"#;
        for body in [r#"{"error":"no","message":"no"}"#, DETAIL] {
            for status in [401, 403] {
                let denied = denied(Dialect::Validate, status, body);
                assert_eq!(denied, Denied::Credentials, "{status}");
            }
        }
        for (dialect, status, body) in [
            (Dialect::Token, 401, "<html>no</html>"),
            (Dialect::Token, 401, ""),
            (Dialect::Token, 401, r#"{"message":"Unauthorized"}"#),
            (Dialect::Token, 403, "<html>blocked by a firewall</html>"),
            (Dialect::Token, 400, DETAIL),
            (Dialect::Token, 422, DETAIL),
            (Dialect::Token, 422, scopes),
            (Dialect::Token, 404, DETAIL),
            (Dialect::Token, 201, r#"{"access_token":"a"}"#),
            (Dialect::Token, 302, ""),
            (Dialect::Token, 429, DETAIL),
            (Dialect::Token, 500, DETAIL),
            (Dialect::Token, 503, DETAIL),
            (Dialect::Validate, 400, r#"{"error":"no"}"#),
            (Dialect::Validate, 403, "<html>blocked by a firewall</html>"),
            (Dialect::Validate, 429, r#"{"error":"no"}"#),
            (Dialect::Validate, 500, r#"{"error":"no"}"#),
        ] {
            let denied = denied(dialect, status, body);
            assert_eq!(denied, Denied::Unavailable, "{dialect:?} {status} {body}");
        }
    }

    #[test]
    fn a_second_factor_is_told_apart_in_each_of_its_forms() {
        for (status, body) in [
            (200, r#"{"challenge":"c"}"#),
            (401, r#"{"challenge":"c"}"#),
            (401, r#"{"detail":{"challenge":"c"}}"#),
            (
                401,
                r#"{"detail":[{"msg":"m","type":"t"}],"challenge":"c"}"#,
            ),
        ] {
            let denied = Dialect::Token.granted(status, body.as_bytes());
            assert_eq!(denied, Err(Denied::Challenge), "{status} {body}");
        }
        let denied = Dialect::Token.granted(500, br#"{"challenge":"c"}"#);
        assert_eq!(denied, Err(Denied::Unavailable));
    }

    #[test]
    fn a_key_is_checked_by_status_and_body() {
        for (status, body, expected) in [
            (200, r#"{"data":{"id":1}}"#, Ok(())),
            (200, "<html>Welcome</html>", Err(Denied::Unavailable)),
            (200, "", Err(Denied::Unavailable)),
            (401, DETAIL, Err(Denied::Credentials)),
            (401, r#"{"error":"no"}"#, Err(Denied::Credentials)),
            (401, "<html>no</html>", Err(Denied::Unavailable)),
            (403, DETAIL, Ok(())),
            (403, "<html>blocked</html>", Err(Denied::Unavailable)),
            (404, DETAIL, Err(Denied::Unavailable)),
            (301, "", Err(Denied::Unavailable)),
            (429, DETAIL, Err(Denied::Unavailable)),
            (503, DETAIL, Err(Denied::Unavailable)),
        ] {
            let found = checked(status, body.as_bytes());
            assert_eq!(found, expected, "{status} {body}");
        }
    }
}
