use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Disturbance, FrameInfo, FrameVerdict, NetworkConfig, tcp};
use crate::seams::stage::{Actor, Stage};

const SERVER: &str = "server:9000";

/// A client that says what it hears back, every 100 ms something new.
async fn chat(actor: Actor, lines: u32) {
    let mut connection = actor.connect(SERVER).await;
    actor.say("connected");
    for line in 0..lines {
        actor
            .exchange(&mut connection, &format!("line {line}"))
            .await;
        actor.sleep(100).await;
    }
}

fn chatting(mut stage: Stage) -> Stage {
    stage.boot(stage.server, |actor| actor.echo(9000));
    stage.run_until(2);
    stage.boot(stage.client, |actor| chat(actor, 50));
    stage
}

fn both_ways(stage: &Stage, disturbance: Disturbance) {
    let (client, server) = (stage.client, stage.server);
    stage.universe.disturb(client, server, 1, disturbance);
    stage.universe.disturb(server, client, 1, disturbance);
}

fn relieved(stage: &Stage) {
    stage.universe.relieve(stage.client, stage.server, 1);
    stage.universe.relieve(stage.server, stage.client, 1);
}

#[test]
fn an_echo_takes_one_round_trip() {
    let mut stage = Stage::with(
        1,
        NetworkConfig {
            latency: Duration::from_millis(20),
            ..NetworkConfig::default()
        },
    );
    stage = chatting(stage);
    stage.run_until(300);
    let connected = stage.log.when("connected").unwrap();
    assert_eq!(connected, 42);
    assert_eq!(stage.log.when("line 0"), Some(connected + 40));
    assert_eq!(stage.log.when("line 1"), Some(connected + 180));
}

#[test]
fn an_outage_stalls_a_stream_and_its_bytes_arrive_afterwards() {
    let mut stage = chatting(Stage::new());
    stage.run_until(150);
    both_ways(&stage, Disturbance::Down);
    stage.run_until(1150);
    assert_eq!(stage.log.lines().len(), 3);
    relieved(&stage);
    stage.run_until(1300);
    assert_eq!(
        stage.log.lines().len(),
        3,
        "TCP sends again when its timer says so"
    );
    stage.run_until(4000);
    let texts: Vec<String> = stage
        .log
        .lines()
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(
        texts[1..6],
        ["line 0", "line 1", "line 2", "line 3", "line 4"]
    );
    // Written at 208, sent again at 408, 808, 1608.
    assert_eq!(stage.log.when("line 2"), Some(1610));
}

#[test]
fn an_outage_of_one_direction_stalls_only_that_direction() {
    let mut stage = Stage::new();
    stage.boot(stage.server, |actor| async move {
        let listener = actor.env.network().listen("0.0.0.0:9000").await.unwrap();
        let mut stream = listener.accept().await.unwrap().stream;
        let _ = stream.write_all(b"from server").await;
        let mut heard = [0; 11];
        stream.read_exact(&mut heard).await.unwrap();
        actor.say("server heard");
    });
    stage.boot(stage.client, |actor| async move {
        actor.sleep(5).await;
        let mut stream = actor.connect(SERVER).await.stream;
        actor.say("connected");
        actor.sleep(20).await;
        let _ = stream.write_all(b"from client").await;
        let mut heard = [0; 11];
        stream.read_exact(&mut heard).await.unwrap();
        actor.say("client heard");
        std::future::pending().await
    });
    stage.run_until(9);
    stage
        .universe
        .disturb(stage.server, stage.client, 1, Disturbance::Down);
    stage.run_until(60);
    assert!(stage.log.when("server heard").is_some());
    assert_eq!(stage.log.when("client heard"), None);
    relieved(&stage);
    stage.run_until(500);
    assert!(stage.log.when("client heard").is_some());
}

#[test]
fn connecting_into_an_outage_waits_for_the_next_syn() {
    let mut stage = Stage::new();
    both_ways(&stage, Disturbance::Down);
    stage = chatting(stage);
    stage.run_until(2500);
    assert_eq!(stage.log.lines(), []);
    relieved(&stage);
    stage.run_until(4000);
    // The third SYN goes out three seconds after the first.
    assert!((3000..3010).contains(&stage.log.when("connected").unwrap()));
}

#[test]
fn connecting_to_a_machine_without_power_times_out() {
    let mut stage = Stage::with(1, NetworkConfig::default());
    stage.universe.cut_power(stage.server);
    stage.boot(stage.client, |actor| async move {
        let error = actor.env.network().connect(SERVER).await.err().unwrap();
        actor.say(error.kind());
    });
    stage.run_until(126_000);
    assert_eq!(stage.log.lines(), []);
    stage.run_until(128_000);
    assert_eq!(stage.log.lines()[0].1, ErrorKind::TimedOut.to_string());
}

#[test]
fn connecting_where_nobody_listens_is_refused_after_a_round_trip() {
    let network = NetworkConfig {
        latency: Duration::from_millis(7),
        ..NetworkConfig::default()
    };
    let mut stage = Stage::with(1, network);
    stage.boot(stage.client, |actor| async move {
        let error = actor.env.network().connect(SERVER).await.err().unwrap();
        actor.say(error.kind());
    });
    stage.run_until(30);
    assert_eq!(
        stage.log.lines(),
        [(14, ErrorKind::ConnectionRefused.to_string())]
    );
}

