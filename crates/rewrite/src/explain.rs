//! Why a rule did not fire, and what became of the rules that did without being chosen.

use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::sync::Arc;

use egg::Id;
use indexmap::IndexMap;
use quantc_ir::Graph;
use quantc_ops::names::nearest;
use quantc_pattern::expr::Env;
use quantc_pattern::matcher::search;
pub use quantc_pattern::why_not::NearMiss;
use quantc_pattern::why_not::{Outcome, position, why_not as trace};
use quantc_pattern::{Phase, RuleSet};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use crate::RewriteError;
use crate::apply::{Applier, Refusal, plan};
use crate::cost::proper_difference;
use crate::extract::Extraction;
use crate::fold::fold_constants;
use crate::host::{Call, View};
use crate::lang::{CALL, ENode};
use crate::phase::{Done, Watch, run_watched};
use crate::report::{Budget, RewriteReport};

/// Where a rule, or the rules of one definition, came near or matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhyNot {
    /// Where they match, in execution order.
    pub matches: Vec<Matched>,
    /// Where at least one call matched, the nearest misses first; of one node that was asked about, the nearest miss with it.
    pub misses: Vec<Missed>,
}

/// A match and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The rule.
    pub rule: Arc<str>,
    /// The node at the root of the match.
    pub node: Arc<str>,
    /// Where in the pattern the node that was asked about stands, if it is not the root.
    pub stands: Option<String>,
    /// What became of it.
    pub fate: Fate,
}

/// An attempt to match that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The rule.
    pub rule: Arc<str>,
    /// How many calls a match has.
    pub calls: usize,
    /// The node at the root of the attempt.
    pub node: Arc<str>,
    /// Where in the pattern the node that was asked about would stand, if it is not the root.
    pub stands: Option<String>,
    /// How near it came.
    pub miss: NearMiss,
}

/// What became of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the result.
    Chosen,
    /// What it makes was replaced further by other rules, and that is in the result.
    Used,
    /// Something else is as cheap or cheaper.
    NotChosen(Extra),
    /// The value is not computed in the result: it is inside something larger.
    NotNeeded,
    /// What it makes was there already.
    NothingNew,
    /// It could not be rewritten.
    Rejected(String),
}

/// What choosing otherwise would cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra {
    /// How much more, in the engine's units; 0 for a tie.
    pub cost: i64,
    /// Heavy calls that would be computed once more.
    pub repeated: u64,
}

/// A rule's result that is not in the result of the phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotChosen {
    /// The rule.
    pub rule: Arc<str>,
    /// The node it would have replaced.
    pub node: Arc<str>,
    /// What choosing it would cost.
    pub extra: Extra,
}

/// Runs a phase as [`crate::rewrite`] does, with each of its regions shown to `watch`.
fn watch(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
    watch: &mut Watch<'_>,
) -> Result<(), RewriteError> {
    run_watched(graph, rules, phase, budget, &mut RewriteReport::default(), watch)?;
    Ok(())
}

fn folded(graph: &Graph) -> Result<Graph, RewriteError> {
    let mut graph = graph.clone();
    fold_constants(&mut graph)?;
    Ok(graph)
}

impl Done<'_> {
    fn extraction(&self) -> Result<Extraction<'_>, RewriteError> {
        Extraction::new(&self.encoded.egraph, self.encoded.root, self.position).ok_or(RewriteError::NoTerm)
    }

    /// What a class is called: the node of the source graph it is, else what a node in it replaces.
    fn name(&self, class: Id) -> String {
        let facts = &self.encoded.egraph.analysis;
        let nodes = &self.encoded.egraph[class].nodes;
        let calls = nodes.iter().filter(|n| n.op >= CALL);
        let own = calls.clone().find(|n| facts.log.source_node(n.provenance).is_some());
        if let Some(node) = own.or_else(|| calls.clone().next()) {
            return facts.log.name(node.provenance, self.graph, facts);
        }
        let leaf = facts.leaves.get(self.encoded.egraph[class].data.leaf as usize);
        match leaf {
            Some(leaf) => match (&leaf.name, &leaf.value) {
                (Some(name), _) => format!("@{name}"),
                (None, value) => {
                    value.as_ref().and_then(|v| v.as_scalar_f32()).map_or("a constant".into(), |v| v.to_string())
                }
            },
            None => {
                let input = nodes.iter().find(|n| n.op == crate::lang::INPUT);
                let value = input.and_then(|n| self.encoded.inputs.get(n.payload as usize));
                match (value, nodes.iter().find(|n| n.op == crate::lang::OUTPUT)) {
                    (Some(value), _) => self.graph.node(value.node).name().to_owned(),
                    (None, Some(output)) => {
                        let whole = self.encoded.egraph.find(output.children[0]);
                        format!("{}:{}", self.name(whole), output.payload)
                    }
                    (None, None) => "an absent input".to_owned(),
                }
            }
        }
    }

    /// Every class: those of the graph's calls in execution order first.
    fn classes(&self) -> Vec<Id> {
        let egraph = &self.encoded.egraph;
        let mut seen = FxHashSet::default();
        let mut classes: Vec<Id> =
            self.graph.calls().filter_map(|id| self.encoded.class(id)).filter(|c| seen.insert(*c)).collect();
        let mut others: Vec<Id> = egraph.classes().map(|c| c.id).filter(|c| !seen.contains(c)).collect();
        others.sort_unstable();
        classes.extend(others);
        classes
    }

    /// A class and those that use it, up to this many steps away, the nearest first.
    fn users(&self, class: Id, steps: usize) -> Vec<Id> {
        let egraph = &self.encoded.egraph;
        let mut users = vec![class];
        let mut done = 0;
        for _ in 0..steps {
            let end = users.len();
            for i in done..end {
                for parent in egraph[users[i]].parents().map(|p| egraph.find(p)) {
                    if !users.contains(&parent) {
                        users.push(parent);
                    }
                }
            }
            done = end;
        }
        users
    }
}

