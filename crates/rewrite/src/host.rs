//! Patterns on an e-graph: a value is a class, its definitions are the calls in it.

use egg::Id;
use quantc_ops::{Attrs, OpRef};
use quantc_pattern::matcher::Host;
use quantc_tensor::{Tensor, TensorType};
use smallvec::SmallVec;

use crate::lang::{EGraph, NONE, OUTPUT};

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

/// A view of an e-graph for the matcher.
pub(crate) struct View<'a>(pub(crate) &'a EGraph);

impl View<'_> {
    fn is_absent(&self, class: Id) -> bool {
        self.0[class].nodes.first().is_some_and(|n| n.op == NONE)
    }
}

impl Host for View<'_> {
    type Value = Id;
    type Node = Call;

    fn definitions(&self, value: Id) -> SmallVec<[Call; 2]> {
        let nodes = self.0[value].nodes.iter().enumerate().filter(|(_, n)| n.is_call());
        nodes
            .map(|(i, n)| Call {
                class: value,
                position: i as u32,
                op: n.op,
                attrs: n.payload,
                identity: n.identity,
                provenance: n.provenance,
            })
            .collect()
    }

    fn projections(&self, value: Id) -> SmallVec<[(u32, Id); 1]> {
        let nodes = self.0[value].nodes.iter().filter(|n| n.op == OUTPUT);
        nodes.map(|n| (n.payload, self.0.find(n.children[0]))).collect()
    }

    fn call(&self, node: Call) -> (OpRef, &Attrs) {
        let facts = &self.0.analysis;
        // A `Call` is only made from an e-node that is a call, and the tables only grow.
        let op = facts.op(node.op).unwrap_or_else(|| unreachable!("e-node {node:?} is no call"));
        (op, &facts.attrs[node.attrs as usize])
    }

    fn input_count(&self, node: Call) -> usize {
        self.0[node.class].nodes[node.position as usize].children.len()
    }

    fn input(&self, node: Call, i: usize) -> Option<Id> {
        let child = *self.0[node.class].nodes[node.position as usize].children.get(i)?;
        let child = self.0.find(child);
        (!self.is_absent(child)).then_some(child)
    }

    fn may_be_interior(&self, _value: Id) -> bool {
        true
    }

    fn ty(&self, value: Id) -> Option<&TensorType> {
        match self.0.analysis.types_of(self.0[value].data)?.as_slice() {
            [ty] => Some(ty),
            _ => None,
        }
    }

    fn constant(&self, value: Id) -> Option<&Tensor> {
        self.0.analysis.leaves.get(self.0[value].data.leaf as usize)?.value.as_ref()
    }

    fn is_constant(&self, value: Id) -> bool {
        self.0[value].data.constant
    }
}
