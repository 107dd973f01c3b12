//! QUERY_ASSIGNMENT and SET_MESSAGE_REQUEST_MODE (`QueryAssignmentProcessor`).

use std::collections::BTreeSet;
use std::sync::Arc;

use hotfire_protocol::body::{
    MessageModel, MessageQueueAssignment, MessageRequestMode, QueryAssignmentRequestBody,
    QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
};
use hotfire_protocol::topic::RETRY_PREFIX;
use hotfire_protocol::{MessageQueue, RemotingCommand, ResponseCode, rules};
use hotfire_remoting::Handled;

use super::{Answer, bad_body, body, done};
use crate::limits;
use crate::load_balance::share;
use crate::refusal::Refusal;
use crate::state::State;
use crate::table_files::Table;

/// QUERY_ASSIGNMENT: which queues of a topic a member of a group is to read. The name servers may
/// have to be asked.
pub(super) fn query(broker: &Arc<State>, request: RemotingCommand) -> Handled {
    let asked = match read(&request) {
        Ok(asked) => asked,
        Err(refusal) => return Handled::Reply(refusal.response(&request)),
    };
    let broker = broker.clone();
    Handled::Later(Box::pin(async move {
        let (topic, group) = (&asked.topic, &asked.consumer_group);
        let config = broker.config();
        let setting = broker.balance.modes.lock().of(topic, group, &config);
        let queues = queues(&broker, &asked, setting).await;
        let assigned = |message_queue| MessageQueueAssignment {
            attachments: None,
            message_queue,
            mode: setting.0,
        };
        let answer = QueryAssignmentResponseBody {
            message_queue_assignments: queues
                .map(|queues| queues.into_iter().map(assigned).collect()),
        };
        let answer = body(&request, answer.to_json());
        Some(answer.unwrap_or_else(|refusal| refusal.response(&request)))
    }))
}

fn read(request: &RemotingCommand) -> Result<QueryAssignmentRequestBody, Refusal> {
    limits::check_body("body", request.body.len(), limits::SMALL_BODY_BYTES)?;
    let asked = QueryAssignmentRequestBody::from_json(&request.body);
    let asked = asked.map_err(|error| bad_body(&error))?;
    // It goes to the name servers, and into what is logged.
    rules::check_registered_name("topic", &asked.topic)
        .and_then(|()| rules::check_registered_name("group", &asked.consumer_group))
        .and_then(|()| rules::check_client_id(&asked.client_id))
        .map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, error.to_string()))?;
    Ok(asked)
}

/// The queues that a member is to read; `None` if nobody can say.
async fn queues(
    broker: &State,
    asked: &QueryAssignmentRequestBody,
    setting: (MessageRequestMode, i32),
) -> Option<BTreeSet<MessageQueue>> {
    let queues = broker.subscribe_queues(&asked.topic).await?;
    let shared = asked.message_model == MessageModel::Clustering;
    if !shared || !broker.config().server_load_balancer_enable {
        return Some(queues.into_iter().collect());
    }
    let mut members: Vec<String> = {
        let consumers = broker.consumers.lock();
        let members = consumers.group(&asked.consumer_group)?.members().values();
        members.map(|client| client.client_id.to_string()).collect()
    };
    members.sort();
    let shared = share(
        setting,
        &asked.strategy_name,
        &queues,
        &members,
        &asked.client_id,
    );
    if shared.is_none() {
        let QueryAssignmentRequestBody {
            topic,
            consumer_group,
            strategy_name,
            ..
        } = asked;
        tracing::warn!(topic, consumer_group, strategy_name, "no assignment");
    }
    shared
}

/// SET_MESSAGE_REQUEST_MODE: how a group gets the messages of a topic.
pub(super) fn set_mode(broker: &State, request: &RemotingCommand) -> Answer {
    limits::check_body("body", request.body.len(), limits::SMALL_BODY_BYTES)?;
    let mode = SetMessageRequestModeRequestBody::from_json(&request.body);
    let mode = mode.map_err(|error| bad_body(&error))?;
    let topic = &mode.topic;
    if topic.starts_with(RETRY_PREFIX) {
        let remark = "retry topic is not allowed to set mode";
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    if broker.topics.read().get(topic).is_none() {
        let remark = format!("topic[{topic}] not exist");
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    }
    if broker.with_group(&mode.consumer_group, |_| ()).is_none() {
        let remark = "subscription group does not exist";
        let code = ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST;
        return Err(Refusal::new(code, remark));
    }
    tracing::info!(
        topic,
        group = mode.consumer_group,
        mode = mode.mode.name(),
        "an administrator sets how a group gets messages"
    );
    broker.balance.modes.lock().set(mode)?;
    broker.files.change(Table::Modes);
    done(request)
}

/// GET_ALL_MESSAGE_REQUEST_MODE: what administrators have set.
pub(super) fn all_modes(broker: &State, request: &RemotingCommand) -> Answer {
    let modes = broker.balance.modes.lock().to_json();
    body(request, modes)
}
