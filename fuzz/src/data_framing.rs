//! Mail data: what DATA and BDAT bring is what a naive reader makes of the same octets, however they
//! are cut; and what we send is read as the one message it is.
//!
//! Four octets choose the limit, what becomes of lone line breaks, the reads, and the chunks.

use bytes::{Bytes, BytesMut};
use smtp_gateway::smtp::framing::chunks::{ChunkFramer, ThrownAway};
use smtp_gateway::smtp::framing::{
    DataError, DataFramer, LoneNewlines, normalise, stuff, stuff_behind,
};

use super::choices::{Choices, reads};
use super::reference;

pub fn check(input: &[u8]) {
    let mut choices = Choices::new(input);
    let limit = choices.one_of(&[0, 1, 7, 64, 1000]);
    let lone = choices.one_of(&[LoneNewlines::Normalise, LoneNewlines::Refuse]);
    let (reads, chunks) = (choices.octet(), choices.octet());
    let octets = choices.rest();
    data(octets, limit, lone, reads);
    chunked(octets, limit, lone, reads, chunks);
    thrown_away(octets, reads, chunks);
    sent(octets, reads);
}

fn data(octets: &[u8], limit: u64, lone: LoneNewlines, number: u8) {
    let mut framer = DataFramer::new(limit, None);
    let mut behind = Vec::new();
    for mut read in reads(octets, number) {
        framer.push(&mut read);
        behind.extend_from_slice(read);
        assert!(limit == 0 || framer.buffered() as u64 <= limit);
    }
    let end = reference::end_of_data(octets);
    assert_eq!(framer.is_complete(), end.is_some());
    if let Some(end) = end {
        let (data, rest) = octets.split_at(end);
        assert_eq!(behind, rest);
        let expected = reference::normalised(&reference::unstuffed(data));
        assert_eq!(framer.finish(lone), judged(expected, limit, lone));
    }
}

fn chunked(octets: &[u8], limit: u64, lone: LoneNewlines, number: u8, chunks: u8) {
    let mut framer = ChunkFramer::new(limit, 0);
    for chunk in reads(octets, chunks) {
        framer.begin(chunk.len() as u64);
        let mut input = BytesMut::new();
        for read in reads(chunk, number) {
            assert!(!framer.is_complete());
            input.extend_from_slice(read);
            framer.push(&mut input);
            assert!(input.is_empty());
            assert!(limit == 0 || framer.buffered() as u64 <= limit);
        }
        assert!(framer.is_complete());
    }
    let expected = judged(reference::ended(octets), limit, lone);
    assert_eq!(framer.finish(lone), expected);
}

fn judged(
    (content, had_lone): (Vec<u8>, bool),
    limit: u64,
    lone: LoneNewlines,
) -> Result<Bytes, DataError> {
    if had_lone && lone == LoneNewlines::Refuse {
        Err(DataError::LoneLineBreak)
    } else if limit != 0 && content.len() as u64 > limit {
        Err(DataError::TooLarge)
    } else {
        Ok(content.into())
    }
}

fn thrown_away(octets: &[u8], number: u8, size: u8) {
    let mut chunk = ThrownAway::new(size.into());
    let mut behind = Vec::new();
    for mut read in reads(octets, number) {
        chunk.push(&mut read);
        behind.extend_from_slice(read);
    }
    let end = octets.len().min(size.into());
    assert_eq!(behind, &octets[end..]);
    assert_eq!(chunk.is_complete(), octets.len() >= size.into());
}

/// Any content that leaves over SMTP ends where we say, and nowhere before.
fn sent(octets: &[u8], number: u8) {
    let content = normalise(octets);
    assert_eq!(content, reference::ended(octets).0);
    let mut stuffed = Vec::new();
    let mut at = 0;
    for piece in reads(&content, number) {
        stuffed.extend(stuff_behind(&content[..at], piece));
        at += piece.len();
    }
    assert_eq!(stuffed, stuff(&content));
    stuffed.extend_from_slice(b".\r\n");
    assert_eq!(reference::end_of_data(&stuffed), Some(stuffed.len()));
    let mut framer = DataFramer::new(0, Some(content.len() as u64));
    let mut input = &stuffed[..];
    framer.push(&mut input);
    assert!(framer.is_complete() && input.is_empty());
    assert_eq!(framer.finish(LoneNewlines::Refuse), Ok(content));
}
