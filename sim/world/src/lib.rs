//! Scenarios, simulated seams, faults, workloads, one run.

pub mod fault;
pub mod journal;
pub mod report;
pub mod run;
pub mod scenario;
pub mod seams;
pub mod workload;
