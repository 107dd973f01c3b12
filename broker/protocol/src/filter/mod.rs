//! Subscriptions: parsing tag expressions and matching tags (`FilterAPI`,
//! `ExpressionMessageFilter`).
//!
//! A broker matches only hashes of tags, so a consumer has to compare the tags themselves again.
//! SQL expressions are in [`sql`].

pub mod sql;

use crate::body::SubscriptionData;
use crate::hash;

/// The expression that every message matches.
pub const SUBSCRIBE_ALL: &str = "*";
/// The type of tag expressions.
pub const TAG: &str = "TAG";
/// The type of SQL expressions.
pub const SQL92: &str = "SQL92";

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing between the bars.
    #[error("subString split error: `{0}` names no tag")]
    NoTag(String),
}

/// Whether a type is that of tag expressions, as it is without any.
pub fn is_tag_type(expression_type: Option<&str>) -> bool {
    expression_type.is_none_or(|kind| kind.is_empty() || kind == TAG)
}

impl SubscriptionData {
    /// The subscription of a tag expression: `*` or nothing for all messages, else tags separated
    /// by `||`. `now` is its version, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The expression has only bars.
    pub fn parse(topic: &str, expression: &str, now: i64) -> Result<Self, FilterError> {
        let mut subscription = Self {
            expression_type: Some(TAG.to_owned()),
            sub_version: now,
            topic: topic.to_owned(),
            ..Self::default()
        };
        if expression.is_empty() || expression == SUBSCRIBE_ALL {
            subscription.sub_string = SUBSCRIBE_ALL.to_owned();
            return Ok(subscription);
        }
        if expression.split("||").all(str::is_empty) {
            return Err(FilterError::NoTag(expression.to_owned()));
        }
        subscription.sub_string = expression.to_owned();
        for tag in expression.split("||").map(str::trim) {
            if !tag.is_empty() {
                subscription.code_set.insert(hash::java_string_hash(tag));
                subscription.tags_set.insert(tag.to_owned());
            }
        }
        Ok(subscription)
    }

    /// The subscription of an SQL expression, which is not looked at.
    pub fn sql(topic: &str, expression: &str, now: i64) -> Self {
        Self {
            expression_type: Some(SQL92.to_owned()),
            sub_string: expression.to_owned(),
            sub_version: now,
            topic: topic.to_owned(),
            ..Self::default()
        }
    }

    /// Whether the expression is of tags.
    pub fn is_tag(&self) -> bool {
        is_tag_type(self.expression_type.as_deref())
    }

    /// Whether a broker sends a message with this tags code of the consume queue. SQL expressions
    /// are not decided by the tags code.
    pub fn matches_tags_code(&self, tags_code: i64) -> bool {
        self.class_filter_mode
            || !self.is_tag()
            || self.sub_string == SUBSCRIBE_ALL
            || self.code_set.contains(&(tags_code as i32))
    }

    /// Whether a consumer keeps a message with this tag.
    pub fn matches_tag(&self, tag: Option<&str>) -> bool {
        self.class_filter_mode
            || self.tags_set.is_empty()
            || tag.is_some_and(|tag| self.tags_set.contains(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(expression: &str) -> SubscriptionData {
        SubscriptionData::parse("T", expression, 1).unwrap()
    }

    #[test]
    fn tags_are_separated_by_two_bars_and_trimmed() {
        let subscription = parse("TagA || TagB||  ||");
        assert!(subscription.tags_set.iter().eq(["TagA", "TagB"]));
        assert!(subscription.code_set.iter().eq(&[2_598_919, 2_598_920]));
        assert_eq!(subscription.sub_string, "TagA || TagB||  ||");
    }

    #[test]
    fn a_star_or_nothing_means_everything() {
        for expression in ["*", ""] {
            let subscription = parse(expression);
            assert_eq!(subscription.sub_string, "*");
            assert!(subscription.matches_tags_code(5) && subscription.matches_tag(None));
        }
    }

    #[test]
    fn an_expression_of_bars_is_refused() {
        assert!(SubscriptionData::parse("T", "||", 1).is_err());
    }

    #[test]
    fn tags_of_equal_hash_pass_the_broker_but_not_the_consumer() {
        let subscription = parse("Aa");
        let code = hash::tags_code(Some("BB"));
        assert_eq!(code, hash::tags_code(Some("Aa")));
        assert!(subscription.matches_tags_code(code));
        assert!(!subscription.matches_tag(Some("BB")));
        assert!(subscription.matches_tag(Some("Aa")));
    }

    #[test]
    fn a_message_without_tag_matches_no_tag() {
        let subscription = parse("TagA");
        assert!(!subscription.matches_tags_code(hash::tags_code(None)));
        assert!(!subscription.matches_tag(None));
    }

    #[test]
    fn sql_is_left_to_others() {
        let subscription = SubscriptionData::sql("T", "a > 1", 1);
        assert!(!subscription.is_tag());
        assert!(subscription.matches_tags_code(7) && subscription.matches_tag(None));
    }
}