/// Looks for a rule, or all rules of a definition, in the saturated e-graphs of a phase: everywhere, or for matches that a node is
/// part of.
///
/// # Errors
/// If there is no such rule in the phase or no such node, or rewriting fails.
pub fn why_not(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    rule: &str,
    at: Option<&str>,
    budget: &Budget,
) -> Result<WhyNot, RewriteError> {
    let wanted = named(rules, phase, rule)?;
    let graph = folded(graph)?;
    if let Some(name) = at
        && graph.find(name).is_none_or(|id| graph.node(id).call().is_none())
    {
        let names = graph.calls().map(|id| graph.node(id).name());
        return Err(RewriteError::UnknownNode { name: name.to_owned(), nearest: nearest(name, names) });
    }
    let mut answer = Answer::default();
    watch(&graph, rules, phase, budget, &mut |mut done| {
        let part = match at {
            None => None,
            Some(name) => match done.graph.find(name).and_then(|id| done.encoded.class(id)) {
                None => return Ok(()),
                part => part,
            },
        };
        let (mut found, mut misses) = (Vec::new(), Misses::default());
        for number in (0..done.rules.len()).filter(|n| wanted.contains(&done.rules[*n].name)) {
            look(&done, number, part, &mut found, &mut misses);
        }
        answer.miss(misses);
        answer.settle(&mut done, found)
    })?;
    Ok(answer.finish(at.is_some()))
}

/// A match that was found: its rule, class, calls, and where the node that was asked about stands.
struct Found {
    number: usize,
    class: Id,
    nodes: SmallVec<[Call; 4]>,
    stands: Option<String>,
}

/// Looks for a rule in a region.
fn look(done: &Done<'_>, number: usize, part: Option<Id>, found: &mut Vec<Found>, misses: &mut Misses) {
    let rule = done.rules[number];
    let view = View::new(&done.encoded.egraph);
    let is_part: &dyn Fn(Call) -> bool = &|n| part.is_none_or(|p| n.class() == p);
    // One step fewer than the pattern is deep.
    let roots = part.map_or_else(|| done.classes(), |p| done.users(p, rule.pattern.depth().saturating_sub(1)));
    for (steps, class) in roots.into_iter().enumerate() {
        let mut near = (true, 0);
        let mut stands = None;
        if let Some(part) = part {
            let Some(place) = position(&view, &rule.pattern, class, part) else { continue };
            near = (place.fits, steps);
            stands = (class != part).then_some(place.path);
        }
        let name = |c| done.name(c);
        match trace(&view, &rule.pattern, &rule.conditions, class, &name, part.is_some().then_some(is_part)) {
            Outcome::Without => {}
            Outcome::Misses(miss) => {
                if miss.matched > 0 || part.is_some() {
                    let (rule, calls) = (rule.name.clone(), rule.pattern.calls());
                    let node: Arc<str> = Arc::from(done.name(class));
                    let place = (rule.clone(), node.clone());
                    // Of classes of one name the first, unless another came nearer.
                    if misses.get(&place).is_none_or(|(before, _)| before.miss.matched < miss.matched) {
                        misses.insert(place, (Missed { rule, calls, node, stands, miss }, near));
                    }
                }
            }
            Outcome::Matches => {
                let _ = search(&view, &rule.pattern, class, |m| {
                    let env = Env::new(&view, &m.bindings);
                    if m.nodes.iter().any(|n| is_part(*n)) && rule.conditions.iter().all(|c| env.holds(c)) {
                        found.push(Found { number, class, nodes: m.nodes, stands: stands.clone() });
                    }
                    ControlFlow::Continue(())
                });
            }
        }
    }
}

