//! What messages are made of: which order they belong to, how large they are.
//!
//! Everything is drawn in integers, so that two machines draw the same.

use hotfire_env::{Entropy, EntropyExt};

/// Which orders a producer group's messages belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct Orders {
    /// The id of the first: ids are unique over all groups.
    pub first: u32,
    /// How many orders there are, for the whole group.
    pub count: u32,
    /// How busy each is.
    pub spread: Spread,
}

/// How messages spread over orders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// All orders are equally busy.
    Uniform,
    /// The n-th busiest order gets one n-th of what the busiest gets (Zipf's law).
    Zipf,
    /// A few orders get a fixed share of everything; the others are equally busy.
    Hot {
        /// How many orders are hot.
        orders: u32,
        /// Their share, 0 to 1.
        share: f64,
    },
}

/// Sizes of message bodies in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The least.
    pub from: u32,
    /// The most.
    pub to: u32,
    /// Whether sizes are drawn evenly by magnitude (many small, few large), not by bytes.
    pub by_magnitude: bool,
}

impl Sizes {
    /// Draws a size.
    pub fn draw(&self, entropy: &dyn Entropy) -> u32 {
        let (from, to) = (self.from.max(1), self.to.max(self.from).max(1));
        let (mut low, mut high) = (from, to);
        if self.by_magnitude {
            // A magnitude first, from one power of two to the next, then a size within it.
            let magnitudes = to.ilog2() - from.ilog2() + 1;
            let magnitude = from.ilog2() + entropy.below(u64::from(magnitudes)) as u32;
            low = from.max(1 << magnitude);
            high = to.min((2u32 << magnitude).wrapping_sub(1).max(1 << magnitude));
        }
        low + entropy.below(u64::from(high - low) + 1) as u32
    }
}

/// Draws the orders of one member of a producer group. Orders are dealt out to the members like
/// cards, so that nobody else sends for them and their messages have a sequence.
#[derive(Debug)]
pub struct OrderDeck {
    /// The id of this member's first order; the next is `members` further.
    first: u32,
    members: u32,
    /// How many orders this member has.
    own: u32,
    spread: Spread,
    /// For [`Spread::Zipf`]: the running sum of the weights.
    weights: Vec<u64>,
    /// The next sequence number of each own order.
    next: Vec<u32>,
}

/// Weight of the busiest order under Zipf's law.
const BUSIEST: u64 = 1 << 32;

impl OrderDeck {
    /// The orders of one member; empty if there are more members than orders.
    pub fn new(orders: &Orders, member: u32, members: u32) -> Self {
        let own = super::load::share(u64::from(orders.count), member, members) as u32;
        let weights = match orders.spread {
            Spread::Zipf => running_sums((1..=u64::from(own)).map(|rank| BUSIEST / rank)),
            Spread::Uniform | Spread::Hot { .. } => Vec::new(),
        };
        Self {
            first: orders.first.saturating_add(member),
            members: members.max(1),
            own,
            spread: orders.spread,
            weights,
            next: vec![0; own as usize],
        }
    }

    /// The order of the next message and its sequence number within the order, from 0; `None` if
    /// this member has no orders.
    pub fn draw(&mut self, entropy: &dyn Entropy) -> Option<(u32, u32)> {
        let rank = self.rank(entropy);
        let next = self.next.get_mut(rank as usize)?;
        let sequence = *next;
        *next += 1;
        Some((self.first.saturating_add(rank * self.members), sequence))
    }

    fn rank(&self, entropy: &dyn Entropy) -> u32 {
        let below = |bound: u32| entropy.below(u64::from(bound)) as u32;
        match self.spread {
            Spread::Uniform => below(self.own),
            Spread::Zipf => {
                let total = self.weights.last().copied().unwrap_or_default();
                let drawn = entropy.below(total);
                self.weights.partition_point(|sum| *sum <= drawn) as u32
            }
            Spread::Hot { orders, share } => {
                // Every member holds its part of the hot ones, one at least.
                let hot = (orders.div_ceil(self.members)).clamp(1, self.own.max(1));
                if entropy.chance(share) || hot == self.own {
                    below(hot)
                } else {
                    hot + below(self.own.saturating_sub(hot))
                }
            }
        }
    }
}

