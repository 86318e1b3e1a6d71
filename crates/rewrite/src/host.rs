//! Patterns on an e-graph: a value is a class, its definitions are the calls in it.

use egg::Id;
use quantc_ops::{Attrs, OpRef};
use quantc_pattern::matcher::Host;
use quantc_tensor::{Tensor, TensorType};
use smallvec::SmallVec;

use crate::lang::{Data, EGraph, ENode, NONE, OUTPUT};

/// A call of an e-graph. Operator, attributes and provenance stay valid while the e-graph changes; class and position only
/// until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    class: Id,
    position: u32,
    op: u32,
    attrs: u32,
    /// See [`crate::lang::ENode::identity`].
    pub(crate) identity: u32,
    /// See [`crate::lang::ENode::provenance`].
    pub(crate) provenance: u32,
}

impl Call {
    /// The class that has it.
    pub(crate) fn class(&self) -> Id {
        self.class
    }
}

/// The classes of an e-graph by id, for as long as it does not change: egg looks them up in a hash map.
pub(crate) type Classes<'a> = Vec<Option<&'a Class>>;

/// A class of an e-graph.
pub(crate) type Class = egg::EClass<ENode, Data>;

/// A view of an e-graph for the matcher.
pub(crate) struct View<'a> {
    egraph: &'a EGraph,
    classes: &'a [Option<&'a Class>],
}

impl<'a> View<'a> {
    /// Of an e-graph as it is.
    pub(crate) fn new(egraph: &'a EGraph) -> View<'a> {
        View { egraph, classes: &[] }
    }

    /// The same, with its classes at hand.
    pub(crate) fn with_classes(egraph: &'a EGraph, classes: &'a Classes<'a>) -> View<'a> {
        View { egraph, classes }
    }

    /// The e-nodes of a class that are wanted, all of them calls.
    fn calls(&self, value: Id, wanted: impl Fn(&ENode) -> bool) -> SmallVec<[Call; 2]> {
        let mut calls = SmallVec::new();
        for (i, n) in self.class(value).nodes.iter().enumerate() {
            if wanted(n) {
                calls.push(Call {
                    class: value,
                    position: i as u32,
                    op: n.op,
                    attrs: n.payload,
                    identity: n.identity,
                    provenance: n.provenance,
                });
            }
        }
        calls
    }

    fn class(&self, id: Id) -> &'a Class {
        match self.classes.get(usize::from(id)) {
            Some(Some(class)) => class,
            // Not canonical, or there is no table.
            _ => &self.egraph[id],
        }
    }
}

impl Host for View<'_> {
    type Value = Id;
    type Node = Call;

    fn definitions(&self, value: Id) -> SmallVec<[Call; 2]> {
        self.calls(value, ENode::is_call)
    }

    fn calls_of(&self, value: Id, ops: &[OpRef]) -> SmallVec<[Call; 2]> {
        let facts = &self.egraph.analysis;
        self.calls(value, |n| facts.op(n.op).is_some_and(|op| ops.contains(&op)))
    }

    fn projections(&self, value: Id) -> SmallVec<[(u32, Id); 1]> {
        let nodes = self.class(value).nodes.iter().filter(|n| n.op == OUTPUT);
        nodes.map(|n| (n.payload, self.class(n.children[0]).id)).collect()
    }

    fn call(&self, node: Call) -> (OpRef, &Attrs) {
        let facts = &self.egraph.analysis;
        // A `Call` is only made from an e-node that is a call, and the tables only grow.
        let op = facts.op(node.op).unwrap_or_else(|| unreachable!("e-node {node:?} is no call"));
        (op, &facts.attrs[node.attrs as usize])
    }

    fn input_count(&self, node: Call) -> usize {
        self.class(node.class).nodes[node.position as usize].children.len()
    }

    fn input(&self, node: Call, i: usize) -> Option<Id> {
        let child = *self.class(node.class).nodes[node.position as usize].children.get(i)?;
        let child = self.class(child);
        let absent = child.nodes.first().is_some_and(|n| n.op == NONE);
        (!absent).then_some(child.id)
    }

    fn may_be_interior(&self, _value: Id) -> bool {
        true
    }

    fn ty(&self, value: Id) -> Option<&TensorType> {
        match self.egraph.analysis.types_of(self.class(value).data)?.as_slice() {
            [ty] => Some(ty),
            _ => None,
        }
    }

    fn constant(&self, value: Id) -> Option<&Tensor> {
        self.egraph.analysis.leaves.get(self.class(value).data.leaf as usize)?.value.as_deref()
    }

    fn is_constant(&self, value: Id) -> bool {
        self.class(value).data.constant
    }
}