/// A rule and the node at the root.
type Place = (Arc<str>, Arc<str>);

/// Misses, with how near each is apart from the calls that match: whether the operator of the node that was asked about fits, and
/// how far above it the root is.
type Misses = IndexMap<Place, (Missed, (bool, usize))>;

/// What was found so far, in the regions and where they meet.
#[derive(Default)]
struct Answer {
    matches: IndexMap<Place, Vec<Matched>>,
    misses: Misses,
}

impl Answer {
    /// Adds the misses of a region. What is found where regions meet has seen more than what ended at the cut.
    fn miss(&mut self, region: Misses) {
        for (place, (missed, near)) in region {
            if self.misses.get(&place).is_none_or(|(before, _)| before.miss.matched <= missed.miss.matched) {
                self.misses.insert(place, (missed, near));
            }
        }
    }

    /// Adds the matches of a region with what became of them.
    fn settle(&mut self, done: &mut Done<'_>, found: Vec<Found>) -> Result<(), RewriteError> {
        if found.is_empty() {
            return Ok(());
        }
        let mut fates = Vec::new();
        let used = used(done);
        let extraction = done.extraction()?;
        for m in &found {
            fates.push(fate(done, &extraction, &used, m));
        }
        let mut new: IndexMap<Place, Vec<Matched>> = IndexMap::new();
        for (m, fate) in found.into_iter().zip(fates) {
            let fate = match fate {
                Some(fate) => fate,
                None => refusal(done, m.number, m.class).map_or(Fate::NothingNew, Fate::Rejected),
            };
            let facts = &done.encoded.egraph.analysis;
            // The root of the match, where a rule may have made other calls equal to it.
            let root = m.nodes.first().map(|root| facts.log.name(root.provenance, done.graph, facts));
            let node: Arc<str> = Arc::from(root.unwrap_or_else(|| done.name(m.class)));
            let rule = done.rules[m.number].name.clone();
            let matched = Matched { rule: rule.clone(), node: node.clone(), stands: m.stands, fate };
            new.entry((rule, node)).or_default().push(matched);
        }
        for (place, mut matches) in new {
            // A value that is part of itself matches once more for each way round.
            if matches.iter().any(|m| m.fate != Fate::NothingNew) {
                matches.retain(|m| m.fate != Fate::NothingNew);
            }
            matches.dedup();
            // What a region has in the result stays there; else what is found where regions meet has seen more.
            let lasting = |m: &Matched| matches!(m.fate, Fate::Chosen | Fate::Used);
            let before = self.matches.get(&place);
            if before.is_none_or(|before| !before.iter().any(lasting) || matches.iter().any(lasting)) {
                self.matches.insert(place, matches);
            }
        }
        Ok(())
    }

    fn finish(self, one_node: bool) -> WhyNot {
        let mut misses: Vec<(Missed, (bool, usize))> =
            self.misses.into_iter().filter(|(place, _)| !self.matches.contains_key(place)).map(|(_, m)| m).collect();
        // Stable, so that equally near misses stay in execution order.
        misses.sort_by_key(|(m, (fits, steps))| (Reverse((*fits, m.miss.matched)), *steps));
        let matches: Vec<Matched> = self.matches.into_values().flatten().collect();
        // Of one node the question is whether it takes part in a match.
        let most = if !one_node { usize::MAX } else { usize::from(matches.is_empty()) };
        WhyNot { matches, misses: misses.into_iter().map(|m| m.0).take(most).collect() }
    }
}

/// Why none of the matches of a rule at a class can be rewritten, if so.
fn refusal(done: &mut Done<'_>, number: usize, class: Id) -> Option<String> {
    let rule = done.rules[number];
    let mut plans = Vec::new();
    let mut reason = None;
    let view = View::new(&done.encoded.egraph);
    let _ = search(&view, &rule.pattern, class, |found| {
        let env = Env::new(&view, &found.bindings);
        if rule.conditions.iter().all(|c| env.holds(c)) {
            match plan(&rule.template, env) {
                Ok(plan) => plans.push((plan, found.nodes)),
                Err(e) => reason = Some(e),
            }
        }
        ControlFlow::Continue(())
    });
    for (plan, nodes) in plans {
        match Applier::new(&mut done.encoded.egraph, number as u32, &nodes[..].into(), usize::MAX).add(&plan, true) {
            Err(Refusal::Unfit(e)) => reason = Some(e),
            _ => return None,
        }
    }
    reason
}

