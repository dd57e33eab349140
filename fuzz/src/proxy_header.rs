//! The header of a load balancer: read without an octet of what follows it, the same however it is
//! cut, and no other client named than the one that stands in it.
//!
//! The whole input is what a balancer sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smtp_gateway::ingress::smtp::proxy_protocol::{Progress, Source, parse};

pub fn check(input: &[u8]) {
    let result = parse(input);
    let end = match result {
        Ok(Progress::Done { length, .. }) => length,
        Ok(Progress::NeedMore(_)) | Err(_) => input.len(),
    };
    assert!(end <= input.len());
    for at in 0..end.min(MOST) {
        match parse(&input[..at]) {
            // What is asked for is not behind the header.
            Ok(Progress::NeedMore(more)) => {
                assert!(more > 0);
                let asked = at + more;
                assert!(!matches!(result, Ok(Progress::Done { length, .. }) if asked > length));
            }
            Ok(Progress::Done { .. }) => panic!("it was whole before its end"),
            // No further octet makes it right.
            Err(_) => return assert!(result.is_err()),
        }
    }
    match result {
        Ok(Progress::Done { source, length }) => {
            assert!(length <= MOST);
            let (header, _) = input.split_at(length);
            assert_eq!(parse(header), result, "what follows it changes it");
            match source {
                Source::Client(client) => assert_eq!(Some(client), named(header)),
                Source::Socket => assert!(!header.starts_with(b"PROXY TCP")),
            }
        }
        Ok(Progress::NeedMore(_)) => assert!(input.len() < MOST, "a header without end"),
        Err(_) => {}
    }
}

/// The client that stands in a whole header.
fn named(header: &[u8]) -> Option<IpAddr> {
    let address = if header.starts_with(b"PROXY ") {
        let line = str::from_utf8(header).ok()?.strip_suffix("\r\n")?;
        line.split(' ').nth(2)?.parse().ok()?
    } else {
        match (header.get(12..14)?, header.get(16..)?) {
            ([0x21, 0x11], block) => Ipv4Addr::from(*block.first_chunk()?).into(),
            ([0x21, 0x21], block) => Ipv6Addr::from(*block.first_chunk()?).into(),
            _ => return None,
        }
    };
    Some(IpAddr::to_canonical(&address))
}

/// Octets of the longest header that is taken.
const MOST: usize = 16 + 4096;
