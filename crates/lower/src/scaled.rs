//! Which values of a q/dq graph carry integers with a scale, and must keep them.
//!
//! The numeric contract gives `dequantize` an integer meaning that some operators carry on until a quantize uses it. Fused graphs have
//! little of that left; where a graph does, such values stay outside the arena and those operators run by reference evaluation, so that
//! the plan computes what the graph means. Two kinds of integers (`quantc_tensor::Integers`): codes, which products, averages and
//! movement take, and sums, which only clamps and quantize take.

use std::collections::HashSet;

use quantc_ir::{Graph, Node, NodeId, ValueRef};
use quantc_ops::{IntegerUse, OpClass, OpRef};
use quantc_tensor::DType;

/// The inputs whose integers an operator needs, all of them: of a product its operands, not its bias.
fn operands(graph: &Graph, node: &Node, op: OpRef) -> Vec<ValueRef> {
    let count = if op.class() == OpClass::Heavy { 2 } else { usize::MAX };
    node.inputs().iter().flatten().copied().take(count).filter(|v| graph.ty(*v).dtype == DType::F32).collect()
}

/// The outputs of a call.
fn outputs(node: NodeId, count: usize) -> impl Iterator<Item = ValueRef> {
    (0..count as u32).map(move |output| ValueRef { node, output })
}

/// Values that carry integers.
#[derive(Default)]
struct Carried {
    codes: HashSet<ValueRef>,
    sums: HashSet<ValueRef>,
}

impl Carried {
    fn of(graph: &Graph) -> Carried {
        let mut carried = Carried::default();
        for id in graph.calls() {
            let node = graph.node(id);
            let Some((op, _)) = node.call() else { continue };
            let outputs = outputs(id, node.types().len()).filter(|v| graph.ty(*v).dtype == DType::F32);
            let inputs = operands(graph, node, op);
            let all = |set: &HashSet<ValueRef>| !inputs.is_empty() && inputs.iter().all(|v| set.contains(v));
            match op.integer_use() {
                IntegerUse::MakesCodes => carried.codes.extend(outputs),
                IntegerUse::MakesSums => carried.sums.extend(outputs),
                IntegerUse::HandedOn if all(&carried.sums) => carried.sums.extend(outputs),
                IntegerUse::HandedOn | IntegerUse::Moved if all(&carried.codes) => carried.codes.extend(outputs),
                IntegerUse::Computed if all(&carried.codes) => carried.sums.extend(outputs),
                _ => {}
            }
        }
        carried
    }
}

/// Where the integers of real values matter.
#[derive(Default)]
pub(crate) struct Kept {
    /// The values whose integers are looked at.
    pub(crate) values: HashSet<ValueRef>,
    /// The calls that look at them.
    pub(crate) calls: HashSet<NodeId>,
}

/// The values whose integers an operator looks at, directly or in what it makes of them.
pub(crate) fn kept(graph: &Graph) -> Kept {
    let carried = Carried::of(graph);
    let mut kept = Kept::default();
    for id in graph.order_reversed() {
        let node = graph.node(id);
        let Some((op, _)) = node.call() else { continue };
        let inputs = operands(graph, node, op);
        let looks = match op.integer_use() {
            IntegerUse::Unseen | IntegerUse::MakesCodes | IntegerUse::MakesSums => false,
            IntegerUse::Quantized => true,
            IntegerUse::HandedOn | IntegerUse::Moved => {
                outputs(id, node.types().len()).any(|v| kept.values.contains(&v))
            }
            IntegerUse::Computed => inputs.iter().all(|v| carried.codes.contains(v)),
        };
        if looks {
            let both = |v: &ValueRef| carried.codes.contains(v) || carried.sums.contains(v);
            let looked_at: Vec<ValueRef> = inputs.into_iter().filter(both).collect();
            if !looked_at.is_empty() {
                kept.calls.insert(id);
                kept.values.extend(looked_at);
            }
        }
    }
    kept
}
