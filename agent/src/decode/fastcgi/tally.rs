//! The bytes of a body, counted by its records: their contents in, how many there were out.

/// See the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    counted: u64,
    /// Records of it were not seen; since then so many bytes came, those of headers included.
    astray: Option<u64>,
}

impl Tally {
    /// Content of its records.
    pub fn count(&mut self, bytes: u64) {
        self.counted = self.counted.saturating_add(bytes);
    }

    /// From now on its records are not seen.
    pub fn lose(&mut self) {
        self.astray.get_or_insert(0);
    }

    pub fn is_lost(&self) -> bool {
        self.astray.is_some()
    }

    /// Bytes that may be of its records.
    pub fn count_astray(&mut self, bytes: u64) {
        if let Some(astray) = &mut self.astray {
            *astray = astray.saturating_add(bytes);
        }
    }

    /// Whether so many bytes came, or, where not all records were seen, may have come.
    pub fn reaches(self, bytes: u64) -> bool {
        bytes <= self.counted.saturating_add(self.astray.unwrap_or(0))
    }

    /// How many there were; where not all records were seen, as many as its sender said, if so many came at all.
    pub fn bytes(self, said: Option<u64>) -> Option<u64> {
        match self.astray {
            None => Some(self.counted),
            Some(_) => said.filter(|said| self.reaches(*said)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_counts_where_records_are_missing() {
        let mut tally = Tally::default();
        tally.count(10);
        assert_eq!(tally.bytes(Some(7)), Some(10), "records count more");
        tally.lose();
        tally.count_astray(20);
        assert_eq!(tally.bytes(None), None);
        assert_eq!(tally.bytes(Some(30)), Some(30));
        assert_eq!(tally.bytes(Some(31)), None, "not so many came");
    }
}
