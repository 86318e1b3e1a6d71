//! The quantization compiler: a float model in, a smaller and faster int8 model out.
//!
//! The facade over the other crates, and what the `quantc` command calls:
//! [`Model::load`] -> [`quantize`] -> [`qtc::write`] -> [`Model::load`] -> [`Compiled::run`].
#![forbid(unsafe_code)]

mod compiled;
pub mod data;
mod error;
pub mod files;
pub mod metrics;
mod model;
mod pipeline;
pub mod qtc;

pub use compiled::{Compiled, InputShapes};
pub use data::Preprocess;
pub use error::Error;
pub use model::{Model, ModelKind};
pub use pipeline::{Mode, QuantizeOptions, Quantized, Stages, Timings, quantize};
