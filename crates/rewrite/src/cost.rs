//! The cost of running one e-node.
//!
//! Only the order of alternatives matters, so costs are classes, not estimates of time: a heavy call outweighs everything that
//! could be saved by computing it twice, an integer form beats its float form, and fewer calls beat more.

use quantc_ops::OpClass;

use crate::lang::{CALL, Data, EGraph, ENode};

/// A value computed from constants is evaluated once, when compiling.
const FOLDED: u64 = 1;
/// Between equals the right-hand side of a rule wins, even if it needs more constants: that is what the rule was written for.
const MADE: u64 = 8;

/// The cost of a node in a class.
pub(crate) fn cost(egraph: &EGraph, node: &ENode, class: Data) -> u64 {
    if node.op < CALL {
        return 0;
    }
    if class.constant {
        return FOLDED;
    }
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
    let cost = if light && integer(0) { base / 2 } else { base };
    let made = facts.provenance[node.provenance as usize].rule.is_some();
    cost - if made { MADE } else { 0 }
}
