//! What client and server promise each other, over a network in memory and with paused time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hotfire_env::{BoxFuture, ByteStream, Env, Network};
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode, frame};
use hotfire_remoting::{
    Channel, Client, ClientConfig, Handled, Limits, RequestHandler, RpcError, Server, ServerConfig,
};
use memory::MemoryNetwork;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

const ADDRESS: &str = "127.0.0.1:9876";
const SECOND: Duration = Duration::from_secs(1);

/// Answers with the request's body.
const ECHO: RequestCode = RequestCode(1001);
/// Answers with the body after as many milliseconds as the body says.
const SLOW: RequestCode = RequestCode(1002);
/// Never answers.
const SILENT: RequestCode = RequestCode(1003);
/// Asks the client back, and answers with its answer.
const ASK_BACK: RequestCode = RequestCode(1004);
/// Answers with a megabyte.
const BIG: RequestCode = RequestCode(1005);
/// Panics.
const PANIC: RequestCode = RequestCode(1006);
/// Answers with more than a frame holds.
const TOO_BIG: RequestCode = RequestCode(1007);

#[derive(Default)]
struct TestHandler {
    seen: Mutex<Vec<RemotingCommand>>,
    connected: Mutex<usize>,
    closed: Mutex<Vec<String>>,
}

impl TestHandler {
    fn closed_for(&self) -> Vec<String> {
        self.closed.lock().clone()
    }

