//! Extraction against an exact solver, and saturation against a full search.

use proptest::prelude::*;
use quantc_ir::Graph;
use quantc_pattern::{Phase, Rule, RuleSet};

use super::dense::Dense;
use super::search::Score;
use super::{Extraction, NO_CHOICE};
use crate::cost::proper;
use crate::encode::{Encoded, encode};
use crate::phase::active;
use crate::regions::Region;
use crate::report::Budget;
use crate::saturate::{Scope, saturate};
use crate::support::{float_graph, qdq_graph};

fn rules() -> RuleSet {
    RuleSet::builtin().unwrap_or_else(|e| panic!("{e}"))
}

fn saturated(graph: &Graph, rules: &[&Rule], scope: Scope) -> (Encoded, usize) {
    let mut encoded = encode(graph, &Region::whole(graph));
    let saturation = saturate(&mut encoded.egraph, rules, &Budget::default(), scope);
    (encoded, saturation.applied)
}

fn positions(graph: &Graph) -> Vec<usize> {
    let mut position = vec![0; graph.bound()];
    graph.order().enumerate().for_each(|(i, id)| position[id.index()] = i);
    position
}

/// Branch and bound over the choices, with a limit of work.
struct Exact<'d> {
    dense: &'d Dense,
    chosen: Vec<u32>,
    heavy: Vec<u32>,
    score: Score,
    best: Score,
    /// Steps left.
    fuel: usize,
}

impl Exact<'_> {
    fn take(&mut self, class: u32, alternative: u32, sign: i64) {
        let a = self.dense.alternative(alternative);
        self.chosen[class as usize] = if sign > 0 { alternative } else { NO_CHOICE };
        self.score.cost = self.score.cost.wrapping_add_signed(sign * a.cost as i64);
        if a.heavy != 0 {
            let live = &mut self.heavy[a.heavy as usize];
            if sign > 0 {
                self.score.repeated += u64::from(*live > 0);
                *live += 1;
            } else {
                *live -= 1;
                self.score.repeated -= u64::from(*live > 0);
            }
        }
    }

    /// Chooses for the classes that are needed and open; each is needed by a class chosen before.
    fn solve(&mut self, open: &mut Vec<u32>) {
        if self.fuel == 0 || self.score >= self.best {
            return;
        }
        self.fuel -= 1;
        let Some(class) = open.pop() else {
            if self.is_acyclic() {
                self.best = self.score;
            }
            return;
        };
        if self.chosen[class as usize] != NO_CHOICE {
            self.solve(open);
        } else {
            for alternative in self.dense.of(class) {
                self.take(class, alternative, 1);
                let kept = open.len();
                open.extend(&self.dense.alternative(alternative).children);
                let mut rest = open.clone();
                self.solve(&mut rest);
                open.truncate(kept);
                self.take(class, alternative, -1);
            }
        }
        open.push(class);
    }

    fn is_acyclic(&self) -> bool {
        let mut state = vec![0u8; self.chosen.len()];
        let mut work = vec![(0u32, 0usize)];
        state[0] = 1;
        while let Some(&mut (class, ref mut next)) = work.last_mut() {
            let children = &self.dense.alternative(self.chosen[class as usize]).children;
            match children.get(*next) {
                Some(child) => {
                    *next += 1;
                    match state[*child as usize] {
                        0 => {
                            state[*child as usize] = 1;
                            work.push((*child, 0));
                        }
                        1 => return false,
                        _ => {}
                    }
                }
                None => {
                    state[class as usize] = 2;
                    work.pop();
                }
            }
        }
        true
    }
}

/// The best score there is, if it was found with a bounded amount of work, and that of the extraction.
fn compare(graph: &Graph, phase: Phase) -> Option<(Score, Score)> {
    let rules = rules();
    let (encoded, _) = saturated(graph, &active(&rules, phase), Scope::Changed);
    let extraction = Extraction::new(&encoded.egraph, encoded.root, &positions(graph)).expect("a term");
    let dense = &extraction.dense;
    let mut exact = Exact {
        dense,
        chosen: vec![NO_CHOICE; dense.classes.len()],
        heavy: vec![0; dense.identities],
        score: Score::default(),
        best: Score { repeated: u64::MAX, cost: u64::MAX },
        fuel: 300_000,
    };
    // What the extraction found is a bound; only something better counts.
    exact.best = Score { cost: extraction.score.cost + 1, ..extraction.score };
    exact.solve(&mut vec![0]);
    (exact.fuel > 0).then_some((exact.best, extraction.score))
}

/// Few graphs are too large for the exact solver, so that the property means something.
#[test]
fn small_graphs_are_at_the_optimum() {
    let (mut solved, mut all) = (0, 0);
    for seed in 0..60 {
        for size in [2, 4, 6] {
            for (graph, phase) in [(float_graph(seed, size), Phase::Canonical), (qdq_graph(seed, size), Phase::Lower)] {
                all += 1;
                if let Some((best, found)) = compare(&graph, phase) {
                    solved += 1;
                    let (best, found) = ((best.repeated, proper(best.cost)), (found.repeated, proper(found.cost)));
                    assert_eq!(best, found, "seed {seed}, size {size}\n{graph}");
                }
            }
        }
    }
    assert!(solved * 10 >= all * 8, "{solved} of {all} solved");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Searching only where something changed finds what searching everywhere finds.
    #[test]
    fn change_driven_and_full_search_reach_one_fixpoint(seed in any::<u64>(), size in 1usize..24) {
        let rules = rules();
        for (graph, phase) in [(float_graph(seed, size), Phase::Canonical), (qdq_graph(seed, size), Phase::Lower)] {
            let active = active(&rules, phase);
            let (changed, applied) = saturated(&graph, &active, Scope::Changed);
            let (everything, applied_everywhere) = saturated(&graph, &active, Scope::Everything);
            prop_assert_eq!(applied, applied_everywhere);
            prop_assert_eq!(changed.egraph.number_of_classes(), everything.egraph.number_of_classes());
            prop_assert_eq!(changed.egraph.total_number_of_nodes(), everything.egraph.total_number_of_nodes());
            let position = positions(&graph);
            let cost = |e: &Encoded| Extraction::new(&e.egraph, e.root, &position).expect("a term").result().cost;
            prop_assert_eq!(cost(&changed), cost(&everything));
        }
    }

    /// The score that moves kept up to date is that of the choice, counted anew.
    #[test]
    fn the_score_is_that_of_the_choice(seed in any::<u64>(), size in 1usize..24) {
        let rules = rules();
        for (graph, phase) in [(float_graph(seed, size), Phase::Canonical), (qdq_graph(seed, size), Phase::Lower)] {
            let (encoded, _) = saturated(&graph, &active(&rules, phase), Scope::Changed);
            let extraction = Extraction::new(&encoded.egraph, encoded.root, &positions(&graph)).expect("a term");
            let result = extraction.result();
            let sum: u64 = result
                .nodes
                .iter()
                .map(|(class, node)| crate::cost::cost(&encoded.egraph, node, encoded.egraph[*class].data))
                .sum();
            prop_assert_eq!(sum, extraction.score.cost);
            // Children first: so there is no cycle.
            let mut done = std::collections::HashSet::new();
            for (class, node) in &result.nodes {
                prop_assert!(node.children.iter().all(|c| done.contains(&encoded.egraph.find(*c))));
                done.insert(*class);
            }
        }
    }
}
