//! Producer and consumers.
