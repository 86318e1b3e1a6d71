//! .qpat files parsed and type-checked into rewrite rules and backend configurations.
#![forbid(unsafe_code)]
