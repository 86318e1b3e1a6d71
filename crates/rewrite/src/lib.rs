//! Rewriting by equality saturation: a graph becomes an e-graph (egg), rules of `.qpat` files saturate it under budgets, the
//! cheapest graph is extracted on DAG cost, and every node of the result knows the nodes and the rule it came from. The
//! design: `docs/rewriting.md`.
#![forbid(unsafe_code)]

mod apply;
mod cost;
mod encode;
mod error;
mod examples;
pub mod explain;
mod extract;
mod filter;
mod fold;
mod host;
mod lang;
mod phase;
mod provenance;
mod reachable;
mod rebuild;
mod regions;
mod report;
mod saturate;
pub mod synthetic;

#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
#[cfg(test)]
mod variants;

use quantc_ir::Graph;
use quantc_pattern::{Phase, RuleSet};

pub use cost::graph_cost;
pub use error::RewriteError;
pub use examples::{check_examples, example_graphs};
pub use fold::fold_constants;
pub use phase::{run_phase, saturate_and_extract};
pub use reachable::unreachable;
pub use report::{Budget, NodeTrace, PhaseStats, PhaseTime, RewriteReport, RuleStats, Step, Stop};

/// The canonical phase on a float graph: constants folded, batch norms folded into what precedes them, decompositions turned
/// into the operators they stand for.
///
/// # Errors
/// If a constant can't be evaluated, or a rule is unsound.
pub fn canonicalize(graph: &Graph, rules: &RuleSet) -> Result<(Graph, RewriteReport), RewriteError> {
    rewrite(graph, rules, Phase::Canonical, &Budget::default())
}

/// The lowering phase on a reference q/dq graph: quantize and dequantize move, and everything between them becomes integer
/// operators where there are any. Every value keeps its bits under the numeric contract.
///
/// # Errors
/// If a constant can't be evaluated, or a rule is unsound.
pub fn lower_quantized(graph: &Graph, rules: &RuleSet) -> Result<(Graph, RewriteReport), RewriteError> {
    rewrite(graph, rules, Phase::Lower, &Budget::default())
}

/// One phase with its constant folding: constants are evaluated before, and those that the rules made after.
///
/// # Errors
/// If a constant can't be evaluated, or a rule is unsound.
pub fn rewrite(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
) -> Result<(Graph, RewriteReport), RewriteError> {
    let mut report = RewriteReport::default();
    let mut folded = graph.clone();
    report.folded = fold_constants(&mut folded)?;
    let mut out = run_phase(&folded, rules, phase, budget, &mut report)?;
    report.folded.extend(fold_constants(&mut out)?);
    Ok((out, report))
}
