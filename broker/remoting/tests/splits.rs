//! Frames arrive whole however the network cuts the stream.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hotfire_env::Network;
use hotfire_protocol::{RemotingCommand, RequestCode, ResponseCode, frame};
use hotfire_remoting::{Channel, Handled, RequestHandler, Server, ServerConfig};
use memory::MemoryNetwork;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Echo;

impl RequestHandler for Echo {
    fn handle(&self, _channel: &Channel, request: RemotingCommand) -> Handled {
        let body = request.body.clone();
        Handled::Reply(request.response(ResponseCode::SUCCESS).with_body(body))
    }
}

/// Sends the frames of the bodies in pieces of the given sizes and returns the answers.
async fn echo(bodies: &[Vec<u8>], pieces: &[usize]) -> Vec<(i32, Vec<u8>)> {
    let network = MemoryNetwork::default();
    let env = memory::env(&network, Path::new("/nonexistent"));
    let config = ServerConfig::default();
    let _server = Server::bind(&env, "127.0.0.1:1", config, Arc::new(Echo))
        .await
        .unwrap();
    let mut stream = network.connect("127.0.0.1:1").await.unwrap().stream;
    let mut bytes = BytesMut::new();
    for (opaque, body) in bodies.iter().enumerate() {
        let mut request = RemotingCommand::request(RequestCode(1)).with_body(body.clone());
        request.opaque = opaque as i32;
        frame::encode(&request, &mut bytes).unwrap();
    }
    let mut sizes = pieces.iter().cycle();
    while !bytes.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).min(bytes.len());
        stream.write_all(&bytes.split_to(size)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (mut received, mut answers) = (BytesMut::new(), Vec::new());
    while answers.len() < bodies.len() {
        assert!(
            stream.read_buf(&mut received).await.unwrap() > 0,
            "closed early"
        );
        while let Some(answer) = frame::decode(&mut received).unwrap() {
            answers.push((answer.opaque, answer.body.to_vec()));
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_are_found_wherever_the_stream_is_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..12),
        pieces in prop::collection::vec(1usize..500, 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let answers = runtime.block_on(echo(&bodies, &pieces));
        let expected: Vec<_> =
            bodies.into_iter().enumerate().map(|(at, body)| (at as i32, body)).collect();
        prop_assert_eq!(answers, expected);
    }
}
