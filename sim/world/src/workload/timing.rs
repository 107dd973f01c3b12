//! Messages for a time: when they are due, and calling them back.

use std::time::Duration;

use hotfire_check::history::{CallOutcome, Event, OpId};
use hotfire_client::{Producer, SendResult};
use hotfire_env::Env;

use super::plan::Planned;
use super::producer::ProducerNode;
use crate::scenario::Deliver;

/// When a message is due by the node's clock, in milliseconds since 1970; none if it does not wait.
pub(super) fn due_ms(node: &ProducerNode, env: &Env, planned: &Planned) -> Option<i64> {
    let wait = match node.spec.deliver? {
        Deliver::After(..) => planned.after?,
        Deliver::At(at) => (node.load.0 + at).saturating_sub(node.pen.now()),
    };
    Some(env.now_ms() + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2))
}

/// Calls a message back halfway to its time, and writes down what became of that.
pub(super) fn recall_later(
    node: &ProducerNode,
    env: &Env,
    producer: &Producer,
    (op, due_ms): (OpId, i64),
    sent: &SendResult,
) {
    let Some(handle) = sent.recall_handle.clone() else {
        return;
    };
    let half = u64::try_from((due_ms - env.now_ms()) / 2).unwrap_or(0);
    let (pen, producer) = (node.pen.clone(), producer.clone());
    let topic = node.spec.topic.clone();
    env.spawn("recall", async move {
        tokio::time::sleep(Duration::from_millis(half)).await;
        pen.write(|_| Event::RecallInvoked { op });
        let outcome = match producer.recall(&topic, &handle).await {
            Ok(_) => CallOutcome::Ok,
            Err(error) if error.is_unknown() => CallOutcome::Unknown,
            Err(_) => CallOutcome::Refused,
        };
        pen.write(|_| Event::RecallEnded { op, outcome });
    });
}
