//! Data types, shapes, tensors, quantization parameters and quantc's one rounding and saturation contract.
#![forbid(unsafe_code)]

pub mod round;
