//! A module's calls as a graph of their own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_tensor::TensorType;

use crate::error::QuantError;

/// A module's calls as a graph of their own.
pub(super) struct Part {
    pub(super) graph: Graph,
    /// The nodes outside: of each call, and of each placeholder the value that comes in.
    outer: HashMap<NodeId, ValueRef>,
    pub(super) calls: BTreeSet<NodeId>,
    /// The values outside that are its outputs.
    pub(super) outputs: Vec<ValueRef>,
}

impl Part {
    /// The inputs are the values from outside in the order in which the calls take them, the outputs those that others take.
    pub(super) fn new(graph: &Graph, path: &str, calls: &[NodeId]) -> Result<Part, QuantError> {
        let of_module = calls.iter().copied().collect();
        let mut part = Part { graph: Graph::new(path), outer: HashMap::new(), calls: of_module, outputs: Vec::new() };
        let mut inner: HashMap<ValueRef, ValueRef> = HashMap::new();
        let mut outputs: Vec<(Arc<str>, ValueRef)> = Vec::new();
        for &id in calls {
            let node = graph.node(id);
            let Some((op, attrs)) = node.call() else { continue };
            for value in node.inputs().iter().flatten().filter(|v| !part.calls.contains(&v.node)) {
                if inner.contains_key(value) {
                    continue;
                }
                let source = graph.node(value.node);
                let copy = match (source.param(), graph.constant(*value)) {
                    (Some(name), Some(tensor)) => part.graph.param(name, tensor.clone()),
                    (Some(name), None) => part.graph.declare_param(name, graph.ty(*value).clone()),
                    (None, _) => {
                        let name = if value.output == 0 {
                            source.name().to_owned()
                        } else {
                            format!("{}.{}", source.name(), value.output)
                        };
                        part.graph.placeholder(&name, graph.ty(*value).clone())
                    }
                };
                inner.insert(*value, copy.into());
                part.outer.insert(copy, *value);
            }
            let inputs: Vec<Option<ValueRef>> =
                node.inputs().iter().map(|v| v.and_then(|v| inner.get(&v).copied())).collect();
            let origins: Vec<Origin> = node.origins().iter().map(|o| relative(o, path)).collect();
            let copy = part.graph.call(node.name(), op, &inputs, attrs.clone(), &origins)?;
            part.outer.insert(copy, id.into());
            for output in 0..node.types().len() as u32 {
                let value = ValueRef { node: id, output };
                inner.insert(value, ValueRef { node: copy, output });
                if graph.users(value).iter().any(|(user, _)| !part.calls.contains(user)) {
                    outputs.push((Arc::from(format!("out{}", outputs.len())), ValueRef { node: copy, output }));
                    part.outputs.push(value);
                }
            }
        }
        part.graph.set_outputs(&outputs);
        Ok(part)
    }

    /// A value of the whole graph.
    pub(super) fn outer(&self, value: ValueRef) -> Option<ValueRef> {
        let at = self.outer.get(&value.node)?;
        Some(if self.calls.contains(&at.node) { ValueRef { node: at.node, output: value.output } } else { *at })
    }

    pub(super) fn call(&self, id: NodeId) -> NodeId {
        self.outer.get(&id).map_or(id, |v| v.node)
    }

    /// The calls inside by those outside.
    pub(super) fn inner(&self) -> HashMap<NodeId, NodeId> {
        self.graph.calls().map(|id| (self.call(id), id)).collect()
    }

    /// The values outside that are its inputs, in order.
    pub(super) fn inputs(&self) -> impl Iterator<Item = ValueRef> + '_ {
        self.graph.placeholders().filter_map(|id| self.outer.get(&id).copied())
    }

    /// The types of its inputs.
    pub(super) fn types(&self) -> Vec<TensorType> {
        self.graph.placeholders().map(|id| self.graph.ty(id).clone()).collect()
    }
}

/// An origin as seen from a module. The module itself has no class there, as the root has none.
fn relative(origin: &Origin, module: &str) -> Origin {
    match origin.module_path.strip_prefix(module) {
        Some("") => Origin::new("", "", &origin.source_op, origin.index),
        Some(rest) if rest.starts_with('.') => Origin { module_path: Arc::from(&rest[1..]), ..origin.clone() },
        _ => origin.clone(),
    }
}
