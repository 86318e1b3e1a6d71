//! Budgets, and what a rewrite did.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

/// Limits of rewriting. Reaching one is reported; what was found until then is still valid and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rounds of searching and applying.
    pub iterations: usize,
    /// E-nodes per e-node of the input graph.
    pub nodes_per_node: usize,
    /// E-nodes allowed besides.
    pub spare_nodes: usize,
    /// Applications that change something, over all regions: to find the one that goes wrong, by bisection.
    pub applications: usize,
    /// Calls that are rewritten as one e-graph. A larger graph is split where the fewest values cross.
    pub region: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { iterations: 30, nodes_per_node: 8, spare_nodes: 1000, applications: usize::MAX, region: 2000 }
    }
}

/// Why a saturation ended. In ascending order of how much was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// No rule changes anything any more.
    Saturated,
    /// [`Budget::iterations`] was reached.
    Iterations,
    /// The budget of e-nodes was reached.
    Nodes,
    /// [`Budget::applications`] was reached.
    Applications,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Saturated => "saturated",
            Stop::Iterations => "stopped at the limit of iterations",
            Stop::Nodes => "stopped at the limit of e-nodes",
            Stop::Applications => "stopped at the limit of applications",
        })
    }
}

/// What one rule did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// Values where a match was looked for.
    pub searched: usize,
    /// Matches that met the conditions.
    pub matched: usize,
    /// Matches that made something equal that was not known to be.
    pub applied: usize,
    /// Nodes of the result that it had a part in.
    pub used: usize,
    /// Matches that could not be rewritten, and why.
    pub rejected: BTreeMap<String, usize>,
    /// Time spent on searching and applying it.
    pub time: Duration,
}

/// A node of the result that a rule made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTrace {
    /// The node.
    pub node: Arc<str>,
    /// The rule.
    pub rule: Arc<str>,
    /// The nodes of the graph before that it replaces, in execution order.
    pub replaces: Vec<Arc<str>>,
    /// How it came about, the first application first.
    pub steps: Vec<Step>,
}

/// A rule applied to calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: Arc<str>,
    /// The matched calls, the root first. Calls that rules made have the name of what they replace.
    pub from: Vec<Arc<str>>,
}

/// What a rewrite did.
#[derive(Clone, Debug, Default)]
pub struct RewriteReport {
    /// What each phase did.
    pub phases: Vec<PhaseStats>,
    /// The rules that were searched, by name.
    pub rules: IndexMap<Arc<str>, RuleStats>,
    /// Which rule made which node.
    pub nodes: Vec<NodeTrace>,
    /// Equal calls that became one: (dropped, kept).
    pub merged: Vec<(Arc<str>, Arc<str>)>,
    /// Calls on constants that were evaluated.
    pub folded: Vec<Arc<str>>,
    /// Applications that changed something: what [`Budget::applications`] counts.
    pub applications: usize,
    /// The last of them.
    pub last_application: Option<Step>,
}

/// One phase: its saturations and extractions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseStats {
    /// Which rules ran.
    pub phase: &'static str,
    /// E-graphs it took.
    pub regions: usize,
    /// Rounds, of the region that took most.
    pub iterations: usize,
    /// E-nodes at the end, of all regions.
    pub e_nodes: usize,
    /// Why it ended, of the region that was cut off most.
    pub stop: Stop,
    /// Cost of the graph before, in the engine's units.
    pub cost_before: u64,
    /// Cost of the graph after.
    pub cost: u64,
    /// Time spent.
    pub time: PhaseTime,
}

/// Where the time of a phase went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTime {
    /// Building the e-graph.
    pub encode: Duration,
    /// Searching and applying rules.
    pub saturate: Duration,
    /// Choosing the result.
    pub extract: Duration,
    /// Building the new graph.
    pub rebuild: Duration,
}

impl RewriteReport {
    /// How many nodes of the result a rule had a part in.
    pub fn used(&self, rule: &str) -> usize {
        self.rules.get(rule).map_or(0, |r| r.used)
    }
}

impl fmt::Display for RewriteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phase in &self.phases {
            let (name, rounds) = (phase.phase, phase.iterations);
            write!(f, "{name}: {} after {rounds} rounds, {} e-nodes", phase.stop, phase.e_nodes)?;
            if phase.regions > 1 {
                write!(f, " in {} regions", phase.regions)?;
            }
            writeln!(f)?;
        }
        for (name, rule) in self.rules.iter().filter(|(_, r)| r.matched > 0) {
            writeln!(f, "  {name}: {} matched, {} used", rule.matched, rule.used)?;
            for (reason, count) in &rule.rejected {
                writeln!(f, "    {count} rejected: {reason}")?;
            }
        }
        for (dropped, kept) in &self.merged {
            writeln!(f, "  {dropped} is the same as {kept}")?;
        }
        if !self.folded.is_empty() {
            writeln!(f, "  {} calls on constants evaluated", self.folded.len())?;
        }
        Ok(())
    }
}
