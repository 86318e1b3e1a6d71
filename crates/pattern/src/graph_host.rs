//! Patterns on a graph: directed matching from a root node.

use std::ops::ControlFlow;
use std::sync::Arc;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attrs, OpRef};
use quantc_tensor::{Tensor, TensorType};
use smallvec::{SmallVec, smallvec};

use crate::ast::Pattern;
use crate::backend::{BackendPatternConfig, Role, RoleValues};
use crate::expr::Env;
use crate::matcher::{Binding, Found, Host, search};

/// Stands for all outputs of a node, as opposed to one of several.
const WHOLE: u32 = u32::MAX;

/// A match of a pattern on a graph.
#[derive(Clone, Debug)]
pub struct Match {
    /// The matched calls, the root (the last in execution order) first.
    pub nodes: Vec<NodeId>,
    /// The call that decides the qconfig.
    pub main: NodeId,
    /// What each value variable is bound to; absent optional inputs and repeated inputs are left out.
    pub bindings: IndexMap<Arc<str>, ValueRef>,
    /// The values of a backend pattern by role; for a plain pattern every value is an input.
    pub values: RoleValues,
}

impl Host for Graph {
    type Value = ValueRef;
    type Node = NodeId;

    fn definitions(&self, value: ValueRef) -> SmallVec<[NodeId; 2]> {
        let node = self.node(value.node);
        if node.call().is_some() && (value.output == WHOLE || node.types().len() == 1) {
            smallvec![value.node]
        } else {
            SmallVec::new()
        }
    }

    fn calls_of(&self, value: ValueRef, ops: &[OpRef]) -> SmallVec<[NodeId; 2]> {
        let mut nodes = self.definitions(value);
        nodes.retain(|id| ops.contains(&self.call(*id).0));
        nodes
    }

    fn projections(&self, value: ValueRef) -> SmallVec<[(u32, ValueRef); 1]> {
        if value.output != WHOLE && self.node(value.node).types().len() > 1 {
            smallvec![(value.output, ValueRef { node: value.node, output: WHOLE })]
        } else {
            SmallVec::new()
        }
    }

    fn call(&self, node: NodeId) -> (OpRef, &Attrs) {
        // Only nodes that `definitions` gave are asked about, and those are calls.
        self.node(node).call().unwrap_or_else(|| unreachable!("{} is no call", self.node(node).name()))
    }

    fn input_count(&self, node: NodeId) -> usize {
        self.node(node).inputs().len()
    }

    fn input(&self, node: NodeId, i: usize) -> Option<ValueRef> {
        self.node(node).inputs().get(i).copied().flatten()
    }

    fn may_be_interior(&self, value: ValueRef) -> bool {
        self.uses(value.node).len() == 1
    }

    fn ty(&self, value: ValueRef) -> Option<&TensorType> {
        self.node(value.node).types().get(value.output as usize)
    }

    fn constant(&self, value: ValueRef) -> Option<&Tensor> {
        Graph::constant(self, value)
    }

    fn is_constant(&self, value: ValueRef) -> bool {
        self.node(value.node).param().is_some()
    }
}

fn first(
    graph: &Graph,
    node: NodeId,
    pattern: &Pattern,
    accept: impl Fn(&Found<Graph>) -> bool,
) -> Option<Found<Graph>> {
    let mut result = None;
    let _ = search(graph, pattern, ValueRef { node, output: WHOLE }, |found| {
        if accept(&found) {
            result = Some(found);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    result
}

fn finish(found: &Found<Graph>, pattern: &Pattern, role: impl Fn(usize) -> Role, main: Option<usize>) -> Match {
    let mut bindings = IndexMap::new();
    let mut values = RoleValues::default();
    let mut add = |var: usize, value: ValueRef| match role(var) {
        Role::Input => values.inputs.push(value),
        Role::Weight => values.weights.push(value),
        Role::Bias => values.bias = Some(value),
    };
    for (id, var) in pattern.vars.iter().enumerate() {
        match &found.bindings[id] {
            Binding::Value(v) => {
                bindings.insert(var.name.clone(), *v);
                add(id, *v);
            }
            Binding::Seq(items) => {
                for item in items {
                    if let Binding::Value(v) = item {
                        add(id, *v);
                    }
                }
            }
            _ => {}
        }
    }
    let main = match main.map(|var| &found.bindings[var]) {
        Some(Binding::Node(n)) => *n,
        _ => found.nodes[0],
    };
    Match { nodes: found.nodes.to_vec(), main, bindings, values }
}

/// Matches a pattern with its root at a node, the first way that fits. A call below the root must have that one use, and the
/// graph's outputs count as uses.
pub fn match_pattern(graph: &Graph, root: NodeId, pattern: &Pattern) -> Option<Match> {
    let found = first(graph, root, pattern, |_| true)?;
    Some(finish(&found, pattern, |_| Role::Input, None))
}

pub(crate) fn match_config(graph: &Graph, root: NodeId, config: &BackendPatternConfig) -> Option<Match> {
    let found = first(graph, root, &config.pattern, |f| config.holds(Env::new(graph, &f.bindings)))?;
    Some(finish(&found, &config.pattern, |var| config.role(var).unwrap_or(Role::Input), config.root))
}
