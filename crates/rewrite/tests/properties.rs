//! Properties of rewriting on random whole graphs.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use quantc_ir::Graph;
use quantc_ops::OpClass;
use quantc_pattern::{Phase, RuleClass, RuleSet};
use quantc_rewrite::{Budget, RewriteReport, canonicalize, graph_cost, lower_quantized, run_phase};
use quantc_tensor::{DType, Gap, Tensor};
use support::{float_graph, heavy_calls, qdq_graph, run};

fn rules() -> RuleSet {
    RuleSet::builtin().unwrap_or_else(|e| panic!("{e}"))
}

/// What the rules that had a part in a result allow, relative to the largest value: errors of one rule grow on their way to the
/// output by at most the gain of the layers after it, which the generator keeps small.
fn tolerance(report: &RewriteReport, rules: &RuleSet) -> f32 {
    const GAIN: f32 = 8.0;
    let of = |name: &str| match rules.find(name).map(|r| r.class) {
        Some(RuleClass::Real { tolerance }) => tolerance,
        _ => 0.0,
    };
    report.nodes.iter().flat_map(|n| &n.steps).map(|s| of(&s.rule)).sum::<f32>() * GAIN
}

fn assert_close(before: &[Tensor], after: &[Tensor], tolerance: f32, context: &Graph) {
    assert_eq!(before.len(), after.len());
    for (a, b) in before.iter().zip(after) {
        assert_eq!(a.ty(), b.ty());
        let gap = Gap::between(a, b);
        assert!(gap.within(tolerance), "{gap:?}, allowed {tolerance}\n{context}");
    }
}

/// Other values of the same kind: turned by one element, and floats scaled by a factor that depends on `number`.
fn varied(tensor: &Tensor, number: usize) -> Tensor {
    let mut values = tensor.to_f32_vec();
    values.rotate_left(1);
    if tensor.dtype() == DType::F32 {
        values.iter_mut().for_each(|v| *v *= 1.0 + (number % 5) as f32 / 16.0);
    }
    Tensor::from_vec(tensor.shape(), values).expect("as many").cast(tensor.dtype())
}

/// Origins of calls whose work can't vanish: products, pools, reductions, normalisations.
fn origins_of_work(graph: &Graph) -> BTreeSet<String> {
    let works = |id: &quantc_ir::NodeId| {
        graph.node(*id).call().is_some_and(|(op, _)| {
            matches!(op.class(), OpClass::Heavy | OpClass::Pool | OpClass::Reduction) && op.name() != "dropout"
        })
    };
    graph.calls().filter(works).flat_map(|id| graph.node(id).origins().iter().map(ToString::to_string)).collect()
}

fn all_origins(graph: &Graph) -> BTreeSet<String> {
    graph.calls().flat_map(|id| graph.node(id).origins().iter().map(ToString::to_string)).collect()
}

/// What must hold for any rewrite, whatever it computes.
fn check_structure(before: &Graph, after: &Graph, report: &RewriteReport) {
    check_cost(before, after, report);
    check_origins(before, after);
    check_names(before, after);
}

/// A number is put after a name only where something else in the result has the name.
fn check_names(before: &Graph, after: &Graph) {
    for id in after.calls() {
        let name = after.node(id).name();
        let numbered = name.rsplit_once('_').filter(|(_, n)| n.parse::<u32>().is_ok() && before.find(name).is_none());
        if let Some((base, _)) = numbered {
            assert!(after.find(base).is_some(), "`{name}` could be `{base}`\n{before}{after}");
        }
    }
}

fn check_origins(before: &Graph, after: &Graph) {
    let lost: Vec<_> = origins_of_work(before).difference(&all_origins(after)).cloned().collect();
    assert!(lost.is_empty(), "lost {lost:?}\n{before}{after}");
}

