//! What a listener makes of a message: how long it takes, and whether it succeeds.

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Entropy, EntropyExt};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::scenario::Behaviour;

/// Decides for the listeners of one node.
pub struct Temper {
    spec: Behaviour,
    /// The same for all members of a group, so that a poisoned message is poison to all of them.
    poison: u64,
    entropy: Arc<dyn Entropy>,
}

impl Temper {
    /// The decisions of a node of a group.
    pub fn new(spec: Behaviour, poison: u64, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            spec,
            poison,
            entropy,
        }
    }

    /// How long the next call takes.
    pub fn takes(&self) -> Duration {
        let Behaviour {
            takes_from,
            takes_to,
            ..
        } = self.spec;
        let range = takes_to.saturating_sub(takes_from).as_micros();
        let range = u64::try_from(range).unwrap_or(u64::MAX);
        if range == 0 {
            return takes_from;
        }
        takes_from + Duration::from_micros(self.entropy.below(range + 1))
    }

    /// Whether consuming a message fails, at its delivery number `reconsume` (from 0).
    pub fn fails(&self, value: u64, reconsume: u32) -> bool {
        reconsume < self.spec.fail_first
            || self.is_poison(value)
            || (self.spec.fail_rate > 0.0 && self.entropy.chance(self.spec.fail_rate))
    }

    /// Whether something happens that happens in a share of all cases.
    pub fn chance(&self, share: f64) -> bool {
        share > 0.0 && self.entropy.chance(share)
    }

    /// Whether a message fails at every delivery: it follows from its value.
    pub fn is_poison(&self, value: u64) -> bool {
        let drawn = xxh3_64_with_seed(&value.to_le_bytes(), self.poison) >> 11;
        (drawn as f64 / (1u64 << 53) as f64) < self.spec.poison
    }
}

#[cfg(test)]
mod tests {
    use hotfire_env::SeededEntropy;

    use super::*;

    fn temper(spec: Behaviour, seed: u64) -> Temper {
        Temper::new(spec, 5, Arc::new(SeededEntropy::new(seed)))
    }

    fn calm() -> Behaviour {
        Behaviour {
            takes_from: Duration::ZERO,
            takes_to: Duration::ZERO,
            fail_rate: 0.0,
            fail_first: 0,
            poison: 0.0,
        }
    }

    #[test]
    fn a_calm_listener_takes_no_time_and_never_fails() {
        let temper = temper(calm(), 1);
        assert_eq!(temper.takes(), Duration::ZERO);
        assert!((0..1000).all(|value| !temper.fails(value, 0)));
    }

    #[test]
    fn the_first_deliveries_fail() {
        let temper = temper(
            Behaviour {
                fail_first: 2,
                ..calm()
            },
            1,
        );
        assert!(temper.fails(9, 0) && temper.fails(9, 1) && !temper.fails(9, 2));
    }

    #[test]
    fn poison_is_poison_to_every_member_and_at_every_delivery() {
        let spec = Behaviour {
            poison: 0.1,
            ..calm()
        };
        let (one, other) = (temper(spec.clone(), 1), temper(spec, 2));
        let poisoned = (0..10_000).filter(|value| one.is_poison(*value)).count();
        assert!((900..1100).contains(&poisoned), "{poisoned}");
        assert!((0..1000).all(|value| one.fails(value, 3) == other.fails(value, 0)));
    }

    #[test]
    fn a_call_takes_a_time_from_its_range() {
        let (takes_from, takes_to) = (Duration::from_millis(2), Duration::from_millis(5));
        let temper = temper(
            Behaviour {
                takes_from,
                takes_to,
                ..calm()
            },
            1,
        );
        assert!((0..100).all(|_| (takes_from..=takes_to).contains(&temper.takes())));
    }
}
