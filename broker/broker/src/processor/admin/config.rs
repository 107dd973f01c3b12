//! The broker's configuration.

use std::sync::Arc;

use hotfire_protocol::header::admin::GetBrokerConfigResponseHeader;
use hotfire_protocol::{RemotingCommand, ResponseCode};

use super::error;
use crate::processor::{Answer, bad_body, done};
use crate::state::State;
use crate::table_files::Table;

/// GET_BROKER_CONFIG: all settings, as properties.
pub(in crate::processor) fn all(broker: &State, request: &RemotingCommand) -> Answer {
    let version = broker.config_version.lock().to_json();
    let header = GetBrokerConfigResponseHeader {
        version: String::from_utf8_lossy(&version).into_owned(),
    };
    let response = request.response_with(ResponseCode::SUCCESS, &header);
    Ok(response.with_body(broker.config().to_properties()))
}

/// UPDATE_BROKER_CONFIG: changes settings, all that are named or none. They are written to the
/// configuration file, if the broker was given one; else they hold until it stops. What only a start
/// can set - names, addresses, the store - is refused. Another permission is announced to the name
/// servers at once.
pub(in crate::processor) fn update(broker: &Arc<State>, request: &RemotingCommand) -> Answer {
    let text = std::str::from_utf8(&request.body).map_err(|wrong| bad_body(&wrong))?;
    let before = broker.config();
    let mut config = (*before).clone();
    config
        .update(text)
        .map_err(|wrong| error(wrong.to_string()))?;
    tracing::info!(changes = text, "an administrator changes the configuration");
    let announce = config.broker_permission != before.broker_permission;
    let auto_create = config.auto_create_topic_enable;
    broker.topics.write().set_auto_create(auto_create);
    *broker.config.write() = Arc::new(config);
    broker.files.change(Table::Settings);
    let now_ms = broker.env.now_ms();
    let mut version = broker.config_version.lock();
    *version = version.next(now_ms);
    drop(version);
    if announce {
        broker.topics.write().touch(now_ms);
        broker.announce_topics();
    }
    done(request)
}