fn check_cost(before: &Graph, after: &Graph, report: &RewriteReport) {
    after.verify().unwrap_or_else(|e| panic!("{e}\n{after}"));
    assert!(heavy_calls(after) <= heavy_calls(before), "{before}{after}");
    assert!(
        graph_cost(after) <= graph_cost(before),
        "{} -> {}\n{before}{after}",
        graph_cost(before),
        graph_cost(after)
    );
    let phase = &report.phases[0];
    assert!(phase.cost <= phase.cost_before, "{phase:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn float_graphs_keep_their_meaning(seed in any::<u64>(), size in 1usize..24) {
        let rules = rules();
        let before = float_graph(seed, size);
        let (after, report) = canonicalize(&before, &rules).expect("rewrites");
        check_structure(&before, &after, &report);
        assert_close(&run(&before, seed), &run(&after, seed), tolerance(&report, &rules), &before);
    }

    #[test]
    fn quantized_graphs_keep_their_bits(seed in any::<u64>(), size in 1usize..24) {
        let before = qdq_graph(seed, size);
        let (after, report) = lower_quantized(&before, &rules()).expect("rewrites");
        check_structure(&before, &after, &report);
        for (a, b) in run(&before, seed).iter().zip(&run(&after, seed)) {
            assert!(a.bits_eq(b), "{before}{after}");
        }
    }

    /// The cost that the search kept up to date is the cost of the graph that was built.
    #[test]
    fn the_reported_cost_is_that_of_the_graph(seed in any::<u64>(), size in 1usize..24) {
        for (graph, phase) in [(float_graph(seed, size), Phase::Canonical), (qdq_graph(seed, size), Phase::Lower)] {
            let mut report = RewriteReport::default();
            let after = run_phase(&graph, &rules(), phase, &Budget::default(), &mut report).expect("rewrites");
            prop_assert_eq!(report.phases[0].cost, graph_cost(&after));
        }
    }

    /// What is left of the parameters has name and value, and stands where it stood: with another value under that name, both
    /// graphs compute something else alike. What is new are constants that rules made.
    #[test]
    fn parameters_keep_name_and_value(seed in any::<u64>(), size in 1usize..24) {
        let rules = rules();
        for (before, phase) in [(float_graph(seed, size), Phase::Canonical), (qdq_graph(seed, size), Phase::Lower)] {
            let mut report = RewriteReport::default();
            let after = run_phase(&before, &rules, phase, &Budget::default(), &mut report).expect("rewrites");
            let value = |graph: &Graph, name: &str| graph.params()[name].value.clone().expect("filled");
            for name in after.params().keys() {
                let new = value(&after, name);
                match before.params().contains_key(name) {
                    true => prop_assert!(value(&before, name).bits_eq(&new), "{}", name),
                    false => {
                        prop_assert!(name.starts_with("const"), "{}", name);
                        let same = before.params().keys().find(|old| value(&before, old).bits_eq(&new));
                        // Numbers are written out at each use, and equal ones are one.
                        prop_assert!(new.rank() == 0 || same.is_none(), "{} was {:?}", name, same);
                    }
                }
            }
            let (mut other_before, mut other_after) = (before.clone(), after.clone());
            let weights = before.params().keys().filter(|name| after.params().contains_key(*name));
            let weights: Vec<_> = weights.filter(|name| value(&before, name).numel() > 1).cloned().collect();
            for (i, name) in weights.iter().enumerate() {
                let other = varied(&value(&before, name), i);
                other_before.set_param(name, other.clone());
                other_after.set_param(name, other);
            }
            let (a, b) = (run(&other_before, seed), run(&other_after, seed));
            if phase == Phase::Canonical {
                assert_close(&a, &b, tolerance(&report, &rules), &before);
            } else {
                prop_assert!(a.iter().zip(&b).all(|(a, b)| a.bits_eq(b)), "{}{}", before, after);
            }
        }
    }

    /// In small regions the result is as good as in one piece, or a little worse; it means the same.
    #[test]
    fn regions_keep_the_meaning(seed in any::<u64>(), size in 8usize..40, region in 2usize..40) {
        let rules = rules();
        let budget = Budget { region, ..Budget::default() };
        let before = float_graph(seed, size);
        let mut report = RewriteReport::default();
        let after = run_phase(&before, &rules, Phase::Canonical, &budget, &mut report).expect("rewrites");
        check_structure(&before, &after, &report);
        assert_close(&run(&before, seed), &run(&after, seed), tolerance(&report, &rules), &before);
        let before = qdq_graph(seed, size);
        let mut report = RewriteReport::default();
        let after = run_phase(&before, &rules, Phase::Lower, &budget, &mut report).expect("rewrites");
        check_structure(&before, &after, &report);
        for (a, b) in run(&before, seed).iter().zip(&run(&after, seed)) {
            prop_assert!(a.bits_eq(b), "{}{}", before, after);
        }
    }

    /// Stopping anywhere gives a valid graph with the same meaning.
    #[test]
    fn every_prefix_is_valid(seed in any::<u64>(), size in 1usize..24, applications in 0usize..30) {
        let budget = Budget { applications, ..Budget::default() };
        let before = qdq_graph(seed, size);
        let mut report = RewriteReport::default();
        let after = run_phase(&before, &rules(), Phase::Lower, &budget, &mut report).expect("rewrites");
        check_structure(&before, &after, &report);
        prop_assert!(report.applications <= applications);
        for (a, b) in run(&before, seed).iter().zip(&run(&after, seed)) {
            prop_assert!(a.bits_eq(b), "{}{}", before, after);
        }
    }
}

/// What is computed on both sides of a cut: the origins of both sides survive.
#[test]
fn origins_survive_cuts() {
    let rules = rules();
    for (seed, size, region) in [(3777438767462418836, 8, 5), (14934089535354317613, 10, 4)] {
        let before = float_graph(seed, size);
        let budget = Budget { region, ..Budget::default() };
        let mut report = RewriteReport::default();
        let after = run_phase(&before, &rules, Phase::Canonical, &budget, &mut report).expect("rewrites");
        check_origins(&before, &after);
    }
}

/// A name that is numbered on one side of a cut loses the number when the plain one is free in the end.
#[test]
fn names_settle_across_cuts() {
    let before = float_graph(11619731551960234153, 8);
    let budget = Budget { region: 3, ..Budget::default() };
    let mut report = RewriteReport::default();
    let after = run_phase(&before, &rules(), Phase::Canonical, &budget, &mut report).expect("rewrites");
    check_names(&before, &after);
    for trace in &report.nodes {
        assert!(after.find(&trace.node).is_some(), "{}\n{after}", trace.node);
    }
}
