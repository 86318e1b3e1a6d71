//! Layout choice, kernel selection, weight packing and memory planning: graph to plan.
#![forbid(unsafe_code)]

mod attrs;
mod cache;
mod error;
mod layouts;
mod lowering;
mod memory;
mod ops;
mod scaled;
mod sink;
mod specialize;
mod stored;
mod table;
mod view;

use quantc_ir::Graph;
use quantc_kernels::{Isa, Kernels};
use quantc_runtime::Plan;
use quantc_tensor::TensorType;

pub use cache::{Blockings, WeightCache};
pub use error::LowerError;
pub use stored::{StoredForm, StoredWeights};

/// Compiles a graph for inputs of these types (by name, every size known) to a plan whose outputs are bit for bit those of the
/// reference evaluation of the graph. Symbolic dimensions are bound by the types given.
///
/// `isa` is the highest tier of kernels used, as far as this machine has it; weights packed for an earlier plan are found in
/// `cache`.
///
/// # Errors
/// If the inputs do not fit the graph, a shape depends on data, or a parameter has no value.
pub fn lower(graph: &Graph, inputs: &[(&str, TensorType)], isa: Isa, cache: &WeightCache) -> Result<Plan, LowerError> {
    lower_for(graph, inputs, quantc_runtime::kernels(isa), cache)
}

/// As [`lower`], for a set of kernels.
///
/// # Errors
/// As [`lower`].
pub fn lower_for(
    graph: &Graph,
    inputs: &[(&str, TensorType)],
    kernels: Kernels,
    cache: &WeightCache,
) -> Result<Plan, LowerError> {
    let mut graph = specialize::specialize(graph, inputs)?;
    graph.compose()?;
    sink::sink_dequantize(&mut graph)?;
    lowering::Lowering::new(&graph, kernels, cache).run()
}
