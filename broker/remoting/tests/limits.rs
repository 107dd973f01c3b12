//! What a connection does not put up with, over a network in memory and with paused time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory;
mod pair;

use std::time::Duration;

use bytes::BytesMut;
use hotfire_protocol::{RemotingCommand, ResponseCode, frame};
use hotfire_remoting::{ClientConfig, Limits, RpcError, ServerConfig};
use pair::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

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
