//! Printing.

use std::fmt::{self, Write};

use quantc_tensor::Tensor;

use crate::text::INLINE_VALUES;
use crate::{Graph, NodeKind, Origin, ValueRef};

/// A name as the text form writes it: plain if it is a word of letters, digits, `_` and `.`, else quoted.
pub fn quote_ident(name: &str) -> String {
    let plain = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if plain { name.to_owned() } else { format!("{name:?}") }
}

/// A value as an operand: `%conv1`, `@conv1.weight`, `%lstm:1`.
pub fn value_name(graph: &Graph, value: ValueRef) -> String {
    let node = graph.node(value.node);
    match node.param() {
        Some(param) => format!("@{}", quote_ident(param)),
        None if value.output == 0 => format!("%{}", quote_ident(node.name())),
        None => format!("%{}:{}", quote_ident(node.name()), value.output),
    }
}

fn literal(value: &Tensor) -> String {
    fn join<T: fmt::Debug>(items: impl Iterator<Item = T>) -> String {
        items.map(|v| format!("{v:?}").to_lowercase()).collect::<Vec<_>>().join(", ")
    }
    let items = quantc_tensor::with_data!(value, |d| join(d.iter()));
    format!("[{items}]")
}

fn origin(o: &Origin) -> String {
    let mut text = format!(
        "{}: {}({}, {})",
        quote_ident(&o.module_path),
        quote_ident(&o.module_type),
        quote_ident(&o.source_op),
        o.index
    );
    if let Some(handle) = o.handle {
        let _ = write!(text, " @{handle}");
    }
    text
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs: Vec<_> = self
            .placeholders()
            .map(|id| format!("%{}: {}", quote_ident(self.node(id).name()), self.node(id).types()[0]))
            .collect();
        writeln!(f, "graph {}({}) {{", quote_ident(&self.name), inputs.join(", "))?;
        for (name, param) in &self.params {
            write!(f, "  param @{}: {}", quote_ident(name), param.ty)?;
            match &param.value {
                Some(v) if v.numel() <= INLINE_VALUES => writeln!(f, " = {}", literal(v))?,
                _ => writeln!(f)?,
            }
        }
        for id in self.order() {
            let node = self.node(id);
            match node.kind() {
                NodeKind::Placeholder | NodeKind::GetAttr { .. } => {}
                NodeKind::Call { op, attrs } => {
                    let args: Vec<_> =
                        node.inputs().iter().map(|v| v.map_or("none".to_owned(), |v| value_name(self, v))).collect();
                    let mut line = format!("  %{} = {op}({})", quote_ident(node.name()), args.join(", "));
                    if !attrs.is_empty() {
                        let _ = write!(line, " {attrs}");
                    }
                    let types: Vec<_> = node.types().iter().map(ToString::to_string).collect();
                    let _ = write!(line, " : {}", types.join(", "));
                    if !node.origins().is_empty() {
                        let origins: Vec<_> = node.origins().iter().map(origin).collect();
                        let _ = write!(line, "  # {}", origins.join("; "));
                    }
                    writeln!(f, "{line}")?;
                }
                NodeKind::Output { .. } => {
                    let outputs: Vec<_> = self
                        .outputs()
                        .iter()
                        .map(|(name, v)| format!("{}={}", quote_ident(name), value_name(self, *v)))
                        .collect();
                    writeln!(f, "  return {}", outputs.join(", "))?;
                }
            }
        }
        writeln!(f, "}}")
    }
}
