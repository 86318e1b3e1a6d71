//! The `quantc` command.
#![forbid(unsafe_code)]

fn main() {}
