//! Producer and consumers.
//!
//! - [`Producer`] sends messages: with retries on other brokers, to chosen queues, in batches,
//!   one-way.
//! - [`TransactionProducer`] sends messages whose fate a local transaction decides.
//! - [`PushConsumer`] calls a listener for every message of the queues that its group's rebalancing
//!   gives it: many at a time ([`ConcurrentListener`]) or one queue in order ([`OrderlyListener`]).
//! - [`LitePullConsumer`] pulls in the background and hands messages out when it is polled, from
//!   anywhere that the application seeks.
//! - [`SimpleConsumer`] receives messages that stay hidden from others until it acknowledges them.
//! - [`Admin`] pulls, queries and sets offsets, looks messages up, and administers name servers and
//!   brokers, one call at a time.
//!
//! Timing and defaults are those of the Java client 4.9.8. Each producer, consumer and admin client
//! is an instance of its own, with its own connections, routes and client id (`MQClientInstance`),
//! as it is in Java since instance names default to `pid#nanoseconds`.
//!
//! Decisions are made by plain structs that know neither network nor tasks: [`PublishInfo`] and
//! [`FaultStrategy`] choose queues, [`process_queue::ProcessQueue`] knows what may be committed,
//! [`AllocateStrategy`] shares queues, and so on. The rest moves bytes and waits.
//!
//! Invariants:
//!
//! - an offset is committed only if every message below it is consumed, sent back, or filtered out;
//! - an offset that could not be queried is never replaced by a guess: the queue waits for the next
//!   rebalancing;
//! - an orderly listener is called for a queue only while its lock is held, and never by two at
//!   once;
//! - nothing is started for a queue that was given up, and what is still running for it changes no
//!   offset.
//!
//! # Example
//!
//! ```no_run
//! use hotfire_client::{ConsumeConcurrentlyStatus, Delivery, Producer, PushConsumer};
//! use hotfire_protocol::Message;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let env = hotfire_env::real::env("data", None);
//!
//! let producer = Producer::builder(&env).namesrv(["127.0.0.1:9876"]).group("shop").start().await?;
//! let sent = producer.send(Message::new("orders", "one espresso").with_tag("drinks")).await?;
//! println!("stored at {} offset {}", sent.queue, sent.queue_offset);
//!
//! let consumer = PushConsumer::builder(&env)
//!     .namesrv(["127.0.0.1:9876"])
//!     .group("bar")
//!     .subscribe("orders", "drinks || snacks")
//!     .concurrent(|messages: Delivery| async move {
//!         for message in messages.iter() {
//!             println!("{}: {} bytes", message.msg_id(), message.message.body.len());
//!         }
//!         ConsumeConcurrentlyStatus::Success
//!     })
//!     .start()
//!     .await?;
//!
//! consumer.shutdown().await;
//! producer.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod config;
mod consumer;
mod credentials;
mod error;
mod instance;
mod lite_pull;
mod producer;
mod simple;
mod trace;
mod transaction;

pub use admin::{
    AclVersions, Admin, AdminBuilder, OffsetReset, PullResult, PullStatus, ResetTo, TopicListKind,
};
pub use config::ClientConfig;
pub use consumer::allocate::{
    AllocateAveragely, AllocateAveragelyByCircle, AllocateByConfig, AllocateByMachineRoom,
    AllocateConsistentHash, AllocateMachineRoomNearby, AllocateStrategy, MachineRoomResolver,
};
pub use consumer::filter::FilterMessageHook;
pub use consumer::hook::ConsumerHook;
pub use consumer::listener::{
    ConcurrentListener, ConsumeConcurrentlyStatus, ConsumeOrderlyStatus, Delivery, OrderlyListener,
};
pub use consumer::{
    ConsumeFrom, MessageModel, PushConsumer, PushConsumerBuilder, offsets, process_queue,
    rebalance, retry,
};
pub use credentials::Credentials;
pub use error::{ClientError, SendError};
pub use hotfire_protocol::message::compression::CompressionType;
pub use hotfire_remoting::TlsOptions;
pub use instance::{names, route};
pub use lite_pull::queues::{self as lite_queues, LitePullLimits};
pub use lite_pull::{LitePullConsumer, LitePullConsumerBuilder, TopicQueuesListener};
pub use producer::fault::FaultStrategy;
pub use producer::publish::PublishInfo;
pub use producer::request::{RequestError, reply_to};
pub use producer::result::{SendResult, SendStatus};
pub use producer::selector::{QueueSelector, SelectByHash};
pub use producer::split::{SplitError, split_batches};
pub use producer::{Producer, ProducerBuilder};
pub use simple::{PoppedMessage, ReceiptError, SimpleConsumer, SimpleConsumerBuilder};
pub use trace::TraceOptions;
pub use transaction::{
    LocalTransactionState, TransactionListener, TransactionProducer, TransactionProducerBuilder,
    TransactionSendResult,
};
