//! The quantization compiler: a float model in, a smaller and faster int8 model out.
//!
//! The facade over the other crates, and what the `quantc` command calls:
//! [`Model::load`] -> [`quantize`] -> [`qtc::write`] -> [`Model::load`] -> [`Compiled::run`]. Stage by stage, [`quantize`] is
//! [`canonicalize`] (or [`fuse_fx`]) -> [`prepare_fx`] -> [`Calibrator`] -> [`convert_to_reference_fx`] -> [`correct_biases`] -> [`lower_quantized`].
#![forbid(unsafe_code)]

mod compiled;
pub mod data;
pub mod eager;
mod error;
pub mod files;
mod independence;
pub mod metrics;
mod model;
mod pipeline;
pub mod pytorch;
pub mod qtc;
mod runs_as;
pub mod text;
pub mod tuning;

pub use compiled::{Compiled, InputShapes};
pub use data::Preprocess;
pub use error::Error;
pub use independence::samples_are_independent;
pub use model::{Model, ModelKind};
pub use quantc_quant::{Calibrator, QConfigMapping, convert_to_reference_fx, correct_biases, fuse_fx, prepare_fx};
pub use quantc_rewrite::{canonicalize, lower_quantized};

pub use pipeline::{Mode, QuantizeOptions, Quantized, Stages, Timings, convert_fx, quantize};
pub use runs_as::{CompiledCalls, RunsAs};
