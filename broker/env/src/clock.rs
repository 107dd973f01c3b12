/// The wall clock.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch. It may jump, forwards and backwards, as a machine's clock
    /// does; durations are measured with `tokio::time::Instant`.
    fn now_ms(&self) -> i64;
}
