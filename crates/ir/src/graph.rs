//! The graph and the operations that keep its invariants.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use petgraph::Direction;
use petgraph::stable_graph::StableDiGraph;
use petgraph::visit::EdgeRef;
use quantc_ops::{Attrs, OpRef};
use quantc_tensor::{Tensor, TensorType};
use smallvec::SmallVec;

use crate::infer::infer_call;
use crate::{IrError, Node, NodeId, NodeKind, Origin, ValueRef};

/// A data dependence: output `output` of the source is input `input` of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) output: u32,
    pub(crate) input: u32,
}

/// A parameter or constant: its type, and its value unless only declared.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its type.
    pub ty: TensorType,
    /// Its value; `None` if the text form declared it without one.
    pub value: Option<Tensor>,
}

/// A graph in execution order.
///
/// Invariants (see [`Graph::verify`]): node names are unique; the order is topological; edges mirror inputs; types are those
/// that inference gives, or more specific ones; there is exactly one output node, the last.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: StableDiGraph<Node, Edge>,
    pub(crate) head: Option<NodeId>,
    pub(crate) tail: Option<NodeId>,
    pub(crate) by_name: HashMap<Arc<str>, NodeId>,
    /// Parameters by name, in order of declaration.
    pub(crate) params: IndexMap<Arc<str>, Param>,
    pub(crate) output: Option<NodeId>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Graph {
        Graph {
            name: name.to_owned(),
            nodes: StableDiGraph::new(),
            head: None,
            tail: None,
            by_name: HashMap::new(),
            params: IndexMap::new(),
            output: None,
        }
    }

    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Renames the graph.
    pub fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.node_count() == 0
    }

    /// An upper bound of [`NodeId::index`], for side tables.
    pub fn bound(&self) -> usize {
        self.nodes.node_indices().next_back().map_or(0, |i| i.index() + 1)
    }

    /// The node.
    ///
    /// # Panics
    /// If the node was removed or belongs to another graph: a bug of the caller, never of a user's input.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Whether the node is in the graph.
    pub fn contains(&self, id: NodeId) -> bool {
        self.nodes.contains_node(id.0)
    }

    /// The node of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// The type of a value.
    pub fn ty(&self, value: impl Into<ValueRef>) -> &TensorType {
        let value = value.into();
        &self.node(value.node).types[value.output as usize]
    }

    /// The constant a value is, if it is a parameter with a value.
    pub fn constant(&self, value: impl Into<ValueRef>) -> Option<&Tensor> {
        let param = self.node(value.into().node).param()?;
        self.params.get(param)?.value.as_ref()
    }

    /// Node ids in execution order.
    pub fn order(&self) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(self.head, move |id| self.node(*id).next)
    }

    /// Node ids from the last to the first.
    pub fn order_reversed(&self) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(self.tail, move |id| self.node(*id).prev)
    }

    /// The graph's inputs in order.
    pub fn placeholders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.order().filter(|id| matches!(self.node(*id).kind, NodeKind::Placeholder))
    }

    /// The calls in execution order.
    pub fn calls(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.order().filter(|id| matches!(self.node(*id).kind, NodeKind::Call { .. }))
    }

    /// The graph's outputs: names and values. Empty before [`Graph::set_outputs`].
    pub fn outputs(&self) -> Vec<(Arc<str>, ValueRef)> {
        let Some(output) = self.output.map(|id| self.node(id)) else { return Vec::new() };
        match &output.kind {
            NodeKind::Output { names } => names.iter().cloned().zip(output.inputs.iter().flatten().copied()).collect(),
            _ => Vec::new(),
        }
    }

    /// The output node, once set.
    pub fn output_node(&self) -> Option<NodeId> {
        self.output
    }

    /// The nodes that use an output of `id`, each with the input index and which output, ordered by execution-independent node
    /// index.
    pub fn uses(&self, id: NodeId) -> Vec<(NodeId, usize, u32)> {
        let mut uses: Vec<_> = self
            .nodes
            .edges_directed(id.0, Direction::Outgoing)
            .map(|e| (NodeId(e.target()), e.weight().input as usize, e.weight().output))
            .collect();
        uses.sort_unstable();
        uses
    }

    /// Whether the outputs of a node have one use in all.
    pub fn is_used_once(&self, id: NodeId) -> bool {
        self.nodes.edges_directed(id.0, Direction::Outgoing).take(2).count() == 1
    }

    /// The nodes that use one value, each with the input index.
    pub fn users(&self, value: impl Into<ValueRef>) -> Vec<(NodeId, usize)> {
        let value = value.into();
        self.uses(value.node).into_iter().filter(|u| u.2 == value.output).map(|(n, i, _)| (n, i)).collect()
    }

    /// The parameters by name.
    pub fn params(&self) -> &IndexMap<Arc<str>, Param> {
        &self.params
    }

    /// Gives a parameter a value, or replaces it; the type must stay compatible with its users (types are not inferred again).
    pub fn set_param(&mut self, name: &str, value: Tensor) {
        self.params.insert(Arc::from(name), Param { ty: value.ty(), value: Some(value) });
    }

    /// A node name that is not taken: `base`, else `base_1`, `base_2`, ...
    pub fn fresh_name(&self, base: &str) -> Arc<str> {
        let base = if base.is_empty() { "value" } else { base };
        if !self.by_name.contains_key(base) {
            return Arc::from(base);
        }
        let mut n = 1usize;
        loop {
            let name = format!("{base}_{n}");
            if !self.by_name.contains_key(name.as_str()) {
                return Arc::from(name);
            }
            n += 1;
        }
    }

    /// Gives a node another name; whether that name was free.
    pub fn rename(&mut self, id: NodeId, name: &str) -> bool {
        if name.is_empty() || self.by_name.contains_key(name) {
            return false;
        }
        let name: Arc<str> = Arc::from(name);
        let old = std::mem::replace(&mut self.nodes[id.0].name, Arc::clone(&name));
        self.by_name.remove(&old);
        self.by_name.insert(name, id);
        true
    }

    /// A parameter name that is not taken.
    pub fn fresh_param_name(&self, base: &str) -> Arc<str> {
        let mut name = base.to_owned();
        let mut n = 1usize;
        while self.params.contains_key(name.as_str()) {
            name = format!("{base}_{n}");
            n += 1;
        }
        Arc::from(name)
    }

    /// Adds an input.
    pub fn placeholder(&mut self, name: &str, ty: TensorType) -> NodeId {
        self.insert(name, NodeKind::Placeholder, SmallVec::new(), SmallVec::from_elem(ty, 1), SmallVec::new(), None)
    }

    /// Declares a parameter without a value and adds its `get_attr` node.
    pub fn declare_param(&mut self, name: &str, ty: TensorType) -> NodeId {
        self.params.insert(Arc::from(name), Param { ty, value: None });
        self.get_attr_unchecked(name)
    }

    /// Adds a parameter with its value and its `get_attr` node. An existing parameter of that name is replaced.
    pub fn param(&mut self, name: &str, value: Tensor) -> NodeId {
        self.set_param(name, value);
        self.get_attr_unchecked(name)
    }

    /// The `get_attr` node of an existing parameter; the same node each time.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn get_attr(&mut self, name: &str) -> Result<NodeId, IrError> {
        if !self.params.contains_key(name) {
            return Err(IrError::NoParam(name.to_owned()));
        }
        Ok(self.get_attr_unchecked(name))
    }

    fn get_attr_unchecked(&mut self, name: &str) -> NodeId {
        // `@` keeps node names of parameters apart from those of other nodes.
        let node_name = format!("@{name}");
        let ty = self.params[name].ty.clone();
        if let Some(id) = self.find(&node_name) {
            self.nodes[id.0].types[0] = ty;
            return id;
        }
        // Parameters come first, so that any call may use them.
        let before = self.head;
        let kind = NodeKind::GetAttr { param: Arc::from(name) };
        self.insert(&node_name, kind, SmallVec::new(), SmallVec::from_elem(ty, 1), SmallVec::new(), before)
    }

    /// Appends a call (before the output node, if it is set).
    ///
    /// # Errors
    /// If inputs, attributes or types do not fit the operator.
    pub fn call(
        &mut self,
        name: &str,
        op: OpRef,
        inputs: &[Option<ValueRef>],
        attrs: Attrs,
        origins: &[Origin],
    ) -> Result<NodeId, IrError> {
        self.call_before(self.output, name, op, inputs, attrs, origins)
    }

    /// Inserts a call before another node in execution order.
    ///
    /// # Errors
    /// As [`Graph::call`].
    pub fn call_before(
        &mut self,
        before: Option<NodeId>,
        name: &str,
        op: OpRef,
        inputs: &[Option<ValueRef>],
        attrs: Attrs,
        origins: &[Origin],
    ) -> Result<NodeId, IrError> {
        // Trailing absent inputs are not kept, so that equal calls have equal inputs.
        let kept = inputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let inputs = &inputs[..kept];
        let (attrs, types) = infer_call(self, name, op, inputs, attrs)?;
        let kind = NodeKind::Call { op, attrs };
        Ok(self.insert(name, kind, inputs.iter().copied().collect(), types, origins.iter().cloned().collect(), before))
    }

    /// Sets the graph's outputs, replacing earlier ones.
    pub fn set_outputs(&mut self, outputs: &[(Arc<str>, ValueRef)]) {
        if let Some(old) = self.output.take() {
            self.unlink(old);
        }
        let kind = NodeKind::Output { names: outputs.iter().map(|o| o.0.clone()).collect() };
        let inputs = outputs.iter().map(|o| Some(o.1)).collect();
        self.output = Some(self.insert("output", kind, inputs, SmallVec::new(), SmallVec::new(), None));
    }

    /// Replaces every use of one value by another, except in `except`.
    pub fn replace_uses(&mut self, old: ValueRef, new: ValueRef, except: &[NodeId]) {
        for (user, input) in self.users(old) {
            if !except.contains(&user) {
                self.set_input(user, input, Some(new));
            }
        }
    }

    /// Replaces one input of a node. Types are not inferred again: see [`Graph::infer_types`].
    pub fn set_input(&mut self, node: NodeId, input: usize, value: Option<ValueRef>) {
        let old = self
            .nodes
            .edges_directed(node.0, Direction::Incoming)
            .find(|e| e.weight().input as usize == input)
            .map(|e| e.id());
        if let Some(old) = old {
            self.nodes.remove_edge(old);
        }
        if let Some(v) = value {
            self.nodes.add_edge(v.node.0, node.0, Edge { output: v.output, input: input as u32 });
        }
        let inputs = &mut self.nodes[node.0].inputs;
        if inputs.len() <= input {
            inputs.resize(input + 1, None);
        }
        inputs[input] = value;
    }

    /// Replaces the attributes of a call.
    ///
    /// # Errors
    /// If they do not fit the operator, or the node is no call.
    pub fn set_attrs(&mut self, node: NodeId, attrs: Attrs) -> Result<(), IrError> {
        let n = self.node(node);
        let name = n.name.clone();
        let Some((op, _)) = n.call() else {
            return Err(IrError::Invalid { node: name.to_string(), message: "is no call".to_owned() });
        };
        let inputs = n.inputs.clone();
        let (attrs, types) = infer_call(self, &name, op, &inputs, attrs)?;
        let n = &mut self.nodes[node.0];
        n.kind = NodeKind::Call { op, attrs };
        n.types = types;
        Ok(())
    }

    /// Narrows the type of a value, for what a source format declares and inference cannot see.
    ///
    /// # Errors
    /// If the declared type contradicts the inferred one.
    pub fn refine_type(&mut self, value: ValueRef, ty: &TensorType) -> Result<(), IrError> {
        let node = &mut self.nodes[value.node.0];
        let have = &node.types[value.output as usize];
        match have.shape.refine(&ty.shape) {
            Some(shape) if have.dtype == ty.dtype => {
                node.types[value.output as usize].shape = shape;
                Ok(())
            }
            _ => Err(IrError::Invalid {
                node: node.name.to_string(),
                message: format!("declared as {ty}, but it is {have}"),
            }),
        }
    }

    /// Changes the type of an input (for instance to bind symbolic dimensions); [`Graph::infer_types`] carries it on.
    pub fn set_placeholder_type(&mut self, id: NodeId, ty: TensorType) {
        let node = &mut self.nodes[id.0];
        if matches!(node.kind, NodeKind::Placeholder) {
            node.types[0] = ty;
        }
    }

    /// Replaces the origins of a node.
    pub fn set_origins(&mut self, id: NodeId, origins: &[Origin]) {
        self.nodes[id.0].origins = origins.iter().cloned().collect();
    }

    /// Infers every type again, in order.
    ///
    /// # Errors
    /// The first call that does not type.
    pub fn infer_types(&mut self) -> Result<(), IrError> {
        let order: Vec<_> = self.order().collect();
        for id in order {
            let node = self.node(id);
            let Some((op, attrs)) = node.call() else { continue };
            let (name, inputs, attrs) = (node.name.clone(), node.inputs.clone(), attrs.clone());
            let (_, types) = infer_call(self, &name, op, &inputs, attrs)?;
            self.nodes[id.0].types = types;
        }
        Ok(())
    }

    /// Removes a node that nobody uses.
    ///
    /// # Errors
    /// If it is used.
    pub fn remove(&mut self, id: NodeId) -> Result<(), IrError> {
        if let Some((user, ..)) = self.uses(id).first() {
            return Err(IrError::Invalid {
                node: self.node(id).name.to_string(),
                message: format!("can't be removed, `{}` uses it", self.node(*user).name),
            });
        }
        self.unlink(id);
        Ok(())
    }

    /// Removes calls and parameters that no output depends on; placeholders stay. Returns how many nodes went.
    pub fn eliminate_dead(&mut self) -> usize {
        let mut removed = 0;
        let order: Vec<_> = self.order_reversed().collect();
        for id in order {
            let keep = matches!(self.node(id).kind, NodeKind::Placeholder | NodeKind::Output { .. });
            if !keep && self.nodes.edges_directed(id.0, Direction::Outgoing).next().is_none() {
                self.unlink(id);
                removed += 1;
            }
        }
        let used: std::collections::HashSet<Arc<str>> =
            self.order().filter_map(|id| self.node(id).param().cloned()).collect();
        self.params.retain(|name, _| used.contains(name));
        removed
    }

    fn insert(
        &mut self,
        name: &str,
        kind: NodeKind,
        inputs: SmallVec<[Option<ValueRef>; 4]>,
        types: SmallVec<[TensorType; 1]>,
        origins: SmallVec<[Origin; 1]>,
        before: Option<NodeId>,
    ) -> NodeId {
        let name = self.fresh_name(name);
        let prev = match before {
            Some(b) => self.node(b).prev,
            None => self.tail,
        };
        let node = Node { name: name.clone(), kind, inputs, types, origins, prev, next: before };
        let edges: SmallVec<[(ValueRef, u32); 4]> =
            node.inputs.iter().enumerate().filter_map(|(i, v)| v.map(|v| (v, i as u32))).collect();
        let id = NodeId(self.nodes.add_node(node));
        for (v, input) in edges {
            self.nodes.add_edge(v.node.0, id.0, Edge { output: v.output, input });
        }
        match prev {
            Some(p) => self.nodes[p.0].next = Some(id),
            None => self.head = Some(id),
        }
        match before {
            Some(b) => self.nodes[b.0].prev = Some(id),
            None => self.tail = Some(id),
        }
        self.by_name.insert(name, id);
        id
    }

    fn unlink(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove_node(id.0) else { return };
        match node.prev {
            Some(p) => self.nodes[p.0].next = node.next,
            None => self.head = node.next,
        }
        match node.next {
            Some(n) => self.nodes[n.0].prev = node.prev,
            None => self.tail = node.prev,
        }
        self.by_name.remove(&node.name);
    }
}
