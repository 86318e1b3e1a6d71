//! One phase on one graph: region by region, then where the regions meet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quantc_ir::{Graph, NodeId};
use quantc_pattern::{Phase, Rule, RuleSet};
use quantc_tensor::Tensor;

use crate::RewriteError;
use crate::cost::proper;
use crate::encode::{Encoded, encode};
use crate::extract::{Extracted, Extraction};
use crate::lang::{Contradiction, Facts};
use crate::provenance::Application;
use crate::rebuild::{Builder, Rebuilt, chain, settle_names};
use crate::regions::{Region, seams, split};
use crate::report::{Budget, PhaseStats, PhaseTime, RewriteReport, Step, Stop};
use crate::saturate::{Saturation, Scope, saturate};

/// Saturates the rules of one phase, extracts and rebuilds the graph. Rules of class `approximate` are applied
/// only if the rule set allows them.
///
/// # Errors
/// If a rule is unsound.
pub fn run_phase(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
    report: &mut RewriteReport,
) -> Result<Graph, RewriteError> {
    run_watched(graph, rules, phase, budget, report, &mut |_| Ok(()))
}

/// A region that was rewritten, with its e-graph.
pub(crate) struct Done<'a> {
    /// The graph that the region is of.
    pub(crate) graph: &'a Graph,
    /// The rules that ran.
    pub(crate) rules: &'a [&'a Rule],
    pub(crate) encoded: Encoded,
    /// What was chosen.
    pub(crate) extracted: Extracted,
    /// Place of each node in the order of the graph.
    pub(crate) position: &'a [usize],
}

/// What is done with every region once it is rewritten.
pub(crate) type Watch<'w> = dyn FnMut(Done<'_>) -> Result<(), RewriteError> + 'w;

/// As [`run_phase`], with each region shown to `watch`.
///
/// # Errors
/// As [`run_phase`], and those of `watch`.
pub(crate) fn run_watched(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
    report: &mut RewriteReport,
    watch: &mut Watch<'_>,
) -> Result<Graph, RewriteError> {
    let rules = active(rules, phase);
    let mut run = Run::new(&rules, phase.name(), budget, report);
    let regions = split(graph, budget.region);
    let (Rebuilt { graph: mut out, mut traces, mut merged }, cuts) = run.pass(graph, &regions, watch)?;
    if !cuts.is_empty() {
        // What has become small enough is seen whole: a concatenation of values that are made far apart has no surroundings.
        let whole = out.calls().count() <= budget.region;
        let regions = if whole { vec![Region::whole(&out)] } else { seams(&out, &cuts) };
        let (sewn, _) = run.pass(&out, &regions, watch)?;
        traces = chain(traces, sewn.traces, &sewn.graph);
        merged.extend(sewn.merged);
        out = sewn.graph;
        settle_names(graph, &mut out, &mut traces);
    }
    let start = Instant::now();
    out.verify()?;
    run.stats.time.rebuild += start.elapsed();
    let stats = run.stats;
    for trace in &traces {
        let rules: BTreeSet<&Arc<str>> = trace.steps.iter().map(|s| &s.rule).collect();
        for rule in rules {
            report.rules.entry(rule.clone()).or_default().used += 1;
        }
    }
    report.rules.sort_unstable_keys();
    report.nodes.extend(traces);
    report.merged.extend(merged);
    report.phases.push(stats);
    tracing::debug!(phase = phase.name(), "{report}");
    Ok(out)
}

/// Saturates the rules of one phase on the whole graph as one region and chooses the result, without building it: what there is to
/// measure of the e-graph.
///
/// # Errors
/// If a rule is unsound.
pub fn saturate_and_extract(
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
) -> Result<PhaseStats, RewriteError> {
    let rules = active(rules, phase);
    let mut report = RewriteReport::default();
    let mut run = Run::new(&rules, phase.name(), budget, &mut report);
    run.best(graph, &Region::whole(graph), &Builder::new(graph).position)?;
    Ok(run.stats)
}

/// The rules of a phase that may run, in the order they run in.
pub(crate) fn active(rules: &RuleSet, phase: Phase) -> Vec<&Rule> {
    let mut active: Vec<&Rule> = rules.phase(phase).collect();
    active.sort_by(|a, b| a.name.cmp(&b.name));
    active
}

struct Run<'a> {
    rules: &'a [&'a Rule],
    names: Vec<Arc<str>>,
    budget: &'a Budget,
    report: &'a mut RewriteReport,
    stats: PhaseStats,
}

impl<'a> Run<'a> {
    fn new(rules: &'a [&'a Rule], phase: &'static str, budget: &'a Budget, report: &'a mut RewriteReport) -> Run<'a> {
        let names = rules.iter().map(|r| r.name.clone()).collect();
        let stats = PhaseStats {
            phase,
            regions: 0,
            iterations: 0,
            e_nodes: 0,
            stop: Stop::Saturated,
            cost_before: 0,
            cost: 0,
            time: PhaseTime::default(),
        };
        Run { rules, names, budget, report, stats }
    }

