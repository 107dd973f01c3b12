//! The key and value configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use hotfire_env::BoxFuture;
use hotfire_protocol::body::KVTable;
use hotfire_protocol::header::namesrv::{
    DeleteKVConfigRequestHeader, GetKVConfigRequestHeader, GetKVConfigResponseHeader,
    GetKVListByNamespaceRequestHeader, PutKVConfigRequestHeader,
};
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_remoting::Channel;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Answer, Processor, Refusal, success, system_error};
use crate::kv::{self, KvChange};

/// Changes that are to be written. Those that come while a file is written share the next one.
#[derive(Default)]
pub(super) struct KvWrites {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever writes.
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    change: KvChange,
    /// Told what became of the change.
    done: oneshot::Sender<Result<(), String>>,
}

impl Processor {
    pub(super) fn put_kv(self: Arc<Self>, request: RemotingCommand) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let header: PutKVConfigRequestHeader = request.header()?;
            let PutKVConfigRequestHeader {
                namespace,
                key,
                value,
            } = header;
            self.change_kv(KvChange::Put {
                namespace,
                key,
                value,
            })
            .await?;
            Ok(success(&request))
        })
    }

    pub(super) fn delete_kv(
        self: Arc<Self>,
        request: RemotingCommand,
    ) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let DeleteKVConfigRequestHeader { namespace, key } = request.header()?;
            self.change_kv(KvChange::Delete { namespace, key }).await?;
            Ok(success(&request))
        })
    }

    /// Ends when the change is on the disk, and counts. (Apache RocketMQ answers success whether it
    /// could write or not.)
    async fn change_kv(&self, change: KvChange) -> Result<(), Refusal> {
        let (done, mut result) = oneshot::channel();
        self.kv_writes.waiting.lock().push(Waiting { change, done });
        let turn = self.kv_writes.turn.lock().await;
        if let Ok(result) = result.try_recv() {
            return result.map_err(system_error);
        }
        self.write_kv().await;
        drop(turn);
        let result = result.await;
        result
            .unwrap_or_else(|_| Err("the change was not written".to_owned()))
            .map_err(system_error)
    }

    /// Makes all changes that wait, or none if they cannot be written.
    async fn write_kv(&self) {
        let waiting = std::mem::take(&mut *self.kv_writes.waiting.lock());
        let (mut changed, path) = {
            let state = self.state.lock();
            (state.kv.clone(), state.config.kv_config_path.clone())
        };
        let computed = self.env.compute("key-values", move || {
            let mut made = Vec::new();
            for Waiting { change, done } in waiting {
                let result = changed.apply(change).map_err(|full| full.to_string());
                made.push((done, result));
            }
            let json = changed.to_json();
            (changed, made, json)
        });
        let (changed, made, json) = computed.await;
        let written = kv::replace(&self.env, &path, json).await;
        match &written {
            Ok(()) => self.state.lock().kv = changed,
            Err(error) => {
                if let Some(left_out) = self.logs.brokers.admit() {
                    tracing::error!(
                        path, %error, left_out,
                        "cannot write the key and value configuration; it stays as it was"
                    );
                }
            }
        }
        for (done, result) in made {
            let result = match (result, &written) {
                (Ok(()), Err(error)) => Err(format!("{path} cannot be written: {error}")),
                (result, _) => result,
            };
            // An error means that the connection has ended.
            let _ = done.send(result);
        }
    }

    pub(super) fn get_kv(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let GetKVConfigRequestHeader { namespace, key } = request.header()?;
        match self.state.lock().kv.get(&namespace, &key) {
            Some(value) => {
                let header = GetKVConfigResponseHeader {
                    value: Some(value.to_owned()),
                };
                Ok(request.response_with(ResponseCode::SUCCESS, &header))
            }
            None => Err(Refusal(
                ResponseCode::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace} Key: {key}"),
            )),
        }
    }

    pub(super) fn list_kv(&self, _channel: &Channel, request: &RemotingCommand) -> Answer {
        let GetKVListByNamespaceRequestHeader { namespace } = request.header()?;
        let table = self.state.lock().kv.list(&namespace).map(kv_table);
        match table {
            Some(table) => Ok(success(request).with_body(table.to_json())),
            None => Err(Refusal(
                ResponseCode::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace}"),
            )),
        }
    }
}

pub(super) fn kv_table(table: &BTreeMap<String, String>) -> KVTable {
    KVTable {
        table: table.clone(),
    }
}
