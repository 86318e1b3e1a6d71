//! The verifier: every invariant of [`Graph`], run after each pass in debug and test builds.

use std::collections::HashSet;

use petgraph::Direction;
use petgraph::visit::EdgeRef;

use crate::infer::infer_call;
use crate::{Graph, IrError, NodeId, NodeKind};

impl Graph {
    /// Checks every invariant.
    ///
    /// # Errors
    /// The first one broken, with its node.
    pub fn verify(&self) -> Result<(), IrError> {
        let mut seen: HashSet<NodeId> = HashSet::new();
        let mut last = None;
        for id in self.order() {
            self.verify_node(id, &seen)?;
            if !seen.insert(id) {
                return Err(self.invalid(id, "is in the order twice"));
            }
            last = Some(id);
        }
        if seen.len() != self.len() {
            return Err(IrError::Invalid {
                node: self.name.clone(),
                message: format!("{} nodes are in the order, {} in the graph", seen.len(), self.len()),
            });
        }
        match self.output {
            Some(output) if last == Some(output) => Ok(()),
            Some(output) => Err(self.invalid(output, "is not the last node")),
            None => Err(IrError::Invalid { node: self.name.clone(), message: "has no output".to_owned() }),
        }
    }

    fn invalid(&self, id: NodeId, message: impl Into<String>) -> IrError {
        IrError::Invalid { node: self.node(id).name().to_owned(), message: message.into() }
    }

    fn verify_node(&self, id: NodeId, seen: &HashSet<NodeId>) -> Result<(), IrError> {
        let node = self.node(id);
        if self.find(node.name()) != Some(id) {
            return Err(self.invalid(id, "is not found by its name"));
        }
        for (i, value) in node.inputs().iter().enumerate() {
            let Some(value) = value else { continue };
            if !self.contains(value.node) || !seen.contains(&value.node) {
                return Err(self.invalid(id, format!("input {i} is not computed before it")));
            }
            if value.output as usize >= self.node(value.node).types().len() {
                return Err(self.invalid(id, format!("input {i} uses an output that does not exist")));
            }
            // Incoming edges: a call has few, a constant may have thousands of users.
            let mirrored = self
                .nodes
                .edges_directed(id.0, Direction::Incoming)
                .filter(|e| e.source() == value.node.0)
                .filter(|e| e.weight().input as usize == i && e.weight().output == value.output)
                .count();
            if mirrored != 1 {
                return Err(self.invalid(id, format!("input {i} is mirrored by {mirrored} edges")));
            }
        }
        let edges = self.nodes.edges_directed(id.0, Direction::Incoming).count();
        if edges != node.inputs().iter().flatten().count() {
            return Err(self.invalid(id, format!("has {edges} incoming edges for its inputs")));
        }
        match node.kind() {
            NodeKind::GetAttr { param } => match self.params.get(param) {
                None => Err(IrError::NoParam(param.to_string())),
                Some(p) if p.value.as_ref().is_some_and(|v| v.ty() != p.ty) => {
                    Err(self.invalid(id, "the parameter's value is not of its type"))
                }
                Some(p) if p.ty != node.types()[0] => Err(self.invalid(id, "is not of its parameter's type")),
                Some(_) => Ok(()),
            },
            NodeKind::Call { op, attrs } => {
                let (checked, types) = infer_call(self, node.name(), *op, node.inputs(), attrs.clone())?;
                if checked != *attrs {
                    return Err(self.invalid(id, "keeps attributes that equal a default"));
                }
                if types.len() != node.types().len() {
                    return Err(self.invalid(id, format!("has {} types, not {}", node.types().len(), types.len())));
                }
                for (have, inferred) in node.types().iter().zip(&types) {
                    if have.dtype != inferred.dtype || !have.shape.compatible(&inferred.shape) {
                        return Err(self.invalid(id, format!("is typed {have}, inference gives {inferred}")));
                    }
                }
                Ok(())
            }
            NodeKind::Placeholder | NodeKind::Output { .. } => Ok(()),
        }
    }
}
