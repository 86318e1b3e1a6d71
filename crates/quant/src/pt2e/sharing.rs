//! Which annotated tensors share an observer (torch.ao.quantization.pt2e.prepare, `_get_edge_or_node_to_group_id`): union-find over
//! edges and nodes.

use std::collections::HashMap;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId, NodeKind, ValueRef};
use quantc_tensor::DType;

use super::error::Pt2eError;
use super::quantizer::AnnotatedGraph;
use super::spec::{EdgeOrNode, QuantizationSpecBase, SharedQuantizationSpec};

/// The specs of annotated tensors, in the order of the nodes that carry the annotation: inputs first, then outputs.
pub(crate) type Specs = IndexMap<EdgeOrNode, Option<QuantizationSpecBase>>;

/// All specs of a model.
///
/// # Errors
/// An edge that does not exist, or a tensor that is not f32.
pub(crate) fn specs(model: &AnnotatedGraph) -> Result<Specs, Pt2eError> {
    let graph = &model.graph;
    let mut specs = Specs::new();
    for id in graph.order() {
        let Some(annotation) = model.annotation(id) else { continue };
        let node = graph.node(id);
        for (value, spec) in &annotation.input_qspec_map {
            if !node.inputs().contains(&Some(*value)) {
                let known = graph.contains(value.node);
                let value = if known { graph.node(value.node).name() } else { "a removed node" }.to_owned();
                return Err(Pt2eError::NoSuchEdge { node: node.name().to_owned(), value });
            }
            specs.insert(EdgeOrNode::edge(*value, id), spec.clone());
        }
        if annotation.output_qspec.is_some() && !matches!(node.kind(), NodeKind::Output { .. }) {
            let outputs = (0u32..).zip(node.types()).map(|(output, ty)| (ValueRef { node: id, output }, ty));
            let several = node.types().len() > 1;
            for (value, _) in outputs.filter(|(_, ty)| !several || ty.dtype == DType::F32) {
                specs.insert(EdgeOrNode::Node(value), annotation.output_qspec.clone());
            }
        }
    }
    for at in specs.iter().filter(|(_, spec)| spec.is_some()).map(|(at, _)| at) {
        let dtype = graph.ty(at.value()).dtype;
        if dtype != DType::F32 {
            return Err(Pt2eError::NotFloat { at: at.describe(graph), dtype: dtype.name().to_owned() });
        }
    }
    Ok(specs)
}

/// The spec that a shared one comes down to, following what each shares with; `None` if the last is not to be quantized.
///
/// # Errors
/// A tensor on the way without annotation, or a circle.
pub(crate) fn root_spec<'s>(
    graph: &Graph,
    specs: &'s Specs,
    at: EdgeOrNode,
) -> Result<Option<&'s QuantizationSpecBase>, Pt2eError> {
    let mut path = vec![at];
    loop {
        let here = path[path.len() - 1];
        let Some(spec) = specs.get(&here) else {
            let from = path[path.len().saturating_sub(2)];
            return Err(Pt2eError::NotAnnotated { at: from.describe(graph), to: here.describe(graph) });
        };
        let Some(QuantizationSpecBase::Shared(SharedQuantizationSpec { edge_or_node })) = spec else {
            return Ok(spec.as_ref());
        };
        if let Some(start) = path.iter().position(|p| p == edge_or_node) {
            let path = path[start..].iter().map(|p| p.describe(graph)).collect();
            return Err(Pt2eError::SharingCycle { at: at.describe(graph), path });
        }
        path.push(*edge_or_node);
    }
}

/// Tensors that share an observer.
struct Classes {
    parent: HashMap<EdgeOrNode, EdgeOrNode>,
}

impl Classes {
    fn find(&mut self, at: EdgeOrNode) -> EdgeOrNode {
        let mut root = at;
        while let Some(parent) = self.parent.get(&root).filter(|p| **p != root) {
            root = *parent;
        }
        self.parent.insert(at, root);
        root
    }

    /// Puts the class of `child` under that of `parent`.
    fn union(&mut self, parent: EdgeOrNode, child: EdgeOrNode) {
        let (parent, child) = (self.find(parent), self.find(child));
        self.parent.insert(child, parent);
    }
}

/// The nodes that take a value, each once, in execution order.
fn users(graph: &Graph, value: ValueRef, position: &HashMap<NodeId, usize>) -> Vec<NodeId> {
    let mut users: Vec<NodeId> = graph.users(value).into_iter().map(|(user, _)| user).collect();
    users.sort_by_key(|user| position.get(user));
    users.dedup();
    users
}

/// A group number for each annotated tensor; those with the same one share an observer. Groups are numbered by their first member.
///
/// # Errors
/// As [`root_spec`].
pub(crate) fn groups(model: &AnnotatedGraph, specs: &Specs) -> Result<IndexMap<EdgeOrNode, usize>, Pt2eError> {
    let graph = &model.graph;
    let position: HashMap<NodeId, usize> = graph.order().enumerate().map(|(i, id)| (id, i)).collect();
    let mut classes = Classes { parent: specs.keys().map(|k| (*k, *k)).collect() };
    for (at, spec) in specs {
        let root = root_spec(graph, specs, *at)?;
        if let EdgeOrNode::Edge { value, user } = *at
            && model.annotation(user).is_some_and(|a| a.allow_implicit_sharing)
            && let Some(root) = root
        {
            // First with the value's other users, then with the value itself.
            let others = users(graph, value, &position).into_iter().filter(|other| *other != user);
            let same_tensor = others.map(|other| EdgeOrNode::edge(value, other)).chain([EdgeOrNode::Node(value)]);
            for other in same_tensor.filter(|other| specs.contains_key(other)) {
                if root_spec(graph, specs, other)?.is_some_and(|spec| spec.same_quantization(root)) {
                    classes.union(other, *at);
                }
            }
        }
        if let Some(QuantizationSpecBase::Shared(SharedQuantizationSpec { edge_or_node })) = spec {
            classes.union(*edge_or_node, *at);
        }
    }
    let mut numbers: HashMap<EdgeOrNode, usize> = HashMap::new();
    Ok(specs
        .keys()
        .map(|at| {
            let next = numbers.len();
            (*at, *numbers.entry(classes.find(*at)).or_insert(next))
        })
        .collect())
}
