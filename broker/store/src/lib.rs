//! Commit log, consume queues, index, recovery.
