//! What the benchmarks of rewriting measure.

use quantc_ir::Graph;
use quantc_pattern::Phase;
use quantc_rewrite::synthetic::{Mix, graph};

/// A synthetic graph and the phase that is run on it.
pub struct Case {
    pub label: String,
    pub graph: Graph,
    pub phase: Phase,
}

/// Every mix with 1k, 10k and 50k calls, in float form (canonical phase) and in q/dq form (lowering); of these the ones whose label
/// contains the command line's first argument.
pub fn cases() -> impl Iterator<Item = Case> {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let forms = Mix::ALL.iter().flat_map(|(name, mix)| {
        [(false, Phase::Canonical), (true, Phase::Lower)].map(|(quantized, phase)| (*name, *mix, quantized, phase))
    });
    let sizes = forms.flat_map(|form| [1_000, 10_000, 50_000].map(|calls| (form, calls)));
    sizes.filter_map(move |((name, mix, quantized, phase), calls)| {
        let label = format!("{name}{} {calls}", if quantized { " q/dq" } else { "" });
        label.contains(&wanted).then(|| {
            let graph = graph(mix, calls, quantized).expect("a valid graph");
            Case { label, graph, phase }
        })
    })
}
