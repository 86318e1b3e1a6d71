//! The cost of running one e-node.
//!
//! Only the order of alternatives matters, so costs are classes, not estimates of time: a heavy call outweighs everything that
//! is not one, an integer form beats its float form, and fewer calls beat more.

use quantc_ir::Graph;
use quantc_ops::OpClass;

use crate::encode::encode;
use crate::lang::{CALL, Data, EGraph, ENode};
use crate::regions::Region;

/// Bits below the cost proper. They decide between equals and are never summed up to a cost: a region has fewer nodes.
const TIE_BITS: u32 = 18;
/// A value computed from constants is evaluated once, when compiling.
const TIE_FOLDED: u64 = 1;
/// Between equals the right-hand side of a rule wins: that is what the rule was written for.
const TIE_ORIGINAL: u64 = 8;

/// The cost of a node in a class, with what decides between equals in the lowest [`TIE_BITS`].
pub(crate) fn cost(egraph: &EGraph, node: &ENode, class: Data) -> u64 {
    if node.op < CALL {
        return 0;
    }
    if class.constant {
        return TIE_FOLDED;
    }
    let original = egraph.analysis.log.rule(node.provenance).is_none();
    (call_cost(egraph, node) << TIE_BITS) + if original { TIE_ORIGINAL } else { 0 }
}

/// The cost proper of a sum of costs.
pub(crate) fn proper(cost: u64) -> u64 {
    cost >> TIE_BITS
}

/// The cost proper of a difference of costs: what only decides between equals is nothing.
pub(crate) fn proper_difference(cost: i64) -> i64 {
    (cost + (1 << (TIE_BITS - 1))) >> TIE_BITS
}

/// Whether a node does work that is never done twice.
pub(crate) fn is_heavy(egraph: &EGraph, node: &ENode, class: Data) -> bool {
    !class.constant && egraph.analysis.op(node.op).is_some_and(|op| op.class() == OpClass::Heavy)
}

fn call_cost(egraph: &EGraph, node: &ENode) -> u64 {
    let facts = &egraph.analysis;
    let Some(op) = facts.op(node.op) else { return 0 };
    let dtype = |i: usize| {
        let types = facts.types_of(egraph[*node.children.get(i)?].data)?;
        types.first().map(|t| t.dtype)
    };
    // The second input of a heavy call is its weight: in a weight-only or dynamic form it alone is an integer.
    let integer = |i: usize| dtype(i).is_some_and(|d| d.size() == 1);
    let base = match op.class() {
        OpClass::Heavy if integer(0) || integer(1) => 400_000,
        OpClass::Heavy => 1_000_000,
        OpClass::Reduction => 4_000,
        OpClass::Pool => 2_000,
        OpClass::Elementwise | OpClass::Unary => 1_000,
        OpClass::Quantization => 900,
        OpClass::Movement => 500,
        OpClass::Other => 600,
    };
    let light = op.class() != OpClass::Heavy && op.class() != OpClass::Quantization;
    if light && integer(0) { base / 2 } else { base }
}

/// The cost of a whole graph as the engine counts it, in units that only compare: every call that is not evaluated when
/// compiling, equal calls once.
pub fn graph_cost(graph: &Graph) -> u64 {
    let encoded = encode(graph, &Region::whole(graph));
    let egraph = &encoded.egraph;
    let nodes = egraph.classes().flat_map(|class| class.nodes.iter().map(|n| (n, class.data)));
    nodes.filter(|(n, data)| n.op >= CALL && !data.constant).map(|(n, _)| call_cost(egraph, n)).sum()
}
