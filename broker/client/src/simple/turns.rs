//! Whose turn it is: calls begin with one broker after the other.

/// Counts calls.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next: usize,
}

impl Turns {
    /// Begins at a random place, so that the members of a group spread.
    pub fn starting(at: u64) -> Self {
        Self {
            next: (at % 1024) as usize,
        }
    }

    /// Brings the target whose turn it is to the front; the others follow in order.
    pub fn order<T>(&mut self, mut targets: Vec<T>) -> Vec<T> {
        let first = self.next.checked_rem(targets.len()).unwrap_or(0);
        self.next = self.next.wrapping_add(1);
        targets.rotate_left(first);
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_first_in_turn() {
        let mut turns = Turns::starting(1);
        let orders = [(); 3].map(|()| turns.order(vec!['a', 'b', 'c']));
        assert_eq!(orders, [['b', 'c', 'a'], ['c', 'a', 'b'], ['a', 'b', 'c']]);
        assert!(turns.order(Vec::<char>::new()).is_empty());
    }
}
