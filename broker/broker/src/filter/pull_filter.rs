//! The filter of one pull.

use std::sync::Arc;

use hotfire_protocol::body::SubscriptionData;
use hotfire_protocol::filter::sql::{Sql, SqlError};
use hotfire_protocol::message::property;
use hotfire_store::{MessageFilter, RecordView};

/// Which messages a pull is for.
#[derive(Debug, Clone)]
pub(crate) struct PullFilter {
    /// By tags, or what stands for everything if there is an expression.
    pub subscription: Arc<SubscriptionData>,
    /// By properties. [`PullFilter::retried`] has its own per topic.
    expressions: Expressions,
}

#[derive(Debug, Clone)]
enum Expressions {
    None,
    One(Arc<Sql>),
    /// By the topic that the message was sent to first.
    Retried(Arc<[(String, Arc<Sql>)]>),
}

impl PullFilter {
    /// By tags.
    pub fn tags(subscription: Arc<SubscriptionData>) -> Self {
        Self {
            subscription,
            expressions: Expressions::None,
        }
    }

    /// By an expression that was registered.
    pub fn registered(subscription: Arc<SubscriptionData>, sql: Arc<Sql>) -> Self {
        Self {
            subscription,
            expressions: Expressions::One(sql),
        }
    }

    /// By an expression that the request brings along.
    ///
    /// # Errors
    /// The expression makes no sense.
    pub fn sql(subscription: SubscriptionData) -> Result<Self, SqlError> {
        let sql = Sql::parse(&subscription.sub_string)?;
        Ok(Self::registered(Arc::new(subscription), Arc::new(sql)))
    }

    /// For a retry topic: by the expressions that the group has for other topics
    /// (`ExpressionForRetryMessageFilter`).
    pub fn retried(
        subscription: Arc<SubscriptionData>,
        of_topics: Arc<[(String, Arc<Sql>)]>,
    ) -> Self {
        Self {
            subscription,
            expressions: Expressions::Retried(of_topics),
        }
    }

    /// Whether messages have to be read to decide.
    pub fn reads_records(&self) -> bool {
        !matches!(self.expressions, Expressions::None)
    }
}

impl MessageFilter for PullFilter {
    fn matches_code(&self, tags_code: i64) -> bool {
        self.subscription.matches_tags_code(tags_code)
    }

    fn matches_record(&self, record: &[u8]) -> bool {
        if matches!(self.expressions, Expressions::None) || self.subscription.class_filter_mode {
            return true;
        }
        let Ok(record) = RecordView::parse(record) else {
            // Whoever pulls it says what is wrong with it.
            return true;
        };
        let text = String::from_utf8_lossy(record.properties);
        let matches = |sql: &Sql| sql.matches(property::entries(&text));
        match &self.expressions {
            Expressions::None => true,
            Expressions::One(sql) => matches(sql),
            Expressions::Retried(of_topics) => {
                let topic = record.property(property::RETRY_TOPIC);
                let known = of_topics
                    .iter()
                    .find(|(name, _)| Some(name.as_str()) == topic);
                known.is_none_or(|(_, sql)| matches(sql))
            }
        }
    }
}
