//! Scenarios, simulated seams, faults, workloads, one run.
