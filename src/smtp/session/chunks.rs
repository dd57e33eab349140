//! BDAT: a message in chunks of a told size (RFC 3030 §2).
//!
//! The octets of a chunk follow its command whatever the reply will be, so one that is refused is
//! read and thrown away before it is answered. Where its end cannot be told, or is too far away,
//! the session ends: no octet of a chunk is ever read as a command.
//!
//! The first refusal refuses the message. What is still in the pipeline gets the same reply, up to
//! LAST or RSET, lest the rest of a message pass for a whole one.

use std::mem;

use crate::smtp::command::Chunk;
use crate::smtp::framing::chunks::{ChunkFramer, ThrownAway};
use crate::smtp::reply::{self, Reply};
use crate::smtp::session::{Blame, Ending, Exceeded, Phase, Question, RefusedChunk, Session};

impl Session {
    pub(super) fn bdat(&mut self, chunk: Chunk) {
        let limit = self.settings.limits.message_size;
        if limit != 0 && chunk.size > limit.saturating_mul(TOO_FAR) {
            self.exceeded.push(Exceeded::MessageSize);
            return self.close_with(&reply::CHUNK_TOO_LARGE, Ending::UnreadableChunk);
        }
        match mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Transaction(envelope) if envelope.recipients().is_empty() => {
                self.refuse_message(chunk, reply::NO_RECIPIENT.clone(), Blame::Client);
            }
            Phase::Transaction(envelope) => {
                let announced = envelope.parameters().size.unwrap_or(chunk.size);
                let mut framer = ChunkFramer::new(limit, announced);
                framer.begin(chunk.size);
                self.phase = Phase::Chunk(envelope, framer, chunk);
                self.question = Some(Question::Data);
            }
            Phase::Chunks(envelope, mut framer) => {
                framer.begin(chunk.size);
                self.phase = Phase::Chunk(envelope, framer, chunk);
            }
            // These were in the pipeline already when the first one was refused.
            Phase::ChunksRefused(refusal) => self.refuse_message(chunk, refusal, Blame::Nobody),
            phase => {
                let blame = match phase {
                    Phase::MailRefused => Blame::Nobody,
                    _ => Blame::Client,
                };
                self.phase = phase;
                self.refuse_chunk(
                    ThrownAway::new(chunk.size),
                    reply::MAIL_FIRST.clone(),
                    blame,
                );
            }
        }
    }

    /// A BDAT that cannot be read: nobody knows how many octets follow it.
    pub(super) fn unreadable_chunk(&mut self) {
        self.close_with(&reply::BAD_CHUNK, Ending::UnreadableChunk);
    }

    /// The mail data may not come, and the first chunk of it is on its way.
    pub(super) fn refuse_first_chunk(&mut self, refusal: &Reply) {
        if let Phase::Chunk(_, framer, chunk) = mem::replace(&mut self.phase, Phase::Ready) {
            self.phase = behind_refused(chunk, refusal);
            self.refuse_chunk(framer.throw_away(), refusal.clone(), Blame::Nobody);
        }
    }

    fn refuse_message(&mut self, chunk: Chunk, refusal: Reply, blame: Blame) {
        self.phase = behind_refused(chunk, &refusal);
        self.refuse_chunk(ThrownAway::new(chunk.size), refusal, blame);
    }

    /// Reads the chunk and throws it away, or ends the session where that is too much to ask.
    fn refuse_chunk(&mut self, octets: ThrownAway, refusal: Reply, blame: Blame) {
        let most = match self.settings.limits.message_size {
            0 => THROWN_AWAY,
            limit => limit,
        };
        if octets.left() > most {
            return self.close_with(&refusal, Ending::UnreadableChunk);
        }
        self.refused_chunk = Some(RefusedChunk {
            octets,
            refusal,
            blame,
        });
    }

    /// Throws octets of a refused chunk away; false when there are more to come.
    pub(super) fn throw_away_chunk(&mut self) -> bool {
        let Some(mut chunk) = self.refused_chunk.take() else {
            return false;
        };
        chunk.octets.push(&mut self.input);
        if !chunk.octets.is_complete() {
            self.refused_chunk = Some(chunk);
            return false;
        }
        match chunk.blame {
            Blame::Client => self.error(&chunk.refusal),
            Blame::Nobody => self.reply(&chunk.refusal),
        }
        true
    }

    /// Takes octets of a chunk from the input; false when there are more to come.
    pub(super) fn chunk(&mut self) -> bool {
        let Phase::Chunk(envelope, mut framer, chunk) = mem::replace(&mut self.phase, Phase::Ready)
        else {
            return false;
        };
        framer.push(&mut self.input);
        if !framer.is_complete() {
            self.phase = Phase::Chunk(envelope, framer, chunk);
            return false;
        }
        if chunk.last {
            self.end_of_data(envelope, framer.finish(self.settings.lone_newlines));
            return true;
        }
        match framer.fault() {
            Some(fault) => self.data_fault(fault),
            None => self.reply(&reply::chunk_received(chunk.size)),
        }
        self.phase = Phase::Chunks(envelope, framer);
        true
    }
}

/// LAST ends the transaction, whatever the reply.
fn behind_refused(chunk: Chunk, refusal: &Reply) -> Phase {
    if chunk.last {
        Phase::Ready
    } else {
        Phase::ChunksRefused(refusal.clone())
    }
}

/// A chunk larger than this many messages of the largest size is not read at all. Below it, a
/// client that has not looked at SIZE still learns why its message is refused, as it does behind
/// DATA.
const TOO_FAR: u64 = 10;
/// Octets of a refused chunk that are read where messages have no limit: anybody may send one.
const THROWN_AWAY: u64 = 25 << 20;
