//! Administration (`AdminBrokerProcessor`): one file for each kind of thing that is administered.

pub(super) mod clean;
pub(super) mod clients;
pub(super) mod config;
pub(super) mod groups;
pub(super) mod progress;
pub(super) mod queue;
pub(super) mod runtime;
pub(super) mod topics;

use hotfire_protocol::body::fastjson;
use hotfire_protocol::{RemotingCommand, ResponseCode};
use serde::Serialize;

use super::{Answer, body};
use crate::refusal::Refusal;

fn error(remark: impl Into<String>) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
}

pub(super) fn json(request: &RemotingCommand, table: &impl Serialize) -> Answer {
    let json = fastjson::to_vec(table).map_err(|wrong| error(wrong.to_string()))?;
    body(request, json)
}
