//! A producer node: sends what its group's load makes due, and writes down what became of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hotfire_check::history::{Event, OpId, Order, SendKind, TopicId, Value};
use hotfire_client::{
    ClientError, Producer, SelectByHash, SendError, SendResult, SendStatus, TransactionProducer,
};
use hotfire_env::Env;
use hotfire_protocol::Message;
use parking_lot::Mutex;
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64;

use super::album::{self, Album, Sent};
use super::load::share;
use super::plan::{Plan, Planned};
use super::transaction::{self, Accounts, Debtor};
use super::wants::{self, Wants};
use super::{body, client_config, timing};
use crate::journal::Pen;
use crate::scenario::{Producers, Select, Send};

/// The finest that time is slept in.
const TICK: Duration = Duration::from_millis(1);

/// A member of a producer group, over all lives of its process.
pub struct ProducerNode {
    /// What the scenario says of the group.
    pub spec: Arc<Producers>,
    /// The group's name.
    pub group: String,
    /// The member's number in the group, from 0.
    pub index: u32,
    /// What it sends.
    pub plan: Mutex<Plan>,
    /// What its local transactions debit, if it sends in transactions.
    pub accounts: Option<Arc<Accounts>>,
    /// The groups that want only a part of it.
    pub wants: Vec<Wants>,
    /// When the load phase begins and ends, in simulated time.
    pub load: (Duration, Duration),
    /// The name servers, as `host:port`.
    pub namesrv: Vec<String>,
    /// What the node writes with.
    pub pen: Pen,
    /// Where acknowledged messages are noted, if an operator looks some of them up.
    pub album: Option<Arc<Album>>,
}

/// What a process sends with.
#[derive(Clone)]
pub enum Client {
    /// An ordinary producer.
    Plain(Producer),
    /// One that sends in transactions.
    Transactions(TransactionProducer),
}

impl Client {
    /// The producer that both are.
    pub fn producer(&self) -> &Producer {
        match self {
            Self::Plain(producer) => producer,
            Self::Transactions(producer) => producer,
        }
    }
}

/// Messages that are due and wait for their turn. Workers of one lane share it.
#[derive(Default)]
struct Lane {
    waiting: Mutex<VecDeque<Planned>>,
    more: Notify,
    closed: AtomicBool,
}

impl Lane {
    fn push(&self, planned: Planned) {
        self.waiting.lock().push_back(planned);
        self.more.notify_one();
    }

    /// Waits for messages and takes up to `most`; none once the load has ended.
    async fn pop(&self, most: usize) -> Vec<Planned> {
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Vec::new();
            }
            {
                let mut waiting = self.waiting.lock();
                if !waiting.is_empty() {
                    let count = most.min(waiting.len());
                    return waiting.drain(..count).collect();
                }
            }
            self.more.notified().await;
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.more.notify_waiters();
    }
}

impl ProducerNode {
    /// Starts the producer in a process of the node.
    ///
    /// # Errors
    /// What the client says of the configuration.
    pub async fn start(&self, env: &Env) -> Result<Client, ClientError> {
        let spec = &self.spec;
        let client = client_config(&self.namesrv, spec.credentials.as_ref());
        if let Some(accounts) = &self.accounts {
            let debtor = Debtor {
                accounts: accounts.clone(),
                group: self.group.clone(),
                pen: self.pen.clone(),
            };
            let builder = TransactionProducer::builder(env)
                .client_config(client)
                .group(&self.group)
                .send_timeout(spec.timeout)
                .retries(spec.retries)
                .listener(debtor);
            return builder.start().await.map(Client::Transactions);
        }
        let producer = Producer::builder(env)
            .client_config(client)
            .group(&self.group)
            .send_timeout(spec.timeout)
            .retries(spec.retries)
            .async_retries(spec.retries)
            .compress_over(usize::try_from(spec.compress_over).unwrap_or(usize::MAX))
            .latency_fault_tolerance(spec.avoid_slow_brokers)
            .start()
            .await?;
        Ok(Client::Plain(producer))
    }

