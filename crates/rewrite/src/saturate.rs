//! Saturation: rules are searched only where something changed, under budgets, in an order that does not depend on the order
//! the rules were given in.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use egg::Id;
use foldhash::quality::FixedState;
use quantc_pattern::Rule;
use quantc_pattern::ast::Pat;
use quantc_pattern::expr::Env;
use quantc_pattern::matcher::{Binding, Found, search};
use quantc_tensor::{Dim, Shape};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::apply::{Applier, Matched, Plan, Refusal, plan};
use crate::filter::{Filter, Ops, op_bit};
use crate::host::{Classes, View};
use crate::lang::EGraph;
use crate::report::{Budget, Stop};

/// What a rule did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) searched: usize,
    pub(crate) matched: usize,
    pub(crate) applied: usize,
    pub(crate) rejected: BTreeMap<String, usize>,
    pub(crate) time: Duration,
}

/// The outcome of a saturation.
pub(crate) struct Saturation {
    pub(crate) counts: Vec<Counts>,
    pub(crate) iterations: usize,
    pub(crate) stop: Stop,
    /// Applications that changed something.
    pub(crate) applied: usize,
    /// The last of them: the rule and the provenance of what it matched.
    pub(crate) last: Option<(usize, SmallVec<[u32; 4]>)>,
}

/// Where rules are searched after the first round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Above what changed, as far as the rule reaches.
    Changed,
    /// The same with congruence restored after each application: slow, and ends with the one that makes a contradiction.
    Careful,
    /// Everywhere.
    #[cfg(test)]
    Everything,
}

/// Applies the rules until nothing changes or a budget is reached.
pub(crate) fn saturate(egraph: &mut EGraph, rules: &[&Rule], budget: &Budget, scope: Scope) -> Saturation {
    let mut engine = Engine::new(egraph, rules);
    let max_nodes = budget.nodes_per_node.saturating_mul(egraph.total_size()).saturating_add(budget.spare_nodes);
    let mut stop = Stop::Saturated;
    let mut iterations = 0;
    let (mut applied, mut last) = (0, None);
    egraph.analysis.changed.clear();
    let mut near: Option<Near> = None;
    'rounds: loop {
        if iterations == budget.iterations {
            stop = Stop::Iterations;
            break;
        }
        iterations += 1;
        let matches = engine.search(egraph, near.as_ref());
        // Matches come rule by rule.
        let mut clock = None;
        for m in matches {
            if applied == budget.applications {
                stop = Stop::Applications;
                engine.stop(&mut clock);
                egraph.rebuild();
                break 'rounds;
            }
            if clock.as_ref().is_none_or(|(rule, _)| *rule != m.rule) {
                engine.stop(&mut clock);
                clock = Some((m.rule, Instant::now()));
            }
            let outcome = apply(egraph, &m, max_nodes);
            match outcome {
                Ok(changed) => {
                    engine.seen.insert(m.key, Seen::Applied);
                    if changed {
                        engine.counts[m.rule].applied += 1;
                        applied += 1;
                        last = Some((m.rule, m.matched.provenance));
                        if scope == Scope::Careful {
                            egraph.rebuild();
                        }
                        if !egraph.analysis.conflicts.is_empty() {
                            engine.stop(&mut clock);
                            break 'rounds;
                        }
                    }
                }
                Err(Refusal::Unfit(reason)) => engine.reject(m.rule, m.key, reason),
                Err(Refusal::Full) => {
                    stop = Stop::Nodes;
                    engine.stop(&mut clock);
                    egraph.rebuild();
                    break 'rounds;
                }
            }
        }
        engine.stop(&mut clock);
        egraph.rebuild();
        let changed = std::mem::take(&mut egraph.analysis.changed);
        if changed.is_empty() || !egraph.analysis.conflicts.is_empty() {
            break;
        }
        near = match scope {
            Scope::Changed | Scope::Careful => Some(Near::new(egraph, &changed, engine.max_depth)),
            #[cfg(test)]
            Scope::Everything => None,
        };
    }
    // What is chosen from need not have room to grow.
    egraph.analysis.inferred = FxHashMap::default();
    egraph.classes_mut().for_each(|class| class.nodes.shrink_to_fit());
    Saturation { counts: engine.counts, iterations, stop, applied, last }
}

/// What identifies a match, a hash of the rule, the matched calls and the bound values: 128 bits, since to keep what is hashed would
/// take a good part of the memory of the whole e-graph.
type Key = (u64, u64);

/// A match whose template is ready to be added.
struct Pending {
    rule: usize,
    class: Id,
    matched: Matched,
    plan: Plan,
    key: Key,
}

