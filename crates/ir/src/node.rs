//! Nodes and references to their outputs.

use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;
use quantc_ops::{Attrs, OpRef};
use quantc_tensor::TensorType;
use smallvec::SmallVec;

use crate::Origin;

/// A node of one graph. Stays valid while other nodes are added and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) NodeIndex);

impl NodeId {
    /// A dense-ish number: below [`crate::Graph::bound`].
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// One output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueRef {
    /// The node.
    pub node: NodeId,
    /// Which of its outputs.
    pub output: u32,
}

impl From<NodeId> for ValueRef {
    fn from(node: NodeId) -> Self {
        ValueRef { node, output: 0 }
    }
}

/// What a node is (FX's `op`).
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// An input of the graph.
    Placeholder,
    /// A parameter or constant.
    GetAttr {
        /// Its name in [`crate::Graph::params`].
        param: Arc<str>,
    },
    /// A call of an operator.
    Call {
        /// The operator.
        op: OpRef,
        /// Its attributes, without those equal to a default.
        attrs: Attrs,
    },
    /// The output node; its inputs are the graph's outputs.
    Output {
        /// A name for each output.
        names: Vec<Arc<str>>,
    },
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique name within the graph.
    pub(crate) name: Arc<str>,
    pub(crate) kind: NodeKind,
    pub(crate) inputs: SmallVec<[Option<ValueRef>; 4]>,
    pub(crate) types: SmallVec<[TensorType; 1]>,
    pub(crate) origins: SmallVec<[Origin; 1]>,
    pub(crate) prev: Option<NodeId>,
    pub(crate) next: Option<NodeId>,
}

impl Node {
    /// Unique name within the graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn kind(&self) -> &NodeKind {
        &self.kind
    }

    /// Inputs in order; `None` for an optional input left out.
    pub fn inputs(&self) -> &[Option<ValueRef>] {
        &self.inputs
    }

    /// Types of its outputs (none for the output node).
    pub fn types(&self) -> &[TensorType] {
        &self.types
    }

    /// Where it came from.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The operator and attributes, if it is a call.
    pub fn call(&self) -> Option<(OpRef, &Attrs)> {
        match &self.kind {
            NodeKind::Call { op, attrs } => Some((*op, attrs)),
            _ => None,
        }
    }

    /// Whether it is a call of the operator of that name.
    pub fn is_op(&self, name: &str) -> bool {
        self.call().is_some_and(|(op, _)| op.name() == name)
    }

    /// The parameter's name, if it is a `get_attr`.
    pub fn param(&self) -> Option<&Arc<str>> {
        match &self.kind {
            NodeKind::GetAttr { param } => Some(param),
            _ => None,
        }
    }
}