#[test]
fn a_killed_process_closes_its_connections_at_once() {
    let mut stage = chatting(Stage::new());
    stage.run_until(150);
    stage.universe.kill(stage.server);
    stage.run_until(250);
    let error = stage.log.lines().pop().unwrap().1;
    assert!(
        error == "read: unexpected end of file" || error.contains("reset"),
        "{error}"
    );
    let server = stage.server;
    assert_eq!(stage.universe.task_count(server), 0);
    stage.boot(server, |actor| actor.echo(9000));
    stage.run_until(260);
    stage.boot(stage.client, |actor| chat(actor, 1));
    stage.run_until(300);
    assert_eq!(stage.log.lines().pop().unwrap().1, "line 0");
}

#[test]
fn a_power_loss_is_silence_until_the_new_incarnation_resets() {
    let mut stage = chatting(Stage::new());
    stage.run_until(150);
    stage.universe.cut_power(stage.server);
    stage.run_until(10_000);
    assert_eq!(
        stage.log.lines().len(),
        3,
        "nothing is heard: {:?}",
        stage.log.lines()
    );
    stage.universe.power_on(stage.server);
    stage.run_until(60_000);
    let (at, what) = stage.log.lines()[3].clone();
    assert_eq!(what, "read: connection reset");
    // Written at 208; the retransmission at 12.808 s meets a kernel that knows nothing.
    assert!((12_800..12_820).contains(&at), "{at}");
}

#[test]
fn bytes_that_are_never_acknowledged_end_the_connection() {
    let network = NetworkConfig {
        user_timeout: Duration::from_secs(30),
        ..NetworkConfig::default()
    };
    let mut stage = chatting(Stage::with(1, network));
    stage.run_until(150);
    both_ways(&stage, Disturbance::Down);
    stage.run_until(40_000);
    let (at, what) = stage.log.lines()[3].clone();
    assert_eq!((at, what.as_str()), (30_208, "read: timed out"));
}

#[test]
fn a_writer_waits_when_nobody_reads() {
    let mut stage = Stage::new();
    stage.boot(stage.server, |actor| async move {
        let listener = actor.env.network().listen("0.0.0.0:9000").await.unwrap();
        let mut stream = listener.accept().await.unwrap().stream;
        actor.sleep(1000).await;
        let mut all = vec![0; 3 * tcp::WINDOW as usize];
        stream.read_exact(&mut all).await.unwrap();
        actor.say(all.iter().all(|byte| *byte == 7));
    });
    stage.boot(stage.client, |actor| async move {
        actor.sleep(5).await;
        let mut stream = actor.connect(SERVER).await.stream;
        let bytes = vec![7; tcp::WINDOW as usize];
        for part in 0..3 {
            stream.write_all(&bytes).await.unwrap();
            actor.say(format!("wrote {part}"));
        }
        std::future::pending().await
    });
    stage.run_until(900);
    assert!(stage.log.when("wrote 0").is_some());
    assert_eq!(stage.log.when("wrote 1"), None);
    stage.run_until(1100);
    assert!(stage.log.when("wrote 2").unwrap() > 1000);
    assert!(stage.log.when("true").is_some());
}

#[test]
fn reads_are_short_and_nothing_is_lost() {
    let network = NetworkConfig {
        short_reads: 1.0,
        ..NetworkConfig::default()
    };
    let mut stage = Stage::with(3, network);
    stage.boot(stage.server, |actor| async move {
        let listener = actor.env.network().listen("0.0.0.0:9000").await.unwrap();
        let mut stream = listener.accept().await.unwrap().stream;
        let (mut all, mut reads, mut buffer) = (Vec::new(), 0, [0; 10_000]);
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..read]);
            reads += 1;
        }
        let expected: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(all, expected);
        actor.say(if reads > 20 {
            "many reads"
        } else {
            "few reads"
        });
    });
    stage.boot(stage.client, |actor| async move {
        actor.sleep(5).await;
        let mut stream = actor.connect(SERVER).await.stream;
        let bytes: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    stage.run_until(100);
    assert!(
        stage.log.when("many reads").is_some(),
        "{:?}",
        stage.log.lines()
    );
}

#[test]
fn loss_delays_and_keeps_the_order() {
    let mut stage = Stage::new();
    both_ways(&stage, Disturbance::Lossy(0.3));
    stage = chatting(stage);
    stage.run_until(60_000);
    let lines = stage.log.lines();
    let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts[..4], ["connected", "line 0", "line 1", "line 2"]);
    assert_eq!(texts.len(), 51);
    assert!(lines.windows(2).any(|pair| pair[1].0 - pair[0].0 >= 300));
}

