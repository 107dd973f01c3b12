//! The operator: looks back, at the times that the scenario says. It resets groups and looks
//! messages up, as people do with the administration tool.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hotfire_check::history::{Event, QueryBy, Value};
use hotfire_client::{Admin, ClientConfig, ClientError, ResetTo};
use hotfire_env::{Entropy, EntropyExt, Env};
use hotfire_protocol::{MessageExt, MessageQueue, ResponseCode};
use tokio::time::sleep;

use super::album::{self, Album, Sent};
use super::consumer::reference;
use super::{body, client_config};
use crate::journal::Pen;
use crate::scenario::{Credentials, Operation, OperationKind, ResetPoint, Scenario};

/// The operator's node.
pub const OPERATOR: &str = "operator";
/// How long ago messages were acknowledged that are looked up.
const AGE: Duration = Duration::from_secs(2);
/// How often something is tried that a server refuses or does not answer.
const ATTEMPTS: u32 = 30;
/// The pause between attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a message is looked for that is not found: a broker may have been busy.
const LOOKS: u32 = 3;

/// Whether somebody has to note what was sent.
pub fn needs_album(scenario: &Scenario) -> bool {
    let mut operations = scenario.actions.iter();
    operations.any(|operation| matches!(operation.kind, OperationKind::Query { .. }))
}

/// How the operator speaks to the cluster: with access control, as the first administrator.
pub fn client(scenario: &Scenario, namesrv: &[String]) -> ClientConfig {
    let mut accounts = scenario.accounts.iter();
    let administrator = accounts.find(|(_, account)| account.admin);
    let credentials = administrator.map(|(name, account)| Credentials {
        account: name.clone(),
        secret: account.secret.clone(),
    });
    client_config(namesrv, credentials.as_ref())
}

/// The operator of a scenario.
pub struct OperatorNode {
    /// What to do, by time.
    pub operations: Vec<Operation>,
    /// When the load phase begins, in simulated time.
    pub load_begins: Duration,
    /// What was acknowledged.
    pub album: Arc<Album>,
    /// Which messages are looked up.
    pub entropy: Arc<dyn Entropy>,
    /// Whom it asks, and what it signs with.
    pub client: ClientConfig,
    /// What the node writes with.
    pub pen: Pen,
    /// Whether everything is done.
    pub is_done: AtomicBool,
}

impl OperatorNode {
    /// Does everything, each at its time or after what took longer before it.
    pub async fn work(&self, env: &Env) {
        let admin = match Admin::builder(env)
            .client_config(self.client.clone())
            .start()
        {
            Ok(admin) => admin,
            Err(error) => panic!("the operator cannot work: {error}"),
        };
        for operation in &self.operations {
            let at = self.load_begins + operation.at;
            sleep(at.saturating_sub(self.pen.now())).await;
            match &operation.kind {
                OperationKind::Reset {
                    group,
                    topic,
                    to,
                    force,
                } => {
                    let reset = Reset {
                        node: self,
                        admin: &admin,
                        group,
                        topic,
                        force: *force,
                    };
                    reset.to(env, *to).await;
                }
                OperationKind::Query { topic, messages } => {
                    self.look_up(&admin, topic, *messages).await;
                }
            }
        }
        self.is_done.store(true, Ordering::Relaxed);
    }

    async fn look_up(&self, admin: &Admin, topic: &str, messages: u64) {
        let old = self.pen.now().saturating_sub(AGE);
        let mut candidates = self.album.before(topic, old);
        for _ in 0..messages.min(candidates.len() as u64) {
            let chosen = self.entropy.below(candidates.len() as u64) as usize;
            let sent = candidates.swap_remove(chosen);
            for by in [QueryBy::Key, QueryBy::UniqueKey, QueryBy::OffsetId] {
                self.query(admin, by, &sent).await;
            }
        }
    }