fn running_sums(weights: impl Iterator<Item = u64>) -> Vec<u64> {
    weights
        .scan(0u64, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hotfire_env::SeededEntropy;
    use proptest::prelude::*;

    use super::*;

    fn draws(spread: Spread, count: u32, n: usize) -> Vec<u32> {
        let entropy = SeededEntropy::new(11);
        let mut deck = OrderDeck::new(
            &Orders {
                first: 0,
                count,
                spread,
            },
            0,
            1,
        );
        (0..n)
            .filter_map(|_| deck.draw(&entropy))
            .map(|(order, _)| order)
            .collect()
    }

    fn share_of(orders: &[u32], wanted: impl Fn(u32) -> bool) -> f64 {
        orders.iter().filter(|order| wanted(**order)).count() as f64 / orders.len() as f64
    }

    #[test]
    fn uniform_orders_are_equally_busy() {
        let orders = draws(Spread::Uniform, 100, 20_000);
        let low_half = share_of(&orders, |order| order < 50);
        assert!((0.48..0.52).contains(&low_half), "{low_half}");
    }

    #[test]
    fn zipf_makes_the_first_order_twice_as_busy_as_the_second() {
        let orders = draws(Spread::Zipf, 1000, 50_000);
        let ratio = share_of(&orders, |o| o == 0) / share_of(&orders, |o| o == 1);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn hot_orders_get_their_share() {
        let orders = draws(
            Spread::Hot {
                orders: 5,
                share: 0.7,
            },
            1000,
            20_000,
        );
        let hot = share_of(&orders, |order| order < 5);
        assert!((0.68..0.72).contains(&hot), "{hot}");
    }

    #[test]
    fn the_messages_of_an_order_are_numbered_from_zero_without_gaps() {
        let entropy = SeededEntropy::new(3);
        let orders = Orders {
            first: 0,
            count: 7,
            spread: Spread::Zipf,
        };
        let mut deck = OrderDeck::new(&orders, 1, 2);
        let mut next = std::collections::BTreeMap::<u32, u32>::new();
        for _ in 0..500 {
            let (order, sequence) = deck.draw(&entropy).unwrap();
            assert_eq!(order % 2, 1, "member 1 of 2 has the odd orders");
            let expected = next.entry(order).or_default();
            assert_eq!(sequence, *expected);
            *expected += 1;
        }
        assert_eq!(next.len(), 3);
    }

    #[test]
    fn a_member_without_orders_draws_none() {
        let orders = Orders {
            first: 0,
            count: 1,
            spread: Spread::Zipf,
        };
        assert_eq!(
            OrderDeck::new(&orders, 1, 2).draw(&SeededEntropy::new(1)),
            None
        );
    }

    #[test]
    fn sizes_by_magnitude_are_mostly_small() {
        let entropy = SeededEntropy::new(5);
        let sizes = Sizes {
            from: 64,
            to: 65_536,
            by_magnitude: true,
        };
        let small = (0..10_000).filter(|_| sizes.draw(&entropy) < 2048).count();
        assert!((4_000..6_000).contains(&small), "{small}");
    }

    proptest! {
        #[test]
        fn a_size_is_within_its_bounds(
            from in 0u32..5000,
            more: u32,
            by_magnitude: bool,
            seed: u64,
        ) {
            let sizes = Sizes { from, to: from.saturating_add(more), by_magnitude };
            let size = sizes.draw(&SeededEntropy::new(seed));
            prop_assert!(size >= sizes.from && size <= sizes.to.max(1));
        }

        #[test]
        fn every_drawn_order_exists(
            count in 1u32..200,
            members in 1u32..9,
            hot in 0u32..300,
            share in 0.0f64..=1.0,
            seed: u64,
        ) {
            let entropy = SeededEntropy::new(seed);
            let spread = Spread::Hot { orders: hot, share };
            for member in 0..members {
                let mut deck = OrderDeck::new(&Orders { first: 0, count, spread }, member, members);
                for _ in 0..20 {
                    if let Some((order, _)) = deck.draw(&entropy) {
                        prop_assert!(order < count);
                    }
                }
            }
        }
    }
}
