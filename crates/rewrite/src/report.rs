//! Budgets, and what a rewrite did.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

/// Limits of one saturation. Reaching one is reported; what was found until then is still valid and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rounds of searching and applying.
    pub iterations: usize,
    /// E-nodes per e-node of the input graph.
    pub nodes_per_node: usize,
    /// E-nodes allowed besides.
    pub spare_nodes: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { iterations: 30, nodes_per_node: 8, spare_nodes: 1000 }
    }
}

/// Why a saturation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No rule changes anything any more.
    Saturated,
    /// [`Budget::iterations`] was reached.
    Iterations,
    /// The budget of e-nodes was reached.
    Nodes,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Saturated => "saturated",
            Stop::Iterations => "stopped at the limit of iterations",
            Stop::Nodes => "stopped at the limit of e-nodes",
        })
    }
}

/// What one rule did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// Matches that met the conditions.
    pub matched: usize,
    /// Matches that added something new.
    pub applied: usize,
    /// Nodes of the result that come from it.
    pub used: usize,
    /// Matches that could not be rewritten, and why.
    pub rejected: BTreeMap<String, usize>,
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
}

/// What a rewrite did.
#[derive(Clone, Debug, Default)]
pub struct RewriteReport {
    /// One entry per saturation: its phase and why it ended.
    pub phases: Vec<PhaseStats>,
    /// Rules that matched, by name.
    pub rules: IndexMap<Arc<str>, RuleStats>,
    /// Which rule made which node.
    pub nodes: Vec<NodeTrace>,
    /// Equal calls that became one: (dropped, kept).
    pub merged: Vec<(Arc<str>, Arc<str>)>,
    /// Calls on constants that were evaluated.
    pub folded: Vec<Arc<str>>,
}

/// One saturation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseStats {
    /// Which rules ran.
    pub phase: &'static str,
    /// Rounds.
    pub iterations: usize,
    /// E-nodes at the end.
    pub e_nodes: usize,
    /// Why it ended.
    pub stop: Stop,
}

impl RewriteReport {
    /// How many nodes of the result a rule made.
    pub fn used(&self, rule: &str) -> usize {
        self.rules.get(rule).map_or(0, |r| r.used)
    }
}

impl fmt::Display for RewriteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phase in &self.phases {
            let (name, rounds) = (phase.phase, phase.iterations);
            writeln!(f, "{name}: {} after {rounds} rounds, {} e-nodes", phase.stop, phase.e_nodes)?;
        }
        for (name, rule) in &self.rules {
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
