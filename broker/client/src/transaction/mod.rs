//! Sending in transactions (`TransactionMQProducer`).

mod builder;
pub(crate) mod checks;

use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use hotfire_env::BoxFuture;
use hotfire_protocol::header::transaction::EndTransactionRequestHeader;
use hotfire_protocol::message::{id, property, sys_flag};
use hotfire_protocol::{Message, MessageExt, RequestCode};

use crate::trace::record::EndTransaction;
use crate::{ClientError, Producer, SendError, SendResult, SendStatus};
pub use builder::TransactionProducerBuilder;

/// How a local transaction ended (`LocalTransactionState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LocalTransactionState {
    /// It is done: consumers may have the message.
    Commit,
    /// It is undone: nobody may have the message.
    Rollback,
    /// That is not known yet: the broker asks later.
    Unknown,
}

impl LocalTransactionState {
    /// The number in END_TRANSACTION, as in the system flag.
    const fn code(self) -> i32 {
        match self {
            Self::Commit => sys_flag::TRANSACTION_COMMIT,
            Self::Rollback => sys_flag::TRANSACTION_ROLLBACK,
            Self::Unknown => 0,
        }
    }

    /// Its name in Java, which traces have.
    const fn name(self) -> &'static str {
        match self {
            Self::Commit => "COMMIT_MESSAGE",
            Self::Rollback => "ROLLBACK_MESSAGE",
            Self::Unknown => "UNKNOW",
        }
    }
}

/// The application's side of a transaction.
///
/// A panic counts as [`LocalTransactionState::Unknown`].
pub trait TransactionListener: Send + Sync + 'static {
    /// Runs the local transaction of a message that is stored as a half message. `transaction_id`
    /// is the message's unique key.
    fn execute<'a>(
        &'a self,
        message: &'a Message,
        transaction_id: &'a str,
    ) -> BoxFuture<'a, LocalTransactionState>;

    /// Says how the local transaction of a message ended. It need not have run in this process: a
    /// broker asks any producer of the group.
    fn check<'a>(&'a self, message: &'a MessageExt) -> BoxFuture<'a, LocalTransactionState>;
}

/// What [`TransactionProducer::send_in_transaction`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSendResult {
    /// Where the half message is: of `queue` it is the real one, but `queue_offset` and
    /// `offset_msg_id` are those of the half message.
    pub send: SendResult,
    /// What the local transaction came to, and the broker was told.
    pub state: LocalTransactionState,
}

/// Sends messages in transactions, and in all the ways of a [`Producer`]. Cheap to clone.
///
/// A message is first stored where no consumer sees it. Then the local transaction runs, and its
/// end is told to the broker, one-way: if that is lost, or the end is unknown, the broker asks the
/// group's producers again and again, up to 15 times, and then gives the message up.
///
/// # Example
///
/// ```no_run
/// use hotfire_client::{LocalTransactionState, TransactionListener, TransactionProducer};
/// use hotfire_env::BoxFuture;
/// use hotfire_protocol::{Message, MessageExt};
///
/// struct Accounts;
///
/// impl TransactionListener for Accounts {
///     fn execute<'a>(
///         &'a self,
///         message: &'a Message,
///         _: &'a str,
///     ) -> BoxFuture<'a, LocalTransactionState> {
///         Box::pin(async move {
///             // Debit the account named in the message's key, and remember the transaction.
///             println!("debited {}", message.keys().unwrap_or("nobody"));
///             LocalTransactionState::Commit
///         })
///     }
///
///     fn check<'a>(&'a self, _: &'a MessageExt) -> BoxFuture<'a, LocalTransactionState> {
///         // Look the transaction up.
///         Box::pin(async { LocalTransactionState::Commit })
///     }
/// }
///
/// # async fn example(env: &hotfire_env::Env) -> Result<(), Box<dyn std::error::Error>> {
/// let producer = TransactionProducer::builder(env)
///     .namesrv(["ns1:9876"])
///     .group("payers")
///     .listener(Accounts)
///     .start()
///     .await?;
/// let payment = Message::new("payments", "10 EUR").with_key("account-7");
/// let sent = producer.send_in_transaction(payment).await?;
/// assert_eq!(sent.state, LocalTransactionState::Commit);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TransactionProducer {
    producer: Producer,
    listener: Arc<dyn TransactionListener>,
}

impl Deref for TransactionProducer {
    type Target = Producer;

    fn deref(&self) -> &Producer {
        &self.producer
    }
}

