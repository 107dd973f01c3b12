use hotfire_store::StoreObserver;

/// Sees what a broker does, for audits and tests: its store, and the offsets that are committed.
///
/// The calls come in the order of the events, with locks held: they must be quick and not call the
/// broker.
pub trait BrokerObserver: StoreObserver {
    /// A group's offset of a queue was set.
    fn offset_committed(&self, _group: &str, _topic: &str, _queue_id: i32, _offset: i64) {}
}
