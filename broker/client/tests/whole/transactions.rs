//! Transactions from end to end: half messages, local transactions, questions and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hotfire_broker::BrokerConfig;
use hotfire_client::{
    ConsumeConcurrentlyStatus, ConsumeFrom, Delivery, LocalTransactionState, PushConsumer,
    TransactionListener, TransactionProducer,
};
use hotfire_env::BoxFuture;
use hotfire_protocol::{Message, MessageExt};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::stack::*;

/// What the database of an application says about transactions, by key; producers come and go.
#[derive(Clone, Default)]
struct Database {
    ends: Arc<Mutex<BTreeMap<String, LocalTransactionState>>>,
    checked: Arc<Mutex<Vec<(&'static str, String)>>>,
}

/// A producer's listener on the database.
struct Application {
    name: &'static str,
    database: Database,
    /// What it says of its own local transactions, whatever the database says.
    says: LocalTransactionState,
}

impl TransactionListener for Application {
    fn execute<'a>(
        &'a self,
        message: &'a Message,
        _: &'a str,
    ) -> BoxFuture<'a, LocalTransactionState> {
        let end = match message.tag() {
            Some("bad") => LocalTransactionState::Rollback,
            _ => LocalTransactionState::Commit,
        };
        let key = message.keys().unwrap().to_owned();
        self.database.ends.lock().insert(key, end);
        let says = match self.says {
            LocalTransactionState::Commit => end,
            other => other,
        };
        Box::pin(async move { says })
    }

    fn check<'a>(&'a self, message: &'a MessageExt) -> BoxFuture<'a, LocalTransactionState> {
        let key = message.message.keys().unwrap().to_owned();
        let end = self.database.ends.lock().get(&key).copied();
        self.database.checked.lock().push((self.name, key));
        Box::pin(async move { end.unwrap_or(LocalTransactionState::Unknown) })
    }
}

/// Brokers that check every 5 s what is older than 3 s.
fn checking(at: usize) -> BrokerConfig {
    BrokerConfig {
        transaction_timeout: Duration::from_secs(3),
        transaction_check_interval: Duration::from_secs(5),
        ..config(at)
    }
}

async fn application(
    stack: &Stack,
    name: &'static str,
    database: &Database,
    says: LocalTransactionState,
) -> TransactionProducer {
    let application = Application {
        name,
        database: database.clone(),
        says,
    };
    TransactionProducer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("payers")
        .listener(application)
        .start()
        .await
        .unwrap()
}

fn payment(key: &str) -> Message {
    let tag = if key.starts_with("bad") {
        "bad"
    } else {
        "good"
    };
    Message::new(TOPIC, "10 EUR").with_key(key).with_tag(tag)
}

/// A consumer that notes the keys of what it gets.
async fn reader(stack: &Stack) -> (PushConsumer, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = seen.clone();
    let consumer = PushConsumer::builder(&stack.env)
        .namesrv([NAMESRV])
        .group("receivers")
        .consume_from(ConsumeFrom::First)
        .subscribe(TOPIC, "*")
        .concurrent(move |messages: Delivery| {
            let keys = messages
                .iter()
                .map(|message| message.message.keys().unwrap().to_owned());
            noted.lock().extend(keys);
            async { ConsumeConcurrentlyStatus::Success }
        })
        .start()
        .await
        .unwrap();
    (consumer, seen)
}

fn sorted(keys: &Mutex<Vec<String>>) -> Vec<String> {
    let mut keys = keys.lock().clone();
    keys.sort_unstable();
    keys
}

#[tokio::test(start_paused = true)]
async fn consumers_get_what_was_committed_and_nothing_else() {
    let stack = Stack::start_with(vec![checking(0), checking(1)]).await;
    let database = Database::default();
    let payer = application(&stack, "payer", &database, LocalTransactionState::Commit).await;
    let (_reader, seen) = reader(&stack).await;
    for key in ["a", "bad-b", "c", "d", "bad-e"] {
        payer.send_in_transaction(payment(key)).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(sorted(&seen), ["a", "c", "d"]);
    assert!(database.checked.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_producer_did_not_know_is_decided_when_the_broker_asks() {
    let stack = Stack::start_with(vec![checking(0)]).await;
    let database = Database::default();
    let payer = application(&stack, "payer", &database, LocalTransactionState::Unknown).await;
    let (_reader, seen) = reader(&stack).await;
    for key in ["a", "bad-b", "c"] {
        payer.send_in_transaction(payment(key)).await.unwrap();
    }
    sleep(SECOND).await;
    assert!(seen.lock().is_empty());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(sorted(&seen), ["a", "c"]);
    let checked: Vec<_> = database.checked.lock().clone();
    assert_eq!(
        checked,
        ["a", "bad-b", "c"].map(|key| ("payer", key.to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn another_producer_of_the_group_answers_for_one_that_died() {
    let stack = Stack::start_with(vec![checking(0)]).await;
    let database = Database::default();
    let first = application(&stack, "first", &database, LocalTransactionState::Unknown).await;
    let _second = application(&stack, "second", &database, LocalTransactionState::Commit).await;
    let (_reader, seen) = reader(&stack).await;
    first.send_in_transaction(payment("a")).await.unwrap();
    // It takes no leave.
    drop(first);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(sorted(&seen), ["a"]);
    assert_eq!(*database.checked.lock(), [("second", "a".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_restarts_between_half_message_and_end_answers_for_its_former_life() {
    let stack = Stack::start_with(vec![checking(0)]).await;
    let database = Database::default();
    let before = application(&stack, "before", &database, LocalTransactionState::Unknown).await;
    let (_reader, seen) = reader(&stack).await;
    before.send_in_transaction(payment("a")).await.unwrap();
    before.send_in_transaction(payment("bad-b")).await.unwrap();
    before.shutdown().await;
    // Nobody is there to answer: the checks are counted all the same.
    sleep(Duration::from_secs(22)).await;
    let _after = application(&stack, "after", &database, LocalTransactionState::Commit).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(sorted(&seen), ["a"]);
    let names: BTreeSet<_> = database
        .checked
        .lock()
        .iter()
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(names, BTreeSet::from(["after"]));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_restarts_asks_about_what_it_kept() {
    let mut stack = Stack::start_with(vec![checking(0)]).await;
    let database = Database::default();
    let payer = application(&stack, "payer", &database, LocalTransactionState::Unknown).await;
    let (_reader, seen) = reader(&stack).await;
    payer.send_in_transaction(payment("a")).await.unwrap();
    stack.restart(0).await;
    sleep(Duration::from_secs(90)).await;
    assert_eq!(sorted(&seen), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_told_twice_delivers_twice() {
    let stack = Stack::start_with(vec![checking(0)]).await;
    let database = Database::default();
    let payer = application(&stack, "payer", &database, LocalTransactionState::Commit).await;
    let (_reader, seen) = reader(&stack).await;
    let sent = payer.send_in_transaction(payment("a")).await.unwrap();
    payer.end_transaction(&sent.send, sent.state).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(sorted(&seen), ["a", "a"]);
}
