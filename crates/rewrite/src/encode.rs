//! A graph, or a region of it, as an e-graph.

use std::sync::Arc;

use egg::Id;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{InputKind, OpClass};
use quantc_tensor::TensorType;
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

use crate::lang::{EGraph, ENode, Facts, INPUT, LEAF, Leaf, NONE, OUTPUT, ROOT, UNKNOWN};
use crate::regions::Region;

/// An e-graph and how the source graph relates to it.
pub(crate) struct Encoded {
    pub(crate) egraph: EGraph,
    /// The class of each node of the region, by node index.
    class_of: Vec<Option<Id>>,
    /// The calls that were encoded, in execution order.
    pub(crate) calls: Vec<NodeId>,
    /// Values from outside the region, by the payload of their [`INPUT`].
    pub(crate) inputs: Vec<ValueRef>,
    /// The class of all outputs of the region together.
    pub(crate) root: Id,
}

impl Encoded {
    /// The class of a node, if it is in the region.
    pub(crate) fn class(&self, node: NodeId) -> Option<Id> {
        self.class_of.get(node.index()).copied().flatten().map(|id| self.egraph.find(id))
    }

    /// Calls of the source graph by the e-node they are now: calls that turned out equal share one.
    pub(crate) fn by_node(&self) -> FxHashMap<ENode, SmallVec<[NodeId; 1]>> {
        let mut groups: FxHashMap<ENode, SmallVec<[NodeId; 1]>> = FxHashMap::default();
        groups.reserve(self.calls.len());
        for call in &self.calls {
            if let Some(node) = self.node(*call) {
                groups.entry(node).or_default().push(*call);
            }
        }
        groups
    }

    /// The e-node that a call of the region is now.
    pub(crate) fn node(&self, call: NodeId) -> Option<ENode> {
        let mut node = self.egraph.id_to_node(self.class_of[call.index()]?).clone();
        node.children.iter_mut().for_each(|c| *c = self.egraph.find(*c));
        Some(node)
    }
}

/// Adds the calls of a region and what they use.
pub(crate) fn encode(graph: &Graph, region: &Region) -> Encoded {
    let mut facts = Facts::new();
    let inputs = region.calls.iter().flat_map(|id| graph.node(*id).inputs().iter().flatten());
    facts.leaves.reserve_exact(inputs.filter(|v| graph.node(v.node).param().is_some()).count());
    let mut e = Encoder {
        graph,
        egraph: EGraph::new(facts),
        class_of: vec![None; graph.bound()],
        inputs: Vec::new(),
        values: FxHashMap::default(),
    };
    let mut calls = Vec::with_capacity(region.calls.len());
    for &id in &region.calls {
        if e.call(id) {
            calls.push(id);
        }
    }
    let children: SmallVec<[Id; 4]> = region.outputs.iter().map(|v| e.value(*v)).collect();
    let root = e.egraph.add(ENode { children, ..ENode::leaf(ROOT, 0) });
    e.egraph.rebuild();
    Encoded { egraph: e.egraph, class_of: e.class_of, calls, inputs: e.inputs, root }
}

struct Encoder<'g> {
    graph: &'g Graph,
    egraph: EGraph,
    class_of: Vec<Option<Id>>,
    inputs: Vec<ValueRef>,
    /// Projections and values from outside.
    values: FxHashMap<ValueRef, Id>,
}

impl Encoder<'_> {
    fn add(&mut self, node: ENode, types: &[TensorType]) -> Id {
        let ty = self.egraph.analysis.type_id(types);
        add_typed(&mut self.egraph, node, ty)
    }

    /// Adds a call; whether the node is one.
    fn call(&mut self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let Some((op, attrs)) = node.call() else { return false };
        let mut children: SmallVec<[Id; 4]> = SmallVec::new();
        let inputs = &op.signature().inputs;
        let variadic = inputs.last().is_some_and(|i| i.kind == InputKind::Variadic);
        // Every optional input is there, absent or not, so that a position always means the same input.
        let count = if variadic { node.inputs().len() } else { inputs.len() };
        for i in 0..count {
            children.push(match node.inputs().get(i).copied().flatten() {
                Some(v) => self.value(v),
                None => self.egraph.add(ENode::leaf(NONE, 0)),
            });
        }
        let facts = &mut self.egraph.analysis;
        let code = facts.op_code(op);
        let identity = if op.class() == OpClass::Heavy { id.index() as u32 + 1 } else { 0 };
        let payload = facts.attrs_id(attrs);
        let provenance = facts.log.source(code, id);
        let class = self.add(ENode { op: code, payload, identity, children, provenance }, node.types());
        self.class_of[id.index()] = Some(class);
        true
    }

    fn value(&mut self, value: ValueRef) -> Id {
        let node = self.graph.node(value.node);
        let whole = self.class_of[value.node.index()];
        match whole {
            Some(class) if node.types().len() < 2 => return class,
            _ => {}
        }
        if let Some(id) = self.values.get(&value) {
            return *id;
        }
        let types = &node.types()[value.output as usize..=value.output as usize];
        let id = match (whole, node.param()) {
            (Some(whole), _) => {
                let node = ENode { children: smallvec![whole], ..ENode::leaf(OUTPUT, value.output) };
                self.add(node, types)
            }
            (None, Some(param)) => {
                let facts = &mut self.egraph.analysis;
                let ty = facts.type_id(types);
                let value = self.graph.params().get(param).and_then(|p| p.value.clone()).map(Box::new);
                let leaf = facts.leaf(Leaf { name: Some(Arc::clone(param)), value, ty });
                add_typed(&mut self.egraph, ENode::leaf(LEAF, leaf), ty)
            }
            (None, None) => {
                self.inputs.push(value);
                self.add(ENode::leaf(INPUT, self.inputs.len() as u32 - 1), types)
            }
        };
        self.values.insert(value, id);
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
