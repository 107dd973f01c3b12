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

/// Answers at once.
const GOOD: RequestCode = RequestCode(1);
/// Computes, within the handler, until so many good requests have been answered.
const BAD: RequestCode = RequestCode(2);
/// The same where computing belongs.
const HEAVY: RequestCode = RequestCode(3);
/// Takes a millisecond of a processor.
const COSTLY: RequestCode = RequestCode(4);

/// How many good requests a bad one waits for.
const GOOD_ONES: usize = 100;
/// Only a server that stands still takes so long.
const STANDSTILL: Duration = Duration::from_secs(60);

struct Handler {
    env: Env,
    answered: Arc<Answered>,
    costly: AtomicUsize,
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
            _ => {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "it is a processor that is used up"
                )]
                let begin = std::time::Instant::now();
                while begin.elapsed() < Duration::from_millis(1) {}
                self.costly.fetch_add(1, Ordering::Relaxed);
            }
        }
        Handled::Reply(response)
    }
}

async fn start() -> (Env, Server, Arc<Handler>, String) {
    let env = real::env("/nonexistent", None);
    let handler = Arc::new(Handler {
        env: env.clone(),
        answered: Arc::default(),
        costly: AtomicUsize::new(0),
    });
    let config = ServerConfig::default();
    let server = Server::bind(&env, "127.0.0.1:0", config, handler.clone())
        .await
        .unwrap();
    let address = server.local().to_string();
    (env, server, handler, address)
}

async fn good_requests(env: &Env, address: &str) {
    let client = Client::new(env, ClientConfig::default(), None);
    for _ in 0..GOOD_ONES {
        let answer = client
            .invoke(address, RemotingCommand::request(GOOD), STANDSTILL)
            .await
            .unwrap();
        assert!(answer.is_success());
    }
}

async fn beside(env: &Env, address: &str, bad: RequestCode, bad_ones: usize) {
    let clients = (0..bad_ones).map(|_| Client::new(env, ClientConfig::default(), None));
    let clients: Vec<_> = clients.collect();
    let bad = clients
        .iter()
        .map(|client| client.invoke(address, RemotingCommand::request(bad), 2 * STANDSTILL));
    let (bad, ()) = tokio::join!(
        futures_util::future::join_all(bad),
        good_requests(env, address)
    );
    for answer in bad {
        assert!(answer.unwrap().is_success());
    }
}

#[test]
fn a_handler_that_computes_keeps_no_other_connection_from_being_served() {
    let runtime = real::runtime().unwrap();
    runtime.block_on(async {
        let (env, _server, _handler, address) = start().await;
        beside(&env, &address, BAD, 1).await;
    });
}

#[test]
fn any_number_of_heavy_requests_keeps_no_other_connection_from_being_served() {
    let runtime = real::runtime().unwrap();
    runtime.block_on(async {
        let (env, _server, _handler, address) = start().await;
        beside(&env, &address, HEAVY, 64).await;
    });
}

#[tokio::test]
async fn a_connection_with_many_requests_at_once_lets_others_have_their_turns() {
    const COSTLY_ONES: usize = 2_000;
    let (env, _server, handler, address) = start().await;
    let mut bytes = bytes::BytesMut::new();
    for _ in 0..COSTLY_ONES {
        frame::encode(&RemotingCommand::request(COSTLY).oneway(), &mut bytes).unwrap();
    }
    let mut bad = env.network().connect(&address).await.unwrap();
    bad.stream.write_all(&bytes).await.unwrap();
    // The first of them is under way.
    while handler.costly.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    good_requests(&env, &address).await;
    let done = handler.costly.load(Ordering::Relaxed);
    assert!(done < COSTLY_ONES, "all of the bad client's came first");
}
