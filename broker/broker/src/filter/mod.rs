//! Which messages a consumer group gets: by the code of their tag, or by SQL over their properties
//! (`ConsumerFilterManager`, `ExpressionMessageFilter`).
//!
//! Heartbeats register the SQL expressions of groups; pulls that do not bring their expression along
//! use what was registered. Apache RocketMQ can compute, when a message is stored, which groups it
//! matches, and keep that as a bit map beside the consume queue (`enableCalcFilterBitMap`, off by
//! default). That saves evaluations and decides nothing, and is left out; the bit positions of the
//! groups are in the file all the same, because Java's broker does not load a file without them.

use hotfire_protocol::ResponseCode;
use hotfire_store::{Arrival, MessageFilter, MessageStore};

use crate::config::BrokerConfig;
use crate::refusal::Refusal;

mod bloom;
mod consumer_filters;
mod pull_filter;

pub(crate) use consumer_filters::{ConsumerFilters, register};
pub(crate) use pull_filter::PullFilter;

/// Says which filters let a message through that has just arrived. Its record is read once, and only
/// for a filter that looks into it.
pub(crate) fn for_arrival<'a>(
    store: &'a MessageStore,
    arrival: &'a Arrival<'_>,
) -> impl FnMut(&PullFilter) -> bool + 'a {
    let mut record = None;
    move |filter| {
        filter.matches_code(arrival.tags_code)
            && (!filter.reads_records()
                || record
                    .get_or_insert_with(|| store.look_record(arrival.physical_offset))
                    .as_ref()
                    .is_none_or(|record| filter.matches_record(record)))
    }
}

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
