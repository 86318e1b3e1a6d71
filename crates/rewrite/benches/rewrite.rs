//! Speed of rewriting, one thread: median and least milliseconds of each part of a phase. Memory is measured by the benchmark `memory`:
//! counting slows allocation down.
//!
//! `cargo bench -p quantc-rewrite --bench rewrite [-- PART_OF_A_NAME]`

mod cases;

use std::time::Duration;

use cases::{Case, cases};
use quantc_ir::Graph;
use quantc_pattern::{Phase, RuleSet};
use quantc_rewrite::{Budget, PhaseStats, RewriteReport, run_phase};

/// One phase on a graph.
fn measure(graph: &Graph, rules: &RuleSet, phase: Phase, budget: &Budget) -> PhaseStats {
    let mut report = RewriteReport::default();
    run_phase(graph, rules, phase, budget, &mut report).expect("rewrites");
    report.phases.remove(0)
}

fn main() {
    let rules = RuleSet::builtin().expect("the embedded rules are valid");
    println!("median (least) ms      encode          saturate        extract         rebuild     e-nodes");
    for Case { label, graph, phase } in cases() {
        let runs: Vec<PhaseStats> = (0..(100_000 / graph.len()).clamp(5, 30))
            .map(|_| measure(&graph, &rules, phase, &Budget::default()))
            .collect();
        let column = |part: fn(&PhaseStats) -> Duration| {
            let mut ms: Vec<f64> = runs.iter().map(|r| part(r).as_secs_f64() * 1e3).collect();
            ms.sort_by(f64::total_cmp);
            format!("{:7.2} ({:6.2})", ms[ms.len() / 2], ms[0])
        };
        println!(
            "{label:22} {} {} {} {} {:8}",
            column(|r| r.time.encode),
            column(|r| r.time.saturate),
            column(|r| r.time.extract),
            column(|r| r.time.rebuild),
            runs[0].e_nodes
        );
    }
}
