//! A point in time with its offset from UTC, as a Date field says it (RFC 5322 §3.3, RFC 3339).

use mail_parser::DateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(DateTime);

impl Date {
    /// Seconds since 1970 in UTC; what lies beyond the year 9999 is taken for its last second.
    pub fn from_unix(seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Self(DateTime::from_timestamp(seconds.min(LAST_SECOND)))
    }

    /// Reads a Date field. Old and sloppy forms are understood: years of two digits, names of
    /// zones, comments, no seconds, words in another order.
    pub fn parse(field_value: &str) -> Option<Self> {
        let mut words = Words::default();
        for word in without_comments(field_value).split([' ', '\t', '\r', '\n', ',']) {
            words.take(word);
        }
        let (hour, minute, second) = words.time?;
        let zone = words.zone.unwrap_or_default();
        let date = DateTime {
            year: words.year?,
            month: words.month?,
            day: words.day?,
            hour,
            minute,
            // A leap second is the one before it to all who reckon without.
            second: second.min(59),
            tz_before_gmt: zone.is_west,
            tz_hour: zone.hours,
            tz_minute: zone.minutes,
        };
        let local = Some(date.to_timestamp_local()).filter(|_| date.is_valid())?;
        (DateTime::from_timestamp(local).day == date.day).then_some(Self(date))
    }

    /// As it stands in a header field: `Thu, 1 Jan 1970 00:00:00 +0000`.
    pub fn rfc5322(&self) -> String {
        self.0.to_rfc822()
    }

    /// As it stands in JSON: `1970-01-01T00:00:00Z`.
    pub fn rfc3339(&self) -> String {
        self.0.to_rfc3339()
    }
}

/// What the words of a date turned out to be. mail-parser takes `1 Foo 2024` for a day in November,
/// so the words are read here.
#[derive(Default)]
struct Words {
    day: Option<u8>,
    month: Option<u8>,
    year: Option<u16>,
    time: Option<(u8, u8, u8)>,
    zone: Option<Zone>,
}

#[derive(Default)]
struct Zone {
    is_west: bool,
    hours: u8,
    minutes: u8,
}

impl Words {
    fn take(&mut self, word: &str) {
        let number = word.chars().all(|c| c.is_ascii_digit());
        if word.contains(':') && self.time.is_none() {
            let clock = word.find(['+', '-']).unwrap_or(word.len());
            let (clock, zone) = word.split_at_checked(clock).unwrap_or((word, ""));
            self.time = time(clock);
            self.zone = Zone::parse(zone);
        } else if number && word.len() <= 2 && self.day.is_none() {
            self.day = word.parse().ok();
        } else if number && self.year.is_none() {
            self.year = year(word);
        } else if self.month.is_none() && month(word).is_some() {
            self.month = month(word);
        } else if self.time.is_some() && self.zone.is_none() {
            self.zone = Zone::parse(word);
        }
    }
}

impl Zone {
    /// `-0330` or one of the names of RFC 5322 §4.3. Other names say nothing to rely on.
    fn parse(word: &str) -> Option<Self> {
        if let Some(digits) = word.strip_prefix(['+', '-']) {
            let (hours, minutes) = digits.split_at_checked(2)?;
            return (digits.len() == 4).then_some(Self {
                is_west: word.starts_with('-'),
                hours: hours.parse().ok()?,
                minutes: minutes.parse().ok()?,
            });
        }
        let hours = match word.to_ascii_uppercase().as_str() {
            "UT" | "UTC" | "GMT" | "Z" => 0,
            "EDT" => 4,
            "EST" | "CDT" => 5,
            "CST" | "MDT" => 6,
            "MST" | "PDT" => 7,
            "PST" => 8,
            _ => return None,
        };
        Some(Self {
            is_west: hours > 0,
            hours,
            minutes: 0,
        })
    }
}

fn time(clock: &str) -> Option<(u8, u8, u8)> {
    let mut numbers = clock.split(':').map(|digits| digits.parse::<u8>().ok());
    let (hour, minute) = (numbers.next()??, numbers.next()??);
    let second = numbers.next().unwrap_or(Some(0))?;
    (numbers.next().is_none() && second <= 60).then_some((hour, minute, second))
}

/// RFC 5322 §4.3: two digits are of this or the last century, three count from 1900.
fn year(digits: &str) -> Option<u16> {
    let year: u16 = digits.parse().ok()?;
    match (digits.len(), year) {
        (..=2, ..=49) => year.checked_add(2000),
        (..=3, _) => year.checked_add(1900),
        _ => Some(year),
    }
}

fn month(word: &str) -> Option<u8> {
    let short = word.get(..3)?;
    let index = MONTHS
        .iter()
        .position(|month| month.eq_ignore_ascii_case(short))?;
    u8::try_from(index).ok()?.checked_add(1)
}

fn without_comments(text: &str) -> String {
    let mut depth = 0_usize;
    let mut kept = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(c),
            _ => {}
        }
    }
    kept
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// No date is longer, comments and folds included.
const LONGEST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read_in_all_their_forms() {
        for (text, date) in [
            (
                "Fri, 21 Nov 1997 09:55:06 -0600",
                "1997-11-21T09:55:06-06:00",
            ),
            ("21 Nov 97 09:55 GMT", "1997-11-21T09:55:00Z"),
            (
                "Mon, 1 Jan 2024 8:05:00 +0000 (UTC)",
                "2024-01-01T08:05:00Z",
            ),
            (
                "Thu,\r\n 13 Feb 1969 23:32:00 -0330",
                "1969-02-13T23:32:00-03:30",
            ),
            ("Thu, 29 Feb 2024 23:59:60 EST", "2024-02-29T23:59:59-05:00"),
            ("Mon Jan  1 10:00:00 2024", "2024-01-01T10:00:00Z"),
            (
                "Monday, 1 January 2024 10:00:00+0100 (a (nested) zone)",
                "2024-01-01T10:00:00+01:00",
            ),
            ("1 Jan 99 10:00:00 XYZ", "1999-01-01T10:00:00Z"),
            (
                "  Tue, 30 Jun 2020 00:00:00 +0545",
                "2020-06-30T00:00:00+05:45",
            ),
        ] {
            assert_eq!(
                Date::parse(text).map(|d| d.rfc3339()).as_deref(),
                Some(date),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "yesterday",
            "2024-01-01T00:00:00Z",
            "Fri, 30 Feb 2024 09:00:00 +0000",
            "32 Jan 2024 09:00:00 +0000",
            "1 Foo 2024 09:00:00 +0000",
            "1 Jan 2024 25:00:00 +0000",
            "0 Jan 2024 09:00:00 +0000",
            "1 Jan 2024",
            "1 Jan 2024 09",
            "1 Jan 2024 1:2:3:4",
        ] {
            assert_eq!(Date::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_date_prints_in_both_forms() {
        let date = Date::from_unix(1_700_000_000);
        assert_eq!(date.rfc5322(), "Tue, 14 Nov 2023 22:13:20 +0000");
        assert_eq!(date.rfc3339(), "2023-11-14T22:13:20Z");
        assert_eq!(Date::from_unix(u64::MAX).rfc3339(), "9999-12-31T23:59:59Z");
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(seconds in 0_u64..32_000_000_000) {
            let date = Date::from_unix(seconds);
            prop_assert_eq!(Date::parse(&date.rfc5322()), Some(date));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[A-Za-z0-9 :+,;()\\\\-]{0,60}") {
            let _ = Date::parse(&text).map(|date| (date.rfc5322(), date.rfc3339()));
        }
    }
}
