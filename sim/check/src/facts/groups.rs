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
    /// Where messages for an arbitrary time wait.
    Timer,
    /// Where half messages wait for the end of their transactions.
    Half,
    /// Where half messages go of which nobody could say what became of them.
    Discarded,
}

impl TopicKind {
    pub(crate) fn of(name: &str, names: &Names) -> Self {
        if let Some(rest) = name.strip_prefix("%RETRY%") {
            return Self::Retry(
                names
                    .find_group(rest)
                    .or_else(|| popping_group(rest, names)),
            );
        }
        if let Some(group) = name.strip_prefix("%DLQ%") {
            return Self::Dlq(names.find_group(group));
        }
        match name {
            "SCHEDULE_TOPIC_XXXX" => Self::Schedule,
            "rmq_sys_wheel_timer" => Self::Timer,
            "RMQ_SYS_TRANS_HALF_TOPIC" => Self::Half,
            "TRANS_CHECK_MAX_TIME_TOPIC" => Self::Discarded,
            _ => Self::Normal,
        }
    }
}

/// The group of a retry topic of pop consumption, which is named after the group and the topic
/// (`KeyBuilder.buildPopRetryTopic`): joined by `_`, or by `+` in its second version.
fn popping_group(rest: &str, names: &Names) -> Option<GroupId> {
    let splits = rest.match_indices(['_', '+']);
    splits
        .filter(|(at, _)| {
            rest.get(at + 1..)
                .is_some_and(|topic| names.find_topic(topic).is_some())
        })
        .find_map(|(at, _)| names.find_group(rest.get(..at)?))
}

/// A consumer group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) listener: Listener,
    pub(crate) broadcasting: bool,
    pub(crate) filtered: bool,
    /// Whether it is known of every message if the filter must let it through.
    pub(crate) judged: bool,
    pub(crate) pop: bool,
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
            judged: false,
            pop: false,
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
            judged: contract.judged,
            pop: contract.pop,
            idempotent: contract.idempotent,
            max_reconsume,
            topics: contract
                .topics
                .iter()
                .filter_map(|topic| names.find_topic(topic))
                .collect(),
        }
    }

    /// Whether a filter may have left out any message, as far as is known.
    pub(crate) fn is_opaque(&self) -> bool {
        self.filtered && !self.judged
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
