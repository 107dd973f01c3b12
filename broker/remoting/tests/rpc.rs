//! What client and server promise each other, over a network in memory and with paused time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory;
mod pair;

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_protocol::ResponseCode;
use hotfire_remoting::{Client, ClientConfig, RpcError};
use pair::*;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

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
