//! What a consumer wants of its topics, and what it drops itself.

use hotfire_protocol::MessageExt;
use hotfire_protocol::body::SubscriptionData;
use hotfire_protocol::topic::check_topic;

use crate::ClientError;

/// Which messages of a topic are subscribed to.
#[derive(Debug, Clone)]
pub(crate) enum Expression {
    /// Tags between bars.
    Tags(String),
    /// An SQL expression, for the broker to read.
    Sql(String),
}

impl Expression {
    /// As heartbeats say it, of a topic that has a name as topics have. `now_ms` is the version.
    pub(crate) fn checked(
        &self,
        topic: &str,
        now_ms: i64,
    ) -> Result<SubscriptionData, ClientError> {
        check_topic(topic).map_err(|error| ClientError::Invalid(error.to_string()))?;
        self.subscription(topic, now_ms)
    }

    /// As heartbeats say it. `now_ms` is the version.
    pub(crate) fn subscription(
        &self,
        topic: &str,
        now_ms: i64,
    ) -> Result<SubscriptionData, ClientError> {
        let invalid = |reason| ClientError::Invalid(format!("subscription of {topic}: {reason}"));
        match self {
            Self::Tags(tags) => SubscriptionData::parse(topic, tags, now_ms)
                .map_err(|error| invalid(error.to_string())),
            Self::Sql(sql) if sql.trim().is_empty() => {
                Err(invalid("the SQL expression is empty".to_owned()))
            }
            Self::Sql(sql) => Ok(SubscriptionData::sql(topic, sql, now_ms)),
        }
    }
}

/// Drops messages before a listener sees them (`FilterMessageHook`): what the broker's filters
/// cannot tell, the application decides here. A dropped message counts as consumed.
///
/// Closures `Fn(&MessageExt) -> bool` are such filters.
pub trait FilterMessageHook: Send + Sync + 'static {
    /// Whether the listener gets the message. Called once for each time that it is delivered.
    fn keeps(&self, message: &MessageExt) -> bool;
}

impl<F: Fn(&MessageExt) -> bool + Send + Sync + 'static> FilterMessageHook for F {
    fn keeps(&self, message: &MessageExt) -> bool {
        self(message)
    }
}
