//! Why a rule did not fire, and what became of the rules that did without being chosen.

use std::ops::ControlFlow;
use std::sync::Arc;

use egg::Id;
use quantc_ir::Graph;
use quantc_pattern::expr::Env;
use quantc_pattern::matcher::search;
pub use quantc_pattern::why_not::NearMiss;
use quantc_pattern::why_not::{Outcome, why_not as trace};
use quantc_pattern::{Phase, Rule, RuleSet};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use crate::apply::{Applier, Refusal, plan};
use crate::cost::proper_difference;
use crate::encode::{Encoded, encode};
use crate::extract::{Extracted, Extraction};
use crate::fold::fold_constants;
use crate::host::{Call, View};
use crate::lang::{CALL, ENode};
use crate::phase::active;
use crate::regions::Region;
use crate::report::Budget;
use crate::saturate::{Scope, saturate};
use crate::{RewriteError, error::nearest};

/// Where a rule came near, or matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyNot {
    /// The rule.
    pub rule: Arc<str>,
    /// How many calls a match has.
    pub calls: usize,
    /// Where it matches, in execution order.
    pub matches: Vec<Matched>,
    /// Where at least one call matched, the nearest misses first.
    pub misses: Vec<(Arc<str>, NearMiss)>,
}

/// A match and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The node at the root of the match.
    pub node: Arc<str>,
    /// What became of it.
    pub fate: Fate,
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

/// A phase that has run, with its e-graph.
struct Case<'r> {
    graph: Graph,
    rules: Vec<&'r Rule>,
    encoded: Encoded,
    position: Vec<usize>,
}

impl<'r> Case<'r> {
    fn new(graph: &Graph, rules: &'r RuleSet, phase: Phase, budget: &Budget) -> Result<Case<'r>, RewriteError> {
        let mut graph = graph.clone();
        fold_constants(&mut graph)?;
        let rules = active(rules, phase);
        let mut encoded = encode(&graph, &Region::whole(&graph));
        saturate(&mut encoded.egraph, &rules, budget, Scope::Changed);
        let mut position = vec![0; graph.bound()];
        graph.order().enumerate().for_each(|(i, id)| position[id.index()] = i);
        Ok(Case { graph, rules, encoded, position })
    }

    fn extraction(&self) -> Result<Extraction<'_>, RewriteError> {
        Extraction::new(&self.encoded.egraph, self.encoded.root, &self.position).ok_or(RewriteError::NoTerm)
    }

