//! Graphviz output.

use std::fmt::Write;

use crate::{Graph, NodeKind};

impl Graph {
    /// The graph in Graphviz DOT: calls as boxes with their operator and type, parameters left out.
    pub fn to_dot(&self) -> String {
        let mut out = String::new();
        let escape = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(out, "digraph \"{}\" {{\n  node [shape=box, fontname=\"monospace\"];", escape(&self.name));
        for id in self.order() {
            let node = self.node(id);
            let ty = node.types().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let label = match node.kind() {
                NodeKind::GetAttr { .. } => continue,
                NodeKind::Placeholder => format!("{}\\n{ty}", escape(node.name())),
                NodeKind::Call { op, .. } => format!("{} = {op}\\n{ty}", escape(node.name())),
                NodeKind::Output { .. } => "output".to_owned(),
            };
            let shape = if node.call().is_some() { "" } else { ", shape=ellipse" };
            let _ = writeln!(out, "  n{} [label=\"{label}\"{shape}];", id.index());
            for value in node.inputs().iter().flatten() {
                if self.node(value.node).param().is_none() {
                    let _ = writeln!(out, "  n{} -> n{};", value.node.index(), id.index());
                }
            }
        }
        out.push_str("}\n");
        out
    }
}
