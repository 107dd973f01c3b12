//! What a connection does not put up with, over a network in memory and with paused time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory;
mod pair;

use std::time::Duration;

use bytes::BytesMut;
use hotfire_env::ByteStream;
use hotfire_protocol::{RemotingCommand, ResponseCode, frame};
use hotfire_remoting::{ClientConfig, Limits, RpcError, ServerConfig, TotalLimits};
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

fn with_totals(totals: TotalLimits) -> ServerConfig {
    ServerConfig {
        totals,
        ..ServerConfig::default()
    }
}

/// Sends the beginning of a frame of the greatest size: so many bytes of it.
async fn begin_frame(raw: &mut Box<dyn ByteStream>, bytes: usize) {
    let length = (frame::FRAME_MAX - 4) as u32;
    raw.write_all(&length.to_be_bytes()).await.unwrap();
    raw.write_all(&vec![0; bytes - 4]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn incomplete_frames_have_a_limit_in_sum_and_the_oldest_go_first() {
    let totals = TotalLimits {
        partial_bytes: 1 << 20,
        ..TotalLimits::default()
    };
    let pair = Pair::with(with_totals(totals), ClientConfig::default()).await;
    let mut peers = Vec::new();
    for _ in 0..40 {
        let mut raw = pair.raw().await;
        begin_frame(&mut raw, 100 << 10).await;
        sleep(Duration::from_millis(10)).await;
        peers.push(raw);
    }
    let reasons = pair.server_handler.closed_for();
    assert!((30..40).contains(&reasons.len()), "{}", reasons.len());
    assert!(
        reasons[0].contains("oldest incomplete frame"),
        "{reasons:?}"
    );
    assert_eq!(read_to_end(&mut peers[0]).await, []);
    let newest = &mut peers[39];
    assert!(timeout(SECOND, newest.read_u8()).await.is_err());
    pair.invoke(ECHO, "still served").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_does_not_go_on_ends_its_connection() {
    let pair = Pair::new().await;
    let mut raw = pair.raw().await;
    begin_frame(&mut raw, 1000).await;
    // A byte now and then is no progress.
    for _ in 0..12 {
        sleep(Duration::from_secs(6)).await;
        let _ = raw.write_all(&[0]).await;
    }
    let reasons = pair.server_handler.closed_for();
    assert!(
        reasons.len() == 1 && reasons[0].contains("grew by less than"),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_great_frame_over_a_slow_line_is_taken() {
    let pair = Pair::new().await;
    let mut raw = pair.raw().await;
    let body = "x".repeat(4 << 20);
    let bytes = encoded(&request(ECHO, &body));
    let sending = async {
        for part in bytes.chunks(64 << 10) {
            sleep(Duration::from_secs(20)).await;
            raw.write_all(part).await.unwrap();
        }
    };
    sending.await;
    let mut answer = BytesMut::new();
    let answer = loop {
        assert!(raw.read_buf(&mut answer).await.unwrap() > 0);
        if let Some(answer) = frame::decode(&mut answer).unwrap() {
            break answer;
        }
    };
    assert_eq!(answer.body, body);
}

#[tokio::test(start_paused = true)]
async fn small_frames_that_come_in_parts_for_hours_are_no_stalled_frame() {
    let pair = Pair::new().await;
    let mut raw = pair.raw().await;
    let bytes = encoded(&request(ECHO, "ping"));
    let (first, second) = bytes.split_at(20);
    raw.write_all(first).await.unwrap();
    for _ in 0..300 {
        sleep(Duration::from_secs(30)).await;
        // Ends one frame and begins the next.
        raw.write_all(second).await.unwrap();
        raw.write_all(first).await.unwrap();
        let mut answer = BytesMut::new();
        while frame::decode(&mut answer).unwrap().is_none() {
            assert!(raw.read_buf(&mut answer).await.unwrap() > 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_beyond_the_limit_is_refused_until_another_one_ends() {
    let totals = TotalLimits {
        connections: 3,
        connections_per_address: 2,
        ..TotalLimits::default()
    };
    let pair = Pair::with(with_totals(totals), ClientConfig::default()).await;
    let (first, _second) = (pair.raw().await, pair.raw().await);
    let mut third = pair.raw().await;
    assert_eq!(read_to_end(&mut third).await, []);
    assert_eq!(*pair.server_handler.connected.lock(), 2);
    drop(first);
    sleep(Duration::from_millis(10)).await;
    pair.invoke(ECHO, "").await.unwrap();
    assert_eq!(pair.server.channels().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_have_a_limit_in_sum() {
    let totals = TotalLimits {
        unwritten_bytes: 8 << 20,
        ..TotalLimits::default()
    };
    let pair = Pair::with(with_totals(totals), ClientConfig::default()).await;
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut raw = pair.raw().await;
        raw.write_all(&encoded(&request(BIG, ""))).await.unwrap();
        sleep(Duration::from_millis(10)).await;
        peers.push(raw);
    }
    let reasons = pair.server_handler.closed_for();
    assert!((10..=14).contains(&reasons.len()), "{}", reasons.len());
    assert!(reasons[0].contains("has not read"), "{reasons:?}");
    // Who reads gets everything.
    let mut bytes = BytesMut::new();
    while frame::decode(&mut bytes).unwrap().is_none() {
        assert!(peers[19].read_buf(&mut bytes).await.unwrap() > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_bodies_of_requests_under_way_have_a_limit_in_sum() {
    let totals = TotalLimits {
        request_bytes_in: 20,
        ..TotalLimits::default()
    };
    let pair = Pair::with(with_totals(totals), ClientConfig::default()).await;
    let other = async {
        sleep(Duration::from_millis(10)).await;
        let mut raw = pair.raw().await;
        let body = "0".repeat(18);
        raw.write_all(&encoded(&request(SLOW, &body)))
            .await
            .unwrap();
        let mut bytes = BytesMut::new();
        loop {
            assert!(raw.read_buf(&mut bytes).await.unwrap() > 0);
            if let Some(answer) = frame::decode(&mut bytes).unwrap() {
                break answer;
            }
        }
    };
    let (first, refused) = tokio::join!(pair.invoke(SLOW, "100"), other);
    first.unwrap();
    assert_eq!(refused.code, ResponseCode::SYSTEM_BUSY.0);
    pair.invoke(SLOW, &"0".repeat(30)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_long_header_is_answered_like_any_other() {
    let pair = Pair::new().await;
    let mut long = request(ECHO, "body");
    long.ext.set("topic", "t".repeat(2 << 20));
    let answers = tokio::join!(
        pair.client.invoke(ADDRESS, long.clone(), SECOND),
        pair.client.invoke(ADDRESS, request(ECHO, "after"), SECOND),
    );
    assert_eq!(answers.0.unwrap().body, "body");
    assert_eq!(answers.1.unwrap().body, "after");
    let seen = pair.server_handler.seen.lock();
    assert!(seen.iter().any(|request| request.ext == long.ext));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_something_else_is_told_from_a_damaged_frame() {
    let pair = Pair::new().await;
    let cases: [(&[u8], &str); 3] = [
        (b"GET / HTTP/1.1\r\n\r\n", "begins like HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "begins like HTTP/2"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "begins like TLS"),
    ];
    for (bytes, expected) in cases {
        let mut raw = pair.raw().await;
        raw.write_all(bytes).await.unwrap();
        assert_eq!(read_to_end(&mut raw).await, []);
        let reason = pair.server_handler.closed.lock().pop().unwrap();
        assert!(reason.contains(expected), "{reason}");
    }
}
