//! History format, invariants, verdicts.