    /// Looks a message up, several times if it is not found. That counts only if its broker answers
    /// before and after: to look up by key asks all brokers, and leaves out those that do not answer.
    async fn query(&self, admin: &Admin, by: QueryBy, sent: &Sent) {
        let mut last = None;
        let mut answered = by == QueryBy::OffsetId;
        for _ in 0..LOOKS {
            let Some(found) = patient(|| find(admin, by, sent)).await else {
                return;
            };
            let is_own = |message: &MessageExt| {
                body::decode(&message.message.body)
                    .is_some_and(|received| received.intact && received.content.value == sent.value)
            };
            let own = found.iter().filter(|message| is_own(message)).count();
            let outcome = (own > 0, found.len() - own);
            if own > 0 {
                last = Some(outcome);
                break;
            }
            let answers =
                by == QueryBy::OffsetId || find(admin, QueryBy::OffsetId, sent).await.is_ok();
            if answered && answers {
                last = Some(outcome);
            }
            answered = answers;
            sleep(PAUSE).await;
        }
        let Some((found, strangers)) = last else {
            return;
        };
        self.pen.write(|_| Event::Queried {
            by,
            value: Value(sent.value),
            found,
            strangers: u16::try_from(strangers).unwrap_or(u16::MAX),
        });
    }
}

async fn find(admin: &Admin, by: QueryBy, sent: &Sent) -> Result<Vec<MessageExt>, ClientError> {
    match by {
        QueryBy::Key => {
            let key = album::key(sent.value);
            admin.query_by_key(&sent.topic, &key, 32, 0, i64::MAX).await
        }
        QueryBy::UniqueKey => {
            let found = admin.query_by_unique_key(&sent.topic, &sent.unique_id);
            Ok(found.await?.into_iter().collect())
        }
        QueryBy::OffsetId => match admin.view_message(&sent.offset_id).await {
            Ok(message) => Ok(vec![message]),
            Err(error) if error.code() == Some(ResponseCode::SYSTEM_ERROR) => Ok(Vec::new()),
            Err(error) => Err(error),
        },
    }
}

/// Tries until it is done; `None` if it takes too long.
async fn patient<T, F, Fut>(mut attempt: F) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, ClientError>>,
{
    for _ in 0..ATTEMPTS {
        match attempt().await {
            Ok(done) => return Some(done),
            Err(error) => tracing::debug!(%error, "the operator tries again"),
        }
        sleep(PAUSE).await;
    }
    None
}

/// A reset that is being made.
struct Reset<'a> {
    node: &'a OperatorNode,
    admin: &'a Admin,
    group: &'a str,
    topic: &'a str,
    force: bool,
}

impl Reset<'_> {
    async fn to(&self, env: &Env, point: ResetPoint) {
        let to = match point {
            ResetPoint::Time(time) => {
                let since = self.node.pen.now();
                let ago = since.saturating_sub(self.node.load_begins + time);
                let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                ResetTo::Time(env.now_ms() - ago_ms)
            }
            ResetPoint::Begin => ResetTo::Time(0),
            ResetPoint::End => ResetTo::End,
            ResetPoint::Offset(offset) => return self.to_offset(offset).await,
        };
        // Members write down the reset themselves, when they do it.
        let done = patient(|| async {
            let (topic, group) = (self.topic, self.group);
            let told = self.admin.reset_members(topic, group, to, self.force);
            match told.await {
                Ok(_) => Ok(None),
                Err(error) if error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => {
                    self.admin.offsets_at(topic, to).await.map(Some)
                }
                Err(error) => Err(error),
            }
        });
        if let Some(Some(offsets)) = done.await {
            self.commit(offsets).await;
        }
    }

    async fn to_offset(&self, offset: i64) {
        let queues = patient(|| self.admin.fetch_subscribe_queues(self.topic)).await;
        for queue in queues.unwrap_or_default() {
            let to_end = || async {
                let end = self.admin.max_offset(&queue).await?;
                let offset = offset.min(end);
                self.admin.reset_queue(&queue, self.group, offset).await
            };
            patient(to_end).await;
        }
    }

    /// Sets the offsets of a group without members.
    async fn commit(&self, offsets: BTreeMap<MessageQueue, i64>) {
        for (queue, offset) in offsets {
            let committed = patient(|| self.admin.query_offset(self.group, &queue)).await;
            let moves = self.force || committed.flatten().is_some_and(|before| offset <= before);
            if !moves {
                continue;
            }
            self.node.pen.write(|recorder| Event::OffsetReset {
                group: recorder.group(self.group),
                queue: reference(recorder, &queue),
                offset,
            });
            patient(|| self.admin.update_offset(self.group, &queue, offset)).await;
        }
    }
}
