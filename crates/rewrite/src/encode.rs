//! A graph as an e-graph.

use std::collections::HashMap;
use std::sync::Arc;

use egg::Id;
use quantc_ir::{Graph, NodeId, NodeKind, ValueRef};
use quantc_ops::{InputKind, OpClass};
use smallvec::{SmallVec, smallvec};

use crate::lang::{EGraph, ENode, Facts, INPUT, LEAF, Leaf, NONE, OUTPUT, Provenance, ROOT, Types, UNKNOWN};

/// An e-graph and how the source graph relates to it.
pub(crate) struct Encoded {
    pub(crate) egraph: EGraph,
    /// The class of each node of the source graph.
    pub(crate) class_of: HashMap<NodeId, Id>,
    /// The class of all outputs together.
    pub(crate) root: Id,
    /// Calls that turned out equal to an earlier one: (later, earlier).
    pub(crate) merged: Vec<(NodeId, NodeId)>,
}

/// Adds every node of a graph.
pub(crate) fn encode(graph: &Graph) -> Encoded {
    let facts = Facts { next_type: UNKNOWN, ..Facts::default() };
    let mut e = Encoder { graph, egraph: EGraph::new(facts), class_of: HashMap::new(), outputs: HashMap::new() };
    let nothing: Arc<str> = Arc::from("");
    e.egraph.analysis.provenance.push(Provenance { sources: SmallVec::new(), name: nothing, rule: None });
    let mut merged = Vec::new();
    let mut root = None;
    for (index, id) in graph.order().enumerate() {
        let node = graph.node(id);
        match node.kind() {
            NodeKind::Placeholder => {
                e.add(id, ENode::leaf(INPUT, index as u32), node.types().into());
            }
            NodeKind::GetAttr { param } => {
                let leaf = e.egraph.analysis.leaves.len() as u32;
                let value = graph.params().get(param).and_then(|p| p.value.clone());
                e.egraph.analysis.leaves.push(Leaf { name: Some(param.clone()), value, ty: node.types()[0].clone() });
                e.add(id, ENode::leaf(LEAF, leaf), node.types().into());
            }
            NodeKind::Call { .. } => {
                if let Some(earlier) = e.call(id) {
                    merged.push((id, earlier));
                }
            }
            NodeKind::Output { .. } => {
                let children: SmallVec<[Id; 4]> = node.inputs().iter().flatten().map(|v| e.value(*v)).collect();
                root = Some(e.add(id, ENode { children, ..ENode::leaf(ROOT, 0) }, SmallVec::new()));
            }
        }
    }
    let root = root.unwrap_or_else(|| e.egraph.add(ENode::leaf(ROOT, 0)));
    e.egraph.rebuild();
    Encoded { egraph: e.egraph, class_of: e.class_of, root, merged }
}

struct Encoder<'g> {
    graph: &'g Graph,
    egraph: EGraph,
    class_of: HashMap<NodeId, Id>,
    /// Projections by value.
    outputs: HashMap<ValueRef, Id>,
}

impl Encoder<'_> {
    fn add(&mut self, id: NodeId, node: ENode, types: Types) -> Id {
        let ty = self.egraph.analysis.type_id(types);
        let class = add_typed(&mut self.egraph, node, ty);
        self.class_of.insert(id, class);
        class
    }

    /// Adds a call; returns the node it is equal to, if it is not new.
    fn call(&mut self, id: NodeId) -> Option<NodeId> {
        let node = self.graph.node(id);
        let (op, attrs) = node.call()?;
        let mut children: SmallVec<[Id; 4]> = SmallVec::new();
        let variadic = op.signature().inputs.last().is_some_and(|i| i.kind == InputKind::Variadic);
        // Every optional input is there, absent or not, so that a position always means the same input.
        let count = if variadic { node.inputs().len() } else { op.signature().inputs.len() };
        for i in 0..count {
            children.push(match node.inputs().get(i).copied().flatten() {
                Some(v) => self.value(v),
                None => self.egraph.add(ENode::leaf(NONE, 0)),
            });
        }
        let facts = &mut self.egraph.analysis;
        let provenance = facts.provenance.len() as u32;
        facts.provenance.push(Provenance { sources: smallvec![id], name: Arc::from(node.name()), rule: None });
        let enode = ENode {
            op: facts.op_code(op),
            payload: facts.attrs_id(attrs.clone()),
            identity: if op.class() == OpClass::Heavy { id.index() as u32 + 1 } else { 0 },
            children,
            provenance,
        };
        if let Some(existing) = self.egraph.lookup(enode.clone()) {
            let kept = self.egraph[existing].nodes.iter().find(|n| **n == enode)?.provenance;
            let earlier = self.egraph.analysis.provenance[kept as usize].sources.first().copied();
            self.egraph.analysis.provenance[kept as usize].sources.push(id);
            self.class_of.insert(id, existing);
            return earlier;
        }
        self.add(id, enode, node.types().into());
        None
    }

    fn value(&mut self, value: ValueRef) -> Id {
        let class = self.class_of[&value.node];
        let types = self.graph.node(value.node).types();
        if types.len() < 2 {
            return class;
        }
        if let Some(id) = self.outputs.get(&value) {
            return *id;
        }
        let ty = self.egraph.analysis.type_id(smallvec![types[value.output as usize].clone()]);
        let node = ENode { children: smallvec![class], ..ENode::leaf(OUTPUT, value.output) };
        let id = add_typed(&mut self.egraph, node, ty);
        self.outputs.insert(value, id);
        id
    }
}

/// Adds a node whose types are known.
pub(crate) fn add_typed(egraph: &mut EGraph, node: ENode, ty: u32) -> Id {
    egraph.analysis.next_type = ty;
    let id = egraph.add(node);
    egraph.analysis.next_type = UNKNOWN;
    id
}
