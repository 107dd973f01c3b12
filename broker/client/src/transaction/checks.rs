//! Questions of brokers about transactions: CHECK_TRANSACTION_STATE
//! (`DefaultMQProducerImpl.checkTransactionState`).

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use hotfire_env::Env;
use hotfire_protocol::header::transaction::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader,
};
use hotfire_protocol::message::property;
use hotfire_protocol::{MessageExt, RemotingCommand, RequestCode};
use hotfire_remoting::Channel;
use tokio::sync::Semaphore;

use super::{LocalTransactionState, TransactionListener};
use crate::ClientError;
use crate::instance::{Instance, decode_messages, malformed};
use crate::trace::Tracer;
use crate::trace::record::EndTransaction;

/// How many checks wait at the most; more are dropped (`checkRequestHoldMax`).
const HOLD_MAX: usize = 2_000;
/// How long an answer may take to be written.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Answers the questions of brokers.
pub(crate) struct Checks {
    env: Env,
    listener: Arc<dyn TransactionListener>,
    /// Set when there is one: a client is made with what takes the requests of brokers.
    producer: OnceLock<Asked>,
    /// One permit for each check that may run.
    turns: Semaphore,
    held: AtomicUsize,
}

/// The producer that is asked.
struct Asked {
    instance: Weak<Instance>,
    group: String,
    tracer: Option<Arc<Tracer>>,
}

/// A question about a transaction.
struct Question {
    /// The address of the broker.
    addr: String,
    header: CheckTransactionStateRequestHeader,
    message: MessageExt,
}

impl Checks {
    pub(super) fn new(env: &Env, listener: Arc<dyn TransactionListener>, threads: usize) -> Self {
        Self {
            env: env.clone(),
            listener,
            producer: OnceLock::new(),
            turns: Semaphore::new(threads.min(Semaphore::MAX_PERMITS)),
            held: AtomicUsize::new(0),
        }
    }

    /// Lends the client whose connections answers go by, and whose group is asked.
    pub(crate) fn set_producer(
        &self,
        instance: &Arc<Instance>,
        group: &str,
        tracer: Option<Arc<Tracer>>,
    ) {
        self.producer.get_or_init(|| Asked {
            instance: Arc::downgrade(instance),
            group: group.to_owned(),
            tracer,
        });
    }

    /// The client, as long as there is one, and its group.
    fn producer(&self) -> Option<(Arc<Instance>, &str)> {
        let producer = self.producer.get()?;
        Some((producer.instance.upgrade()?, &producer.group))
    }

    /// Takes a question. The listener is asked in a task of its own; a question that cannot be
    /// taken is dropped: the broker will ask again.
    pub(crate) fn take(self: &Arc<Self>, channel: &Channel, request: RemotingCommand) {
        let mut question = match read(channel, request) {
            Ok(question) => question,
            Err(error) => {
                tracing::warn!(%error, "a question about a transaction cannot be read");
                return;
            }
        };
        let Some((instance, group)) = self.producer() else {
            return;
        };
        let asked = question.message.message.properties.get(property::PGROUP);
        if asked != Some(group) {
            tracing::debug!(
                asked,
                group,
                "a question about a transaction of another group"
            );
            return;
        }
        let topic = &mut question.message.message.topic;
        *topic = instance.config.unwrap(topic);
        if self.held.load(Ordering::Acquire) >= HOLD_MAX {
            tracing::warn!(
                group,
                "too many questions about transactions: one is dropped"
            );
            return;
        }
        self.held.fetch_add(1, Ordering::AcqRel);
        let checks = self.clone();
        let task = self.env.spawn("check-transaction", async move {
            checks.answer(question).await;
            checks.held.fetch_sub(1, Ordering::AcqRel);
        });
        instance.keep(task);
    }

    async fn answer(&self, question: Question) {
        // It is never closed.
        let Ok(_turn) = self.turns.acquire().await else {
            return;
        };
        let checking = AssertUnwindSafe(self.listener.check(&question.message)).catch_unwind();
        let (state, remark) = match checking.await {
            Ok(state) => (state, None),
            Err(_) => {
                tracing::error!(msg_id = question.message.msg_id(), "a check panicked");
                let remark = "checkLocalTransactionState Exception: a panic";
                (LocalTransactionState::Unknown, Some(remark.to_owned()))
            }
        };
        let Some((instance, group)) = self.producer() else {
            return;
        };
        let header = EndTransactionRequestHeader {
            producer_group: group.to_owned(),
            tran_state_table_offset: question.header.tran_state_table_offset,
            commit_log_offset: question.header.commit_log_offset,
            commit_or_rollback: state.code(),
            from_transaction_check: Some(true),
            msg_id: question.message.msg_id(),
            transaction_id: question.header.transaction_id,
            ..EndTransactionRequestHeader::default()
        };
        let mut request = instance.request(RequestCode::END_TRANSACTION, &header);
        request.remark = remark;
        let told = instance.rpc.oneway(&question.addr, request, ANSWER_TIMEOUT);
        if let Err(error) = told.await {
            tracing::warn!(%error, ?state, "a broker did not learn the answer to its question");
        }
        if let Some(tracer) = self.producer.get().and_then(|asked| asked.tracer.as_ref()) {
            let transaction_id = header.transaction_id.as_deref();
            tracer.ended(EndTransaction {
                at_ms: self.env.now_ms(),
                group: group.to_owned(),
                msg_id: header.msg_id,
                store_host: question.addr,
                transaction_id: transaction_id.unwrap_or("null").to_owned(),
                state: state.name(),
                from_check: true,
                ..EndTransaction::of(&question.message.message)
            });
        }
    }
}

fn read(channel: &Channel, request: RemotingCommand) -> Result<Question, ClientError> {
    let addr = channel.name().to_owned();
    let header = request.header().map_err(|error| malformed(&addr, error))?;
    let message = decode_messages(&addr, request)?.into_iter().next();
    let message = message.ok_or_else(|| malformed(&addr, "there is no message in it"))?;
    Ok(Question {
        addr,
        header,
        message,
    })
}
