//! What consumer groups want, as the workload itself understands it: the exact tag, or one of the
//! values that the scenario lists for a property. No filter of the stack is asked.

use crate::scenario::{Choices, Consumers, Producers, Scenario};

/// A group that wants a part of a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Wants {
    /// The group.
    pub group: String,
    part: Part,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// Messages with one of these tags.
    Tags(Vec<String>),
    /// Messages that one of these choices fits.
    Properties(Vec<Choices>),
}

impl Wants {
    /// The groups that want only a part of a topic.
    pub fn of_topic(scenario: &Scenario, topic: &str) -> Vec<Self> {
        let groups = scenario.consumers.iter();
        groups
            .filter_map(|(name, group)| {
                Some(Self {
                    group: name.clone(),
                    part: Part::of(group, topic)?,
                })
            })
            .collect()
    }

    /// Whether the group wants a message with this tag and these properties.
    pub fn wants(&self, tag: Option<&str>, properties: &[(&str, &str)]) -> bool {
        match &self.part {
            Part::Tags(tags) => tag.is_some_and(|tag| tags.iter().any(|wanted| wanted == tag)),
            Part::Properties(choices) => choices.iter().any(|choice| fits(choice, properties)),
        }
    }
}

impl Part {
    fn of(group: &Consumers, topic: &str) -> Option<Self> {
        if group.sql.contains_key(topic) {
            return Some(Self::Properties(group.wants.clone()));
        }
        let tags = group.topics.get(topic).filter(|tags| *tags != "*")?;
        let tags = tags.split("||").map(|tag| tag.trim().to_owned());
        Some(Self::Tags(tags.collect()))
    }
}

/// Whether each property that the choice names has one of its values; no value is "".
fn fits(choice: &Choices, properties: &[(&str, &str)]) -> bool {
    choice.iter().all(|(name, values)| {
        let value = properties.iter().find(|(of, _)| of == name);
        let value = value.map_or("", |(_, value)| *value);
        values.iter().any(|wanted| wanted == value)
    })
}

/// How many messages differ in their properties.
pub fn combinations(spec: &Producers) -> u64 {
    let lens = spec
        .properties
        .values()
        .map(|values| values.len().max(1) as u64);
    lens.fold(1, u64::saturating_mul)
}

/// The properties of the combination with this number, without those that are missing.
pub fn properties(spec: &Producers, combination: u64) -> Vec<(&str, &str)> {
    let mut rest = combination;
    let mut drawn = Vec::with_capacity(spec.properties.len());
    for (name, values) in &spec.properties {
        let len = values.len().max(1) as u64;
        let value = values.get((rest % len) as usize).map(String::as_str);
        rest /= len;
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            drawn.push((name.as_str(), value));
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SCENARIO: &str = r#"
        story = "x"
        [run]
        duration = "1s"
        [topics.t]
        [producers.p]
        topic = "t"
        properties = { price = ["5", "50", ""], region = ["eu", "us"] }
        load = { shape = "constant", rate = "1/s" }
        [consumers.everything]
        topics = "t"
        [consumers.tagged]
        topics = { t = ["a", "b"] }
        [consumers.dear]
        topics = "t"
        sql = { t = "price > 20" }
        wants = { price = "50" }
        [consumers.either]
        topics = "t"
        sql = { t = "price IS NULL OR region = 'eu'" }
        wants = [{ price = "" }, { region = ["eu"] }]
    "#;

    fn group(name: &str) -> Wants {
        let scenario = Scenario::parse("x", SCENARIO).unwrap();
        let wants = Wants::of_topic(&scenario, "t");
        wants.into_iter().find(|wants| wants.group == name).unwrap()
    }

    #[test]
    fn a_group_without_a_filter_is_not_judged() {
        let scenario = Scenario::parse("x", SCENARIO).unwrap();
        assert_eq!(Wants::of_topic(&scenario, "t").len(), 3);
        assert!(Wants::of_topic(&scenario, "u").is_empty());
    }

    #[test]
    fn tags_are_wanted_exactly() {
        let tagged = group("tagged");
        assert!(tagged.wants(Some("b"), &[]));
        assert!(!tagged.wants(Some("B"), &[]) && !tagged.wants(None, &[]));
    }

    #[test]
    fn properties_are_wanted_with_the_listed_values() {
        let dear = group("dear");
        assert!(dear.wants(None, &[("region", "eu"), ("price", "50")]));
        assert!(!dear.wants(None, &[("price", "5")]) && !dear.wants(None, &[]));
        let either = group("either");
        assert!(either.wants(None, &[]) && either.wants(None, &[("price", "5"), ("region", "eu")]));
        assert!(!either.wants(None, &[("price", "5"), ("region", "us")]));
    }

    #[test]
    fn every_combination_of_values_is_drawn_and_an_empty_value_is_none() {
        let scenario = Scenario::parse("x", SCENARIO).unwrap();
        let spec = &scenario.producers["p"];
        assert_eq!(combinations(spec), 6);
        let all: BTreeSet<_> = (0..6).map(|number| properties(spec, number)).collect();
        assert_eq!(all.len(), 6);
        assert!(all.contains(&vec![("region", "us")]));
        assert!(all.contains(&vec![("price", "50"), ("region", "eu")]));
    }
}
