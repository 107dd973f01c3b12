//! How the queues of a topic are shared among the members of a group: the two ways that brokers
//! know too (5.x), so that who asks a broker gets what it would have computed itself.
//!
//! Both lists must be sorted, and be the same for all members: then every queue goes to exactly one.

/// Contiguous ranges; the first members get one more if it does not come out even
/// (`AllocateMessageQueueAveragely`). The share of the member at `index` of `members`.
pub fn averagely<T: Clone>(queues: &[T], members: usize, index: usize) -> Vec<T> {
    if index >= members {
        return Vec::new();
    }
    let (share, extra) = (queues.len() / members, queues.len() % members);
    let start = index * share + index.min(extra);
    let len = share + usize::from(index < extra);
    let range = queues.get(start..start + len);
    range.map(<[_]>::to_vec).unwrap_or_default()
}

/// In turn, like dealing cards (`AllocateMessageQueueAveragelyByCircle`). The share of the member
/// at `index` of `members`.
pub fn by_circle<T: Clone>(queues: &[T], members: usize, index: usize) -> Vec<T> {
    if index >= members {
        return Vec::new();
    }
    let own = queues.iter().skip(index).step_by(members);
    own.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_contiguous_and_the_first_members_get_the_rest() {
        let queues: Vec<_> = (0..8).collect();
        let share = |index| averagely(&queues, 3, index);
        assert_eq!([share(0), share(1)], [[0, 1, 2], [3, 4, 5]]);
        assert_eq!(share(2), [6, 7]);
        assert_eq!(averagely(&queues[..1], 3, 2), [0; 0]);
    }

    #[test]
    fn a_circle_deals_one_queue_after_the_other() {
        let queues: Vec<_> = (0..5).collect();
        assert_eq!(by_circle(&queues, 2, 0), [0, 2, 4]);
        assert_eq!(by_circle(&queues, 2, 1), [1, 3]);
    }

    #[test]
    fn who_is_no_member_gets_nothing() {
        assert_eq!(averagely(&[1, 2], 0, 0), [0; 0]);
        assert_eq!(averagely(&[1, 2], 1, 1), [0; 0]);
        assert_eq!(by_circle(&[1, 2], 0, 0), [0; 0]);
    }
}
