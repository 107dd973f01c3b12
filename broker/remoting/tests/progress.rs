//! Good clients beside bad ones, over real connections and on the runtime that serves: what must hold
//! is counted in requests, never in time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hotfire_env::{Env, real};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode, frame};
use hotfire_remoting::{
    Channel, Client, ClientConfig, Handled, RequestHandler, Server, ServerConfig,
};
use parking_lot::{Condvar, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

/// Answers at once.
const GOOD: RequestCode = RequestCode(1);
/// Computes, within the handler, until so many good requests have been answered.
const BAD: RequestCode = RequestCode(2);
/// The same where computing belongs.
const HEAVY: RequestCode = RequestCode(3);
/// Takes a millisecond of a processor.
const COSTLY: RequestCode = RequestCode(4);
/// Answers at once, and does not count.
const WARM_UP: RequestCode = RequestCode(5);

/// How many good requests a bad one waits for.
const GOOD_ONES: usize = 100;
/// Only a server that stands still takes so long.
const STANDSTILL: Duration = Duration::from_secs(60);

struct Handler {
    env: Env,
    answered: Arc<Answered>,
    /// Bad ones.
    begun: AtomicUsize,
}

#[derive(Default)]
struct Answered {
    good: Mutex<usize>,
    more: Condvar,
}

impl Answered {
    /// Blocks the thread, as a long computation does.
    fn wait(&self) {
        let mut good = self.good.lock();
        while *good < GOOD_ONES {
            let waited = self.more.wait_for(&mut good, STANDSTILL);
            assert!(!waited.timed_out(), "{good} good requests were answered");
        }
    }
}

impl RequestHandler for Handler {
    fn handle(&self, _channel: &Channel, request: RemotingCommand) -> Handled {
        let response = request.response(ResponseCode::SUCCESS);
        if [BAD, HEAVY, COSTLY].contains(&RequestCode(request.code)) {
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
        match RequestCode(request.code) {
            GOOD => {
                *self.answered.good.lock() += 1;
                self.answered.more.notify_all();
            }
            BAD => self.answered.wait(),
            HEAVY => {
                let answered = self.answered.clone();
                return Handled::Later(self.env.compute("test", move || {
                    answered.wait();
                    Some(response)
                }));
            }
            COSTLY => {
                #[allow(
                    clippy::disallowed_methods,
                    clippy::disallowed_types,
                    reason = "it is a processor that is used up"
                )]
                let begin = std::time::Instant::now();
                while begin.elapsed() < Duration::from_millis(1) {}
            }
            _ => {}
        }
        Handled::Reply(response)
    }
}

/// A server on a runtime of its own; the clients are elsewhere, so that nothing but the network wakes
/// it.
struct World {
    env: Env,
    runtime: Option<Runtime>,
    handler: Arc<Handler>,
    address: String,
}

impl World {
    async fn new(runtime: Runtime) -> Self {
        let env = real::env("/nonexistent", None);
        let handler = Arc::new(Handler {
            env: env.clone(),
            answered: Arc::default(),
            begun: AtomicUsize::new(0),
        });
        let (server_env, server_handler) = (env.clone(), handler.clone());
        let binding = runtime.spawn(async move {
            let config = ServerConfig::default();
            Server::bind(&server_env, "127.0.0.1:0", config, server_handler).await
        });
        let server = binding.await.unwrap().unwrap();
        let address = server.local().to_string();
        let runtime = Some(runtime);
        Self {
            env,
            runtime,
            handler,
            address,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.env, ClientConfig::default(), None)
    }

    async fn ask(&self, client: &Client, code: RequestCode) {
        let request = RemotingCommand::request(code);
        let answer = client.invoke(&self.address, request, 2 * STANDSTILL).await;
        assert!(answer.unwrap().is_success());
    }

    async fn begun(&self, requests: usize) {
        while self.handler.begun.load(Ordering::Relaxed) < requests {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends bad requests, each over a connection of its own, and good ones once they are under way.
    async fn good_beside(&self, bad: RequestCode, bad_ones: usize) {
        let good = self.client();
        self.ask(&good, WARM_UP).await;
        let bad_clients: Vec<_> = (0..bad_ones).map(|_| self.client()).collect();
        for client in &bad_clients {
            self.ask(client, WARM_UP).await;
        }
        // The last of those that came before has gone to sleep.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let bad = bad_clients.iter().map(|client| self.ask(client, bad));
        let goods = async {
            self.begun(bad_ones).await;
            for _ in 0..GOOD_ONES {
                self.ask(&good, GOOD).await;
            }
        };
        tokio::join!(futures_util::future::join_all(bad), goods);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test]
async fn a_handler_that_computes_keeps_no_other_connection_from_being_served() {
    let world = World::new(real::runtime().unwrap()).await;
    world.good_beside(BAD, 1).await;
}

#[tokio::test]
async fn any_number_of_heavy_requests_keeps_no_other_connection_from_being_served() {
    let world = World::new(real::runtime().unwrap()).await;
    world.good_beside(HEAVY, 64).await;
}

#[tokio::test]
async fn a_connection_with_many_requests_at_once_lets_others_have_their_turns() {
    const COSTLY_ONES: usize = 2_000;
    // One thread, which the bad connection could keep for itself.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let world = World::new(runtime.unwrap()).await;
    let mut bytes = bytes::BytesMut::new();
    for _ in 0..COSTLY_ONES {
        frame::encode(&RemotingCommand::request(COSTLY).oneway(), &mut bytes).unwrap();
    }
    let network = world.env.network();
    let mut bad = network.connect(&world.address).await.unwrap();
    bad.stream.write_all(&bytes).await.unwrap();
    world.begun(1).await;
    let good = world.client();
    for _ in 0..GOOD_ONES {
        world.ask(&good, GOOD).await;
    }
    let done = world.handler.begun.load(Ordering::Relaxed);
    assert!(done < COSTLY_ONES, "all of the bad client's came first");
}
