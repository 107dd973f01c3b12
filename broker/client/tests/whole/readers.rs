//! Push consumers that note what they get.

use std::sync::Arc;

use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, Delivery, PushConsumer, PushConsumerBuilder,
};
use parking_lot::Mutex;

use crate::stack::{NAMESRV, Stack};

/// The bodies of what was consumed, as texts.
pub type Bodies = Arc<Mutex<Vec<String>>>;

/// A consumer that begins with what is there.
pub fn builder(stack: &Stack, group: &str) -> PushConsumerBuilder {
    PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group(group)
        .consume_from(ConsumeFrom::First)
}

/// The texts of what a listener is given.
pub fn texts(messages: &Delivery) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    let texts = messages.iter().map(|message| text(&message.message.body));
    texts.collect()
}

/// Starts a consumer that consumes whatever it gets.
pub async fn consume(builder: PushConsumerBuilder) -> (PushConsumer, Bodies) {
    let bodies = Bodies::default();
    let seen = bodies.clone();
    let listener = move |messages: Delivery| {
        seen.lock().extend(texts(&messages));
        async { ConsumeConcurrentlyStatus::Success }
    };
    (builder.concurrent(listener).start().await.unwrap(), bodies)
}

pub fn sorted(bodies: &Bodies) -> Vec<String> {
    let mut bodies = bodies.lock().clone();
    bodies.sort();
    bodies
}