fn apply(egraph: &mut EGraph, m: &Pending, max_nodes: usize) -> Result<bool, Refusal> {
    let mut applier = Applier::new(egraph, m.rule as u32, &m.matched, max_nodes);
    let new = applier.add(&m.plan, true)?.ok_or("the result is absent")?;
    let old = applier.egraph.find(m.class);
    let facts = &applier.egraph.analysis;
    let (a, b) = (applier.egraph[old].data, applier.egraph[new].data);
    if a.ty != b.ty
        && let (Some(a), Some(b)) = (facts.types_of(a), facts.types_of(b))
    {
        let fits =
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.dtype == b.dtype && may_replace(&a.shape, &b.shape));
        if !fits {
            return Err(Refusal::Unfit(format!("the result would be {} instead of {}", show(b), show(a))));
        }
    }
    Ok(applier.join(old, new))
}

/// Whether one shape may stand for the other: equal sizes, or one that is not known. A name and a number, or two names, may turn out
/// to be different sizes. Of an unknown size a rule itself must be sure: forms of one value differ in what inference finds out about
/// them, and the class keeps the most (`variants.rs` tries rules on open sizes, and that none leaves a result less known).
fn may_replace(a: &Shape, b: &Shape) -> bool {
    let fits = |(a, b): (&Dim, &Dim)| a == b || *a == Dim::Unknown || *b == Dim::Unknown;
    a.rank() == b.rank() && a.dims().iter().zip(b.dims()).all(fits)
}

fn show(types: &[quantc_tensor::TensorType]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The rules, prepared for searching, and what they did.
struct Engine<'r> {
    rules: &'r [&'r Rule],
    filters: Vec<Filter>,
    /// See [`Filter::below`].
    below: Vec<Vec<Ops>>,
    /// The operators a match can have at its root.
    roots: Vec<Vec<u32>>,
    /// How far below a match's root a change can matter.
    depths: Vec<u32>,
    max_depth: u32,
    counts: Vec<Counts>,
    /// Matches that were found, and what became of them.
    seen: FxHashMap<Key, Seen>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Matched,
    Rejected,
    Applied,
}

impl<'r> Engine<'r> {
    fn new(egraph: &EGraph, rules: &'r [&'r Rule]) -> Engine<'r> {
        // One more than the pattern: conditions ask about the values at its leaves.
        let depths: Vec<u32> = rules.iter().map(|r| r.pattern.depth() as u32 + 1).collect();
        let filters: Vec<Filter> = rules.iter().map(|r| Filter::new(&r.pattern.root, &egraph.analysis)).collect();
        let roots = filters
            .iter()
            .map(|f| {
                let mut roots = Vec::new();
                f.roots(&mut roots);
                roots.sort_unstable();
                roots.dedup();
                roots
            })
            .collect();
        let below = filters.iter().map(Filter::below).collect();
        let max_depth = depths.iter().copied().max().unwrap_or(0);
        let counts = vec![Counts::default(); rules.len()];
        Engine { rules, filters, below, roots, depths, max_depth, counts, seen: FxHashMap::default() }
    }

    /// Adds the time since a rule was started to it.
    fn stop(&mut self, clock: &mut Option<(usize, Instant)>) {
        if let Some((rule, start)) = clock.take() {
            self.counts[rule].time += start.elapsed();
        }
    }

    /// Counts a refused match, once.
    fn reject(&mut self, rule: usize, key: Key, reason: String) {
        if self.seen.insert(key, Seen::Rejected) != Some(Seen::Rejected) {
            *self.counts[rule].rejected.entry(reason).or_default() += 1;
        }
    }

    /// Every match that was not applied yet, rule by rule, and within a rule in the order of the index.
    fn search(&mut self, egraph: &EGraph, near: Option<&Near>) -> Vec<Pending> {
        let index = Index::new(egraph, near);
        let mut out = Vec::new();
        let mut classes = Vec::new();
        for rule in 0..self.rules.len() {
            classes.clear();
            for op in &self.roots[rule] {
                for (below, part) in index.with_op(*op) {
                    if self.below[rule].iter().all(|ops| below & ops != 0) {
                        classes.extend_from_slice(part);
                    }
                }
            }
            if self.roots[rule].len() > 1 {
                classes.sort_unstable();
                classes.dedup();
            }
            if !classes.is_empty() {
                let start = Instant::now();
                for class in &classes {
                    if near.is_none_or(|near| near.distance(*class) <= self.depths[rule]) {
                        self.search_at(egraph, &index, rule, *class, &mut out);
                    }
                }
                self.counts[rule].time += start.elapsed();
            }
        }
        out
    }

    fn search_at(&mut self, egraph: &EGraph, index: &Index<'_>, rule: usize, class: Id, out: &mut Vec<Pending>) {
        self.counts[rule].searched += 1;
        if !self.filters[rule].passes(&index.classes, &index.ops, class) {
            return;
        }
        let view = View::with_classes(egraph, &index.classes);
        let definition = self.rules[rule];
        let _ = search(&view, &definition.pattern, class, |found| {
            let key = key(rule, definition, class, &found);
            let seen = self.seen.get(&key).copied();
            if seen != Some(Seen::Applied) {
                let env = Env::new(&view, &found.bindings);
                if definition.conditions.iter().all(|c| env.holds(c)) {
                    if seen.is_none() {
                        self.counts[rule].matched += 1;
                        self.seen.insert(key, Seen::Matched);
                    }
                    match plan(&definition.template, env) {
                        Ok(plan) => out.push(Pending { rule, class, matched: found.nodes[..].into(), plan, key }),
                        Err(reason) => self.reject(rule, key, reason),
                    }
                }
            }
            ControlFlow::Continue(())
        });
    }
}

