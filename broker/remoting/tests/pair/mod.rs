//! A server and a client that are put through their paces.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hotfire_env::{BoxFuture, ByteStream, Env, Network};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode, frame};
use hotfire_remoting::{
    Channel, Client, ClientConfig, Handled, RequestHandler, RpcError, Server, ServerConfig,
};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use crate::memory::{self, MemoryNetwork};

pub const ADDRESS: &str = "127.0.0.1:9876";
pub const SECOND: Duration = Duration::from_secs(1);

/// Answers with the request's body.
pub const ECHO: RequestCode = RequestCode(1001);
/// Answers with the body after as many milliseconds as the body says.
pub const SLOW: RequestCode = RequestCode(1002);
/// Never answers.
pub const SILENT: RequestCode = RequestCode(1003);
/// Asks the client back, and answers with its answer.
pub const ASK_BACK: RequestCode = RequestCode(1004);
/// Answers with a megabyte.
pub const BIG: RequestCode = RequestCode(1005);
/// Panics.
pub const PANIC: RequestCode = RequestCode(1006);
/// Answers with more than a frame holds.
pub const TOO_BIG: RequestCode = RequestCode(1007);

#[derive(Default)]
pub struct TestHandler {
    pub seen: Mutex<Vec<RemotingCommand>>,
    pub connected: Mutex<usize>,
    pub closed: Mutex<Vec<String>>,
}

impl TestHandler {
    pub fn closed_for(&self) -> Vec<String> {
        self.closed.lock().clone()
    }

    pub fn seen_codes(&self) -> Vec<i32> {
        self.seen
            .lock()
            .iter()
            .map(|request| request.code)
            .collect()
    }
}

fn answer_slowly(request: RemotingCommand) -> BoxFuture<'static, Option<RemotingCommand>> {
    Box::pin(async move {
        let millis = String::from_utf8_lossy(&request.body).parse().unwrap();
        sleep(Duration::from_millis(millis)).await;
        Some(
            request
                .response(ResponseCode::SUCCESS)
                .with_body(request.body.clone()),
        )
    })
}

fn ask_back(
    channel: Channel,
    request: RemotingCommand,
) -> BoxFuture<'static, Option<RemotingCommand>> {
    Box::pin(async move {
        let question = RemotingCommand::request(ECHO).with_body(request.body.clone());
        let answer = channel.invoke(question, SECOND).await.unwrap();
        Some(
            request
                .response(ResponseCode::SUCCESS)
                .with_body(answer.body),
        )
    })
}

impl RequestHandler for TestHandler {
    fn handle(&self, channel: &Channel, request: RemotingCommand) -> Handled {
        self.seen.lock().push(request.clone());
        let response = request.response(ResponseCode::SUCCESS);
        match RequestCode(request.code) {
            ECHO => Handled::Reply(response.with_body(request.body)),
            SLOW => Handled::Later(answer_slowly(request)),
            SILENT => Handled::None,
            ASK_BACK => Handled::Later(ask_back(channel.clone(), request)),
            BIG => Handled::Reply(response.with_body(vec![7; 1 << 20])),
            TOO_BIG => Handled::Reply(response.with_body(vec![7; frame::FRAME_MAX])),
            PANIC => panic!("as asked"),
            code => panic!("unexpected request {code}"),
        }
    }

    fn connected(&self, _channel: &Channel) {
        *self.connected.lock() += 1;
    }

    fn closed(&self, _channel: &Channel, reason: &str) {
        self.closed.lock().push(reason.to_owned());
    }
}

/// A server and a client on one network.
pub struct Pair {
    pub network: MemoryNetwork,
    pub env: Env,
    pub server: Server,
    pub server_handler: Arc<TestHandler>,
    pub client: Client,
    pub client_handler: Arc<TestHandler>,
}

impl Pair {
    pub async fn new() -> Self {
        Self::with(ServerConfig::default(), ClientConfig::default()).await
    }

    pub async fn with(server: ServerConfig, client: ClientConfig) -> Self {
        let network = MemoryNetwork::default();
        let env = memory::env(&network, Path::new("/nonexistent"));
        let server_handler = Arc::new(TestHandler::default());
        let client_handler = Arc::new(TestHandler::default());
        let server = Server::bind(&env, ADDRESS, server, server_handler.clone())
            .await
            .unwrap();
        let client = Client::new(&env, client, Some(client_handler.clone()));
        Self {
            network,
            env,
            server,
            server_handler,
            client,
            client_handler,
        }
    }

    pub async fn invoke(&self, code: RequestCode, body: &str) -> Result<String, RpcError> {
        let response = self
            .client
            .invoke(ADDRESS, request(code, body), SECOND)
            .await?;
        assert!(response.is_success(), "{response:?}");
        Ok(String::from_utf8(response.body.to_vec()).unwrap())
    }

    /// A connection without our code on this side of it.
    pub async fn raw(&self) -> Box<dyn ByteStream> {
        self.network.connect(ADDRESS).await.unwrap().stream
    }
}

pub fn request(code: RequestCode, body: &str) -> RemotingCommand {
    RemotingCommand::request(code).with_body(body.to_owned())
}

pub fn encoded(command: &RemotingCommand) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame::encode(command, &mut bytes).unwrap();
    bytes.to_vec()
}

/// Everything that arrives until the other side closes.
pub async fn read_to_end(stream: &mut Box<dyn ByteStream>) -> Vec<RemotingCommand> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let (mut bytes, mut commands) = (BytesMut::from(&bytes[..]), Vec::new());
    while let Some(command) = frame::decode(&mut bytes).unwrap() {
        commands.push(command);
    }
    commands
}
