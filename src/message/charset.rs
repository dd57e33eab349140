//! Octets and the name of a charset to text. Never an error (RFC 2045 §5.2, WHATWG encoding
//! labels).
//!
//! Printers, scanners and old scripts send what they have and name it as they like; a message must
//! neither fail nor be dropped for that. The decoders are those of mail-parser, which is used here
//! and in [`crate::message::date`], and nowhere else.

use mail_parser::decoders::charsets::map::charset_decoder;

/// Decodes `octets`. Without a label, or with one that nobody knows: UTF-8 if they are valid UTF-8,
/// windows-1252 if not.
pub fn decode(octets: &[u8], label: Option<&[u8]>) -> String {
    let label = label.map(<[u8]>::trim_ascii).unwrap_or_default();
    let is_one_of = |names: &[&str]| {
        let same = |name: &&str| label.eq_ignore_ascii_case(name.as_bytes());
        names.iter().any(same)
    };
    if is_one_of(&UTF_8) {
        return String::from_utf8_lossy(without_byte_order_mark(octets)).into_owned();
    }
    match charset_decoder(label) {
        Some(decode) if !is_one_of(&ASCII) && !is_one_of(&WITHOUT_DECODER) => decode(octets),
        _ => guess(octets),
    }
}

/// UTF-8 or windows-1252: windows-1252 has a character for nearly every octet, and text in it is
/// hardly ever valid UTF-8.
fn guess(octets: &[u8]) -> String {
    let octets = without_byte_order_mark(octets);
    match (
        std::str::from_utf8(octets),
        charset_decoder(b"windows-1252"),
    ) {
        (Err(_), Some(decode)) => decode(octets),
        _ => String::from_utf8_lossy(octets).into_owned(),
    }
}

fn without_byte_order_mark(octets: &[u8]) -> &[u8] {
    octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets)
}

const UTF_8: [&str; 7] = [
    "utf-8",
    "utf8",
    "utf_8",
    "unicode-1-1-utf-8",
    "unicode11utf8",
    "unicode20utf8",
    "x-unicode20utf8",
];

/// Programs write these for whatever they were given, UTF-8 more often than not.
const ASCII: [&str; 3] = ["us-ascii", "ascii", "ansi_x3.4-1968"];