    fn seen_codes(&self) -> Vec<i32> {
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
struct Pair {
    network: MemoryNetwork,
    env: Env,
    server: Server,
    server_handler: Arc<TestHandler>,
    client: Client,
    client_handler: Arc<TestHandler>,
}

impl Pair {
    async fn new() -> Self {
        Self::with(ServerConfig::default(), ClientConfig::default()).await
    }

    async fn with(server: ServerConfig, client: ClientConfig) -> Self {
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

    async fn invoke(&self, code: RequestCode, body: &str) -> Result<String, RpcError> {
        let response = self
            .client
            .invoke(ADDRESS, request(code, body), SECOND)
            .await?;
        assert!(response.is_success(), "{response:?}");
        Ok(String::from_utf8(response.body.to_vec()).unwrap())
    }

    /// A connection without our code on this side of it.
    async fn raw(&self) -> Box<dyn ByteStream> {
        self.network.connect(ADDRESS).await.unwrap().stream
    }
}

fn request(code: RequestCode, body: &str) -> RemotingCommand {
    RemotingCommand::request(code).with_body(body.to_owned())
}

fn encoded(command: &RemotingCommand) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame::encode(command, &mut bytes).unwrap();
    bytes.to_vec()
}

/// Everything that arrives until the other side closes.
async fn read_to_end(stream: &mut Box<dyn ByteStream>) -> Vec<RemotingCommand> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let (mut bytes, mut commands) = (BytesMut::from(&bytes[..]), Vec::new());
    while let Some(command) = frame::decode(&mut bytes).unwrap() {
        commands.push(command);
    }
    commands
}

#[tokio::test(start_paused = true)]
async fn a_request_gets_its_response() {
    let pair = Pair::new().await;
    assert_eq!(pair.invoke(ECHO, "hello").await.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn responses_out_of_order_find_their_requests() {
    let pair = Pair::new().await;
    let start = Instant::now();
    let (slow, medium, fast) = tokio::join!(
        pair.invoke(SLOW, "300"),
        pair.invoke(SLOW, "200"),
        pair.invoke(SLOW, "100"),
    );
    assert_eq!(
        (&slow.unwrap()[..], &medium.unwrap()[..], &fast.unwrap()[..]),
        ("300", "200", "100")
    );
    assert_eq!(start.elapsed().as_millis(), 300);
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_share_one_connection() {
    let pair = Pair::new().await;
    let (first, second) = tokio::join!(pair.invoke(ECHO, "a"), pair.invoke(ECHO, "b"));
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        ("a".to_owned(), "b".to_owned())
    );
    assert_eq!(
        (
            pair.network.connects(),
            *pair.server_handler.connected.lock()
        ),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_response_times_out_and_closes_its_connection() {
    let pair = Pair::new().await;
    let start = Instant::now();
    let error = pair.invoke(SILENT, "").await.unwrap_err();
    assert!(
        matches!(
            error,
            RpcError::Timeout {
                code: 1003,
                millis: 1000,
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_definite());
    assert_eq!(start.elapsed(), SECOND);
    assert!(pair.client.connected(ADDRESS).is_none());
    sleep(SECOND).await;
    assert_eq!(pair.server_handler.closed_for(), ["the peer closed it"]);
}

#[tokio::test(start_paused = true)]
async fn an_asynchronous_request_that_times_out_leaves_the_connection_open() {
    let pair = Pair::new().await;
    let asked = pair
        .client
        .invoke_async(ADDRESS, request(SILENT, ""), SECOND)
        .await;
    assert!(asked.unwrap_err().is_timeout());
    assert!(pair.client.connected(ADDRESS).is_some());
}

#[tokio::test(start_paused = true)]
async fn each_request_times_out_at_its_own_time() {
    let pair = Pair::new().await;
    let start = Instant::now();
    let ask = |millis| {
        let (client, limit) = (pair.client.clone(), Duration::from_millis(millis));
        async move {
            let error = client
                .invoke_async(ADDRESS, request(SILENT, ""), limit)
                .await
                .unwrap_err();
            assert!(error.is_timeout(), "{error}");
            start.elapsed().as_millis()
        }
    };
    assert_eq!(tokio::join!(ask(3000), ask(50), ask(700)), (3000, 50, 700));
}

#[tokio::test(start_paused = true)]
async fn a_late_response_is_dropped() {
    let pair = Pair::new().await;
    let asked = pair
        .client
        .invoke_async(ADDRESS, request(SLOW, "1500"), SECOND)
        .await;
    assert!(asked.unwrap_err().is_timeout());
    sleep(SECOND).await;
    assert_eq!(pair.invoke(ECHO, "next").await.unwrap(), "next");
    assert_eq!(pair.network.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_one_way_request_gets_no_answer() {
    let pair = Pair::new().await;
    let mut raw = pair.raw().await;
    for code in [ECHO, SLOW] {
        raw.write_all(&encoded(&request(code, "10").oneway()))
            .await
            .unwrap();
    }
    sleep(SECOND).await;
    raw.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut raw).await, []);
    assert_eq!(pair.server_handler.seen_codes(), [ECHO.0, SLOW.0]);
}

#[tokio::test(start_paused = true)]
async fn a_one_way_request_arrives_flagged_as_such() {
    let pair = Pair::new().await;
    pair.client
        .oneway(ADDRESS, request(SILENT, ""), SECOND)
        .await
        .unwrap();
    sleep(SECOND).await;
    let seen = pair.server_handler.seen.lock();
    assert!(seen.len() == 1 && seen[0].is_oneway());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_120_seconds() {
    let pair = Pair::new().await;
    pair.invoke(ECHO, "").await.unwrap();
    sleep(Duration::from_millis(119_990)).await;
    assert!(pair.client.connected(ADDRESS).is_some());
    sleep(Duration::from_millis(20)).await;
    assert!(pair.client.connected(ADDRESS).is_none());
    assert_eq!(pair.server.channels(), []);
}

#[tokio::test(start_paused = true)]
async fn traffic_keeps_a_connection_open() {
    let pair = Pair::new().await;
    for _ in 0..10 {
        pair.invoke(ECHO, "").await.unwrap();
        sleep(Duration::from_secs(100)).await;
    }
    assert_eq!(pair.network.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_made_anew_for_the_next_request() {
    let pair = Pair::new().await;
    pair.invoke(ECHO, "").await.unwrap();
    pair.client.close(ADDRESS, "the test wants it so");
    assert_eq!(pair.invoke(ECHO, "again").await.unwrap(), "again");
    assert_eq!(pair.network.connects(), 2);
    assert_eq!(pair.client_handler.closed_for(), ["the test wants it so"]);
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_fail_when_the_connection_closes() {
    let pair = Pair::new().await;
    let closing = async {
        sleep(Duration::from_millis(10)).await;
        for channel in pair.server.channels() {
            channel.close("enough");
        }
    };
    let (result, ()) = tokio::join!(pair.invoke(SILENT, ""), closing);
    let error = result.unwrap_err();
    assert!(matches!(error, RpcError::Closed { .. }), "{error}");
    assert!(!error.is_definite());
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_has_ended_refuses_with_the_reason() {
    let pair = Pair::new().await;
    pair.invoke(ECHO, "").await.unwrap();
    let channel = pair.client.connected(ADDRESS).unwrap();
    channel.close("enough");
    let error = channel.invoke(request(ECHO, ""), SECOND).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("send to <{ADDRESS}> failed: enough")
    );
    assert!(error.is_definite() && !channel.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_a_definite_error() {
    let pair = Pair::new().await;
    let asked = pair
        .client
        .invoke("127.0.0.1:1", request(ECHO, ""), SECOND)
        .await;
    let error = asked.unwrap_err();
    assert!(
        matches!(error, RpcError::Connect { .. }) && error.is_definite(),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_leads_nowhere_ends_after_three_seconds() {
    let pair = Pair::new().await;
    pair.network.fall_silent();
    let start = Instant::now();
    let asked = pair
        .client
        .invoke(ADDRESS, request(ECHO, ""), 10 * SECOND)
        .await;
    assert!(matches!(asked.unwrap_err(), RpcError::Connect { .. }));
    assert_eq!(start.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_request_covers_the_connect() {
    let pair = Pair::new().await;
    pair.network.fall_silent();
    let start = Instant::now();
    assert!(pair.invoke(ECHO, "").await.unwrap_err().is_definite());
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_server_can_ask_the_client() {
    let pair = Pair::new().await;
    assert_eq!(pair.invoke(ASK_BACK, "and you?").await.unwrap(), "and you?");
    assert_eq!(pair.client_handler.seen_codes(), [ECHO.0]);
}

#[tokio::test(start_paused = true)]
async fn both_directions_count_their_opaques_apart() {
    let pair = Pair::new().await;
    pair.invoke(ASK_BACK, "x").await.unwrap();
    let (asked, back) = (
        pair.server_handler.seen.lock(),
        pair.client_handler.seen.lock(),
    );
    assert_eq!((asked[0].opaque, back[0].opaque), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_handler_says_that_it_supports_nothing() {
    let pair = Pair::new().await;
    let client = Client::new(&pair.env, ClientConfig::default(), None);
    client
        .oneway(ADDRESS, request(SILENT, ""), SECOND)
        .await
        .unwrap();
    sleep(SECOND).await;
    let channel = pair.server.channels().pop().unwrap();
    let answer = channel.invoke(request(ECHO, ""), SECOND).await.unwrap();
    assert_eq!(answer.code, ResponseCode::REQUEST_CODE_NOT_SUPPORTED.0);
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_the_limit_closes_the_connection() {
    let pair = Pair::new().await;
    let mut raw = pair.raw().await;
    raw.write_all(&u32::to_be_bytes(frame::FRAME_MAX as u32 + 1))
        .await
        .unwrap();
    raw.write_all(&[0; 100]).await.unwrap();
    assert_eq!(read_to_end(&mut raw).await, []);
    let reasons = pair.server_handler.closed_for();
    assert!(
        reasons.len() == 1 && reasons[0].starts_with("bad frame: "),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn garbage_closes_the_connection_and_no_other() {
    let pair = Pair::new().await;
    pair.invoke(ECHO, "").await.unwrap();
    let mut raw = pair.raw().await;
    raw.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_to_end(&mut raw).await, []);
    assert_eq!(pair.server_handler.closed_for().len(), 1);
    pair.invoke(ECHO, "").await.unwrap();
    assert_eq!(pair.network.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_command_too_big_for_a_frame_is_refused_and_the_connection_lives() {
    let pair = Pair::new().await;
    pair.invoke(ECHO, "").await.unwrap();
    let big = RemotingCommand::request(ECHO).with_body(vec![0; frame::FRAME_MAX]);
    let error = pair.client.invoke(ADDRESS, big, SECOND).await.unwrap_err();
    assert!(
        matches!(error, RpcError::Frame { .. }) && error.is_definite(),
        "{error}"
    );
    pair.invoke(ECHO, "").await.unwrap();
    assert_eq!(pair.network.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_too_big_for_a_frame_becomes_an_error() {
    let pair = Pair::new().await;
    let answer = pair
        .client
        .invoke(ADDRESS, request(TOO_BIG, ""), SECOND)
        .await
        .unwrap();
    assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR.0);
}

#[tokio::test(start_paused = true)]
async fn a_request_over_the_limit_of_the_server_is_told_that_it_is_busy() {
    let limits = Limits {
        requests_in: 2,
        ..Limits::default()
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let pair = Pair::with(config, ClientConfig::default()).await;
    let overload = async {
        sleep(Duration::from_millis(10)).await;
        pair.client
            .invoke(ADDRESS, request(ECHO, ""), SECOND)
            .await
            .unwrap()
    };
    let (first, second, refused) =
        tokio::join!(pair.invoke(SLOW, "100"), pair.invoke(SLOW, "100"), overload);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(refused.code, ResponseCode::SYSTEM_BUSY.0);
    assert!(refused.remark.unwrap().starts_with("[OVERLOAD]"));
    pair.invoke(ECHO, "free again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_over_the_limit_of_the_client_is_not_sent() {
    let limits = Limits {
        requests_out: 1,
        ..Limits::default()
    };
    let config = ClientConfig {
        limits,
        ..ClientConfig::default()
    };
    let pair = Pair::with(ServerConfig::default(), config).await;
    let refused = async {
        sleep(Duration::from_millis(10)).await;
        pair.invoke(ECHO, "").await
    };
    let (slow, refused) = tokio::join!(pair.invoke(SLOW, "100"), refused);
    slow.unwrap();
    let error = refused.unwrap_err();
    assert!(matches!(error, RpcError::TooManyRequests { .. }) && error.is_definite());
    assert_eq!(pair.server_handler.seen_codes(), [SLOW.0]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_no_answers_is_not_served_further() {
    let pair = Pair::new().await;
    let mut raw = pair.raw().await;
    let asking = async {
        for _ in 0..10_000 {
            raw.write_all(&encoded(&request(BIG, ""))).await.unwrap();
        }
    };
    assert!(
        timeout(SECOND, asking).await.is_err(),
        "the socket took every request"
    );
    assert!(pair.server_handler.seen.lock().len() < 4);
    sleep(Duration::from_secs(120)).await;
    assert!(pair.server_handler.closed_for()[0].starts_with("nothing read or written"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_starts_to_read_gets_all_its_answers() {
    let pair = Pair::new().await;
    let mut raw = pair.raw().await;
    for _ in 0..10 {
        raw.write_all(&encoded(&request(BIG, ""))).await.unwrap();
    }
    sleep(SECOND).await;
    let (mut bytes, mut answers) = (BytesMut::new(), 0);
    while answers < 10 {
        assert!(raw.read_buf(&mut bytes).await.unwrap() > 0);
        while let Some(answer) = frame::decode(&mut bytes).unwrap() {
            assert_eq!(answer.body.len(), 1 << 20);
            answers += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn responses_that_nobody_reads_close_the_connection_beyond_the_limit() {
    let limits = Limits {
        unwritten_bytes: 1 << 20,
        ..Limits::default()
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let pair = Pair::with(config, ClientConfig::default()).await;
    let mut raw = pair.raw().await;
    raw.write_all(&encoded(&request(SILENT, ""))).await.unwrap();
    sleep(SECOND).await;
    let channel = pair.server.channels().pop().unwrap();
    let late = request(SILENT, "")
        .response(ResponseCode::SUCCESS)
        .with_body(vec![0; 1 << 18]);
    let sent = (0..100)
        .take_while(|_| channel.send(late.clone()).is_ok())
        .count();
    assert!((4..=6).contains(&sent), "{sent}");
    assert!(!channel.is_open());
    sleep(SECOND).await;
    assert!(pair.server_handler.closed_for()[0].starts_with("the peer does not read"));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_closes_the_connection_with_the_reason() {
    let pair = Pair::new().await;
    let error = pair.invoke(PANIC, "").await.unwrap_err();
    assert!(matches!(error, RpcError::Closed { .. }), "{error}");
    assert_eq!(
        pair.server_handler.closed_for(),
        ["a request handler panicked: as asked"]
    );
    pair.invoke(ECHO, "still there").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_shuts_down_answers_what_it_is_working_on() {
    let pair = Pair::new().await;
    let shutdown = async {
        sleep(Duration::from_millis(10)).await;
        pair.server.shutdown().await;
        Instant::now()
    };
    let start = Instant::now();
    let (answer, ended) = tokio::join!(pair.invoke(SLOW, "500"), shutdown);
    assert_eq!(answer.unwrap(), "500");
    assert_eq!((ended - start).as_millis(), 500);
    assert_eq!(pair.server_handler.closed_for(), ["the server shuts down"]);
    assert!(pair.invoke(ECHO, "").await.unwrap_err().is_definite());
}

#[tokio::test(start_paused = true)]
async fn a_server_does_not_wait_for_ever_to_shut_down() {
    let pair = Pair::new().await;
    let asking = pair
        .client
        .invoke(ADDRESS, request(SLOW, "60000"), 60 * SECOND);
    let shutdown = async {
        sleep(Duration::from_millis(10)).await;
        let start = Instant::now();
        pair.server.shutdown().await;
        start.elapsed()
    };
    let (asked, took) = tokio::join!(asking, shutdown);
    assert!(matches!(asked.unwrap_err(), RpcError::Closed { .. }));
    assert_eq!(took, 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_shut_down_sends_nothing_more() {
    let pair = Pair::new().await;
    pair.invoke(ECHO, "").await.unwrap();
    pair.client.shutdown();
    assert!(matches!(
        pair.invoke(ECHO, "").await.unwrap_err(),
        RpcError::ShutDown
    ));
    sleep(SECOND).await;
    assert_eq!(pair.server_handler.closed_for(), ["the peer closed it"]);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_requests_at_once_each_get_their_own_response() {
    let pair = Pair::new().await;
    let asked = futures_util::future::join_all((0..5000).map(|number| {
        let (client, body) = (pair.client.clone(), number.to_string());
        async move {
            client
                .invoke(ADDRESS, request(ECHO, &body), SECOND)
                .await
                .unwrap()
                .body
        }
    }));
    let answers: BTreeMap<_, _> = asked.await.into_iter().enumerate().collect();
    assert!(
        answers
            .iter()
            .all(|(number, body)| body == number.to_string().as_bytes())
    );
}