    /// Rewrites or copies each region of a graph: the new graph, and the last call of each region but the last.
    fn pass(
        &mut self,
        graph: &Graph,
        regions: &[Region],
        watch: &mut Watch<'_>,
    ) -> Result<(Rebuilt, Vec<NodeId>), RewriteError> {
        let mut builder = Builder::new(graph);
        let mut cuts = Vec::new();
        // Costs of a later pass replace those of the same calls in an earlier one.
        let (cost_before, cost) = (self.stats.cost_before, self.stats.cost);
        for region in regions {
            if region.rewrite {
                self.region(graph, region, &mut builder, watch)?;
            } else {
                builder.copy(region)?;
            }
            cuts.extend(builder.last());
        }
        cuts.pop();
        if cost_before > 0 {
            let saved = (self.stats.cost_before - cost_before) - (self.stats.cost - cost);
            (self.stats.cost_before, self.stats.cost) = (cost_before, cost - saved);
        }
        let start = Instant::now();
        let rebuilt = builder.finish()?;
        self.stats.time.rebuild += start.elapsed();
        Ok((rebuilt, cuts))
    }

    fn region(
        &mut self,
        graph: &Graph,
        region: &Region,
        builder: &mut Builder<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), RewriteError> {
        let (encoded, extracted) = self.best(graph, region, &builder.position)?;
        let start = Instant::now();
        builder.rewrite(region, &encoded, &extracted, &self.names)?;
        self.stats.time.rebuild += start.elapsed();
        watch(Done { graph, rules: self.rules, encoded, extracted, position: &builder.position })
    }

    /// Saturates a region and chooses the cheapest graph.
    fn best(
        &mut self,
        graph: &Graph,
        region: &Region,
        position: &[usize],
    ) -> Result<(Encoded, Extracted), RewriteError> {
        let mut clock = Instant::now();
        let mut lap = |slot: &mut Duration| {
            let now = Instant::now();
            *slot += now - clock;
            clock = now;
        };
        let mut encoded = encode(graph, region);
        lap(&mut self.stats.time.encode);
        let left = self.budget.applications.saturating_sub(self.report.applications);
        let budget = Budget { applications: left, ..*self.budget };
        let saturation = saturate(&mut encoded.egraph, self.rules, &budget, Scope::Changed);
        lap(&mut self.stats.time.saturate);
        if !encoded.egraph.analysis.conflicts.is_empty() {
            return Err(self.unsound(graph, region, &budget, encoded));
        }
        let extracted = Extraction::new(&encoded.egraph, encoded.root, position).ok_or(RewriteError::NoTerm)?.result();
        lap(&mut self.stats.time.extract);
        self.stats.regions += 1;
        self.stats.cost_before += proper(extracted.cost_before);
        self.stats.cost += proper(extracted.cost);
        self.count(graph, &encoded, saturation);
        Ok((encoded, extracted))
    }

    /// Which rules made values equal that can't be: the phase runs once more, with care, up to the application that does it.
    fn unsound(&self, graph: &Graph, region: &Region, budget: &Budget, found: Encoded) -> RewriteError {
        let mut careful = encode(graph, region);
        let saturation = saturate(&mut careful.egraph, self.rules, budget, Scope::Careful);
        let exact = !careful.egraph.analysis.conflicts.is_empty();
        let encoded = if exact { careful } else { found };
        let egraph = &encoded.egraph;
        let facts = &egraph.analysis;
        let what = facts.conflicts.first().map_or(String::new(), |conflict| describe(facts, conflict.what));
        let class = facts.conflicts.first().and_then(|c| c.class).map(|id| egraph.find(id));
        let touching = facts.log.joins().rev().filter(|(_, id)| Some(egraph.find(*id)) == class);
        let touching = touching.map(|(a, _)| facts.log.applications[a as usize].clone());
        let last = saturation.last.filter(|_| exact).map(|(rule, from)| Application { rule: rule as u32, from });
        let mut joined: Vec<Step> = Vec::new();
        for application in last.into_iter().chain(touching) {
            let step = facts.log.step(&application, graph, facts, &self.names);
            if !joined.contains(&step) {
                joined.push(step);
            }
        }
        RewriteError::Unsound { what, phase: self.stats.phase, joined }
    }

    fn count(&mut self, graph: &Graph, encoded: &Encoded, saturation: Saturation) {
        let stats = &mut self.stats;
        stats.iterations = stats.iterations.max(saturation.iterations);
        stats.stop = stats.stop.max(saturation.stop);
        stats.e_nodes += encoded.egraph.total_number_of_nodes();
        for (rule, counts) in self.rules.iter().zip(saturation.counts).filter(|(_, c)| c.searched > 0) {
            let stats = self.report.rules.entry(rule.name.clone()).or_default();
            stats.searched += counts.searched;
            stats.matched += counts.matched;
            stats.applied += counts.applied;
            stats.time += counts.time;
            for (reason, count) in counts.rejected {
                *stats.rejected.entry(reason).or_default() += count;
            }
        }
        let facts = &encoded.egraph.analysis;
        let name = |p: &u32| Arc::from(facts.log.name(*p, graph, facts));
        self.report.applications += saturation.applied;
        if let Some((rule, from)) = saturation.last {
            let step = Step { rule: self.names[rule].clone(), from: from.iter().map(name).collect() };
            self.report.last_application = Some(step);
        }
    }
}

/// What can't be equal.
fn describe(facts: &Facts, what: Contradiction) -> String {
    match what {
        Contradiction::Types(a, b) => {
            let show = |t: u32| facts.types[t as usize].iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("values of different types ({} and {})", show(a), show(b))
        }
        Contradiction::Constants(a, b) => {
            let show = |leaf: u32| {
                let leaf = &facts.leaves[leaf as usize];
                match (&leaf.name, leaf.value.as_deref().and_then(Tensor::as_scalar_f32)) {
                    (_, Some(value)) => value.to_string(),
                    (Some(name), None) => format!("@{name}"),
                    (None, None) => leaf.ty.to_string(),
                }
            };
            format!("different constants ({} and {})", show(a), show(b))
        }
    }
}
