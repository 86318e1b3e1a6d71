//! Symbolic tracing of model descriptions and modules; ONNX import.
#![forbid(unsafe_code)]

pub mod onnx;
pub mod trace;
