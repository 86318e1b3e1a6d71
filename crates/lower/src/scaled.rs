//! Which values of a q/dq graph carry integers with a scale, and must keep them.
//!
//! The numeric contract gives `dequantize` an integer meaning that some operators carry on (convolution, pooling,
//! movement, clamps) until a quantize uses it. Fused graphs have none of that left; for a graph that does, such values stay
//! outside the arena and those operators run by reference evaluation, so that the plan computes what the graph means.

use std::collections::HashSet;

use quantc_ir::{Graph, ValueRef};
use quantc_ops::{OpClass, OpRef};
use quantc_tensor::DType;

/// Operators that take a scaled value as the plain f32 tensor it stands for. Everything else might look at the integers.
const REAL: &[&str] = &[
    "softmax",
    "log_softmax",
    "layer_norm",
    "gelu",
    "sigmoid",
    "tanh",
    "hardswish",
    "hardsigmoid",
    "silu",
    "exp",
    "erf",
    "sqrt",
    "add",
    "sub",
    "div",
    "pow",
    "shape",
    "to",
];

/// Whether the operator sees a scaled value as reals.
pub(crate) fn sees_reals(op: OpRef) -> bool {
    REAL.contains(&op.name())
}

/// The values that may be scaled and are used by an operator that may look at their integers.
pub(crate) fn scaled_values(graph: &Graph) -> HashSet<ValueRef> {
    let mut scaled: HashSet<ValueRef> = HashSet::new();
    for id in graph.calls() {
        let node = graph.node(id);
        let Some((op, _)) = node.call() else { continue };
        let source = op.class() == OpClass::Quantization
            && node.types().iter().all(|ty| ty.dtype == DType::F32)
            && !op.name().starts_with("quantized.")
            && op.name() != "observer";
        let carries = !sees_reals(op) && node.inputs().iter().flatten().any(|v| scaled.contains(v));
        if source || carries {
            let outputs = node.types().iter().enumerate().filter(|(_, ty)| ty.dtype == DType::F32);
            scaled.extend(outputs.map(|(i, _)| ValueRef { node: id, output: i as u32 }));
        }
    }
    let looked_at = |value: &ValueRef| {
        graph.users(*value).iter().any(|(user, _)| graph.node(*user).call().is_some_and(|(op, _)| !sees_reals(op)))
    };
    scaled.into_iter().filter(looked_at).collect()
}
