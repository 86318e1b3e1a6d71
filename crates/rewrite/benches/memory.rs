//! Memory of rewriting for each e-node: the most that was allocated at a time while a graph was saturated and extracted as one e-graph.
//!
//! `cargo bench -p quantc-rewrite --bench memory [-- PART_OF_A_NAME]`

mod cases;

use cases::{Case, cases};
use peak_alloc::PeakAlloc;
use quantc_pattern::RuleSet;
use quantc_rewrite::{Budget, saturate_and_extract};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn main() {
    let rules = RuleSet::builtin().expect("the embedded rules are valid");
    println!("{:22} {:>8} {:>13}", "", "e-nodes", "bytes/e-node");
    for Case { label, graph, phase } in cases() {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let stats = saturate_and_extract(&graph, &rules, phase, &Budget::default()).expect("rewrites");
        let bytes = (HEAP.peak_usage() - before) / stats.e_nodes;
        println!("{label:22} {:8} {bytes:13}", stats.e_nodes);
    }
}
