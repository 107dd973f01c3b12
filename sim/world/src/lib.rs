//! Scenarios, simulated seams, faults, workloads, one run.

pub mod seams;
