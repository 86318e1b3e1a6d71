//! Why a rule did not fire, asked about any node, in the regions of the real run.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use quantc_ir::Graph;
use quantc_ir::text::parse;
use quantc_pattern::{Phase, RuleSet};
use quantc_rewrite::explain::{Fate, Missed, WhyNot, not_chosen, why_not};
use quantc_rewrite::{Budget, RewriteError, RewriteReport, run_phase};
use support::{float_graph, qdq_graph};

fn rules() -> RuleSet {
    RuleSet::builtin().unwrap_or_else(|e| panic!("{e}"))
}

fn graph(text: &str) -> Graph {
    parse(text).unwrap_or_else(|e| panic!("{e}"))
}

fn ask(graph: &Graph, rule: &str, at: Option<&str>) -> Result<WhyNot, RewriteError> {
    why_not(graph, &rules(), Phase::Canonical, rule, at, &Budget::default())
}

/// The one miss of a node, in short.
fn miss(graph: &Graph, rule: &str, at: &str) -> String {
    let answer = ask(graph, rule, Some(at)).unwrap_or_else(|e| panic!("{e}"));
    assert!(answer.matches.is_empty(), "{answer:?}");
    let [Missed { rule, calls, node, stands, miss }] = &answer.misses[..] else { panic!("{answer:?}") };
    let stands = stands.as_deref().unwrap_or("its root");
    format!("{rule} at {node}, {at} at {stands}: {} of {calls}, {}: {}", miss.matched, miss.path, miss.reason)
}

/// A layer norm but for the constant that is added: `%x * 2` in its place.
const NEARLY: &str = "graph g(%x: f32[2,8]) {
  param @two: f32[] = [2.0]
  param @eps: f32[] = [0.00001]
  %mean = mean(%x) {dims=[-1], keepdim=true}
  %d = sub(%x, %mean)
  %sq = pow(%d, @two)
  %var = mean(%sq) {dims=[-1], keepdim=true}
  %ve = add(%var, %x)
  %std = sqrt(%ve)
  %norm = div(%d, %std)
  %s = sigmoid(%norm)
  %m = mul(%s, %x)
  return y=%m
}
";

#[test]
fn a_node_may_stand_anywhere_in_the_pattern() {
    let graph = graph(NEARLY);
    insta::assert_snapshot!(
        [
            miss(&graph, "silu", "s"),
            miss(&graph, "silu", "m"),
            miss(&graph, "silu", "sq"),
            miss(&graph, "layer-norm", "norm"),
            miss(&graph, "layer-norm", "std"),
            miss(&graph, "layer-norm", "ve"),
            miss(&graph, "layer-norm", "var"),
            miss(&graph, "layer-norm", "mean"),
        ]
        .join("\n")
    );
}

#[test]
fn a_match_is_found_from_every_node_of_it() {
    let graph =
        graph("graph g(%x: f32[2,8]) {\n  %s = sigmoid(%x)\n  %m = mul(%s, %x)\n  %n = neg(%m)\n  return y=%n\n}\n");
    for (at, stands) in [("m", None), ("s", Some("mul[0]"))] {
        let answer = ask(&graph, "silu", Some(at)).unwrap_or_else(|e| panic!("{e}"));
        let [m] = &answer.matches[..] else { panic!("{answer:?}") };
        assert_eq!((&*m.node, m.stands.as_deref(), &m.fate), ("m", stands, &Fate::Chosen));
        assert!(answer.misses.is_empty(), "{answer:?}");
    }
    // It uses the match and is no part of it.
    assert_eq!(ask(&graph, "silu", Some("n")).expect("known").matches, []);
}

#[test]
fn a_definition_stands_for_all_its_rows() {
    let graph = graph("graph g(%x: f32[2,8]) {\n  %a = relu6(%x)\n  %b = relu6(%a)\n  return y=%b\n}\n");
    let answer = ask(&graph, "relu-of-relu", None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(answer.matches.iter().map(|m| &*m.rule).collect::<Vec<_>>(), ["relu-of-relu/relu6"]);
    assert_eq!(&*answer.matches[0].node, "b");
    for (wrong, nearest) in
        [("relu-of-rellu", "relu-of-relu"), ("relu-of-clamp/relu7", "relu-of-clamp/relu"), ("siluu", "silu")]
    {
        let error = ask(&graph, wrong, None).expect_err("there is none");
        assert_eq!(error.to_string(), format!("there is no rule `{wrong}` (hint: did you mean `{nearest}`?)"));
    }
    let error = ask(&graph, "silu", Some("aa")).expect_err("there is none");
    assert!(error.to_string().contains("(hint: did you mean `a`?)"), "{error}");
}

/// Two calls on either side of a cut are a match where the regions meet, and only there.
#[test]
fn a_match_across_a_cut_is_seen() {
    let mut text = "graph g(%x: f32[2,8]) {\n".to_owned();
    let mut last = "x".to_owned();
    for i in 0..6 {
        text.push_str(&format!("  %a{i} = exp(%{last})\n  %r{i} = relu6(%a{i})\n  %s{i} = relu6(%r{i})\n"));
        last = format!("s{i}");
    }
    let graph = graph(&format!("{text}  return y=%{last}\n}}\n"));
    for region in 2..9 {
        let budget = Budget { region, ..Budget::default() };
        let answer = why_not(&graph, &rules(), Phase::Canonical, "relu-of-relu/relu6", None, &budget).expect("known");
        let nodes: Vec<&str> = answer.matches.iter().map(|m| &*m.node).collect();
        let all: BTreeSet<&str> = nodes.iter().copied().collect();
        assert_eq!((nodes.len(), all.len()), (6, 6), "region {region}: {answer:?}");
        assert!(answer.matches.iter().all(|m| m.fate == Fate::Chosen || m.fate == Fate::NothingNew), "{answer:?}");
        assert!(answer.misses.iter().all(|m| !all.contains(&*m.node)), "region {region}: {answer:?}");
        // What stands before the first of the two is a call, at a cut too.
        let cut =
            answer.misses.iter().filter(|m| m.miss.reason.contains("the input") && !m.miss.reason.ends_with("input x"));
        assert_eq!(cut.count(), 0, "region {region}: {answer:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What the run says that rules made is what the explanation says, in regions of any size; and what was not chosen is not in it.
    #[test]
    fn explanations_are_of_the_real_run(seed in any::<u64>(), size in 4usize..24, region in 3usize..40) {
        let rules = rules();
        let budget = Budget { region, ..Budget::default() };
        for (graph, phase) in [(float_graph(seed, size), Phase::Canonical), (qdq_graph(seed, size), Phase::Lower)] {
            let mut report = RewriteReport::default();
            run_phase(&graph, &rules, phase, &budget, &mut report).expect("rewrites");
            let used: BTreeSet<_> = report.nodes.iter().flat_map(|n| &n.steps).map(|s| s.rule.clone()).collect();
            for rule in used {
                let answer = why_not(&graph, &rules, phase, &rule, None, &budget).expect("known");
                let in_result = answer.matches.iter().any(|m| matches!(m.fate, Fate::Chosen | Fate::Used));
                prop_assert!(in_result, "{} in regions of {}: {:?}\n{}", rule, region, answer, graph);
            }
            not_chosen(&graph, &rules, phase, &budget).expect("known");
        }
    }
}
