//! The extracted nodes as a graph.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use egg::Id;
use quantc_ir::{Graph, NodeId, NodeKind, Origin, ValueRef};
use quantc_pattern::Rule;

use crate::RewriteError;
use crate::encode::Encoded;
use crate::extract::Extracted;
use crate::lang::{ENode, INPUT, LEAF, NONE, OUTPUT, ROOT};
use crate::report::NodeTrace;

/// The new graph, and which rule made which of its nodes.
pub(crate) struct Rebuilt {
    pub(crate) graph: Graph,
    pub(crate) traces: Vec<NodeTrace>,
}

/// Builds the graph of the chosen nodes, in the source graph's order where that is possible.
pub(crate) fn rebuild(
    source: &Graph,
    encoded: &Encoded,
    extracted: &Extracted,
    rules: &[&Rule],
) -> Result<Rebuilt, RewriteError> {
    let mut position = vec![0usize; source.bound()];
    for (i, id) in source.order().enumerate() {
        position[id.index()] = i;
    }
    let mut builder = Builder {
        source,
        encoded,
        position,
        graph: Graph::new(source.name()),
        values: HashMap::new(),
        traces: Vec::new(),
        rules,
    };
    for id in source.placeholders() {
        let node = source.node(id);
        let new = builder.graph.placeholder(node.name(), node.types()[0].clone());
        builder.values.insert(builder.class(id), new.into());
    }
    for class in order(&builder, extracted) {
        builder.emit(class, &extracted.chosen[&class])?;
    }
    let Builder { graph, traces, .. } = builder;
    graph.verify()?;
    Ok(Rebuilt { graph, traces })
}

/// A topological order that prefers the source graph's order.
fn order(builder: &Builder<'_>, extracted: &Extracted) -> Vec<Id> {
    let egraph = &builder.encoded.egraph;
    let mut missing: HashMap<Id, usize> = HashMap::new();
    let mut users: HashMap<Id, Vec<Id>> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for (index, class) in extracted.order.iter().enumerate() {
        let node = &extracted.chosen[class];
        let mut children: Vec<Id> = node.children.iter().map(|c| egraph.find(*c)).collect();
        children.sort_unstable();
        children.dedup();
        if children.is_empty() {
            ready.push(Reverse((builder.rank(node), index)));
        }
        missing.insert(*class, children.len());
        for child in children {
            users.entry(child).or_default().push(*class);
        }
    }
    let index: HashMap<Id, usize> = extracted.order.iter().enumerate().map(|(i, c)| (*c, i)).collect();
    let mut out = Vec::new();
    while let Some(Reverse((_, i))) = ready.pop() {
        let class = extracted.order[i];
        out.push(class);
        for user in users.remove(&class).unwrap_or_default() {
            if let Some(left) = missing.get_mut(&user) {
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse((builder.rank(&extracted.chosen[&user]), index[&user])));
                }
            }
        }
    }
    out
}

struct Builder<'a> {
    source: &'a Graph,
    encoded: &'a Encoded,
    /// Place of each source node in execution order.
    position: Vec<usize>,
    graph: Graph,
    values: HashMap<Id, ValueRef>,
    traces: Vec<NodeTrace>,
    rules: &'a [&'a Rule],
}

impl Builder<'_> {
    fn class(&self, id: NodeId) -> Id {
        self.encoded.egraph.find(self.encoded.class_of[&id])
    }

    /// Where in the source graph's order a node belongs: at the last node it replaces.
    fn rank(&self, node: &ENode) -> usize {
        match node.op {
            ROOT => usize::MAX,
            OUTPUT | NONE | INPUT | LEAF => 0,
            _ => {
                let sources = &self.encoded.egraph.analysis.provenance[node.provenance as usize].sources;
                sources.iter().map(|s| self.position[s.index()]).max().unwrap_or(0)
            }
        }
    }

    fn value(&self, class: Id) -> Option<ValueRef> {
        self.values.get(&self.encoded.egraph.find(class)).copied()
    }

    fn emit(&mut self, class: Id, node: &ENode) -> Result<(), RewriteError> {
        let facts = &self.encoded.egraph.analysis;
        match node.op {
            // Placeholders are there already; an absent input has no value.
            INPUT | NONE => {}
            LEAF => {
                let leaf = &facts.leaves[node.payload as usize];
                let id = match (&leaf.name, &leaf.value) {
                    (Some(name), Some(value)) => self.graph.param(name, value.clone()),
                    (Some(name), None) => self.graph.declare_param(name, leaf.ty.clone()),
                    (None, value) => {
                        let Some(value) = value else { return Err(RewriteError::NoTerm) };
                        let name = match value.as_scalar_f32() {
                            Some(v) => format!("const_{v}"),
                            None => "const".to_owned(),
                        };
                        let name = self.fresh_param(&name);
                        self.graph.param(&name, value.clone())
                    }
                };
                self.values.insert(class, id.into());
            }
            OUTPUT => {
                let whole = self.value(node.children[0]).ok_or(RewriteError::NoTerm)?;
                self.values.insert(class, ValueRef { node: whole.node, output: node.payload });
            }
            ROOT => {
                let names = self.source.output_node().map(|o| self.source.node(o).kind().clone());
                let Some(NodeKind::Output { names }) = names else { return Ok(()) };
                let mut outputs = Vec::new();
                for (name, child) in names.iter().zip(&node.children) {
                    outputs.push((name.clone(), self.value(*child).ok_or(RewriteError::NoTerm)?));
                }
                self.graph.set_outputs(&outputs);
            }
            _ => self.call(class, node)?,
        }
        Ok(())
    }

    /// A name for a constant: neither a parameter of the new graph nor of the source graph, which may still come.
    fn fresh_param(&self, base: &str) -> Arc<str> {
        let mut name = base.to_owned();
        let mut n = 1;
        while self.graph.params().contains_key(name.as_str()) || self.source.params().contains_key(name.as_str()) {
            name = format!("{base}_{n}");
            n += 1;
        }
        Arc::from(name)
    }

    fn call(&mut self, class: Id, node: &ENode) -> Result<(), RewriteError> {
        let facts = &self.encoded.egraph.analysis;
        let provenance = &facts.provenance[node.provenance as usize];
        let op = facts.op(node.op).ok_or(RewriteError::NoTerm)?;
        let attrs = facts.attrs[node.payload as usize].clone();
        let inputs: Vec<Option<ValueRef>> = node.children.iter().map(|c| self.value(*c)).collect();
        let mut sources = provenance.sources.to_vec();
        sources.sort_by_key(|s| self.position[s.index()]);
        let mut origins: Vec<Origin> = Vec::new();
        for source in &sources {
            for origin in self.source.node(*source).origins() {
                if !origins.contains(origin) {
                    origins.push(origin.clone());
                }
            }
        }
        let id = self.graph.call(&provenance.name, op, &inputs, attrs, &origins)?;
        if let Some(types) = facts.types_of(self.encoded.egraph[class].data) {
            for (output, ty) in types.iter().enumerate().take(self.graph.node(id).types().len()) {
                // What the source graph declared beyond inference is kept; it can't contradict what was merged.
                self.graph.refine_type(ValueRef { node: id, output: output as u32 }, ty)?;
            }
        }
        if let Some(rule) = provenance.rule {
            self.traces.push(NodeTrace {
                node: Arc::from(self.graph.node(id).name()),
                rule: self.rules[rule as usize].name.clone(),
                replaces: sources.iter().map(|s| Arc::from(self.source.node(*s).name())).collect(),
            });
        }
        self.values.insert(class, id.into());
        Ok(())
    }
}
