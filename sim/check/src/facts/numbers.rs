//! Dense numbers for numbers that may be sparse.

use rustc_hash::FxHashMap;

/// Maps outside numbers to dense ones. Small numbers go through a vector, others through a map.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    dense: Vec<u32>,
    sparse: FxHashMap<u64, u32>,
    limit: u64,
}

impl Numbers {
    /// For about `expected` different numbers.
    pub(crate) fn new(expected: usize) -> Self {
        Self {
            limit: expected as u64 * 4 + 1024,
            ..Self::default()
        }
    }

    /// What was put in for a number.
    pub(crate) fn get(&self, number: u64) -> Option<u32> {
        if number < self.limit {
            self.dense
                .get(number as usize)
                .copied()
                .filter(|&at| at != u32::MAX)
        } else {
            self.sparse.get(&number).copied()
        }
    }

    /// Puts in, replacing what was there.
    pub(crate) fn insert(&mut self, number: u64, at: u32) {
        if number < self.limit {
            let index = number as usize;
            if self.dense.len() <= index {
                self.dense.resize(index + 1, u32::MAX);
            }
            if let Some(slot) = self.dense.get_mut(index) {
                *slot = at;
            }
        } else {
            self.sparse.insert(number, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_numbers_are_found_again() {
        let mut numbers = Numbers::new(10);
        for (at, number) in [0, 7, 1_063, 1_064, u64::MAX].into_iter().enumerate() {
            numbers.insert(number, at as u32);
        }
        assert_eq!(numbers.get(7), Some(1));
        assert_eq!(numbers.get(1_064), Some(3));
        assert_eq!(numbers.get(u64::MAX), Some(4));
        assert_eq!((numbers.get(8), numbers.get(1 << 40)), (None, None));
    }
}
