//! What the builders of several kinds of consumers have in common.

use super::filter::Expression;
use crate::ClientConfig;

/// What a builder was told to subscribe to: topics, and what of each.
pub(crate) type Wanted = Vec<(String, Expression)>;

/// Turns a group and its topics into what brokers know them as.
pub(crate) fn wrap_names(client: &ClientConfig, group: &mut String, wanted: &mut Wanted) {
    *group = client.wrap(group);
    for (topic, _) in wanted {
        *topic = client.wrap(topic);
    }
}

/// Gives a builder with the fields `config.group` and `subscriptions` the setters that all kinds of
/// consumers have.
macro_rules! consumer_setters {
    ($builder:ty) => {
        impl $builder {
            /// The consumer group.
            pub fn group(mut self, group: impl Into<String>) -> Self {
                self.config.group = group.into();
                self
            }

            /// Subscribes to a topic: to messages with one of some tags (`TagA || TagB`), or to
            /// all (`*`). A later call for the same topic replaces an earlier one. All members of a
            /// group must subscribe to the same: brokers know one subscription per group.
            pub fn subscribe(
                mut self,
                topic: impl Into<String>,
                expression: impl Into<String>,
            ) -> Self {
                let tags = $crate::consumer::filter::Expression::Tags(expression.into());
                self.subscriptions.push((topic.into(), tags));
                self
            }

            /// Subscribes to the messages of a topic of whose properties an SQL expression is true,
            /// like `price > 100 AND region IN ('eu', 'us')`; see
            /// [`hotfire_protocol::filter::sql`]. The broker evaluates it, if it is configured to
            /// (`enablePropertyFilter`).
            pub fn subscribe_sql(
                mut self,
                topic: impl Into<String>,
                expression: impl Into<String>,
            ) -> Self {
                let sql = $crate::consumer::filter::Expression::Sql(expression.into());
                self.subscriptions.push((topic.into(), sql));
                self
            }
        }
    };
}
pub(crate) use consumer_setters;

/// Gives a builder with the fields `config.model`, `config.from`, `config.strategy` and `hook` the
/// setters of consumers that share the queues of their topics.
macro_rules! sharing_setters {
    ($builder:ty) => {
        impl $builder {
            /// Whether the members of the group share the messages (the default) or each gets all.
            pub fn message_model(mut self, model: $crate::MessageModel) -> Self {
                self.config.model = model;
                self
            }

            /// Where to begin without a committed offset. Default: at the end.
            pub fn consume_from(mut self, from: $crate::ConsumeFrom) -> Self {
                self.config.from = from;
                self
            }

            /// How queues are shared in the group; all members must agree. Default:
            /// [`AllocateAveragely`](crate::AllocateAveragely).
            pub fn allocate(mut self, strategy: impl $crate::AllocateStrategy + 'static) -> Self {
                self.config.strategy = std::sync::Arc::new(strategy);
                self
            }

            /// Watches what the consumer does.
            pub fn hook(mut self, hook: std::sync::Arc<dyn $crate::ConsumerHook>) -> Self {
                self.hook = hook;
                self
            }
        }
    };
}
pub(crate) use sharing_setters;
