use std::sync::Arc;
use std::time::Duration;

use hotfire_client::ClientError;
use hotfire_env::{BoxFuture, Env};
use hotfire_namesrv::{NameServer, NamesrvConfig};

use super::stop::Stop;
use crate::scenario::Listener;
use crate::workload::consumer::ConsumerNode;
use crate::workload::operator::OperatorNode;
use crate::workload::producer::ProducerNode;

/// When a consumer that could not start is started again.
const START_AGAIN: Duration = Duration::from_secs(1);

/// What runs on a node: it is given a fresh process's seams for each of its lives.
pub(super) trait Resident: Send + Sync {
    /// One life: until it is asked to stop and has done so, or is killed.
    ///
    /// A process that cannot start is a bug of the world or of the stack; it ends the run with a
    /// panic that says why.
    fn live(self: Arc<Self>, env: Env, stop: Stop) -> BoxFuture<'static, ()>;
}

/// A name server.
pub(super) struct NameServerNode;

impl Resident for NameServerNode {
    fn live(self: Arc<Self>, env: Env, stop: Stop) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let server = match NameServer::start(&env, NamesrvConfig::default()).await {
                Ok(server) => server,
                Err(error) => panic!("a name server did not start: {error}"),
            };
            stop.asked().await;
            server.shutdown().await;
        })
    }
}

impl Resident for ProducerNode {
    fn live(self: Arc<Self>, env: Env, stop: Stop) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let client = match self.start(&env).await {
                Ok(client) => client,
                Err(error) => panic!("a producer of {} did not start: {error}", self.group),
            };
            tokio::select! {
                biased;
                () = stop.asked() => {}
                () = self.send(&env, &client) => stop.asked().await,
            }
            client.producer().shutdown().await;
        })
    }
}

impl Resident for ConsumerNode {
    fn live(self: Arc<Self>, env: Env, stop: Stop) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if self.spec.listener == Listener::Simple {
                return pop(&self, &env, &stop).await;
            }
            let consumer = loop {
                match self.start(&env).await {
                    Ok(consumer) => break consumer,
                    // No broker could be asked about its SQL: whoever runs it tries again.
                    Err(ClientError::Rpc(_)) => tokio::time::sleep(START_AGAIN).await,
                    Err(error) => panic!("a consumer of {} did not start: {error}", self.group),
                }
            };
            stop.asked().await;
            consumer.shutdown().await;
        })
    }
}

/// One life of a member that pops.
async fn pop(node: &Arc<ConsumerNode>, env: &Env, stop: &Stop) {
    let popper = match node.start_popping(env).await {
        Ok(popper) => popper,
        Err(error) => panic!("a consumer of {} did not start: {error}", node.group),
    };
    tokio::select! {
        biased;
        () = stop.asked() => {}
        () = popper.run(env) => stop.asked().await,
    }
    popper.shutdown().await;
}

impl Resident for OperatorNode {
    fn live(self: Arc<Self>, env: Env, stop: Stop) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.work(&env).await;
            stop.asked().await;
        })
    }
}
