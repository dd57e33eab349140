//! Framing as the RFCs tell it, with no thought for cuts, speed or memory.

/// The octets of mail data up to and with its end: the first CRLF.CRLF, where the line of DATA has
/// brought the first CRLF (RFC 5321 §4.1.1.4).
pub(crate) fn end_of_data(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b".\r\n") {
        return Some(3);
    }
    let end = octets.windows(5).position(|five| five == b"\r\n.\r\n");
    end.map(|at| at + 5)
}

/// Mail data without the dots that stand for nothing (RFC 5321 §4.5.2), nor its end.
pub(crate) fn unstuffed(data: &[u8]) -> Vec<u8> {
    let data = data.strip_suffix(b".\r\n").expect("mail data with its end");
    let is_content = |(at, octet): &(usize, &u8)| {
        let line_start = *at == 0 || data[..*at].ends_with(b"\r\n");
        !(line_start && **octet == b'.')
    };
    let octets = data.iter().enumerate().filter(is_content);
    octets.map(|(_, octet)| *octet).collect()
}

/// Content where a CR or LF by itself is CRLF, and whether there was one.
pub(crate) fn normalised(content: &[u8]) -> (Vec<u8>, bool) {
    let mut normal = Vec::new();
    let mut lone = false;
    let mut rest = content;
    while let [octet, behind @ ..] = rest {
        match (octet, behind) {
            (b'\r', [b'\n', behind @ ..]) => {
                normal.extend_from_slice(b"\r\n");
                rest = behind;
            }
            (b'\r' | b'\n', _) => {
                normal.extend_from_slice(b"\r\n");
                lone = true;
                rest = behind;
            }
            _ => {
                normal.push(*octet);
                rest = behind;
            }
        }
    }
    (normal, lone)
}

/// The same, with a CRLF behind the last line too.
pub(crate) fn ended(content: &[u8]) -> (Vec<u8>, bool) {
    let (mut normal, lone) = normalised(content);
    if !normal.is_empty() && !normal.ends_with(b"\r\n") {
        normal.extend_from_slice(b"\r\n");
    }
    (normal, lone)
}
