//! What one producer node sends: message after message, drawn from the seed.

use std::sync::Arc;
use std::time::Duration;

use hotfire_env::{Entropy, EntropyExt};

use super::body::Content;
use super::mix::{OrderDeck, Sizes};
use super::wants;
use crate::scenario::{Deliver, Producers};

/// The amounts of messages are below this, in cents.
const AMOUNT_BOUND: u64 = 100_000;

/// A message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// What it says.
    pub content: Content,
    /// Its size in bytes.
    pub size: u32,
    /// Its tag, as an index into the group's.
    pub tag: Option<u16>,
    /// How long after it is sent it asks to be delivered, if that is drawn.
    pub after: Option<Duration>,
    /// Whether it is called back before its time.
    pub recall: bool,
    /// Its properties, as the number of a combination of values.
    pub combination: u64,
}

/// Plans the messages of one node. It outlives the node's process, as the users behind it do: a
/// process that starts again goes on where the one before stopped.
pub struct Plan {
    /// The first value of this node.
    first_value: u64,
    planned: u64,
    deck: Option<OrderDeck>,
    sizes: Sizes,
    tags: u16,
    after: Option<(Duration, Duration)>,
    recall: f64,
    combinations: u64,
    entropy: Arc<dyn Entropy>,
}

impl Plan {
    /// The plan of a node: `group` and `index` make its values unique in the run.
    pub fn new(spec: &Producers, group: u16, index: u32, entropy: Arc<dyn Entropy>) -> Self {
        let orders = spec.orders.as_ref();
        Self {
            first_value: u64::from(group) << 48 | u64::from(index) << 32,
            planned: 0,
            deck: orders.map(|orders| OrderDeck::new(orders, index, spec.nodes)),
            sizes: spec.sizes,
            tags: u16::try_from(spec.tags.len()).unwrap_or(u16::MAX),
            after: spec.deliver.and_then(Deliver::drawn),
            recall: spec.recall,
            combinations: wants::combinations(spec),
            entropy,
        }
    }

    /// How many messages were planned, or passed over.
    pub fn planned(&self) -> u64 {
        self.planned
    }

    /// Passes over messages that were due while there was no process to send them.
    pub fn skip_to(&mut self, due: u64) {
        self.planned = self.planned.max(due);
    }
}

/// The messages, without end.
impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let entropy = &*self.entropy;
        let value = self.first_value + self.planned;
        self.planned += 1;
        let order = self.deck.as_mut().and_then(|deck| deck.draw(entropy));
        let tag = (self.tags > 0).then(|| entropy.below(u64::from(self.tags)) as u16);
        let combination = match self.combinations {
            1 => 0,
            several => entropy.below(several),
        };
        Some(Planned {
            content: Content {
                value,
                order,
                amount: entropy.below(AMOUNT_BOUND) as i64 + 1,
            },
            size: self.sizes.draw(entropy),
            tag,
            after: self.after.map(|(from, to)| {
                let spread = to.saturating_sub(from).as_millis() as u64;
                from + Duration::from_millis(entropy.below(spread + 1))
            }),
            recall: self.recall > 0.0 && entropy.chance(self.recall),
            combination,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hotfire_env::SeededEntropy;

    use super::*;
    use crate::scenario::Scenario;

    const SCENARIO: &str = r#"
        story = "x"
        [run]
        duration = "1s"
        [topics.t]
        [producers.p]
        nodes = 3
        topic = "t"
        tags = ["a", "b"]
        orders = { count = 10 }
        load = { shape = "constant", rate = "1/s" }
    "#;

    fn plan(index: u32, seed: u64) -> Plan {
        let scenario = Scenario::parse("x", SCENARIO).unwrap();
        let entropy = Arc::new(SeededEntropy::new(seed));
        Plan::new(&scenario.producers["p"], 2, index, entropy)
    }

    #[test]
    fn no_two_messages_have_one_value() {
        let values: BTreeSet<u64> = (0..3)
            .flat_map(|node| plan(node, 1).take(100))
            .map(|m| m.content.value)
            .collect();
        assert_eq!(values.len(), 300);
    }

    #[test]
    fn a_seed_always_plans_the_same() {
        let some = |seed| plan(0, seed).take(50).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn what_is_passed_over_leaves_a_gap_in_the_values_only() {
        let mut plan = plan(0, 1);
        plan.next();
        plan.skip_to(10);
        let next = plan.next().unwrap();
        assert_eq!(next.content.value & 0xffff_ffff, 10);
        assert_eq!(plan.planned(), 11);
    }
}
