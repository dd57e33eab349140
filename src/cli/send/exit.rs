//! What the exit code says, in the numbers of sysexits.h.

use clap::ValueEnum;

use crate::smtp::client::{Answer, Ending, Missing};
use crate::smtp::reply::Reply;

/// From good to bad: of several that hold, the last is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Exit {
    Success,
    TempFail,
    Unavailable,
    NoPermission,
    Protocol,
    DataError,
    NoInput,
    OsError,
    Usage,
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        self.row().0
    }

    /// A line for each code, for the help.
    pub(super) fn list() -> String {
        let mut rows: Vec<_> = Self::value_variants()
            .iter()
            .map(|exit| exit.row())
            .collect();
        rows.sort_unstable();
        let line = |(code, meaning)| format!("{code:>4}  {meaning}\n");
        rows.into_iter().map(line).collect()
    }

    fn row(self) -> (u8, &'static str) {
        match self {
            Self::Success => (0, "every message was accepted for every recipient"),
            // clap's own, not that of sysexits.h.
            Self::Usage => (2, "the command line is wrong"),
            Self::DataError => (65, "a file has not the content it should have"),
            Self::NoInput => (66, "a file cannot be read"),
            Self::Unavailable => (
                69,
                "a message was refused for good (5yz), or needs what the server does not offer",
            ),
            Self::OsError => (71, "the system does not let the command start"),
            Self::TempFail => (
                75,
                "a message was refused for now (4yz), or there is no connection",
            ),
            Self::Protocol => (
                76,
                "the server does not speak SMTP or TLS as it should, or its certificate is not trusted",
            ),
            Self::NoPermission => (77, "the login was refused, or is needed"),
        }
    }

    /// The worst of what the recipients got.
    pub(super) fn of_answers(answers: &[Answer]) -> Self {
        let exits = answers.iter().map(|answer| Self::of_reply(&answer.reply));
        exits.max().unwrap_or(Self::Success)
    }

    pub(super) fn of_ending(ending: &Ending) -> Self {
        match ending {
            Ending::Quit => Self::Success,
            Ending::Refused(reply) => Self::of_reply(reply),
            Ending::LoginRefused(reply) if reply.is_permanent() => Self::NoPermission,
            Ending::LoginRefused(_) | Ending::Disconnected => Self::TempFail,
            Ending::NotOffered(Missing::StartTls) | Ending::Fault(_) => Self::Protocol,
            Ending::NotOffered(Missing::Auth) => Self::NoPermission,
            Ending::NotOffered(Missing::SmtpUtf8 | Missing::EightBitMime) => Self::Unavailable,
        }
    }

    pub(super) fn of_reply(reply: &Reply) -> Self {
        match reply.code() {
            ..400 => Self::Success,
            400..500 => Self::TempFail,
            // RFC 4954 §6: authentication required.
            530 => Self::NoPermission,
            _ => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(ending: &Ending) -> u8 {
        Exit::of_ending(ending).code()
    }

    #[test]
    fn each_ending_has_its_code() {
        let reply = |code| Reply::new(code, 0, 0, "");
        assert_eq!(code(&Ending::Quit), 0);
        assert_eq!(code(&Ending::Refused(reply(421))), 75);
        assert_eq!(code(&Ending::Refused(reply(554))), 69);
        assert_eq!(code(&Ending::LoginRefused(reply(535))), 77);
        assert_eq!(code(&Ending::LoginRefused(reply(454))), 75);
        assert_eq!(code(&Ending::NotOffered(Missing::StartTls)), 76);
        assert_eq!(code(&Ending::NotOffered(Missing::Auth)), 77);
        assert_eq!(code(&Ending::NotOffered(Missing::SmtpUtf8)), 69);
        assert_eq!(code(&Ending::NotOffered(Missing::EightBitMime)), 69);
        assert_eq!(code(&Ending::Disconnected), 75);
    }

    #[test]
    fn the_worst_answer_counts() {
        let recipient = crate::smtp::address::ForwardPath::take("<a@example.net>").unwrap();
        let exit = |codes: &[u16]| {
            let answer = |code: &u16| Answer {
                recipient: recipient.0.clone(),
                reply: Reply::new(*code, 0, 0, ""),
            };
            Exit::of_answers(&codes.iter().map(answer).collect::<Vec<_>>()).code()
        };
        assert_eq!(exit(&[250, 250]), 0);
        assert_eq!(exit(&[250, 450]), 75);
        assert_eq!(exit(&[550, 250, 450]), 69);
        assert_eq!(exit(&[530]), 77);
    }
}
