use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn binary(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap();
    let mut octets = SIGNATURE.to_vec();
    octets.extend([version_and_command, family]);
    octets.extend(length.to_be_bytes());
    octets.extend(block);
    octets
}

/// 192.0.2.1:56324 to 192.0.2.9:587.
const BLOCK4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 9, 0xdc, 0x04, 0x02, 0x4b];

fn block6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    [&source.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0; 4]].concat()
}

fn client(address: &str) -> Source {
    Source::Client(address.parse().unwrap())
}

fn whole(octets: &[u8]) -> Result<Source, HeaderError> {
    match parse(octets)? {
        Progress::Done { source, length } => {
            assert_eq!(length, octets.len());
            Ok(source)
        }
        Progress::NeedMore(more) => panic!("{more} more octets for {octets:?}"),
    }
}

#[test]
fn lines_of_version_1() {
    for (line, source) in [
        ("TCP4 192.0.2.1 192.0.2.9 56324 587", client("192.0.2.1")),
        (
            "TCP4 255.255.255.255 0.0.0.0 65535 0",
            client("255.255.255.255"),
        ),
        ("TCP6 2001:db8::1 2001:DB8::9 1 587", client("2001:db8::1")),
        ("TCP6 ::ffff:192.0.2.1 ::1 1 587", client("192.0.2.1")),
        ("TCP6 ::ffff:c000:201 ::1 1 587", client("192.0.2.1")),
        ("UNKNOWN", Source::Socket),
        ("UNKNOWN ", Source::Socket),
        ("UNKNOWN whatever else stands here", Source::Socket),
        (
            "UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
             ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            Source::Socket,
        ),
    ] {
        assert_eq!(
            whole(format!("PROXY {line}\r\n").as_bytes()),
            Ok(source),
            "{line}"
        );
    }
}

#[test]
fn lines_that_no_balancer_writes() {
    for line in [
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.9 1 587\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.9 1 587\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.9 1 587\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.9 1 587\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 1 587 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 1 587 9\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.9 1 587\r\n",
        "PROXY TCP4 192.0.2.1\t192.0.2.9 1 587\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.9 1 587\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.9 1 587\r\n",
        "PROXY TCP4 192.0.2 192.0.2.9 1 587\r\n",
        "PROXY TCP4 3221225985 192.0.2.9 1 587\r\n",
        "PROXY TCP4 2001:db8::1 192.0.2.9 1 587\r\n",
        "PROXY TCP4 192.0.2.1 2001:db8::1 1 587\r\n",
        "PROXY TCP6 192.0.2.1 2001:db8::1 1 587\r\n",
        "PROXY TCP6 2001:db8::1%eth0 2001:db8::1 1 587\r\n",
        "PROXY TCP6 [2001:db8::1] 2001:db8::1 1 587\r\n",
        "PROXY TCP6 2001:db8:::1 2001:db8::1 1 587\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 01 587\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 +1 587\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 -1 587\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 1 00\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 1 smtp\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 1 587\n",
        "PROXY TCP4 192.0.2.1 192.0.2.9 1 587\rE",
        "PROXY TCP4 192.0.2.1\0 192.0.2.9 1 587\r\n",
        "PROXY TCP4 192.0.2.\u{661} 192.0.2.9 1 587\r\n",
        "PROXY UNKNOWN \n",
        "PROXY UNKNOWN \r \n",
    ] {
        assert_eq!(
            parse(line.as_bytes()),
            Err(HeaderError::Malformed),
            "{line:?}"
        );
    }
}

#[test]
fn a_line_has_107_octets_at_most() {
    let line = |length: usize| format!("PROXY UNKNOWN {}", "x".repeat(length - 14));
    let longest = format!("{}\r\n", line(105));
    assert_eq!(longest.len(), 107);
    assert_eq!(whole(longest.as_bytes()), Ok(Source::Socket));
    assert_eq!(parse(line(104).as_bytes()), Ok(Progress::NeedMore(2)));
    // With CRLF behind these octets it would be whole.
    assert_eq!(parse(line(105).as_bytes()), Ok(Progress::NeedMore(2)));
    assert_eq!(parse(line(106).as_bytes()), Err(HeaderError::TooLong));
    assert_eq!(
        parse(format!("{}\r\n", line(106)).as_bytes()),
        Err(HeaderError::TooLong)
    );
}

#[test]
fn headers_of_version_2() {
    let tlvs = [&BLOCK4[..], &[0xea, 0, 3, 1, 2, 3], &[0x20, 0, 0]].concat();
    let longest = [&BLOCK4[..], &vec![7; MAX_LENGTH - BLOCK4.len()]].concat();
    for (octets, source) in [
        (binary(PROXY, TCP4, &BLOCK4), client("192.0.2.1")),
        (binary(PROXY, TCP4, &tlvs), client("192.0.2.1")),
        (binary(PROXY, TCP4, &longest), client("192.0.2.1")),
        (
            binary(PROXY, TCP6, &block6("2001:db8::1")),
            client("2001:db8::1"),
        ),
        (
            binary(PROXY, TCP6, &block6("::ffff:192.0.2.1")),
            client("192.0.2.1"),
        ),
        (binary(PROXY, UNSPECIFIED, &[]), Source::Socket),
        (binary(PROXY, UNSPECIFIED, &[4, 0, 0]), Source::Socket),
        (binary(PROXY, UNIX_STREAM, &[b'/'; 216]), Source::Socket),
        // What stands behind LOCAL is to be passed over, the family too.
        (binary(LOCAL, UNSPECIFIED, &[]), Source::Socket),
        (binary(LOCAL, TCP4, &BLOCK4), Source::Socket),
        (binary(LOCAL, 0xff, &[1, 2, 3]), Source::Socket),
    ] {
        assert_eq!(whole(&octets), Ok(source), "{octets:?}");
    }
}

