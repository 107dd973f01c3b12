//! Which messages a consumer group gets: by the code of their tag, or by SQL over their properties
//! (`ConsumerFilterManager`, `ExpressionMessageFilter`).
//!
//! Heartbeats register the SQL expressions of groups; pulls that do not bring their expression along
//! use what was registered. Apache RocketMQ can compute, when a message is stored, which groups it
//! matches, and keep that as a bit map beside the consume queue (`enableCalcFilterBitMap`, off by
//! default). That saves evaluations and decides nothing, and is left out; the bit positions of the
//! groups are in the file all the same, because Java's broker does not load a file without them.

use hotfire_protocol::ResponseCode;

use crate::config::BrokerConfig;
use crate::refusal::Refusal;

mod bloom;
mod consumer_filters;
mod pull_filter;

pub(crate) use consumer_filters::ConsumerFilters;
pub(crate) use pull_filter::PullFilter;

/// Refuses everything but tags unless the broker is configured for it (`enablePropertyFilter`).
pub(crate) fn check_enabled(
    config: &BrokerConfig,
    expression_type: Option<&str>,
) -> Result<(), Refusal> {
    if config.enable_property_filter {
        return Ok(());
    }
    let kind = expression_type.unwrap_or_default();
    let remark = format!("The broker does not support consumer to filter message by {kind}");
    Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark))
}
