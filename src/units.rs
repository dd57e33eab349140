//! Sizes and periods of time as people write them in settings: `25MiB`, `1m30s`.
//!
//! Printing gives the shortest exact form, and reading it back gives the same value. Settings may
//! also give a bare number: octets for a size, seconds for a period.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// A number of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub const fn octets(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZES
            .iter()
            .find(|(_, octets)| self.0 != 0 && self.0.is_multiple_of(*octets));
        match unit {
            Some((name, octets)) => write!(f, "{}{name}", self.0 / octets),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    /// Reads a number and, blanks between them or not, one of KiB, MiB, GiB, TiB in any case.
    ///
    /// # Errors
    /// [`UnitError`] for anything else, decimal units (`MB`) and fractions included.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = number_and_rest(text.trim());
        let unit = unit.trim_start();
        let octets = match SIZES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        {
            Some((_, octets)) => *octets,
            None if unit.is_empty() => 1,
            None => return Err(Self::ERROR),
        };
        let number: u64 = number.parse().map_err(|_| Self::ERROR)?;
        number.checked_mul(octets).map(Self).ok_or(Self::ERROR)
    }
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(pub Duration);

impl Period {
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_nanos();
        if left == 0 {
            return f.write_str("0s");
        }
        for (name, nanoseconds) in PERIODS {
            let count = left / nanoseconds;
            left %= nanoseconds;
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = UnitError;

    /// Reads numbers with the units h, m, s, ms, us, ns, from large to small, each at most once;
    /// or one bare number of seconds.
    ///
    /// # Errors
    /// [`UnitError`] for anything else.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(Self::ERROR);
        }
        if let (seconds, "") = number_and_rest(rest) {
            return seconds.parse().map(Self::seconds).map_err(|_| Self::ERROR);
        }
        let mut units = PERIODS.iter();
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let (number, tail) = number_and_rest(rest);
            let end = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let (_, nanoseconds) = units.find(|(name, _)| *name == unit).ok_or(Self::ERROR)?;
            let number: u64 = number.parse().map_err(|_| Self::ERROR)?;
            // u64::MAX hours in nanoseconds are far below the end of u128.
            total = total.saturating_add(u128::from(number).saturating_mul(*nanoseconds));
            rest = tail.trim_start();
        }
        let seconds = u64::try_from(total / NANOSECONDS).map_err(|_| Self::ERROR)?;
        let fraction = u32::try_from(total % NANOSECONDS).map_err(|_| Self::ERROR)?;
        Ok(Self(Duration::new(seconds, fraction)))
    }
}

/// The text is not such a quantity. The message says what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct UnitError(&'static str);

/// What [`ByteSize`] and [`Period`] share for serde.
trait Quantity: FromStr<Err = UnitError> + fmt::Display {
    const EXPECTED: &'static str;
    const ERROR: UnitError = UnitError(Self::EXPECTED);

    fn from_number(number: u64) -> Self;
}

impl Quantity for ByteSize {
    const EXPECTED: &'static str = "a size such as 25MiB or 26214400";

    fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl Quantity for Period {
    const EXPECTED: &'static str = "a period such as 30s, 1m30s or 500ms";

    fn from_number(number: u64) -> Self {
        Self::seconds(number)
    }
}

struct QuantityVisitor<Q>(PhantomData<Q>);

impl<Q: Quantity> Visitor<'_> for QuantityVisitor<Q> {
    type Value = Q;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Q::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Q, E> {
        text.parse()
            .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Q, E> {
        Ok(Q::from_number(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Q, E> {
        let whole = u64::try_from(number)
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
        Ok(Q::from_number(whole))
    }
}

macro_rules! serde_as_text {
    ($($quantity:ty),+) => {$(
        impl<'de> Deserialize<'de> for $quantity {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(QuantityVisitor(PhantomData))
            }
        }

        impl Serialize for $quantity {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

serde_as_text!(ByteSize, Period);

/// Splits behind the leading digits: `u64` by itself would also take `+5`.
fn number_and_rest(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Large to small, so that the first one that fits is the shortest.
const SIZES: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// Units in nanoseconds, large to small.
const PERIODS: [(&str, u128); 6] = [
    ("h", 3_600 * NANOSECONDS),
    ("m", 60 * NANOSECONDS),
    ("s", NANOSECONDS),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const NANOSECONDS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, octets) in [
            ("26214400", 26_214_400),
            ("25MiB", 26_214_400),
            ("25 MiB", 26_214_400),
            (" 64kib ", 65_536),
            ("1GiB", 1 << 30),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(octets)), "{text}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_unit_that_is_exact() {
        for (octets, text) in [
            (26_214_400, "25MiB"),
            (1536, "1536"),
            (0, "0"),
            (1 << 40, "1TiB"),
        ] {
            assert_eq!(ByteSize(octets).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        let all = [
            "",
            "MiB",
            "25MB",
            "1.5MiB",
            "-1",
            "+1",
            "1 2",
            "99999999999TiB",
            "25Mi B",
        ];
        for text in all {
            let error = text.parse::<ByteSize>().unwrap_err();
            assert_eq!(
                error.to_string(),
                "expected a size such as 25MiB or 26214400",
                "{text}"
            );
        }
    }

    #[test]
    fn periods_are_read_in_parts_and_bare_numbers_are_seconds() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("500ms", 500),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("300", 300_000),
            ("0", 0),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Period(Duration::from_millis(milliseconds))),
                "{text}"
            );
        }
    }

    #[test]
    fn periods_print_in_their_largest_parts() {
        for (milliseconds, text) in [
            (90_000, "1m30s"),
            (300_000, "5m"),
            (1_500, "1s500ms"),
            (0, "0s"),
            (7_200_000, "2h"),
        ] {
            assert_eq!(
                Period(Duration::from_millis(milliseconds)).to_string(),
                text
            );
        }
    }

    #[test]
    fn what_is_not_a_period_is_refused() {
        let all = [
            "",
            "s",
            "30x",
            "30s1m",
            "1s1s",
            "1.5s",
            "-1s",
            "1m30",
            "99999999999999999999s",
        ];
        for text in all {
            let error = text.parse::<Period>().unwrap_err();
            assert_eq!(
                error.to_string(),
                "expected a period such as 30s, 1m30s or 500ms",
                "{text}"
            );
        }
        assert!("18446744073709551615h".parse::<Period>().is_err());
    }

    #[test]
    fn serde_takes_text_and_whole_numbers_and_writes_text() {
        let size: ByteSize = serde_json::from_str("26214400").unwrap();
        assert_eq!(serde_json::to_string(&size).unwrap(), r#""25MiB""#);
        let period: Period = serde_json::from_str(r#""1m30s""#).unwrap();
        assert_eq!(serde_json::to_string(&period).unwrap(), r#""1m30s""#);
        let error = serde_json::from_str::<Period>("-5")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("integer `-5`, expected a period such as"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn reading_what_was_printed_gives_the_same_size(octets: u64) {
            prop_assert_eq!(ByteSize(octets).to_string().parse(), Ok(ByteSize(octets)));
        }

        #[test]
        fn reading_what_was_printed_gives_the_same_period(seconds: u64, fraction in 0..999_999_999_u32) {
            let period = Period(Duration::new(seconds, fraction));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }
    }
}
