//! The log of what made which e-node: the source graph, or an application of a rule to matched nodes. Everything that is said
//! about the result (names, origins, traces, explanations) is worked out from it, after extraction and only for what was chosen.

use std::sync::Arc;

use egg::Id;
use quantc_ir::{Graph, NodeId};
use smallvec::SmallVec;

use crate::lang::Facts;
use crate::report::Step;

/// Applying a rule to a match.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    /// An index in the engine's rules.
    pub(crate) rule: u32,
    /// Provenance of the matched calls, the root first.
    pub(crate) from: SmallVec<[u32; 4]>,
}

/// Where a call came from.
#[derive(Clone, Copy, Debug)]
enum Maker {
    /// Nothing that is logged: not a call.
    None,
    /// This node of the source graph.
    Source(NodeId),
    /// An application; `root` if the node is the result itself and not inside it.
    Rule { application: u32, root: bool },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The e-node's operator.
    op: u32,
    maker: Maker,
}

/// The log. Entry 0 stands for everything that is not a call.
#[derive(Debug)]
pub(crate) struct Log {
    entries: Vec<Entry>,
    pub(crate) applications: Vec<Application>,
    /// The applications that made two classes one, in order, each with one of the two.
    joins: Vec<(u32, Id)>,
}

impl Default for Log {
    fn default() -> Log {
        Log { entries: vec![Entry { op: 0, maker: Maker::None }], applications: Vec::new(), joins: Vec::new() }
    }
}

impl Log {
    /// The provenance of a call of the source graph.
    pub(crate) fn source(&mut self, op: u32, node: NodeId) -> u32 {
        self.push(Entry { op, maker: Maker::Source(node) })
    }

    /// The provenance of a call that an application made.
    pub(crate) fn made(&mut self, op: u32, application: u32, root: bool) -> u32 {
        self.push(Entry { op, maker: Maker::Rule { application, root } })
    }

    /// Logs an application.
    pub(crate) fn apply(&mut self, rule: u32, from: SmallVec<[u32; 4]>) -> u32 {
        self.applications.push(Application { rule, from });
        self.applications.len() as u32 - 1
    }

    /// Logs that an application made a class one with another.
    pub(crate) fn join(&mut self, application: u32, class: Id) {
        self.joins.push((application, class));
    }

    /// The applications that made classes one, the first first, each with one of the two as it was then.
    pub(crate) fn joins(&self) -> impl DoubleEndedIterator<Item = (u32, Id)> {
        self.joins.iter().copied()
    }

    /// An application with names.
    pub(crate) fn step(&self, application: &Application, graph: &Graph, facts: &Facts, rules: &[Arc<str>]) -> Step {
        let name = |p: &u32| Arc::from(self.name(*p, graph, facts));
        Step { rule: rules[application.rule as usize].clone(), from: application.from.iter().map(name).collect() }
    }

    fn push(&mut self, entry: Entry) -> u32 {
        self.entries.push(entry);
        self.entries.len() as u32 - 1
    }

    /// The rule that made a call.
    pub(crate) fn rule(&self, provenance: u32) -> Option<u32> {
        self.application(provenance).map(|a| self.applications[a as usize].rule)
    }

    /// The source node a call is, if no rule made it.
    pub(crate) fn source_node(&self, provenance: u32) -> Option<NodeId> {
        match self.entries[provenance as usize].maker {
            Maker::Source(node) => Some(node),
            _ => None,
        }
    }

    /// The application whose result, as a whole, a call is.
    pub(crate) fn result_of(&self, provenance: u32) -> Option<u32> {
        match self.entries[provenance as usize].maker {
            Maker::Rule { application, root: true } => Some(application),
            _ => None,
        }
    }

    /// The application that made a call.
    pub(crate) fn application(&self, provenance: u32) -> Option<u32> {
        match self.entries[provenance as usize].maker {
            Maker::Rule { application, .. } => Some(application),
            _ => None,
        }
    }

    /// A call and everything that was matched to make it.
    pub(crate) fn ancestors(&self, provenance: u32) -> Vec<u32> {
        let mut all = vec![provenance];
        let mut next = 0;
        while let Some(p) = all.get(next).copied() {
            next += 1;
            if let Some(a) = self.application(p) {
                for from in &self.applications[a as usize].from {
                    if !all.contains(from) {
                        all.push(*from);
                    }
                }
            }
        }
        all
    }

    /// The source nodes a call stands for: those that were matched, and those that what was matched stands for.
    pub(crate) fn sources(&self, provenance: u32) -> Vec<NodeId> {
        let mut sources = Vec::new();
        let mut seen = Vec::new();
        let mut work = vec![provenance];
        while let Some(p) = work.pop() {
            match self.entries[p as usize].maker {
                Maker::None => {}
                Maker::Source(node) => sources.push(node),
                Maker::Rule { application, .. } => {
                    if !seen.contains(&application) {
                        seen.push(application);
                        work.extend(&self.applications[application as usize].from);
                    }
                }
            }
        }
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// The name a call gets: its own in the source graph; that of the match's root for the result of a rule; inside a result, that
    /// of a matched call of the same operator.
    pub(crate) fn name(&self, provenance: u32, graph: &Graph, facts: &Facts) -> String {
        let entry = self.entries[provenance as usize];
        match entry.maker {
            Maker::None => String::new(),
            Maker::Source(node) => graph.node(node).name().to_owned(),
            Maker::Rule { application, root } => {
                let from = &self.applications[application as usize].from;
                let Some(first) = from.first() else { return String::new() };
                if root {
                    return self.name(*first, graph, facts);
                }
                match from.iter().find(|p| self.entries[**p as usize].op == entry.op) {
                    Some(same) => self.name(*same, graph, facts),
                    None => {
                        let op = facts.op(entry.op).map_or("", |op| op.name());
                        format!("{}.{op}", self.name(*first, graph, facts))
                    }
                }
            }
        }
    }

    /// How a call was made, the first application first.
    pub(crate) fn steps(&self, provenance: u32, graph: &Graph, facts: &Facts, rules: &[Arc<str>]) -> Vec<Step> {
        let mut applications = Vec::new();
        let mut work: Vec<u32> = self.application(provenance).into_iter().collect();
        while let Some(a) = work.pop() {
            if !applications.contains(&a) {
                applications.push(a);
                work.extend(self.applications[a as usize].from.iter().filter_map(|p| self.application(*p)));
            }
        }
        // A match can only have nodes that were there before.
        applications.sort_unstable();
        applications.into_iter().map(|a| self.step(&self.applications[a as usize], graph, facts, rules)).collect()
    }
}