#[test]
fn headers_of_version_2_that_no_balancer_writes() {
    let refused = |octets: &[u8], error| assert_eq!(parse(octets), Err(error), "{octets:?}");
    for version_and_command in [0x00, 0x01, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        let octets = binary(version_and_command, TCP4, &BLOCK4);
        refused(&octets, HeaderError::Malformed);
    }
    // Datagrams, and what is not defined.
    for family in [0x01, 0x02, 0x10, 0x12, 0x13, 0x22, 0x32, 0x41, 0xff] {
        refused(&binary(PROXY, family, &[0; 216]), HeaderError::Malformed);
    }
    for (family, short) in [(TCP4, 11), (TCP6, 35), (UNIX_STREAM, 215)] {
        refused(
            &binary(PROXY, family, &vec![0; short]),
            HeaderError::Malformed,
        );
    }
    // As soon as the length has come.
    for length in [4097, 65_535] {
        let octets = binary(PROXY, TCP4, &vec![0; length]);
        refused(&octets[..FIXED], HeaderError::TooLong);
        refused(&octets, HeaderError::TooLong);
    }
}

#[test]
fn what_is_no_header_is_known_by_its_first_wrong_octet() {
    for octets in [
        &b"E"[..],
        b"EHLO client.example\r\n",
        b"PRoxy ",
        b"PROXYTCP4",
        b"\r\nEHLO",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\x16\x03\x01\x02\x00",
        b" PROXY UNKNOWN\r\n",
        b"\0",
    ] {
        assert_eq!(parse(octets), Err(HeaderError::Missing), "{octets:?}");
    }
    assert_eq!(parse(b""), Ok(Progress::NeedMore(15)));
    assert_eq!(parse(b"P"), Ok(Progress::NeedMore(14)));
    assert_eq!(parse(b"\r\n"), Ok(Progress::NeedMore(14)));
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    let line = |source: IpAddr, destination: IpAddr, ports: (u16, u16)| {
        let family = if source.is_ipv4() { 4 } else { 6 };
        let (from, to) = ports;
        format!("PROXY TCP{family} {source} {destination} {from} {to}\r\n").into_bytes()
    };
    let tlvs = vec(any::<u8>(), 0..300);
    prop_oneof![
        any::<([u8; 4], [u8; 4], (u16, u16))>().prop_map(move |(from, to, ports)| line(
            from.into(),
            to.into(),
            ports
        )),
        any::<([u16; 8], [u16; 8], (u16, u16))>().prop_map(move |(from, to, ports)| line(
            from.into(),
            to.into(),
            ports
        )),
        "PROXY UNKNOWN( [ -~]{0,91})?\r\n".prop_map(String::into_bytes),
        (tlvs.clone(), any::<[u8; 12]>()).prop_map(|(tlvs, block)| binary(
            PROXY,
            TCP4,
            &[&block[..], &tlvs].concat()
        )),
        (tlvs.clone(), any::<[u8; 36]>()).prop_map(|(tlvs, block)| binary(
            PROXY,
            TCP6,
            &[&block[..], &tlvs].concat()
        )),
        (tlvs, any::<u8>()).prop_map(|(tlvs, family)| binary(LOCAL, family, &tlvs)),
    ]
}

proptest! {
    /// Reading as much as is asked for, and no more, ends at the header's own end.
    #[test]
    fn a_header_in_pieces_is_the_same_and_nothing_behind_it_is_asked_for(
        header in header(),
        tail in vec(any::<u8>(), 0..20),
    ) {
        let done = parse(&header).unwrap();
        let length_is_right = matches!(done, Progress::Done { length, .. } if length == header.len());
        prop_assert!(length_is_right, "{:?}", done);
        for end in 0..header.len() {
            match parse(&header[..end]) {
                Ok(Progress::NeedMore(more)) => {
                    prop_assert!(more > 0 && end + more <= header.len(), "{} at {}", more, end);
                }
                other => prop_assert!(false, "{:?} at {}", other, end),
            }
        }
        prop_assert_eq!(parse(&[header, tail].concat()), Ok(done));
    }

    /// Whatever comes: no panic, no promise of more than the bound, and no way back from an error.
    #[test]
    fn any_octets_end_within_the_bound(
        start in prop_oneof![Just(&b""[..]), Just(LINE_START), Just(SIGNATURE)],
        rest in vec(any::<u8>(), 0..300),
    ) {
        let octets = [start, &rest].concat();
        let mut refused = None;
        for end in 0..=octets.len() {
            match (parse(&octets[..end]), refused) {
                (Ok(progress), None) => {
                    let (Progress::NeedMore(more) | Progress::Done { length: more, .. }) = progress;
                    prop_assert!((1..=FIXED + MAX_LENGTH).contains(&more));
                }
                (Err(error), None) => refused = Some(error),
                (result, Some(error)) => prop_assert_eq!(result, Err(error)),
            }
        }
    }
}
