//! What stands in a line for a field of an event.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::super::event::{
    CallOutcome, FaultKind, How, Order, Outcome, QueryBy, SendKind, TransactionState, Value,
};
use super::super::names::{DeliveryId, GroupId, Names, NodesId, OpId, QueueRef, TextId, TopicId};
use super::super::recorder::Recorder;

pub(in super::super) type Text<'a> = Cow<'a, str>;

/// What stands for a field of this type.
pub(in super::super) type Written<'a, T> = <T as Field>::Written<'a>;

/// A field of an event: an id, for which a name is written, or something that is written as it is.
pub(in super::super) trait Field {
    type Written<'a>;

    fn write(self, names: &Names) -> Self::Written<'_>;

    fn read(written: Self::Written<'_>, recorder: &mut Recorder) -> Self;
}

macro_rules! as_they_are {
    ($($type:ty,)+) => {
        $(impl Field for $type {
            type Written<'a> = Self;

            fn write(self, _: &Names) -> Self {
                self
            }

            fn read(written: Self, _: &mut Recorder) -> Self {
                written
            }
        })+
    };
}

as_they_are! {
    bool, u8, u16, u32, u64, i64, Value, CallOutcome, FaultKind, How, Outcome, QueryBy, SendKind,
    TransactionState, Option<i64>, Option<Order>, Option<Value>,
}

macro_rules! numbers {
    ($($type:ident,)+) => {
        $(impl Field for $type {
            type Written<'a> = u32;

            fn write(self, _: &Names) -> u32 {
                self.0
            }

            fn read(written: u32, _: &mut Recorder) -> Self {
                Self(written)
            }
        })+
    };
}

numbers! { OpId, DeliveryId, }

macro_rules! names {
    ($($type:ident: $name_of:ident, $take:ident;)+) => {
        $(impl Field for $type {
            type Written<'a> = Text<'a>;

            fn write(self, names: &Names) -> Text<'_> {
                names.$name_of(self).into()
            }

            fn read(written: Text<'_>, recorder: &mut Recorder) -> Self {
                recorder.$take(&written)
            }
        })+
    };
}

names! {
    TopicId: topic_name, topic;
    GroupId: group_name, group;
    TextId: text_of, text;
}

/// A queue, written out.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct At<'a> {
    topic: Text<'a>,
    broker: Text<'a>,
    queue: i32,
}

impl Field for QueueRef {
    type Written<'a> = At<'a>;

    fn write(self, names: &Names) -> At<'_> {
        match names.queue_of(self) {
            Some(queue) => At {
                topic: names.topic_name(queue.topic).into(),
                broker: names.broker_name(queue.broker).into(),
                queue: queue.queue_id,
            },
            None => At {
                topic: "?".into(),
                broker: "?".into(),
                queue: -1,
            },
        }
    }

    fn read(written: At<'_>, recorder: &mut Recorder) -> Self {
        recorder.queue(&written.topic, &written.broker, written.queue)
    }
}

impl Field for NodesId {
    type Written<'a> = Vec<Text<'a>>;

    fn write(self, names: &Names) -> Vec<Text<'_>> {
        let nodes = names.nodes_of(self).iter();
        nodes.map(|&node| names.node_name(node).into()).collect()
    }

    fn read(written: Vec<Text<'_>>, recorder: &mut Recorder) -> Self {
        let nodes: Vec<_> = written.iter().map(|name| recorder.node(name)).collect();
        recorder.nodes(&nodes)
    }
}
