//! AUTH PLAIN and LOGIN as tiny machines (RFC 4954, RFC 4616; LOGIN is draft-murchison-sasl-login).
//!
//! Each takes lines of base64 and ends in [`Credentials`] or in a [`SaslError`]. Whether they are
//! good is a question for the caller.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What a client says about itself. Compared octet by octet: no Unicode normalisation.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

/// A user name is often an address.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    Login,
}

impl Mechanism {
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "PLAIN" => Some(Self::Plain),
            "LOGIN" => Some(Self::Login),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    #[error("the client cancelled the exchange")]
    Cancelled,
    #[error("not the base64 form of what the mechanism wants")]
    Encoding,
    /// RFC 4616 lets a client act as somebody else; nobody may here.
    #[error("the authorization identity is not the authentication identity")]
    Identity,
}

/// An exchange that waits for the client's next line.
pub enum Exchange {
    Plain,
    LoginUsername,
    LoginPassword { username: String },
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::LoginUsername => "LoginUsername",
            Self::LoginPassword { .. } => "LoginPassword",
        })
    }
}

/// Where an exchange stands after a line.
#[derive(Debug)]
pub enum Progress {
    Challenge(Exchange),
    Done(Credentials),
}

impl Exchange {
    /// Starts an exchange, with the initial response where the client sent one (RFC 4954 §4; `=`
    /// is an empty one).
    ///
    /// # Errors
    /// [`SaslError`] when the initial response cannot be taken.
    pub fn start(mechanism: Mechanism, initial: Option<&Secret>) -> Result<Progress, SaslError> {
        let exchange = match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::LoginUsername,
        };
        match initial.map(Secret::reveal) {
            None => Ok(Progress::Challenge(exchange)),
            Some("=") => exchange.respond(b""),
            Some(response) => exchange.respond(response.as_bytes()),
        }
    }

    /// The challenge to send, in base64.
    pub const fn challenge(&self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::LoginUsername => "VXNlcm5hbWU6",
            Self::LoginPassword { .. } => "UGFzc3dvcmQ6",
        }
    }

    /// Takes the client's line, without its line break.
    ///
    /// # Errors
    /// [`SaslError`] when it ends the exchange without credentials.
    pub fn respond(self, line: &[u8]) -> Result<Progress, SaslError> {
        if line == b"*" {
            return Err(SaslError::Cancelled);
        }
        let decoded = STANDARD.decode(line).map(Zeroizing::new);
        let decoded = decoded.map_err(|_| SaslError::Encoding)?;
        let text = std::str::from_utf8(&decoded).map_err(|_| SaslError::Encoding)?;
        match self {
            Self::Plain => plain(text).map(Progress::Done),
            Self::LoginUsername if text.contains('\0') => Err(SaslError::Encoding),
            Self::LoginUsername => Ok(Progress::Challenge(Self::LoginPassword {
                username: text.to_owned(),
            })),
            Self::LoginPassword { .. } if text.contains('\0') => Err(SaslError::Encoding),
            Self::LoginPassword { username } => Ok(Progress::Done(Credentials {
                username,
                password: Secret::new(text),
            })),
        }
    }
}

/// `[authzid] NUL authcid NUL password` (RFC 4616 §2).
fn plain(text: &str) -> Result<Credentials, SaslError> {
    let mut fields = text.split('\0');
    let mut next = || fields.next().ok_or(SaslError::Encoding);
    let (authorization, username, password) = (next()?, next()?, next()?);
    if fields.next().is_some() {
        return Err(SaslError::Encoding);
    }
    if !authorization.is_empty() && authorization != username {
        return Err(SaslError::Identity);
    }
    Ok(Credentials {
        username: username.to_owned(),
        password: Secret::new(password),
    })
}

