//! The exporter over a network in memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../remoting/tests/memory/mod.rs"]
mod memory;

use std::time::Duration;

use hotfire_env::Env;
use hotfire_metrics::Exporter;
use hotfire_metrics::prometheus_client::metrics::counter::Counter;
use hotfire_metrics::prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ADDRESS: &str = "127.0.0.1:5557";

/// An exporter with one counter, which stands at 3.
async fn exporter() -> (Env, Exporter, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    registry.register("apples", "Apples that fell", counter.clone());
    counter.inc_by(3);
    let exporter = Exporter::start(&env, ADDRESS, registry).await.unwrap();
    (env, exporter, folder)
}

async fn ask(env: &Env, request: &str) -> String {
    let mut connection = env.network().connect(ADDRESS).await.unwrap();
    connection
        .stream
        .write_all(request.as_bytes())
        .await
        .unwrap();
    let mut response = String::new();
    connection
        .stream
        .read_to_string(&mut response)
        .await
        .unwrap();
    response
}

#[tokio::test(start_paused = true)]
async fn a_get_is_answered_with_what_the_registry_says() {
    let (env, _exporter, _folder) = exporter().await;
    let response = ask(&env, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("# TYPE apples counter\n"), "{response}");
    assert!(response.contains("\napples_total 3\n"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn anything_but_a_get_is_refused() {
    let (env, _exporter, _folder) = exporter().await;
    let response = ask(&env, "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 405 "), "{response}");
}

#[tokio::test(start_paused = true)]
async fn garbage_and_silence_keep_nobody_else_from_asking() {
    let (env, _exporter, _folder) = exporter().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(env.network().connect(ADDRESS).await.unwrap());
    }
    let garbage = ask(&env, "\u{1}\u{2}\u{3}\r\n\r\n").await;
    assert!(!garbage.contains("200"), "{garbage}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let response = ask(&env, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(response.contains("apples_total 3"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn peers_that_do_not_read_their_figures_give_way_to_one_who_does() {
    let folder = tempfile::tempdir().unwrap();
    let env = memory::env(&memory::MemoryNetwork::default(), folder.path());
    let mut registry = Registry::default();
    // More than a socket holds.
    for at in 0..2_000 {
        let help = "h".repeat(100);
        registry.register(format!("figure_{at}"), help, Counter::<u64>::default());
    }
    let _exporter = Exporter::start(&env, ADDRESS, registry).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..16 {
        let mut connection = env.network().connect(ADDRESS).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        connection.stream.write_all(request).await.unwrap();
        silent.push(connection);
    }
    let asked = ask(&env, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let asked = tokio::time::timeout(Duration::from_secs(60), asked).await;
    assert!(asked.unwrap().contains("figure_1999_total 0\n"));
}
