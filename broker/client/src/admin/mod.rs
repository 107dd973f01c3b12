//! Single calls: pulling, offsets, looking messages up, and everything that administrators ask of
//! name servers and brokers (`DefaultMQPullConsumer`, `MQAdminImpl`, `DefaultMQAdminExtImpl`). One
//! file per kind of call.
//!
//! Topics and groups are taken as they are: a client's namespace does not apply to what an
//! administrator names.

mod acl;
mod broker;
mod call;
mod clients;
mod group;
mod looking_back;
mod message;
mod namesrv;
mod offset;
mod pull;
mod reset;
mod topic;
mod topics;

use std::sync::Arc;

use hotfire_env::Env;

pub use self::acl::AclVersions;
pub use self::looking_back::{OffsetReset, ResetTo};
pub use self::namesrv::TopicListKind;
pub use self::pull::{PullResult, PullStatus};
use crate::config::client_setters;
use crate::instance::Instance;
use crate::{ClientConfig, ClientError};

/// Makes single calls. Cheap to clone.
///
/// # Example
///
/// ```no_run
/// # async fn example(env: &hotfire_env::Env) -> Result<(), hotfire_client::ClientError> {
/// use hotfire_client::Admin;
///
/// let admin = Admin::builder(env).namesrv(["ns1:9876"]).start()?;
/// for queue in admin.fetch_subscribe_queues("orders").await? {
///     let offset = admin.min_offset(&queue).await?;
///     let pulled = admin.pull("auditors", &queue, "*", offset, 32, None).await?;
///     println!("{queue}: {} messages from {offset}", pulled.messages.len());
/// }
/// admin.shutdown();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    instance: Arc<Instance>,
}

/// Ends the tasks when the last handle goes.
impl Drop for Inner {
    fn drop(&mut self) {
        self.instance.stop();
    }
}

/// Configures an [`Admin`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until started"]
pub struct AdminBuilder {
    env: Env,
    client: ClientConfig,
}

client_setters!(AdminBuilder);

impl AdminBuilder {
    /// Starts the client. It registers nowhere and has no periodic tasks; routes are fetched when
    /// they are needed.
    ///
    /// # Errors
    /// The name servers are missing.
    pub fn start(self) -> Result<Admin, ClientError> {
        let instance = Instance::new(&self.env, self.client, None, false)?;
        Ok(Admin {
            inner: Arc::new(Inner { instance }),
        })
    }
}

impl Admin {
    /// Begins to configure a client.
    pub fn builder(env: &Env) -> AdminBuilder {
        AdminBuilder {
            env: env.clone(),
            client: ClientConfig::default(),
        }
    }

    /// Ends the client.
    pub fn shutdown(&self) {
        self.inner.instance.stop();
    }
}