/// What a client sends, line by line. The first line of PLAIN may go with the command.
pub fn responses(mechanism: Mechanism, credentials: &Credentials) -> Vec<Secret> {
    let encode = |text: &str| Secret::new(STANDARD.encode(text));
    let Credentials { username, password } = credentials;
    match mechanism {
        Mechanism::Plain => {
            let message = Zeroizing::new(format!("\0{username}\0{}", password.reveal()));
            vec![encode(&message)]
        }
        Mechanism::Login => vec![encode(username), encode(password.reveal())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(mechanism: Mechanism, initial: &str) -> Result<Progress, SaslError> {
        Exchange::start(mechanism, Some(&Secret::new(initial)))
    }

    fn plain_of(raw: &str) -> Result<(String, String), SaslError> {
        match start(Mechanism::Plain, &STANDARD.encode(raw))? {
            Progress::Done(found) => Ok((found.username, found.password.reveal().to_owned())),
            Progress::Challenge(_) => Err(SaslError::Encoding),
        }
    }

    #[test]
    fn plain_takes_one_password_octet_and_utf8() {
        assert_eq!(plain_of("\0ann\0x"), Ok(("ann".into(), "x".into())));
        assert_eq!(plain_of("ann\0ann\0ü n"), Ok(("ann".into(), "ü n".into())));
        assert_eq!(plain_of("\0\0"), Ok((String::new(), String::new())));
    }

    #[test]
    fn plain_refuses_other_shapes() {
        for raw in ["", "ann", "ann\0x", "\0ann\0x\0", "\0\0\0\0"] {
            assert_eq!(plain_of(raw), Err(SaslError::Encoding), "{raw:?}");
        }
        assert_eq!(plain_of("bob\0ann\0x"), Err(SaslError::Identity));
    }

    #[test]
    fn login_asks_for_what_it_has_not_been_told() {
        let Ok(Progress::Challenge(first)) = Exchange::start(Mechanism::Login, None) else {
            panic!("LOGIN starts with a challenge");
        };
        assert_eq!(first.challenge(), "VXNlcm5hbWU6");
        let Ok(Progress::Challenge(second)) = first.respond(b"YW5u") else {
            panic!("the user name is followed by a challenge");
        };
        assert_eq!(second.challenge(), "UGFzc3dvcmQ6");
        let Ok(Progress::Done(found)) = second.respond(b"cHc=") else {
            panic!("the password ends the exchange");
        };
        assert_eq!(
            (found.username.as_str(), found.password.reveal()),
            ("ann", "pw")
        );
    }

    #[test]
    fn login_takes_the_user_name_as_initial_response() {
        assert!(matches!(
            start(Mechanism::Login, "YW5u"),
            Ok(Progress::Challenge(Exchange::LoginPassword { username })) if username == "ann"
        ));
        assert!(matches!(
            start(Mechanism::Login, "="),
            Ok(Progress::Challenge(Exchange::LoginPassword { username })) if username.is_empty()
        ));
    }

    #[test]
    fn what_a_client_sends_is_what_a_server_reads() {
        let credentials = Credentials {
            username: "ann".to_owned(),
            password: Secret::new("ü n"),
        };
        for mechanism in [Mechanism::Plain, Mechanism::Login] {
            let mut progress = Exchange::start(mechanism, None).unwrap();
            for response in responses(mechanism, &credentials) {
                let Progress::Challenge(exchange) = progress else {
                    panic!("a response that nobody waits for");
                };
                progress = exchange.respond(response.reveal().as_bytes()).unwrap();
            }
            let Progress::Done(found) = progress else {
                panic!("a response is missing");
            };
            assert_eq!(found.username, "ann");
            assert_eq!(found.password.reveal(), "ü n");
        }
    }

    #[test]
    fn a_star_cancels_and_bad_base64_is_an_encoding_fault() {
        assert_eq!(
            start(Mechanism::Plain, "*").err(),
            Some(SaslError::Cancelled)
        );
        for bad in [
            "AGFubgB4=",
            "AGFub",
            "AGF ubgB4",
            "AGFubgB5===",
            "!!!!",
            "/w==",
            "AGFubgB4\0",
        ] {
            assert_eq!(
                start(Mechanism::Plain, bad).err(),
                Some(SaslError::Encoding),
                "{bad}"
            );
        }
    }
}
