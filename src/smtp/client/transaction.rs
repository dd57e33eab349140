//! One message on its way: which commands are next, and which reply decides for each recipient.

use bytes::Bytes;

use crate::smtp::address::{ForwardPath, Mailbox, ReversePath};
use crate::smtp::client::extensions::Extensions;
use crate::smtp::command::Command;
use crate::smtp::framing::{normalise, stuff_behind};
use crate::smtp::parameter::{BodyType, MailParameters};
use crate::smtp::reply::Reply;

/// A message and its envelope.
#[derive(Clone)]
pub struct Message {
    reverse_path: ReversePath,
    recipients: Vec<ForwardPath>,
    content: Bytes,
}

impl Message {
    /// A CR or LF by itself in the content becomes CRLF: no server may see an end of data in it that
    /// we did not mean.
    pub fn new(
        reverse_path: ReversePath,
        recipients: Vec<ForwardPath>,
        content: impl AsRef<[u8]>,
    ) -> Self {
        Self {
            reverse_path,
            recipients,
            content: normalise(content.as_ref()),
        }
    }

    /// Whether an address is not ASCII (RFC 6531 §3.3).
    pub(super) fn needs_utf8(&self) -> bool {
        self.recipients
            .iter()
            .map(ForwardPath::mailbox)
            .chain(self.reverse_path.mailbox())
            .any(|mailbox| !Mailbox::is_ascii(mailbox))
    }

    /// Whether the content is not ASCII (RFC 6152).
    pub(super) fn needs_eight_bit_mime(&self) -> bool {
        !self.content.is_ascii()
    }

    fn mail_parameters(&self, extensions: &Extensions) -> MailParameters {
        MailParameters {
            size: extensions.size.then_some(self.content.len() as u64),
            body: self
                .needs_eight_bit_mime()
                .then_some(BodyType::EightBitMime),
            smtputf8: self.needs_utf8(),
        }
    }
}

/// What became of a message for one recipient: the reply that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub recipient: ForwardPath,
    pub reply: Reply,
}

pub(super) struct Transaction {
    message: Message,
    parameters: MailParameters,
    /// How many of MAIL and RCPT go out before their replies are waited for.
    group: usize,
    /// How many were said.
    said: usize,
    /// Their replies; the first is that to MAIL.
    replies: Vec<Reply>,
    /// How many octets of the content were taken by [`Self::next_piece`].
    taken: usize,
}

/// How a transaction goes on.
pub(super) enum Progress {
    /// Not all that was said is answered.
    Waiting,
    Say(Vec<Command>),
    /// A recipient was taken.
    Data,
    /// None was.
    Refused(Vec<Answer>),
}

/// A piece of the mail data, dot-stuffed.
pub(super) enum Piece {
    Inner(Vec<u8>),
    /// With the end of data.
    Last(Vec<u8>),
}

impl Transaction {
    pub(super) fn new(message: Message, extensions: &Extensions) -> Self {
        Self {
            parameters: message.mail_parameters(extensions),
            message,
            group: if extensions.pipelining { GROUP } else { 1 },
            said: 0,
            replies: Vec::new(),
            taken: 0,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.message.content.len()
    }

    /// The next piece of the mail data: a second copy of the whole would cost as much as the first.
    pub(super) fn next_piece(&mut self) -> Piece {
        let content = &self.message.content;
        let (before, rest) = content.split_at_checked(self.taken).unwrap_or_default();
        let piece = rest.get(..PIECE).unwrap_or(rest);
        self.taken = self.taken.saturating_add(piece.len());
        let mut octets = stuff_behind(before, piece);
        if piece.len() < rest.len() {
            return Piece::Inner(octets);
        }
        octets.extend_from_slice(b".\r\n");
        Piece::Last(octets)
    }

    /// Takes the reply to the next of the commands that were said.
    pub(super) fn answer(&mut self, reply: Reply) {
        self.replies.push(reply);
    }

    pub(super) fn progress(&mut self) -> Progress {
        if self.replies.len() < self.said {
            return Progress::Waiting;
        }
        if let Some(refusal) = self.replies.first().filter(|reply| !reply.is_positive()) {
            return Progress::Refused(self.each(|_| refusal.clone()));
        }
        let commands = self.next_paths();
        self.said = self.said.saturating_add(commands.len());
        if !commands.is_empty() {
            Progress::Say(commands)
        } else if self.rcpt_replies().any(Reply::is_positive) {
            Progress::Data
        } else {
            Progress::Refused(self.each(Reply::clone))
        }
    }

    /// The end: this reply decides for the recipients that were taken.
    pub(super) fn settle(&self, reply: &Reply) -> Vec<Answer> {
        self.each(|own| if own.is_positive() { reply } else { own }.clone())
    }

    /// As many of MAIL and RCPT as go out together, behind those that were said.
    fn next_paths(&self) -> Vec<Command> {
        let Message {
            reverse_path,
            recipients,
            ..
        } = &self.message;
        let mail = || Command::Mail(reverse_path.clone(), self.parameters.clone());
        let mail = (self.said == 0).then(mail);
        let recipients = recipients.iter().skip(self.said.saturating_sub(1));
        let commands = mail
            .into_iter()
            .chain(recipients.cloned().map(Command::Rcpt));
        commands.take(self.group).collect()
    }

    fn rcpt_replies(&self) -> impl Iterator<Item = &Reply> {
        self.replies.iter().skip(1)
    }

    /// An answer for each recipient, made from the reply to its RCPT, or to MAIL where it had none.
    fn each(&self, decide: impl Fn(&Reply) -> Reply) -> Vec<Answer> {
        let recipients = self.message.recipients.iter().cloned();
        let own = self
            .rcpt_replies()
            .chain(self.replies.iter().take(1).cycle());
        let answer = |(recipient, reply)| Answer {
            recipient,
            reply: decide(reply),
        };
        recipients.zip(own).map(answer).collect()
    }
}

/// Replies to pipelined commands must fit the buffers in between: who only writes while the server
/// only writes too waits forever (RFC 2920 §3.1).
const GROUP: usize = 50;
/// Octets of content that go out together.
const PIECE: usize = 64 << 10;
