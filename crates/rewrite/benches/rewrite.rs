//! Speed of rewriting, one thread: synthetic mixes in float form (canonical phase) and in q/dq form (lowering), with 1k, 10k and
//! 50k calls. Median and least milliseconds of each part of a phase. Memory is measured by the benchmark `memory`: counting slows
//! allocation down.
//!
//! `cargo bench -p quantc-rewrite --bench rewrite [-- PART_OF_A_NAME]`

use std::time::Duration;

use quantc_ir::Graph;
use quantc_pattern::{Phase, RuleSet};
use quantc_rewrite::synthetic::{Mix, graph};
use quantc_rewrite::{Budget, PhaseStats, RewriteReport, run_phase};

/// One phase on a graph.
fn measure(graph: &Graph, rules: &RuleSet, phase: Phase, budget: &Budget) -> PhaseStats {
    let mut report = RewriteReport::default();
    run_phase(graph, rules, phase, budget, &mut report).expect("rewrites");
    report.phases.remove(0)
}

fn main() {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let rules = RuleSet::builtin().expect("the embedded rules are valid");
    println!("median (least) ms      encode          saturate        extract         rebuild     e-nodes");
    for (name, mix) in Mix::ALL {
        for (quantized, phase) in [(false, Phase::Canonical), (true, Phase::Lower)] {
            for calls in [1_000, 10_000, 50_000] {
                let label = format!("{name}{} {calls}", if quantized { " q/dq" } else { "" });
                if !label.contains(&wanted) {
                    continue;
                }
                let graph = graph(*mix, calls, quantized).expect("a valid graph");
                let runs: Vec<PhaseStats> = (0..(100_000 / calls).clamp(5, 30))
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
    }
}
