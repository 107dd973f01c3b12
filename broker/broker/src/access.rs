//! Access control at work: who is admitted, and what is taken up when its files change.

use std::net::IpAddr;

use hotfire_env::defect;
use hotfire_protocol::message::property;
use hotfire_protocol::{RemotingCommand, topic};
use hotfire_remoting::Channel;

use crate::acl::{Denied, Perm, Permission};
use crate::refusal::Refusal;
use crate::state::State;

/// Whether a request may be served.
///
/// # Errors
/// Access control is on and forbids it.
pub fn admit(
    state: &State,
    channel: &Channel,
    request: &RemotingCommand,
    permission: &Permission,
) -> Result<(), Refusal> {
    let Some(acl) = &state.acl else {
        return Ok(());
    };
    let trust_signatures = defect!(state.env, TrustSignatures);
    let address = channel.peer().ip();
    let rules = acl.rules();
    rules
        .check(address, request, permission, trust_signatures)
        .map_err(|denied| refused(address, request, denied))
}

/// Whether the sender of an admitted request may read a message (`Perm::SUB`) or decide about it
/// (`Perm::PUB`), where the request names no topic but the message's place in the log. What counts is
/// the topic that the message is meant for, whatever topic of the broker's own it waits in.
///
/// # Errors
/// Access control is on and forbids it. A message that is not there is for the caller to miss.
pub fn admit_to_message(
    state: &State,
    channel: &Channel,
    request: &RemotingCommand,
    commit_log_offset: i64,
    needed: Perm,
) -> Result<(), Refusal> {
    let Some(acl) = &state.acl else {
        return Ok(());
    };
    let Some(found) = state.store.look_message_by_offset(commit_log_offset) else {
        return Ok(());
    };
    let stands_in = found.message.topic.as_str();
    let meant_for = match found.message.properties.get(property::REAL_TOPIC) {
        Some(real) if topic::is_internal_topic(stands_in) => real,
        _ => stands_in,
    };
    let address = channel.peer().ip();
    let rules = acl.rules();
    let checked = rules.check_topic(address, request, meant_for, needed);
    checked.map_err(|denied| refused(address, request, denied))
}

fn refused(address: IpAddr, request: &RemotingCommand, denied: Denied) -> Refusal {
    tracing::warn!(%address, code = request.code, %denied, "refused a request");
    denied.into()
}

/// Takes what the files of access control say now.
pub fn reload(state: &State) {
    if let Some(acl) = &state.acl {
        acl.reload(state.disk());
    }
}
