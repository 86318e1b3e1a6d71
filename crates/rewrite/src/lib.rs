//! Rewriting by equality saturation: a graph becomes an e-graph (egg), rules of `.qpat` files saturate it under budgets, the
//! cheapest graph is extracted on DAG cost, and every node of the result knows the nodes and the rule it came from.
#![forbid(unsafe_code)]

mod apply;
mod cost;
mod encode;
mod error;
mod examples;
mod extract;
mod fold;
mod host;
mod lang;
mod reachable;
mod rebuild;
mod report;
mod saturate;

use std::sync::Arc;

use quantc_ir::Graph;
use quantc_pattern::{Phase, Rule, RuleSet};

pub use error::RewriteError;
pub use examples::{check_examples, example_graphs};
pub use fold::fold_constants;
pub use reachable::unreachable;
pub use report::{Budget, NodeTrace, PhaseStats, RewriteReport, RuleStats, Stop};

/// The canonical phase on a float graph: constants folded, batch norms folded into what precedes them, decompositions turned
/// into the operators they stand for.
///
/// # Errors
/// If a constant can't be evaluated, or a rule is unsound.
pub fn canonicalize(graph: &Graph, rules: &RuleSet) -> Result<(Graph, RewriteReport), RewriteError> {
    let mut report = RewriteReport::default();
    let mut folded = graph.clone();
    report.folded = fold_constants(&mut folded)?;
    let mut out = run_phase(&folded, rules, Phase::Canonical, &Budget::default(), &mut report)?;
    report.folded.extend(fold_constants(&mut out)?);
    Ok((out, report))
}

/// The lowering phases on a reference q/dq graph: everything that ends in a quantize becomes an integer operator, then integer
/// operators with float results. Every value keeps its bits under the numeric contract.
///
/// # Errors
/// If a constant can't be evaluated, or a rule is unsound.
pub fn lower_quantized(graph: &Graph, rules: &RuleSet) -> Result<(Graph, RewriteReport), RewriteError> {
    let mut report = RewriteReport::default();
    let mut folded = graph.clone();
    report.folded = fold_constants(&mut folded)?;
    let out = run_phase(&folded, rules, Phase::Lower, &Budget::default(), &mut report)?;
    let mut out = run_phase(&out, rules, Phase::LowerFloat, &Budget::default(), &mut report)?;
    report.folded.extend(fold_constants(&mut out)?);
    Ok((out, report))
}

/// Saturates the rules of one phase, extracts and rebuilds the graph. Rules of class `approximate` are applied
/// only if the rule set allows them.
///
/// # Errors
/// If a rule is unsound.
pub fn run_phase(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
    report: &mut RewriteReport,
) -> Result<Graph, RewriteError> {
    // Movement still has to make room between a dequantize and the product that takes it.
    let earlier = (phase == Phase::LowerFloat).then(|| rules.phase(Phase::Lower)).into_iter().flatten();
    let of_phase = rules.phase(phase).chain(earlier);
    let mut active: Vec<&Rule> = of_phase.collect();
    active.sort_by(|a, b| a.name.cmp(&b.name));
    let mut encoded = encode::encode(graph);
    let saturation = saturate::saturate(&mut encoded.egraph, &active, budget);
    let phase_name = Phase::ALL.iter().find(|(_, p)| *p == phase).map_or("", |(n, _)| *n);
    check_sound(&encoded.egraph, &active, &saturation, phase_name)?;
    let extracted = extract::extract(&encoded.egraph, encoded.root).ok_or(RewriteError::NoTerm)?;
    let rebuilt = rebuild::rebuild(graph, &encoded, &extracted, &active)?;
    report.phases.push(PhaseStats {
        phase: phase_name,
        iterations: saturation.iterations,
        e_nodes: encoded.egraph.total_number_of_nodes(),
        stop: saturation.stop,
    });
    for (rule, counts) in active.iter().zip(saturation.counts).filter(|(_, c)| c.matched > 0) {
        let stats = report.rules.entry(rule.name.clone()).or_default();
        stats.matched += counts.matched;
        stats.applied += counts.applied;
        for (reason, count) in counts.rejected {
            *stats.rejected.entry(reason).or_default() += count;
        }
    }
    for trace in &rebuilt.traces {
        report.rules.entry(trace.rule.clone()).or_default().used += 1;
    }
    report.nodes.extend(rebuilt.traces);
    let name = |id| Arc::from(graph.node(id).name());
    report.merged.extend(encoded.merged.iter().map(|(dropped, kept)| (name(*dropped), name(*kept))));
    tracing::debug!(phase = phase_name, "{report}");
    Ok(rebuilt.graph)
}

/// Fails if values of contradicting types were made equal.
fn check_sound(
    egraph: &lang::EGraph,
    rules: &[&Rule],
    saturation: &saturate::Saturation,
    phase: &'static str,
) -> Result<(), RewriteError> {
    let facts = &egraph.analysis;
    let Some((a, b)) = facts.conflicts.first() else { return Ok(()) };
    let show = |t: &u32| facts.types[*t as usize].iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let applied = rules.iter().zip(&saturation.counts).filter(|(_, c)| c.applied > 0);
    Err(RewriteError::Unsound {
        types: format!("{} and {}", show(a), show(b)),
        phase,
        rules: applied.map(|(r, _)| r.name.to_string()).collect::<Vec<_>>().join(", "),
    })
}