/// For these a browser shows one replacement character in place of the whole text. In a message the
/// ASCII that is between the escapes is worth more.
const WITHOUT_DECODER: [&str; 7] = [
    "iso-2022-kr",
    "csiso2022kr",
    "iso-2022-cn",
    "iso-2022-cn-ext",
    "hz-gb-2312",
    "replacement",
    "x-user-defined",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_charsets_are_decoded_by_their_label() {
        for (octets, label, text) in [
            (&b"\xc5\x82"[..], "UTF-8", "ł"),
            (b"\xef\xbb\xbfx", "utf8", "x"),
            (b"\xb3", "iso-8859-2", "ł"),
            (b"\x80\xe9", " ISO-8859-1 ", "€é"),
            (b"\x80\xe9", "latin1", "€é"),
            (b"\xcf\xf0\xe8", "windows-1251", "При"),
            (b"\xf0\xd2\xc9", "koi8-r", "При"),
            (b"\x1b$B$3\x1b(B", "iso-2022-jp", "こ"),
            (b"\x82\xb1", "Shift_JIS", "こ"),
            (b"\xc4\xe3", "gb2312", "你"),
            (b"h\0i\0", "utf-16le", "hi"),
            (b"+ZeVnLIqe-", "utf-7", "日本語"),
        ] {
            assert_eq!(decode(octets, Some(label.as_bytes())), text, "{label}");
        }
    }

    #[test]
    fn without_a_known_label_it_is_utf_8_or_windows_1252() {
        for label in [None, Some(&b"x-unknown"[..]), Some(b""), Some(b"us-ascii")] {
            assert_eq!(decode("zażółć".as_bytes(), label), "zażółć");
            assert_eq!(decode(b"caf\xe9 \x80", label), "café €");
            assert_eq!(decode(b"plain", label), "plain");
        }
        assert_eq!(
            decode(b"hello ~{<:Ky~}", Some(b"hz-gb-2312")),
            "hello ~{<:Ky~}"
        );
    }

    #[test]
    fn broken_octets_are_replaced_and_never_an_error() {
        assert_eq!(decode(b"a\xffb", Some(b"utf-8")), "a\u{fffd}b");
        assert_eq!(decode(b"\x00\xd8a\x00", Some(b"utf-16le")), "\u{fffd}a");
        assert!(decode(b"\x82", Some(b"shift_jis")).contains('\u{fffd}'));
        let _ = decode(b"+", Some(b"utf-7"));
    }

    #[test]
    fn every_whatwg_label_is_known() {
        for label in WHATWG_LABELS.split_ascii_whitespace() {
            let upper = label.to_ascii_uppercase();
            let known = UTF_8.contains(&label) || charset_decoder(upper.as_bytes()).is_some();
            assert!(known, "{label}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_a_decoder_panic(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            for label in WHATWG_LABELS.split_ascii_whitespace().chain(["utf-7", "cp850", ""]) {
                let _ = decode(&octets, Some(label.as_bytes()));
            }
        }
    }

    const WHATWG_LABELS: &str = "\
        866 ansi_x3.4-1968 arabic ascii asmo-708 big5 big5-hkscs chinese cn-big5 cp1250 cp1251 \
        cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp819 cp866 csbig5 cseuckr \
        cseucpkdfmtjapanese csgb2312 csibm866 csiso2022jp csiso2022kr csiso58gb231280 \
        csiso88596e csiso88596i csiso88598e csiso88598i csisolatin1 csisolatin2 csisolatin3 \
        csisolatin4 csisolatin5 csisolatin6 csisolatin9 csisolatinarabic csisolatincyrillic \
        csisolatingreek csisolatinhebrew cskoi8r csksc56011987 csmacintosh csshiftjis csunicode \
        cyrillic dos-874 ecma-114 ecma-118 elot_928 euc-jp euc-kr gb18030 gb2312 gb_2312 \
        gb_2312-80 gbk greek greek8 hebrew hz-gb-2312 ibm819 ibm866 iso-10646-ucs-2 iso-2022-cn \
        iso-2022-cn-ext iso-2022-jp iso-2022-kr iso-8859-1 iso-8859-10 iso-8859-11 iso-8859-13 \
        iso-8859-14 iso-8859-15 iso-8859-16 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 \
        iso-8859-6 iso-8859-6-e iso-8859-6-i iso-8859-7 iso-8859-8 iso-8859-8-e iso-8859-8-i \
        iso-8859-9 iso-ir-100 iso-ir-101 iso-ir-109 iso-ir-110 iso-ir-126 iso-ir-127 iso-ir-138 \
        iso-ir-144 iso-ir-148 iso-ir-149 iso-ir-157 iso-ir-58 iso8859-1 iso8859-10 iso8859-11 \
        iso8859-13 iso8859-14 iso8859-15 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 \
        iso8859-7 iso8859-8 iso8859-9 iso88591 iso885910 iso885911 iso885913 iso885914 iso885915 \
        iso88592 iso88593 iso88594 iso88595 iso88596 iso88597 iso88598 iso88599 iso_8859-1 \
        iso_8859-15 iso_8859-1:1987 iso_8859-2 iso_8859-2:1987 iso_8859-3 iso_8859-3:1988 \
        iso_8859-4 iso_8859-4:1988 iso_8859-5 iso_8859-5:1988 iso_8859-6 iso_8859-6:1987 \
        iso_8859-7 iso_8859-7:1987 iso_8859-8 iso_8859-8:1988 iso_8859-9 iso_8859-9:1989 koi \
        koi8 koi8-r koi8-ru koi8-u koi8_r korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 \
        l1 l2 l3 l4 l5 l6 l9 latin1 latin2 latin3 latin4 latin5 latin6 logical mac macintosh \
        ms932 ms_kanji replacement shift-jis shift_jis sjis sun_eu_greek tis-620 ucs-2 unicode \
        unicode-1-1-utf-8 unicode11utf8 unicode20utf8 unicodefeff unicodefffe us-ascii utf-16 \
        utf-16be utf-16le utf-8 utf8 visual windows-1250 windows-1251 windows-1252 windows-1253 \
        windows-1254 windows-1255 windows-1256 windows-1257 windows-1258 windows-31j windows-874 \
        windows-949 x-cp1250 x-cp1251 x-cp1252 x-cp1253 x-cp1254 x-cp1255 x-cp1256 x-cp1257 \
        x-cp1258 x-euc-jp x-gbk x-mac-cyrillic x-mac-roman x-mac-ukrainian x-sjis \
        x-unicode20utf8 x-user-defined x-x-big5";
}