    /// Sends until the load ends.
    pub async fn send(self: &Arc<Self>, env: &Env, client: &Client) {
        let spec = &self.spec;
        let Some(topic) = self.pen.intern(|recorder| recorder.topic(&spec.topic)) else {
            return;
        };
        // Messages of one order are sent one after the other: a lane for each worker, and each
        // order in one lane. Without orders all workers share one lane, so that nobody waits behind
        // a slow send.
        let workers = spec.in_flight.max(1) as usize;
        let lanes = if spec.orders.is_some() { workers } else { 1 };
        let lanes: Vec<Arc<Lane>> = (0..lanes).map(|_| Arc::default()).collect();
        for worker in 0..workers {
            let sender = Sender {
                node: self.clone(),
                env: env.clone(),
                client: client.clone(),
                topic,
                lane: lanes[worker % lanes.len()].clone(),
            };
            env.spawn("send", sender.run());
        }
        self.dispatch(&lanes).await;
        for lane in &lanes {
            lane.close();
        }
    }

    /// Hands out what is due, when it is due.
    async fn dispatch(&self, lanes: &[Arc<Lane>]) {
        let (_, end) = self.load;
        self.plan.lock().skip_to(self.due(self.pen.now()));
        loop {
            let now = self.pen.now();
            if now >= end {
                return;
            }
            let due = self.due(now);
            let planned = {
                let mut plan = self.plan.lock();
                while plan.planned() < due {
                    let Some(planned) = plan.next() else { break };
                    lanes[lane_of(&planned, lanes.len())].push(planned);
                }
                plan.planned()
            };
            let at = self.next_due(now, planned);
            tokio::time::sleep(at.saturating_sub(now).max(TICK)).await;
        }
    }

    /// When the node's next message is due after the first `planned`, to the tick.
    fn next_due(&self, now: Duration, planned: u64) -> Duration {
        let (begin, end) = self.load;
        // Under load the next tick has more, and that is found out cheaply.
        if self.due(now + TICK) > planned {
            return now + TICK;
        }
        let spec = &self.spec;
        let number = planned * u64::from(spec.nodes) + u64::from(self.index) + 1;
        let next = match spec.messages {
            Some(most) if number > most => None,
            _ => spec.load.when(number, end.saturating_sub(begin)),
        };
        next.map_or(end, |next| begin + next)
    }

    /// How many messages of this node are due.
    fn due(&self, now: Duration) -> u64 {
        let (begin, end) = self.load;
        let due = self.spec.load.due(now.min(end).saturating_sub(begin));
        let due = due.min(self.spec.messages.unwrap_or(u64::MAX));
        share(due, self.index, self.spec.nodes)
    }
}

/// Messages of one order keep to one lane.
fn lane_of(planned: &Planned, lanes: usize) -> usize {
    planned
        .content
        .order
        .map_or(0, |(order, _)| order as usize % lanes)
}

/// One of the workers of a process.
pub(super) struct Sender {
    pub(super) node: Arc<ProducerNode>,
    env: Env,
    pub(super) client: Client,
    topic: TopicId,
    lane: Arc<Lane>,
}

impl Sender {
    async fn run(self) {
        let most = match self.node.spec.send {
            Send::Batch(most) => most as usize,
            _ => 1,
        };
        loop {
            let planned = self.lane.pop(most).await;
            match planned.as_slice() {
                [] => return,
                [one] => self.send(one).await,
                several => self.send_batch(several).await,
            }
        }
    }

