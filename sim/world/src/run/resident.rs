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
            match self.spec.listener {
                Listener::Simple => return pop(&self, &env, &stop).await,
                Listener::LitePull => return poll(&self, &env, &stop).await,
                Listener::Concurrent | Listener::Orderly => {}
            }
            let consumer = started(&self, || self.start(&env)).await;
            stop.asked().await;
            consumer.shutdown().await;
        })
    }
}

/// Starts a client, again and again while no broker can be asked about its SQL.
async fn started<C, F>(node: &ConsumerNode, start: impl Fn() -> F) -> C
where
    F: Future<Output = Result<C, ClientError>>,
{
    loop {
        match start().await {
            Ok(client) => return client,
            Err(ClientError::Rpc(_)) => tokio::time::sleep(START_AGAIN).await,
            Err(error) => panic!("a consumer of {} did not start: {error}", node.group),
        }
    }
}

/// One life of a member that pops.
async fn pop(node: &Arc<ConsumerNode>, env: &Env, stop: &Stop) {
    let popper = started(node, || node.start_popping(env)).await;
    tokio::select! {
        biased;
        () = stop.asked() => {}
        () = popper.run(env) => stop.asked().await,
    }
    popper.shutdown().await;
}

/// One life of a member that polls.
async fn poll(node: &Arc<ConsumerNode>, env: &Env, stop: &Stop) {
    let poller = started(node, || node.start_polling(env)).await;
    loop {
        let polled = tokio::select! {
            biased;
            () = stop.asked() => break,
            polled = poller.poll() => polled,
        };
        match polled {
            Ok(polled) => poller.work(polled).await,
            Err(error) => panic!("a consumer of {} cannot poll: {error}", node.group),
        }
    }
    poller.shutdown().await;
}

impl Resident for OperatorNode {
    fn live(self: Arc<Self>, env: Env, stop: Stop) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.work(&env).await;
            stop.asked().await;
        })
    }
}
