use std::time::Duration;

use hotfire_env::EntropyExt;

use super::net::{Disturbance, NetworkConfig};
use super::stage::Stage;

#[test]
fn a_frozen_process_does_nothing_until_it_thaws() {
    let mut stage = Stage::new();
    stage.boot(stage.client, |actor| async move {
        for tick in 0..10 {
            actor.sleep(10).await;
            actor.say(tick);
        }
    });
    stage.run_until(35);
    stage.universe.freeze(stage.client);
    stage.run_until(200);
    assert_eq!(stage.log.lines().len(), 3);
    stage.universe.thaw(stage.client);
    stage.run_until(211);
    let lines = stage.log.lines();
    assert_eq!(lines.len(), 5, "one overdue tick, and the one after it");
    assert!((200..=201).contains(&lines[3].0) && lines[4].0 >= 210);
}

#[test]
fn a_frozen_server_still_completes_connections() {
    let mut stage = Stage::new();
    stage.boot(stage.server, |actor| actor.echo(9000));
    stage.run_until(5);
    stage.universe.freeze(stage.server);
    stage.boot(stage.client, |actor| async move {
        let mut connection = actor.connect("server:9000").await;
        actor.say("connected");
        actor.exchange(&mut connection, "hello").await;
    });
    stage.run_until(500);
    assert_eq!(stage.log.lines().len(), 1);
    stage.universe.thaw(stage.server);
    stage.run_until(520);
    assert!((500..510).contains(&stage.log.when("hello").unwrap()));
}

#[test]
fn a_killed_process_runs_no_more_and_a_new_one_starts_afresh() {
    let mut stage = Stage::new();
    let loop_forever = |actor: super::stage::Actor| async move {
        loop {
            actor.say(actor.env.process_id());
            actor.sleep(10).await;
        }
    };
    stage.boot(stage.client, loop_forever);
    stage.run_until(25);
    stage.universe.kill(stage.client);
    stage.run_until(100);
    let before = stage.log.lines();
    assert_eq!(before.len(), 3);
    stage.boot(stage.client, loop_forever);
    stage.run_until(102);
    assert_ne!(
        stage.log.lines()[3].1,
        before[0].1,
        "it has another process id"
    );
}

#[test]
fn computing_takes_no_simulated_time_and_stands_still_with_its_process() {
    let mut stage = Stage::new();
    stage.boot(stage.client, |actor| async move {
        loop {
            actor.sleep(10).await;
            let before = actor.env.now_ms();
            let after = actor.env.clone();
            let now = actor.env.compute("test", move || after.now_ms());
            actor.say(now.await - before);
        }
    });
    stage.run_until(25);
    stage.universe.freeze(stage.client);
    stage.run_until(100);
    assert_eq!(stage.log.lines(), [(10, "0".into()), (20, "0".into())]);
    stage.universe.thaw(stage.client);
    stage.run_until(105);
    assert_eq!(stage.log.lines().len(), 3);
}

#[test]
fn a_clock_jump_moves_wall_clock_time_only() {
    let mut stage = Stage::new();
    stage.boot(stage.client, |actor| async move {
        loop {
            actor.sleep(10).await;
            actor.say(actor.env.now_ms() - 1_700_000_000_000);
        }
    });
    stage.run_until(15);
    stage.universe.jump_clock(stage.client, -1000);
    stage.run_until(25);
    let lines = stage.log.lines();
    assert_eq!(lines[0], (10, "10".to_owned()));
    assert_eq!(lines[1], (20, "-980".to_owned()));
}

/// A short life with everything in it that could differ from run to run.
fn life(seed: u64) -> String {
    let network = NetworkConfig {
        jitter: Duration::from_millis(3),
        ..NetworkConfig::default()
    };
    let mut stage = Stage::with(seed, network);
    stage.boot(stage.server, |actor| actor.echo(9000));
    stage.run_until(3);
    for _ in 0..3 {
        stage.boot(stage.client, |actor| async move {
            let entropy = actor.env.entropy("chatter");
            let file = actor.env.disk().map("log", 1 << 20).unwrap();
            let mut connection = actor.connect("server:9000").await;
            for line in 0..40u64 {
                let pause = entropy.below(20);
                tokio::select! {
                    _ = actor.sleep(pause) => actor.say("slept"),
                    _ = actor.sleep(pause) => actor.say("slept too"),
                }
                file.write(line * 100, &line.to_be_bytes()).unwrap();
                file.flush(0..line * 100 + 8).await.unwrap();
                actor
                    .exchange(&mut connection, &format!("line {line}"))
                    .await;
            }
        });
    }
    stage.run_until(200);
    stage
        .universe
        .disturb(stage.client, stage.server, 7, Disturbance::Down);
    stage.run_until(300);
    stage.universe.relieve(stage.client, stage.server, 7);
    stage.run_until(500);
    stage.universe.cut_power(stage.client);
    stage.run_until(600);
    format!("{} {:?}", stage.universe.trace(), stage.log.lines())
}

#[test]
fn the_same_seed_gives_the_same_life() {
    let alone = life(1);
    assert_eq!(life(1), alone);
    let other = life(2);
    assert_ne!(alone[..16], other[..16]);
    assert_eq!(life(1), alone, "after another seed");
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "worlds beside each other must not touch"
)]
fn worlds_on_several_threads_do_not_touch_each_other() {
    let alone = [life(1), life(2)];
    let beside = std::thread::scope(|scope| {
        let lives = [1, 2].map(|seed| scope.spawn(move || life(seed)));
        lives.map(|life| life.join().unwrap())
    });
    assert_eq!(beside, alone);
}
