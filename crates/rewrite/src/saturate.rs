//! Saturation: rules are searched only where something changed, under budgets, in an order that does not depend on the order
//! the rules were given in.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use egg::Id;
use quantc_pattern::Rule;
use quantc_pattern::ast::Pat;
use quantc_pattern::expr::Env;
use quantc_pattern::matcher::search;
use smallvec::SmallVec;

use crate::apply::{Applier, Plan, plan};
use crate::host::{Call, View};
use crate::lang::{CALL, EGraph, OUTPUT};
use crate::report::{Budget, Stop};

/// What a rule did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) matched: usize,
    pub(crate) applied: usize,
    pub(crate) rejected: BTreeMap<String, usize>,
}

/// The outcome of a saturation.
pub(crate) struct Saturation {
    pub(crate) counts: Vec<Counts>,
    pub(crate) iterations: usize,
    pub(crate) stop: Stop,
}

/// Applies the rules until nothing changes or a budget is reached.
pub(crate) fn saturate(egraph: &mut EGraph, rules: &[&Rule], budget: &Budget) -> Saturation {
    let mut engine = Engine::new(egraph, rules);
    let max_nodes = budget.spare_nodes + budget.nodes_per_node * egraph.total_number_of_nodes();
    let mut counts = vec![Counts::default(); rules.len()];
    let mut stop = Stop::Saturated;
    let mut iterations = 0;
    egraph.analysis.changed.clear();
    let mut distance: Option<HashMap<Id, usize>> = None;
    loop {
        if iterations == budget.iterations {
            stop = Stop::Iterations;
            break;
        }
        iterations += 1;
        let matches = engine.search(egraph, distance.as_ref(), &mut counts);
        for m in &matches {
            if egraph.total_number_of_nodes() > max_nodes {
                stop = Stop::Nodes;
                break;
            }
            let counts = &mut counts[m.rule];
            match apply(egraph, m) {
                Ok(true) => counts.applied += 1,
                Ok(false) => {}
                Err(reason) => *counts.rejected.entry(reason).or_default() += 1,
            }
        }
        egraph.rebuild();
        if stop != Stop::Saturated {
            break;
        }
        let changed = std::mem::take(&mut egraph.analysis.changed);
        if changed.is_empty() {
            break;
        }
        engine.update(egraph);
        distance = Some(distances(egraph, &changed, engine.max_depth));
    }
    Saturation { counts, iterations, stop }
}

/// A match whose template is ready to be added.
struct Pending {
    rule: usize,
    class: Id,
    /// The matched calls.
    nodes: SmallVec<[Call; 4]>,
    plan: Plan,
}

fn apply(egraph: &mut EGraph, m: &Pending) -> Result<bool, String> {
    let new = Applier::new(egraph, m.rule as u32, &m.nodes).add(&m.plan, true)?.ok_or("the result is absent")?;
    let old = egraph.find(m.class);
    let facts = &egraph.analysis;
    if let (Some(a), Some(b)) = (facts.types_of(egraph[old].data), facts.types_of(egraph[new].data)) {
        let fits =
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.dtype == b.dtype && a.shape.compatible(&b.shape));
        if !fits {
            return Err(format!("the result would be {} instead of {}", show(b), show(a)));
        }
    }
    Ok(egraph.union(old, new))
}

fn show(types: &[quantc_tensor::TensorType]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Rules indexed by what their match has at its root.
struct Engine<'r> {
    rules: &'r [&'r Rule],
    depths: Vec<usize>,
    max_depth: usize,
    /// Rules by the e-node operator at the root.
    by_op: HashMap<u32, Vec<usize>>,
    known_ops: usize,
}

impl<'r> Engine<'r> {
    fn new(egraph: &EGraph, rules: &'r [&'r Rule]) -> Engine<'r> {
        // One more than the pattern: conditions ask about the values at its leaves.
        let depths: Vec<usize> = rules.iter().map(|r| r.pattern.depth() + 1).collect();
        let max_depth = depths.iter().copied().max().unwrap_or(0);
        let mut engine = Engine { rules, depths, max_depth, by_op: HashMap::new(), known_ops: usize::MAX };
        engine.update(egraph);
        engine
    }

    /// Indexes again if operators were added.
    fn update(&mut self, egraph: &EGraph) {
        let ops = &egraph.analysis.ops;
        if self.known_ops == ops.len() {
            return;
        }
        self.known_ops = ops.len();
        self.by_op.clear();
        for (i, rule) in self.rules.iter().enumerate() {
            let mut codes: Vec<u32> = if matches!(rule.pattern.root, Pat::Output { .. }) {
                vec![OUTPUT]
            } else {
                let found = rule.pattern.root_ops().into_iter().filter_map(|op| ops.get_index_of(&op));
                found.map(|i| CALL + i as u32).collect()
            };
            codes.dedup();
            for code in codes {
                self.by_op.entry(code).or_default().push(i);
            }
        }
    }

    fn search(&self, egraph: &EGraph, distance: Option<&HashMap<Id, usize>>, counts: &mut [Counts]) -> Vec<Pending> {
        let mut classes: Vec<Id> = match distance {
            Some(d) => d.keys().copied().collect(),
            None => egraph.classes().map(|c| c.id).collect(),
        };
        classes.sort_unstable();
        let view = View(egraph);
        let mut out = Vec::new();
        let mut todo: Vec<usize> = Vec::new();
        for class in classes {
            let away = distance.map_or(0, |d| d[&class]);
            todo.clear();
            for node in &egraph[class].nodes {
                todo.extend(self.by_op.get(&node.op).into_iter().flatten().filter(|r| away <= self.depths[**r]));
            }
            todo.sort_unstable();
            todo.dedup();
            for &r in &todo {
                let rule = self.rules[r];
                let _ = search(&view, &rule.pattern, class, |found| {
                    let env = Env::new(&view, &found.bindings);
                    if rule.conditions.iter().all(|c| env.holds(c)) {
                        counts[r].matched += 1;
                        match plan(&rule.template, env) {
                            Ok(plan) => out.push(Pending { rule: r, class, nodes: found.nodes.clone(), plan }),
                            Err(reason) => *counts[r].rejected.entry(reason).or_default() += 1,
                        }
                    }
                    ControlFlow::Continue(())
                });
            }
        }
        out
    }
}

/// How far above a changed class each class is, up to `depth`.
fn distances(egraph: &EGraph, changed: &[Id], depth: usize) -> HashMap<Id, usize> {
    let mut distance = HashMap::new();
    let mut frontier: Vec<Id> = changed.iter().map(|id| egraph.find(*id)).collect();
    for d in 0..=depth {
        let mut next = Vec::new();
        for class in frontier {
            if distance.contains_key(&class) {
                continue;
            }
            distance.insert(class, d);
            next.extend(egraph[class].parents().map(|p| egraph.find(p)));
        }
        frontier = next;
    }
    distance
}
