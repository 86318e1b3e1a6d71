//! Runs any graph by reference evaluation: the oracle, the calibration engine, the constant folder.
#![forbid(unsafe_code)]

mod constant;
mod error;
mod inputs;
mod interpreter;

pub use constant::{eval_constant, eval_constant_values};
pub use error::InterpError;
pub use interpreter::Interpreter;
