//! The parameters of MAIL: SIZE, BODY, SMTPUTF8, AUTH (RFC 1870, 6152, 6531, 4954).
//!
//! RCPT has none, since DSN is not offered.

/// What a client said about the message it is going to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// SIZE= in octets. A hint: the true size is counted while the message is read.
    pub size: Option<u64>,
    pub body: Option<BodyType>,
    /// The client may use UTF-8 in addresses and header fields. Go's net/smtp says it with every
    /// message, so it does not mean that there is any.
    pub smtputf8: bool,
}

/// BODY= (RFC 6152). Both are taken the same way; BINARYMIME is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    SevenBit,
    EightBitMime,
}

/// Why a parameter is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    #[error("unknown parameter")]
    Unknown,
    #[error("bad value, or a parameter given twice")]
    Value,
}

impl MailParameters {
    /// Reads what follows the path of MAIL: blanks and `KEY` or `KEY=value`.
    ///
    /// # Errors
    /// [`ParameterError`] for the first parameter that cannot be taken, in the order of the line.
    pub fn parse(text: &str) -> Result<Self, ParameterError> {
        let mut parameters = Self::default();
        let mut authorised = false;
        for item in text.split_ascii_whitespace() {
            let (key, value) = match item.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (item, None),
            };
            match key.to_ascii_uppercase().as_str() {
                "SIZE" => set(&mut parameters.size, value.and_then(size))?,
                "BODY" => set(&mut parameters.body, value.and_then(body))?,
                "SMTPUTF8" if value.is_none() && !parameters.smtputf8 => parameters.smtputf8 = true,
                // RFC 4954 §5: who offers AUTH takes this parameter. We trust no one's word for an
                // identity, so it is read and dropped.
                "AUTH" if value.is_some_and(is_xtext) && !authorised => authorised = true,
                "SMTPUTF8" | "AUTH" => return Err(ParameterError::Value),
                _ => return Err(ParameterError::Unknown),
            }
        }
        Ok(parameters)
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), ParameterError> {
    match (slot.is_none(), value) {
        (true, Some(value)) => {
            *slot = Some(value);
            Ok(())
        }
        _ => Err(ParameterError::Value),
    }
}

/// RFC 1870 §4: up to twenty digits. What does not fit 64 bits is larger than any limit.
fn size(value: &str) -> Option<u64> {
    let digits =
        !value.is_empty() && value.len() <= 20 && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Option<BodyType> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(BodyType::SevenBit),
        "8BITMIME" => Some(BodyType::EightBitMime),
        _ => None,
    }
}

/// RFC 3461 §4: `+` and two upper-case hex digits stand for any octet.
fn is_xtext(value: &str) -> bool {
    let mut pieces = value.split('+');
    let plain = |text: &str| text.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'=');
    pieces
        .next()
        .is_some_and(|first| !value.is_empty() && plain(first))
        && pieces.all(|piece| {
            piece.split_at_checked(2).is_some_and(|(hex, rest)| {
                hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')) && plain(rest)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_read_in_any_order_and_case() {
        let parameters = MailParameters::parse(" body=8bitmime SMTPUTF8 size=77 AUTH=<>").unwrap();
        assert_eq!(parameters.size, Some(77));
        assert_eq!(parameters.body, Some(BodyType::EightBitMime));
        assert!(parameters.smtputf8);
        assert_eq!(MailParameters::parse(""), Ok(MailParameters::default()));
    }

    #[test]
    fn a_size_beyond_64_bits_is_the_largest_size() {
        let parameters = MailParameters::parse("SIZE=99999999999999999999").unwrap();
        assert_eq!(parameters.size, Some(u64::MAX));
    }

    #[test]
    fn faults_name_unknown_parameters_apart_from_bad_values() {
        for (text, error) in [
            ("RET=FULL", ParameterError::Unknown),
            ("FOO", ParameterError::Unknown),
            ("SIZE=", ParameterError::Value),
            ("SIZE=-1", ParameterError::Value),
            ("SIZE=1 SIZE=1", ParameterError::Value),
            ("BODY=BINARYMIME", ParameterError::Value),
            ("SMTPUTF8=1", ParameterError::Value),
            ("SMTPUTF8 SMTPUTF8", ParameterError::Value),
            ("AUTH=a+2", ParameterError::Value),
            ("AUTH=", ParameterError::Value),
            ("RET=FULL SIZE=x", ParameterError::Unknown),
        ] {
            assert_eq!(MailParameters::parse(text), Err(error), "{text}");
        }
    }
}