    /// What a class is called: the node of the source graph it is, else what a node in it replaces.
    fn name(&self, class: Id) -> String {
        let facts = &self.encoded.egraph.analysis;
        let nodes = &self.encoded.egraph[class].nodes;
        let calls = nodes.iter().filter(|n| n.op >= CALL);
        let own = calls.clone().find(|n| facts.log.source_node(n.provenance).is_some());
        if let Some(node) = own.or_else(|| calls.clone().next()) {
            return facts.log.name(node.provenance, &self.graph, facts);
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

    /// Classes to look at: that of a node, or all in execution order.
    fn classes(&self, at: Option<&str>) -> Result<Vec<Id>, RewriteError> {
        if let Some(name) = at {
            let class = self.graph.find(name).and_then(|id| self.encoded.class(id));
            return class.map(|c| vec![c]).ok_or_else(|| {
                let names = self.graph.calls().map(|id| self.graph.node(id).name());
                RewriteError::UnknownNode { name: name.to_owned(), nearest: nearest(name, names) }
            });
        }
        let egraph = &self.encoded.egraph;
        let mut seen = FxHashSet::default();
        let mut classes: Vec<Id> =
            self.graph.calls().filter_map(|id| self.encoded.class(id)).filter(|c| seen.insert(*c)).collect();
        let mut others: Vec<Id> = egraph.classes().map(|c| c.id).filter(|c| !seen.contains(c)).collect();
        others.sort_unstable();
        classes.extend(others);
        Ok(classes)
    }
}

/// Looks for a rule in the saturated e-graph of a phase, at one node or everywhere.
///
/// # Errors
/// If there is no such rule in the phase or no such node, or a constant can't be evaluated.
pub fn why_not(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    rule: &str,
    at: Option<&str>,
    budget: &Budget,
) -> Result<WhyNot, RewriteError> {
    check_rule(rules, phase, rule)?;
    let mut case = Case::new(graph, rules, phase, budget)?;
    let number = case.rules.iter().position(|r| &*r.name == rule);
    let Some(number) = number else { return Err(RewriteError::Approximate(rule.to_owned())) };
    let rule = case.rules[number];
    let mut matches: Vec<(Id, SmallVec<[Call; 4]>)> = Vec::new();
    let mut misses = Vec::new();
    for class in case.classes(at)? {
        let view = View::new(&case.encoded.egraph);
        match trace(&view, &rule.pattern, &rule.conditions, class, &|c| case.name(c)) {
            Outcome::Misses(miss) if miss.matched > 0 || at.is_some() => {
                misses.push((Arc::from(case.name(class)), miss));
            }
            Outcome::Misses(_) => {}
            Outcome::Matches => {
                let _ = search(&view, &rule.pattern, class, |found| {
                    let env = Env::new(&view, &found.bindings);
                    if rule.conditions.iter().all(|c| env.holds(c)) {
                        matches.push((class, found.nodes));
                    }
                    ControlFlow::Continue(())
                });
            }
        }
    }
    // Stable, so that equally near misses stay in execution order.
    misses.sort_by_key(|(_, miss)| std::cmp::Reverse(miss.matched));
    let mut fates = Vec::new();
    for (class, nodes) in matches {
        let refusal = refusal(&mut case, number, class);
        let fate = match refusal {
            Some(reason) => Fate::Rejected(reason),
            None => fate(&case, number, class, &nodes)?,
        };
        fates.push(Matched { node: Arc::from(case.name(class)), fate });
    }
    Ok(WhyNot { rule: rule.name.clone(), calls: rule.pattern.calls(), matches: fates, misses })
}

/// Why none of the matches of a rule at a class can be rewritten, if so.
fn refusal(case: &mut Case<'_>, number: usize, class: Id) -> Option<String> {
    let rule = case.rules[number];
    let mut plans = Vec::new();
    let mut reason = None;
    let view = View::new(&case.encoded.egraph);
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
        match Applier::new(&mut case.encoded.egraph, number as u32, &nodes[..].into(), usize::MAX).add(&plan, true) {
            Err(Refusal::Unfit(e)) => reason = Some(e),
            _ => return None,
        }
    }
    reason
}

fn fate(case: &Case<'_>, number: usize, class: Id, nodes: &[Call]) -> Result<Fate, RewriteError> {
    let egraph = &case.encoded.egraph;
    let log = &egraph.analysis.log;
    let extraction = case.extraction()?;
    let result = extraction.result();
    let from: SmallVec<[u32; 4]> = nodes.iter().map(|n| n.provenance).collect();
    let made = egraph[class]
        .nodes
        .iter()
        .find(|n| log.result_of(n.provenance).is_some_and(|a| a.rule == number as u32 && a.from == from));
    let Some(made) = made else { return Ok(Fate::NothingNew) };
    Ok(if result.nodes.iter().any(|(c, n)| *c == class && n == made) {
        Fate::Chosen
    } else if used(case, &result).contains(&made.provenance) {
        Fate::Used
    } else {
        extraction.cost_of_forcing(class, made).map_or(Fate::NotNeeded, |f| {
            Fate::NotChosen(Extra { cost: proper_difference(f.cost), repeated: f.repeated })
        })
    })
}

/// Provenance of everything that led to the chosen nodes.
fn used(case: &Case<'_>, result: &Extracted) -> FxHashSet<u32> {
    let log = &case.encoded.egraph.analysis.log;
    result.nodes.iter().filter(|(_, n)| n.op >= CALL).flat_map(|(_, n)| log.ancestors(n.provenance)).collect()
}

/// The results of rules that are not in the result of the phase although their place is: what choosing each would cost.
///
/// # Errors
/// If a constant can't be evaluated.
pub fn not_chosen(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
) -> Result<Vec<NotChosen>, RewriteError> {
    let case = Case::new(graph, rules, phase, budget)?;
    let extraction = case.extraction()?;
    let result = extraction.result();
    let used = used(&case, &result);
    let log = &case.encoded.egraph.analysis.log;
    let mut out = Vec::new();
    for (class, chosen) in &result.nodes {
        let results = case.encoded.egraph[*class].nodes.iter().filter(|n| n.op >= CALL && *n != chosen);
        let results: Vec<&ENode> = results.filter(|n| !used.contains(&n.provenance)).collect();
        for node in results {
            let Some(application) = log.result_of(node.provenance) else { continue };
            let Some(forced) = extraction.cost_of_forcing(*class, node) else { continue };
            out.push(NotChosen {
                rule: case.rules[application.rule as usize].name.clone(),
                node: Arc::from(case.name(*class)),
                extra: Extra { cost: proper_difference(forced.cost), repeated: forced.repeated },
            });
        }
    }
    Ok(out)
}

fn check_rule(rules: &RuleSet, phase: Phase, name: &str) -> Result<(), RewriteError> {
    match rules.find(name) {
        Some(rule) if rule.phase == phase => Ok(()),
        Some(rule) => Err(RewriteError::OtherPhase { name: name.to_owned(), phase: rule.phase.name() }),
        None => Err(RewriteError::UnknownRule {
            name: name.to_owned(),
            nearest: nearest(name, rules.rules.iter().map(|r| &*r.name)),
        }),
    }
}
