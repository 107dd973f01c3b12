//! The name server's own configuration.

use std::sync::Arc;

use hotfire_env::BoxFuture;
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_remoting::Channel;

use super::{Answer, Processor, Refusal, success, system_error};
use crate::config::UpdateError;
use crate::kv;

impl Processor {
    pub(super) fn show_config(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let text = self.state.lock().config.to_properties();
        Ok(success(request).with_body(text))
    }

    /// Answers when the changed configuration is on the disk.
    pub(super) fn update_config(
        self: Arc<Self>,
        request: RemotingCommand,
    ) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let text = std::str::from_utf8(&request.body).map_err(system_error)?;
            let _turn = self.config_writes.lock().await;
            let config = self.state.lock().config.clone();
            let changed = config.updated(text).map_err(refusal)?;
            let (path, content) = (&changed.config_store_path, changed.to_properties());
            if let Err(error) = kv::replace(&self.env, path, content.into_bytes()).await {
                tracing::error!(path, %error, "cannot write the configuration; it stays as it was");
                return Err(system_error(format!("{path} cannot be written: {error}")));
            }
            self.state.lock().config = changed;
            Ok(success(&request))
        })
    }
}

fn refusal(error: UpdateError) -> Refusal {
    match error {
        UpdateError::BlackListed => Refusal(
            ResponseCode::NO_PERMISSION,
            "Can not update config in black list.".to_owned(),
        ),
        UpdateError::AtStart(key) => Refusal(
            ResponseCode::NO_PERMISSION,
            format!("Can not update {key}: only a start may set it."),
        ),
        UpdateError::Malformed(what) => system_error(what),
    }
}
