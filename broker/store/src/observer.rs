use crate::RecordView;

/// Sees what a store does, for audits and tests. The calls come with the store's locks held, in the
/// order of the log: they must be quick and not call the store.
pub trait StoreObserver: Send + Sync {
    /// A record was appended. It states its topic, queue, queue offset and commit log offset.
    fn appended(&self, _record: &RecordView<'_>) {}

    /// The store was opened: its log ends at `max_physical`, behind which `truncated_bytes` of what
    /// an earlier life had written were given up.
    fn recovered(&self, _max_physical: i64, _truncated_bytes: u64) {}

    /// The store was opened: the next message of the queue gets `max_offset`.
    fn queue_recovered(&self, _topic: &str, _queue_id: i32, _max_offset: i64) {}
}
