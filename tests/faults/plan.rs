//! Which fault meets which exchange. The same seed gives the same faults, in the same order; which
//! message meets which of them is up to the clock.

/// What goes wrong in one exchange with the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Nothing,
    /// Answers of the API.
    Error500,
    Error500Taken,
    Error502Taken,
    Error504,
    Unavailable,
    UnavailableForASecond,
    Throttled,
    ThrottledForASecond,
    ThrottledUntilADate,
    /// For longer than a message has.
    ThrottledForLong,
    /// The key is refused from now on; another can be had.
    KeyExpired,
    /// What the way to the API does. Cut in the middle of the request, which never arrives.
    ResetBefore,
    /// The request arrives, and the answer is lost.
    ResetAfter,
    /// The request vanishes, and the connection stays.
    HangBefore,
    /// The answer vanishes, and the connection stays.
    HangAfter,
    HalfAnswer,
    /// The end of the stream comes in place of an answer, while the request still arrives.
    HalfClosed,
    /// The connection ends behind the answer, which does not announce it.
    ClosedAfter,
    /// An answer octet by octet.
    Drip,
    /// The same, and slower than anybody waits.
    EndlessDrip,
    Latency,
    /// Both directions in small pieces.
    Slices,
}

/// Of ten thousand exchanges; the rest go well.
pub(crate) const RATES: [(Fault, u64, &str); 22] = [
    (Fault::Error500, 250, "500, not taken"),
    (Fault::Error500Taken, 250, "500, taken"),
    (Fault::Error502Taken, 30, "502, taken"),
    (Fault::Error504, 20, "504, not taken"),
    (Fault::Unavailable, 40, "503"),
    (Fault::UnavailableForASecond, 20, "503, Retry-After: 1"),
    (Fault::Throttled, 100, "429"),
    (Fault::ThrottledForASecond, 85, "429, Retry-After: 1"),
    (Fault::ThrottledUntilADate, 10, "429, Retry-After: a date"),
    (Fault::ThrottledForLong, 5, "429, Retry-After: 6"),
    (Fault::KeyExpired, 30, "401, the key has expired"),
    (Fault::ResetBefore, 60, "reset in the request"),
    (Fault::ResetAfter, 200, "taken, then reset"),
    (Fault::HangBefore, 100, "hang, not taken"),
    (Fault::HangAfter, 100, "taken, then hang"),
    (Fault::HalfAnswer, 60, "taken, half an answer"),
    (Fault::HalfClosed, 40, "taken, half close"),
    (Fault::ClosedAfter, 100, "closed behind the answer"),
    (Fault::Drip, 50, "slow drip"),
    (Fault::EndlessDrip, 20, "taken, endless drip"),
    (Fault::Latency, 500, "latency"),
    (Fault::Slices, 500, "slices"),
];

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
}

impl Plan {
    pub(crate) fn fault(self, exchange: u64) -> Fault {
        let mut draw = self.number(exchange, "fault", 10_000);
        for (fault, rate, _) in RATES {
            match draw.checked_sub(rate) {
                None => return fault,
                Some(rest) => draw = rest,
            }
        }
        Fault::Nothing
    }

    /// A number below this one, for this purpose.
    pub(crate) fn number(self, of: u64, purpose: &str, below: u64) -> u64 {
        let seed = purpose.bytes().fold(self.seed, |seed, octet| {
            mix(seed.wrapping_add(u64::from(octet)))
        });
        mix(seed ^ mix(of)) % below.max(1)
    }
}

/// `SplitMix64`.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
