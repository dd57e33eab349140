//! T26, time: deadlines, lives of keys, rates and memories are counted by a clock that only goes
//! forward. A wall clock that jumps, or a pod that was suspended, changes dates and nothing else.

use crate::layers;

/// Who reads the wall clock, and what for.
const DATES: [(&str, &str); 5] = [
    ("cli/send/letter", "the Date of a letter"),
    ("delivery/http/calls", "Retry-After that names a date"),
    ("ingress/smtp/connection", "Date and Received fields"),
    ("tls", "whether a certificate is valid"),
    ("tls/reload", "whether a certificate is valid"),
];

#[test]
fn the_wall_clock_is_read_for_dates_only() {
    let mut readers = Vec::new();
    for (module, text) in layers::sources() {
        let reads = |line: &str| {
            [
                "SystemTime::now",
                "ASN1Time::now",
                "now_utc",
                "Utc::now",
                "Local::now",
            ]
            .iter()
            .any(|clock| line.contains(clock))
        };
        if !layers::is_test(&module) && layers::code_lines(&text).any(reads) {
            readers.push(module);
        }
    }
    readers.sort_unstable();
    let expected: Vec<_> = DATES.iter().map(|(module, _)| *module).collect();
    assert_eq!(readers, expected);
}
