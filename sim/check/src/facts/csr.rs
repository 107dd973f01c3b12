//! Lists of small numbers by dense key, in two flat vectors.

/// For every key from 0 a list of items, in the order they were given.
#[derive(Debug, Default)]
pub(crate) struct Csr {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Csr {
    /// Groups (key, item) pairs; pairs with a key of `keys` or more are left out. `pairs` is walked
    /// twice.
    pub(crate) fn build(keys: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0u32; keys + 1];
        for (key, _) in pairs.clone() {
            if let Some(count) = starts.get_mut(key as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut items = vec![0u32; sum as usize];
        let mut next = starts.clone();
        for (key, item) in pairs {
            if (key as usize) < keys {
                let at = &mut next[key as usize];
                items[*at as usize] = item;
                *at += 1;
            }
        }
        Self { starts, items }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The items of a key; none for a key that does not exist.
    pub(crate) fn of(&self, key: u32) -> &[u32] {
        let key = key as usize;
        match (self.starts.get(key), self.starts.get(key + 1)) {
            (Some(&from), Some(&to)) => &self.items[from as usize..to as usize],
            _ => &[],
        }
    }

    /// Sorts every list by a rank, items of equal rank staying in order.
    pub(crate) fn sort_lists_by<K: Ord>(&mut self, rank: impl Fn(u32) -> K) {
        for key in 0..self.len() {
            let list = &mut self.items[self.starts[key] as usize..self.starts[key + 1] as usize];
            if list.len() > 1 {
                list.sort_by_key(|&item| rank(item));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_listed_by_key_in_order() {
        let pairs = [(2, 10), (0, 11), (2, 12), (9, 13)];
        let mut csr = Csr::build(3, pairs.into_iter());
        assert_eq!(
            (csr.of(0), csr.of(1), csr.of(2)),
            (&[11][..], &[][..], &[10, 12][..])
        );
        assert!(csr.of(9).is_empty());
        csr.sort_lists_by(std::cmp::Reverse);
        assert_eq!(csr.of(2), [12, 10]);
    }
}
