//! Memory of rewriting for each e-node: the most that was allocated at a time while a synthetic mix, in float form (canonical phase)
//! and in q/dq form (lowering), was saturated and extracted as one e-graph.
//!
//! `cargo bench -p quantc-rewrite --bench memory [-- PART_OF_A_NAME]`

use peak_alloc::PeakAlloc;
use quantc_pattern::{Phase, RuleSet};
use quantc_rewrite::synthetic::{Mix, graph};
use quantc_rewrite::{Budget, saturate_and_extract};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn main() {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let rules = RuleSet::builtin().expect("the embedded rules are valid");
    println!("{:22} {:>8} {:>13}", "", "e-nodes", "bytes/e-node");
    for (name, mix) in Mix::ALL {
        for (quantized, phase) in [(false, Phase::Canonical), (true, Phase::Lower)] {
            for calls in [1_000, 10_000, 50_000] {
                let label = format!("{name}{} {calls}", if quantized { " q/dq" } else { "" });
                if !label.contains(&wanted) {
                    continue;
                }
                let graph = graph(*mix, calls, quantized).expect("a valid graph");
                let before = HEAP.current_usage();
                HEAP.reset_peak_usage();
                let stats = saturate_and_extract(&graph, &rules, phase, &Budget::default()).expect("rewrites");
                let bytes = (HEAP.peak_usage() - before) / stats.e_nodes;
                println!("{label:22} {:8} {bytes:13}", stats.e_nodes);
            }
        }
    }
}
