//! Topics and groups, as names and contract describe them.

use crate::contract::{Contract, GroupContract, Listener};
use crate::history::{GroupId, Names, TopicId};

/// What a topic is for, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicKind {
    /// An ordinary topic.
    Normal,
    /// A group's retry topic; the group may be unknown.
    Retry(Option<GroupId>),
    /// A group's dead-letter topic; the group may be unknown.
    Dlq(Option<GroupId>),
    /// Where delayed messages wait.
    Schedule,
}

impl TopicKind {
    pub(crate) fn of(name: &str, names: &Names) -> Self {
        if let Some(group) = name.strip_prefix("%RETRY%") {
            Self::Retry(names.find_group(group))
        } else if let Some(group) = name.strip_prefix("%DLQ%") {
            Self::Dlq(names.find_group(group))
        } else if name == "SCHEDULE_TOPIC_XXXX" {
            Self::Schedule
        } else {
            Self::Normal
        }
    }
}

/// A consumer group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) listener: Listener,
    pub(crate) broadcasting: bool,
    pub(crate) filtered: bool,
    pub(crate) idempotent: bool,
    /// After how many reconsumptions a message is given up; `None` for never.
    pub(crate) max_reconsume: Option<u32>,
    /// The topics it subscribes to, by contract or by what its members said.
    pub(crate) topics: Vec<TopicId>,
}

impl Group {
    pub(crate) const fn nobody() -> Self {
        Self {
            listener: Listener::Concurrent,
            broadcasting: false,
            filtered: false,
            idempotent: false,
            max_reconsume: Some(16),
            topics: Vec::new(),
        }
    }

    pub(crate) fn of(group: GroupId, names: &Names, contract: &Contract) -> Self {
        let name = names.group_name(group);
        match contract
            .groups
            .iter()
            .find(|contract| contract.group == name)
        {
            Some(contract) => Self::by_contract(contract, names),
            None => Self::nobody(),
        }
    }

    fn by_contract(contract: &GroupContract, names: &Names) -> Self {
        let max_reconsume = match (u32::try_from(contract.max_reconsume), contract.listener) {
            (Ok(max), _) => Some(max),
            (Err(_), Listener::Concurrent) => Some(16),
            (Err(_), Listener::Orderly) => None,
        };
        Self {
            listener: contract.listener,
            broadcasting: contract.broadcasting,
            filtered: contract.filtered,
            idempotent: contract.idempotent,
            max_reconsume,
            topics: contract
                .topics
                .iter()
                .filter_map(|topic| names.find_topic(topic))
                .collect(),
        }
    }

    pub(crate) fn is_orderly(&self) -> bool {
        self.listener == Listener::Orderly
    }

    pub(crate) fn subscribe(&mut self, topic: TopicId) {
        if !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
    }
}
