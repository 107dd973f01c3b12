use hotfire_check::history::{QueueRef, Value};
use rustc_hash::FxHashMap;

/// Transactions that have not ended, as far as brokers know.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// Where the newest half message of each is: it is stored again for each check.
    open: FxHashMap<Value, (QueueRef, i64)>,
    /// Whose half message is where.
    places: FxHashMap<(QueueRef, i64), Value>,
}

impl Halves {
    /// A half message was stored, for the first time or again.
    pub fn stored(&mut self, value: Value, queue: QueueRef, offset: i64) {
        self.open.insert(value, (queue, offset));
        self.places.insert((queue, offset), value);
    }

    /// The broker noted the end of one. If it was stored again since, the newest copy has still to
    /// be asked about.
    pub fn ended(&mut self, queue: QueueRef, offset: i64) {
        let place = (queue, offset);
        if let Some(value) = self.places.remove(&place)
            && self.open.get(&value) == Some(&place)
        {
            self.open.remove(&value);
        }
    }

    /// The broker gave one up.
    pub fn given_up(&mut self, value: Value) {
        self.open.remove(&value);
    }

    /// What lay at an offset or behind it is gone.
    pub fn lost(&mut self, queue: QueueRef, from: i64) {
        let stays = |at: &(QueueRef, i64)| at.0 != queue || at.1 < from;
        self.open.retain(|_, at| stays(at));
        self.places.retain(|at, _| stays(at));
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.open.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueRef = QueueRef(3);

    /// Half messages of different transactions.
    fn halves(count: u64) -> Halves {
        let mut halves = Halves::default();
        for value in 0..count {
            halves.stored(Value(value), QUEUE, value as i64);
        }
        halves
    }

    #[test]
    fn a_transaction_is_open_until_its_end_is_noted() {
        let mut halves = halves(2);
        halves.ended(QUEUE, 0);
        halves.ended(QueueRef(4), 1);
        assert_eq!(halves.len(), 1);
    }

    #[test]
    fn a_transaction_that_is_checked_ends_with_its_newest_half_message() {
        let mut halves = halves(1);
        halves.stored(Value(0), QUEUE, 1);
        halves.ended(QUEUE, 0);
        assert_eq!(halves.len(), 1);
        halves.ended(QUEUE, 1);
        assert_eq!(halves.len(), 0);
    }

    #[test]
    fn a_transaction_that_is_given_up_is_not_open() {
        let mut halves = halves(2);
        halves.given_up(Value(1));
        assert_eq!(halves.len(), 1);
    }

    #[test]
    fn what_a_power_loss_took_is_not_open() {
        let mut halves = halves(3);
        halves.lost(QUEUE, 1);
        assert_eq!(halves.len(), 1);
    }
}
