//! Runs any graph by reference evaluation: the oracle, the calibration engine, the constant folder.
#![forbid(unsafe_code)]
