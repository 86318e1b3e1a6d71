//! Observers, QConfig, QConfigMapping, prepare / calibrate / convert.
#![forbid(unsafe_code)]