fn key(rule: usize, definition: &Rule, class: Id, found: &Found<View<'_>>) -> Key {
    fn add(parts: &mut SmallVec<[u32; 16]>, binding: &Binding<View<'_>>) {
        match binding {
            Binding::Value(id) => parts.push(usize::from(*id) as u32),
            Binding::Seq(items) => items.iter().for_each(|b| add(parts, b)),
            // Determined by the matched calls.
            Binding::Unset | Binding::Absent | Binding::Record(_) | Binding::Field(_) | Binding::Node(_) => {}
        }
    }
    let mut parts = SmallVec::new();
    parts.push(rule as u32);
    if matches!(definition.pattern.root, Pat::Output { .. }) {
        parts.push(usize::from(class) as u32);
    }
    parts.extend(found.nodes.iter().map(|n| n.provenance));
    found.bindings.iter().for_each(|b| add(&mut parts, b));
    // Fixed seeds: the same matches are found in every run.
    (FixedState::with_seed(0).hash_one(&parts), FixedState::with_seed(1).hash_one(&parts))
}

/// Classes that are searched, by the operators they have.
struct Index<'a> {
    classes: Classes<'a>,
    /// The operators of every class.
    ops: Vec<Ops>,
    /// By an operator that they have: the classes whose inputs have the same operators, together with those.
    by_op: Vec<Vec<(Ops, Vec<Id>)>>,
}

impl<'a> Index<'a> {
    fn new(egraph: &'a EGraph, near: Option<&Near>) -> Index<'a> {
        let n = egraph.nodes().len();
        let mut index = Index { classes: vec![None; n], ops: vec![0; n], by_op: Vec::new() };
        let mut classes = Vec::with_capacity(egraph.number_of_classes());
        for class in egraph.classes() {
            index.classes[usize::from(class.id)] = Some(class);
            index.ops[usize::from(class.id)] = class.nodes.iter().fold(0, |ops, n| ops | op_bit(n.op));
            if near.is_none_or(|near| near.distance(class.id) != FAR) {
                classes.push(class.id);
            }
        }
        classes.sort_unstable();
        let mut parts: FxHashMap<(u32, Ops), usize> = FxHashMap::default();
        for id in classes {
            let nodes = index.classes[usize::from(id)].map_or(&[][..], |class| &class.nodes);
            // A class's nodes are sorted by operator.
            for nodes in nodes.chunk_by(|a, b| a.op == b.op) {
                let children = nodes.iter().flat_map(|n| &n.children);
                let below = children.fold(0, |ops, c| ops | index.ops[usize::from(*c)]);
                let op = nodes[0].op as usize;
                if index.by_op.len() <= op {
                    index.by_op.resize_with(op + 1, Vec::new);
                }
                let of_op = &mut index.by_op[op];
                let part = *parts.entry((nodes[0].op, below)).or_insert(of_op.len());
                if part == of_op.len() {
                    of_op.push((below, Vec::new()));
                }
                of_op[part].1.push(id);
            }
        }
        index
    }

    fn with_op(&self, op: u32) -> &[(Ops, Vec<Id>)] {
        self.by_op.get(op as usize).map_or(&[], Vec::as_slice)
    }
}

/// How far above a changed class each class is.
struct Near(Vec<u32>);

/// Farther than any rule reaches.
const FAR: u32 = u32::MAX;

impl Near {
    fn new(egraph: &EGraph, changed: &[Id], depth: u32) -> Near {
        let mut near = Near(vec![FAR; egraph.nodes().len()]);
        let mut frontier: Vec<Id> = changed.iter().map(|id| egraph.find(*id)).collect();
        for distance in 0..=depth {
            let mut next = Vec::new();
            for class in frontier {
                let d = &mut near.0[usize::from(class)];
                if *d == FAR {
                    *d = distance;
                    next.extend(egraph[class].parents().map(|p| egraph.find(p)));
                }
            }
            frontier = next;
        }
        near
    }

    fn distance(&self, class: Id) -> u32 {
        self.0[usize::from(class)]
    }
}
