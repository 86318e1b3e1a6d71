//! The compiled plan, memory arena, thread pool and executor; knows no IR.
#![forbid(unsafe_code)]
