//! Settings out of the first octets of an input, and the cuts of the rest.

/// An input whose first octets are choices. One that has ended chooses zero.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(crate) fn octet(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.octet() % 2 == 1
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.octet()) % all.len()]
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Cuts octets into reads, as a number says: 0 not at all, others in reads of up to so many octets.
pub(crate) fn reads(octets: &[u8], number: u8) -> Vec<&[u8]> {
    let mut reads = Vec::new();
    let mut rest = octets;
    let mut state = usize::from(number);
    while !rest.is_empty() {
        state = (state * 5 + 3) % 256;
        let most = match number {
            0 => rest.len(),
            most => 1 + state % usize::from(most),
        };
        let (read, behind) = rest.split_at(most.min(rest.len()));
        reads.push(read);
        rest = behind;
    }
    reads
}
