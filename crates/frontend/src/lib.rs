//! Symbolic tracing of model descriptions and modules; ONNX import.
#![forbid(unsafe_code)]

mod error;
pub mod onnx;
pub mod trace;

pub use error::FrontendError;