impl TransactionProducer {
    /// Begins to configure a producer. It needs a group, name servers and a listener.
    pub fn builder(env: &hotfire_env::Env) -> TransactionProducerBuilder {
        TransactionProducerBuilder::new(env)
    }

    /// Sends a message, runs its local transaction, and tells the broker how that ended. A delay
    /// level is taken off: transactions are not delayed.
    ///
    /// If the broker says that the half message may not be durable, the local transaction is not
    /// run and the message rolled back. Whether the broker learns of the end nobody tells.
    ///
    /// # Errors
    /// The half message could not be sent, or may not have been: then the local transaction did not
    /// run. What was stored all the same the broker asks about.
    pub async fn send_in_transaction(
        &self,
        mut message: Message,
    ) -> Result<TransactionSendResult, SendError> {
        let sender = self.producer.sender();
        let properties = &mut message.properties;
        properties.remove(property::DELAY);
        properties.set(property::TRAN_MSG, "true");
        properties.set(property::PGROUP, sender.config.group.as_str());
        if !properties.contains(property::UNIQ_KEY) {
            properties.set(property::UNIQ_KEY, sender.unique_key());
        }
        let send = sender.send(&sender.prepare(message.clone())?).await?;
        let (state, remark) = if send.status == SendStatus::SendOk {
            self.execute(&mut message, &send).await
        } else {
            (LocalTransactionState::Rollback, None)
        };
        if let Err(error) = self.tell(&send, state, remark, Some(&message)).await {
            tracing::warn!(
                msg_id = send.msg_id,
                ?state,
                %error,
                "the broker was not told how a transaction ended"
            );
        }
        Ok(TransactionSendResult { send, state })
    }

    async fn execute(
        &self,
        message: &mut Message,
        send: &SendResult,
    ) -> (LocalTransactionState, Option<&'static str>) {
        if let Some(id) = &send.transaction_id {
            message
                .properties
                .set(property::TRANSACTION_ID, id.as_str());
        }
        let executing = self.listener.execute(message, &send.msg_id);
        match AssertUnwindSafe(executing).catch_unwind().await {
            Ok(state) => (state, None),
            Err(_) => {
                tracing::error!(msg_id = send.msg_id, "a local transaction panicked");
                let remark = "executeLocalTransactionBranch exception: a panic";
                (LocalTransactionState::Unknown, Some(remark))
            }
        }
    }

    /// Tells the broker, one-way, how the transaction of a half message ended, as
    /// [`send_in_transaction`](Self::send_in_transaction) has done already: for when it is known
    /// later, before the broker asks. A second commit delivers the message a second time.
    ///
    /// # Errors
    /// There is no connection to tell it on.
    pub async fn end_transaction(
        &self,
        send: &SendResult,
        state: LocalTransactionState,
    ) -> Result<(), ClientError> {
        self.tell(send, state, None, None).await
    }

    async fn tell(
        &self,
        send: &SendResult,
        state: LocalTransactionState,
        remark: Option<&str>,
        message: Option<&Message>,
    ) -> Result<(), ClientError> {
        let sender = self.producer.sender();
        let (_, commit_log_offset) = id::parse_offset_msg_id(&send.offset_msg_id)
            .ok_or_else(|| ClientError::Invalid("the half message has no offset id".to_owned()))?;
        let addr = sender.instance.master_of(&send.queue).await?;
        let header = EndTransactionRequestHeader {
            producer_group: sender.config.group.clone(),
            tran_state_table_offset: send.queue_offset,
            commit_log_offset,
            commit_or_rollback: state.code(),
            from_transaction_check: Some(false),
            msg_id: send.msg_id.clone(),
            transaction_id: send.transaction_id.clone(),
            topic: None,
            broker_name: Some(send.queue.broker_name.clone()),
        };
        let mut request = sender
            .instance
            .request(RequestCode::END_TRANSACTION, &header);
        request.remark = remark.map(str::to_owned);
        let timeout = sender.config.timeout;
        sender.instance.rpc.oneway(&addr, request, timeout).await?;
        if let (Some(tracer), Some(message)) = (&sender.tracer, message) {
            tracer.ended(EndTransaction {
                at_ms: sender.instance.env.now_ms(),
                group: header.producer_group,
                msg_id: header.msg_id,
                store_host: addr,
                transaction_id: header.transaction_id.unwrap_or_else(|| "null".to_owned()),
                state: state.name(),
                from_check: false,
                ..EndTransaction::of(message)
            });
        }
        Ok(())
    }
}