    /// Sends a message, and again until it is acknowledged or the application gives up.
    async fn send(&self, planned: &Planned) {
        let due_ms = timing::due_ms(&self.node, &self.env, planned);
        for _ in 0..=self.node.spec.resend {
            let Some(op) = self.invoke(planned, due_ms) else {
                return;
            };
            let message = self.message(planned, due_ms);
            if self.node.spec.send == Send::Oneway {
                return self.oneway(op, planned, self.send_oneway(planned, message).await);
            }
            if self.node.spec.send == Send::Request {
                return self.request(op, planned, message).await;
            }
            let result = match (&self.client, &self.node.accounts) {
                (Client::Transactions(producer), Some(accounts)) => {
                    let value = planned.content.value;
                    accounts.begin(value, op);
                    self.send_in_transaction(producer, accounts, (op, value), message)
                        .await
                }
                _ => self.send_once(planned, message).await,
            };
            self.ended(op, planned, 0, &result);
            if planned.recall
                && let (Ok(sent), Some(due_ms)) = (&result, due_ms)
            {
                let producer = self.client.producer();
                timing::recall_later(&self.node, &self.env, producer, (op, due_ms), sent);
            }
            if result.is_ok() || self.lane.closed.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    async fn send_once(
        &self,
        planned: &Planned,
        message: Message,
    ) -> Result<SendResult, SendError> {
        let producer = self.client.producer();
        match (self.select_key(planned), self.node.spec.send) {
            (Some(key), _) => producer.send_select(message, SelectByHash(&key)).await,
            (None, Send::Async) => producer.send_async(message).await,
            (None, _) => producer.send(message).await,
        }
    }

    /// Sends a half message; the listener runs its local transaction, and tells.
    async fn send_in_transaction(
        &self,
        producer: &TransactionProducer,
        accounts: &Accounts,
        (op, value): (OpId, u64),
        message: Message,
    ) -> Result<SendResult, SendError> {
        let sent = producer.send_in_transaction(message).await?;
        let tells = || {
            self.node.pen.write(|_| Event::LocalTransaction {
                op,
                value: Value(value),
                state: transaction::state(sent.state),
            });
        };
        if sent.send.status != SendStatus::SendOk {
            // The local transaction did not run: the client has rolled the message back.
            tells();
        }
        if accounts.told_twice(value) {
            tells();
            let again = producer.end_transaction(&sent.send, sent.state);
            if let Err(error) = again.await {
                tracing::debug!(%error, "an end of a transaction was not told twice");
            }
        }
        Ok(sent.send)
    }

    async fn send_oneway(&self, planned: &Planned, message: Message) -> Result<(), SendError> {
        match self.select_key(planned) {
            Some(key) => {
                self.client
                    .producer()
                    .send_oneway_select(message, SelectByHash(&key))
                    .await
            }
            None => self.client.producer().send_oneway(message).await,
        }
    }

    /// What the queue is selected by, if it is not the next in turn.
    pub(super) fn select_key(&self, planned: &Planned) -> Option<String> {
        let (order, _) = planned.content.order?;
        (self.node.spec.select == Select::ByOrder).then(|| order_key(order))
    }

    async fn send_batch(&self, several: &[Planned]) {
        let mut ops = Vec::with_capacity(several.len());
        for planned in several {
            let Some(op) = self.invoke(planned, None) else {
                return;
            };
            ops.push(op);
        }
        let messages = several
            .iter()
            .map(|planned| self.message(planned, None))
            .collect();
        let result = self.client.producer().send_batch(messages).await;
        for (position, (op, planned)) in ops.into_iter().zip(several).enumerate() {
            self.ended(op, planned, position, &result);
        }
    }

    fn message(&self, planned: &Planned, due_ms: Option<i64>) -> Message {
        let spec = &self.node.spec;
        let body = body::encode(&planned.content, planned.size);
        let mut message = Message::new(spec.topic.as_str(), body);
        if let Some(tag) = self.tag(planned) {
            message = message.with_tag(tag);
        }
        for (name, value) in wants::properties(spec, planned.combination) {
            message = message.with_property(name.to_owned(), value);
        }
        let order = planned.content.order.map(|(order, _)| order_key(order));
        let own = self.node.album.as_ref();
        let own = own.map(|_| album::key(planned.content.value));
        let keys: Vec<String> = order.into_iter().chain(own).collect();
        if !keys.is_empty() {
            message = message.with_key(keys.join(" "));
        }
        if spec.delay_level > 0 {
            message = message.with_delay_level(i32::from(spec.delay_level));
        }
        if let Some(due_ms) = due_ms {
            message = message.with_deliver_at(due_ms);
        }
        message
    }

    /// Writes down that a send begins.
    fn invoke(&self, planned: &Planned, due_ms: Option<i64>) -> Option<OpId> {
        let pen = &self.node.pen;
        let op = pen.intern(|recorder| recorder.next_op())?;
        pen.write(|_| Event::SendInvoked {
            op,
            value: Value(planned.content.value),
            topic: self.topic,
            order: planned.content.order.map(|(id, seq)| Order { id, seq }),
            kind: match (self.node.spec.send, due_ms) {
                (Send::Transaction, _) => SendKind::Transaction,
                (Send::Request, _) => SendKind::Request,
                (_, Some(_)) => SendKind::Timed,
                (_, None) => SendKind::Normal,
            },
            delay_level: self.node.spec.delay_level,
            bytes: planned.size.max(body::MIN_SIZE),
        });
        if let Some(due_ms) = due_ms {
            pen.write(|_| Event::Timed { op, due_ms });
        }
        self.judge(planned);
        Some(op)
    }

    fn tag(&self, planned: &Planned) -> Option<&str> {
        let tags = &self.node.spec.tags;
        Some(tags.get(usize::from(planned.tag?))?.as_str())
    }

    /// Writes down which groups must not get a message.
    fn judge(&self, planned: &Planned) {
        let node = &self.node;
        if node.wants.is_empty() {
            return;
        }
        let properties = wants::properties(&node.spec, planned.combination);
        let tag = self.tag(planned);
        for wants in node.wants.iter().filter(|of| !of.wants(tag, &properties)) {
            node.pen.write(|recorder| Event::Unwanted {
                group: recorder.group(&wants.group),
                value: Value(planned.content.value),
            });
        }
    }

    /// Writes down how a send ended; `position` is that of the message in a batch.
    pub(super) fn ended(
        &self,
        op: OpId,
        planned: &Planned,
        position: usize,
        result: &Result<SendResult, SendError>,
    ) {
        self.node.pen.write(|recorder| match result {
            Ok(sent) => {
                let queue = &sent.queue;
                Event::SendOk {
                    op,
                    queue: recorder.queue(&queue.topic, &queue.broker_name, queue.queue_id),
                    offset: sent.queue_offset + position as i64,
                    durable: sent.status == SendStatus::SendOk,
                    attempts: clamp(sent.attempts),
                }
            }
            Err(error) => {
                let reason = recorder.text(&error.source.to_string());
                let attempts = clamp(error.attempts);
                if error.is_unknown() {
                    Event::SendUnknown {
                        op,
                        reason,
                        attempts,
                    }
                } else {
                    Event::SendFailed {
                        op,
                        reason,
                        attempts,
                    }
                }
            }
        });
        if let Ok(sent) = result {
            self.named(op, planned, position, sent);
        }
    }

    /// Writes down by which ids an acknowledged message is known.
    fn named(&self, op: OpId, planned: &Planned, position: usize, sent: &SendResult) {
        // The ids of a batch are lists.
        let part = |ids: &str| ids.split(',').nth(position).unwrap_or_default().to_owned();
        let unique_id = part(&sent.msg_id);
        let id = xxh3_64(unique_id.as_bytes());
        self.node.pen.write(|_| Event::Named { op, id });
        if let Some(album) = &self.node.album {
            album.note(Sent {
                at: self.node.pen.now(),
                topic: self.node.spec.topic.clone(),
                value: planned.content.value,
                unique_id,
                offset_id: part(&sent.offset_msg_id),
            });
        }
    }

    /// A one-way send that went out is of unknown outcome for ever.
    fn oneway(&self, op: OpId, planned: &Planned, sent: Result<(), SendError>) {
        match sent {
            Ok(()) => self.node.pen.write(|recorder| Event::SendUnknown {
                op,
                reason: recorder.text("one-way: nobody answers"),
                attempts: 1,
            }),
            Err(error) => self.ended(op, planned, 0, &Err(error)),
        }
    }
}

fn order_key(order: u32) -> String {
    format!("order-{order}")
}

fn clamp(attempts: u32) -> u8 {
    u8::try_from(attempts).unwrap_or(u8::MAX)
}
