//! The books of an idempotent consumer group: what duplicates cannot harm.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// A table in a database that all members of a group share and that no fault strikes: a row per
/// message, with the unique number of the message as its key and the business effect in the same
/// row. The row is written once, whoever tries and however often; so the effect happens once.
#[derive(Debug, Default)]
pub struct Ledger {
    rows: Mutex<FxHashMap<u64, i64>>,
}

impl Ledger {
    /// Writes the effect of a message. False if it was written before: a duplicate, recognised.
    pub fn apply(&self, value: u64, amount: i64) -> bool {
        let mut rows = self.rows.lock();
        let fresh = !rows.contains_key(&value);
        if fresh {
            rows.insert(value, amount);
        }
        fresh
    }

    /// The sum of all effects, and how many there are.
    pub fn balance(&self) -> (i64, usize) {
        let rows = self.rows.lock();
        (rows.values().sum(), rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_happens_once() {
        let ledger = Ledger::default();
        assert!(ledger.apply(1, 250));
        assert!(!ledger.apply(1, 250));
        assert!(ledger.apply(2, -50));
        assert_eq!(ledger.balance(), (200, 2));
    }
}
