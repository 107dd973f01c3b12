//! The command `hotfire`.
fn main() {}