/// What became of a match; nothing if it changed nothing.
fn fate(done: &Done<'_>, extraction: &Extraction<'_>, used: &FxHashSet<u32>, m: &Found) -> Option<Fate> {
    let egraph = &done.encoded.egraph;
    let log = &egraph.analysis.log;
    let from: SmallVec<[u32; 4]> = m.nodes.iter().map(|n| n.provenance).collect();
    let of_rule =
        |(a, id): &(u32, Id)| log.applications[*a as usize].rule == m.number as u32 && egraph.find(*id) == m.class;
    let mut applications: Vec<u32> = log.joins().filter(of_rule).map(|(a, _)| a).collect();
    // What was matched may have become one with something older since: then any of the rule.
    let exact = |a: &u32| log.applications[*a as usize].from == from;
    if applications.iter().any(exact) {
        applications.retain(exact);
    }
    let made = |n: &ENode| log.result_of(n.provenance).is_some_and(|a| applications.contains(&a));
    let chosen = done.extracted.nodes.iter().find(|(c, _)| *c == m.class).map(|(_, node)| node);
    Some(if applications.is_empty() {
        return None;
    } else if chosen.is_some_and(made) {
        Fate::Chosen
    } else if applications.iter().any(|a| used.contains(a)) {
        Fate::Used
    } else if let Some(made) = egraph[m.class].nodes.iter().find(|n| made(n)) {
        extraction.cost_of_forcing(m.class, made).map_or(Fate::NotNeeded, |f| {
            Fate::NotChosen(Extra { cost: proper_difference(f.cost), repeated: f.repeated })
        })
    } else {
        // It made the value equal to one that was there.
        match chosen {
            None => Fate::NotNeeded,
            Some(chosen) if Some(&chosen.provenance) == from.first() => Fate::NothingNew,
            Some(_) => Fate::Chosen,
        }
    })
}

/// The applications that made the chosen nodes, or what was matched to make them.
fn used(done: &Done<'_>) -> FxHashSet<u32> {
    let log = &done.encoded.egraph.analysis.log;
    let chosen = done.extracted.nodes.iter().filter(|(_, n)| n.op >= CALL);
    chosen.flat_map(|(_, n)| log.ancestors(n.provenance)).filter_map(|p| log.application(p)).collect()
}

/// The results of rules that are not in the result of the phase although their place is: what choosing each would cost.
///
/// # Errors
/// If rewriting fails.
pub fn not_chosen(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
) -> Result<Vec<NotChosen>, RewriteError> {
    // Where regions meet, what one of them found may be found again.
    let mut out: IndexMap<Place, Vec<NotChosen>> = IndexMap::new();
    watch(&folded(graph)?, rules, phase, budget, &mut |done| {
        let extraction = done.extraction()?;
        let used = used(&done);
        let log = &done.encoded.egraph.analysis.log;
        let mut new: IndexMap<Place, Vec<NotChosen>> = IndexMap::new();
        for (class, chosen) in &done.extracted.nodes {
            let results = done.encoded.egraph[*class].nodes.iter().filter(|n| n.op >= CALL && *n != chosen);
            for node in results.filter(|n| log.application(n.provenance).is_none_or(|a| !used.contains(&a))) {
                let Some(application) = log.result_of(node.provenance) else { continue };
                let application = &log.applications[application as usize];
                let Some(forced) = extraction.cost_of_forcing(*class, node) else { continue };
                let rule = done.rules[application.rule as usize].name.clone();
                let node: Arc<str> = Arc::from(done.name(*class));
                let extra = Extra { cost: proper_difference(forced.cost), repeated: forced.repeated };
                new.entry((rule.clone(), node.clone())).or_default().push(NotChosen { rule, node, extra });
            }
        }
        out.extend(new);
        Ok(())
    })?;
    Ok(out.into_values().flatten().collect())
}

/// The rules of a phase that may run and have a name: one, or all rows of a definition.
fn named(rules: &RuleSet, phase: Phase, name: &str) -> Result<Vec<Arc<str>>, RewriteError> {
    let all = rules.named(name).map_err(|nearest| RewriteError::UnknownRule { name: name.to_owned(), nearest })?;
    if let Some(other) = all.iter().find(|r| r.phase != phase) {
        return Err(RewriteError::OtherPhase { name: name.to_owned(), phase: other.phase.name() });
    }
    let names: Vec<Arc<str>> = all.iter().map(|r| r.name.clone()).collect();
    let active = |name: &Arc<str>| rules.phase(phase).any(|r| r.name == *name);
    if !names.iter().any(active) {
        return Err(RewriteError::Approximate(name.to_owned()));
    }
    Ok(names)
}