#[test]
fn unread_bytes_make_a_close_a_reset() {
    let mut stage = Stage::new();
    stage.boot(stage.server, |actor| async move {
        let listener = actor.env.network().listen("0.0.0.0:9000").await.unwrap();
        let stream = listener.accept().await.unwrap().stream;
        actor.sleep(50).await;
        drop(stream);
    });
    stage.boot(stage.client, |actor| async move {
        actor.sleep(5).await;
        let mut connection = actor.connect(SERVER).await;
        actor.exchange(&mut connection, "unread").await;
    });
    stage.run_until(100);
    assert_eq!(stage.log.lines()[0].1, "read: connection reset");
}

#[test]
fn a_connection_can_be_reset_from_outside() {
    let mut stage = chatting(Stage::new());
    stage.run_until(150);
    stage.universe.reset_connections(stage.client, stage.server);
    stage.run_until(250);
    assert_eq!(
        stage.log.lines().pop().unwrap().1,
        "write: connection reset"
    );
}

#[test]
fn nodes_of_one_host_listen_on_the_same_port_of_their_own_addresses() {
    let mut stage = Stage::new();
    for node in stage.crowd {
        stage.boot(node, |actor| actor.echo(9000));
    }
    stage.run_until(2);
    stage.boot(stage.client, |actor| async move {
        let first = actor.connect("first:9000").await;
        let mut second = actor.connect("second:9000").await;
        assert_ne!(first.peer, second.peer);
        actor.exchange(&mut second, "hello").await;
    });
    stage.run_until(50);
    assert_eq!(stage.log.lines().len(), 1);
}

#[test]
fn nodes_of_one_host_reach_each_other_over_the_network() {
    let mut stage = Stage::new();
    let [first, second] = stage.crowd;
    stage.boot(first, |actor| actor.echo(9000));
    stage.run_until(2);
    stage.boot(second, |actor| async move {
        let mut connection = actor.connect("first:9000").await;
        for line in 0..10 {
            actor
                .exchange(&mut connection, &format!("line {line}"))
                .await;
        }
    });
    stage.run_until(50);
    assert!(stage.log.when("line 9").is_some());
}

fn frame(code: i32, opaque: i32, flag: i32) -> Vec<u8> {
    let header = format!(r#"{{"code":{code},"opaque":{opaque},"flag":{flag}}}"#);
    let mut frame = ((header.len() + 4) as u32).to_be_bytes().to_vec();
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    frame
}

/// A server that answers every request frame, and a client that sends requests of code 10 and 11.
fn framed(stage: &Stage) {
    stage.boot(stage.server, |actor| async move {
        let listener = actor.env.network().listen("0.0.0.0:9000").await.unwrap();
        let mut stream = listener.accept().await.unwrap().stream;
        while let Ok(len) = stream.read_u32().await {
            let mut rest = vec![0; len as usize];
            stream.read_exact(&mut rest).await.unwrap();
            let header: serde_json::Value = serde_json::from_slice(&rest[4..]).unwrap();
            let opaque = header["opaque"].as_i64().unwrap() as i32;
            actor.say(format!("request {opaque}"));
            stream.write_all(&frame(0, opaque, 1)).await.unwrap();
        }
    });
    stage.boot(stage.client, |actor| async move {
        actor.sleep(5).await;
        let mut stream = actor.connect(SERVER).await.stream;
        for opaque in 0..4 {
            stream
                .write_all(&frame(10 + opaque % 2, opaque, 0))
                .await
                .unwrap();
        }
        while let Ok(len) = stream.read_u32().await {
            let mut rest = vec![0; len as usize];
            stream.read_exact(&mut rest).await.unwrap();
            let header: serde_json::Value = serde_json::from_slice(&rest[4..]).unwrap();
            actor.say(format!("response {}", header["opaque"]));
        }
    });
}

fn filtered(filter: impl Fn(&FrameInfo) -> FrameVerdict + Send + Sync + 'static) -> Vec<String> {
    let mut stage = Stage::new();
    stage.universe.add_filter(1, Arc::new(filter));
    framed(&stage);
    stage.run_until(200);
    stage
        .log
        .lines()
        .into_iter()
        .map(|(_, text)| text)
        .collect()
}

#[test]
fn a_response_can_be_lost_by_the_code_of_its_request() {
    let lines = filtered(|frame| match frame.request_code {
        Some(11) => FrameVerdict::Drop,
        _ => FrameVerdict::Pass,
    });
    for line in [
        "request 0",
        "request 1",
        "request 2",
        "request 3",
        "response 0",
        "response 2",
    ] {
        assert!(
            lines.iter().any(|known| known == line),
            "{line} in {lines:?}"
        );
    }
    assert_eq!(lines.len(), 6);
}

#[test]
fn a_request_can_be_lost_duplicated_or_delayed() {
    let lines = filtered(|frame| match (frame.is_response, frame.opaque) {
        (false, 0) => FrameVerdict::Delay(Duration::from_millis(50)),
        (false, 1) => FrameVerdict::Drop,
        (false, 2) => FrameVerdict::Duplicate,
        _ => FrameVerdict::Pass,
    });
    let requests: Vec<&str> = lines
        .iter()
        .filter(|line| line.starts_with("request"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        requests,
        ["request 2", "request 2", "request 3", "request 0"]
    );
}
