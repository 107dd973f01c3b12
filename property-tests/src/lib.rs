//! proptest suites across crates; see `tests/`.
