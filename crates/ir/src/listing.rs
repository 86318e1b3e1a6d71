//! A listing like FX's `print_tabular`.

use crate::text::{quote_ident, value_name};
use crate::{Graph, NodeKind};

impl Graph {
    /// One row per node: kind, name, target, inputs, type, origin (torch.fx.Graph.print_tabular).
    pub fn to_table(&self) -> String {
        let mut rows = vec![["opcode", "name", "target", "args", "type", "origin"].map(str::to_owned)];
        for id in self.order() {
            let node = self.node(id);
            let (opcode, target) = match node.kind() {
                NodeKind::Placeholder => ("placeholder", node.name().to_owned()),
                NodeKind::GetAttr { param } => ("get_attr", param.to_string()),
                NodeKind::Call { op, attrs } if attrs.is_empty() => ("call", op.name().to_owned()),
                NodeKind::Call { op, attrs } => ("call", format!("{op} {attrs}")),
                NodeKind::Output { .. } => ("output", "output".to_owned()),
            };
            let args: Vec<_> =
                node.inputs().iter().map(|v| v.map_or("none".to_owned(), |v| value_name(self, v))).collect();
            let types: Vec<_> = node.types().iter().map(ToString::to_string).collect();
            let origins: Vec<_> = node.origins().iter().map(|o| o.module_path.to_string()).collect();
            rows.push([
                opcode.to_owned(),
                quote_ident(node.name().trim_start_matches('@')),
                target,
                args.join(", "),
                types.join(", "),
                origins.join(", "),
            ]);
        }
        let mut widths = [0usize; 6];
        for row in &rows {
            for (w, cell) in widths.iter_mut().zip(row) {
                *w = (*w).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        for (i, row) in rows.iter().enumerate() {
            let cells: Vec<_> = row.iter().zip(widths).map(|(c, w)| format!("{c:w$}")).collect();
            out.push_str(cells.join("  ").trim_end());
            out.push('\n');
            if i == 0 {
                out.push_str(&widths.map(|w| "-".repeat(w)).join("  "));
                out.push('\n');
            }
        }
        out
    }
}
