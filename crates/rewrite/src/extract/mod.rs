//! Extraction on DAG cost: a shared value is paid for once, and no heavy call of the input is computed twice.
//!
//! A dense view of the classes below the root; a seed, acyclic and cheap with the cost of a shared value split among its users;
//! local search on the true score, where a move re-chooses one class, alone or together with its neighbours. What comes out is
//! never worse than the input graph: if it would be, the search starts from that.

mod dense;
mod search;
mod seed;
#[cfg(test)]
mod tests;

use egg::Id;

use crate::lang::{CALL, EGraph, ENode, OUTPUT, ROOT};
use dense::Dense;
use search::{Score, Search};

/// Stands for the alternative of a class without a finite term.
const NO_CHOICE: u32 = u32::MAX;

/// A chosen node per class, in an order.
pub(crate) struct Extracted {
    /// Classes the result needs and their nodes, children first.
    pub(crate) nodes: Vec<(Id, ENode)>,
    /// Cost of the input graph, to compare with.
    pub(crate) cost_before: u64,
    /// Cost of the result.
    pub(crate) cost: u64,
}

/// An e-graph and the best choice that was found.
pub(crate) struct Extraction<'e> {
    egraph: &'e EGraph,
    dense: Dense,
    chosen: Vec<u32>,
    score: Score,
    before: Score,
}

impl<'e> Extraction<'e> {
    /// Chooses a node for every class the root needs. `position` is the place of a source node in the order of its graph. `None` if
    /// the root has no finite term, which an encoded graph always has.
    pub(crate) fn new(egraph: &'e EGraph, root: Id, position: &[usize]) -> Option<Extraction<'e>> {
        let dense = Dense::new(egraph, root);
        let cheapest = seed::cheapest(&dense)?;
        let ages = ages(egraph, &dense, position);
        let input = seed::input(&dense, &cheapest, &ages);
        let before = Search::new(&dense, input.clone()).score;
        let mut search = Search::new(&dense, cheapest);
        search.run(None);
        if search.score.repeated > 0 || search.score > before {
            let mut other = Search::new(&dense, input);
            other.run(None);
            if other.score < search.score {
                search = other;
            }
        }
        let Search { chosen, score, .. } = search;
        Some(Extraction { egraph, dense, chosen, score, before })
    }

    /// The chosen nodes.
    pub(crate) fn result(&self) -> Extracted {
        self.extracted(&Search::new(&self.dense, self.chosen.clone()))
    }

    fn extracted(&self, search: &Search<'_>) -> Extracted {
        let node = |class: u32| {
            let id = self.dense.classes[class as usize];
            (id, self.dense.node(self.egraph, search.chosen[class as usize]).clone())
        };
        let nodes = search.post_order().into_iter().map(node).collect();
        Extracted { nodes, cost_before: self.before.cost, cost: search.score.cost }
    }

    /// By how much the result would cost more with this node in it. `None` if its class is not needed, or the node would need
    /// itself.
    pub(crate) fn cost_of_forcing(&self, class: Id, node: &ENode) -> Option<Forced> {
        let score = self.forced(class, node)?.score;
        let repeated = score.repeated.saturating_sub(self.score.repeated);
        Some(Forced { repeated, cost: score.cost as i64 - self.score.cost as i64 })
    }

    fn forced(&self, class: Id, node: &ENode) -> Option<Search<'_>> {
        let class = self.egraph.find(class);
        let number = self.dense.classes.iter().position(|c| *c == class)? as u32;
        let alternative = self.dense.of(number).find(|i| self.dense.node(self.egraph, *i) == node)?;
        let mut search = Search::new(&self.dense, self.chosen.clone());
        search.force(alternative)?;
        Some(search)
    }
}

/// A result that was not chosen.
#[cfg(test)]
impl Extraction<'_> {
    /// The result with this node in it. `None` as for [`Extraction::cost_of_forcing`].
    pub(crate) fn forcing(&self, class: Id, node: &ENode) -> Option<Extracted> {
        self.forced(class, node).map(|search| self.extracted(&search))
    }
}

/// What a choice that was not made would have cost more.
pub(crate) struct Forced {
    /// Heavy calls computed once more.
    pub(crate) repeated: u64,
    /// Cost, the lowest bits included.
    pub(crate) cost: i64,
}

/// For each alternative its place in the input graph's order, `None` if a rule made it.
fn ages(egraph: &EGraph, dense: &Dense, position: &[usize]) -> Vec<Option<usize>> {
    let log = &egraph.analysis.log;
    let alternatives = 0..dense.alternatives.len() as u32;
    // Twice the position: the outputs of a call come between it and the next.
    let mut ages: Vec<Option<usize>> = alternatives
        .clone()
        .map(|i| {
            let node = dense.node(egraph, i);
            match node.op {
                CALL.. => log.source_node(node.provenance).map(|n| 2 * position[n.index()] + 2),
                OUTPUT => None,
                ROOT => Some(usize::MAX),
                _ => Some(0),
            }
        })
        .collect();
    for i in alternatives {
        if dense.node(egraph, i).op == OUTPUT {
            let whole = dense.alternative(i).children[0];
            ages[i as usize] = dense.of(whole).filter_map(|i| ages[i as usize]).min().map(|age| age + 1);
        }
    }
    ages
}
