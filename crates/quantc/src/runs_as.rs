//! What the calls of the float model run as: read off the compiled graph.

use std::collections::{HashMap, HashSet};

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attr, OpClass};
use quantc_quant::QuantReport;
use quantc_quant::report::{Decision, NodeReport};
use serde::Serialize;

/// A call of the compiled graph that computes a call of the float model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunsAs {
    /// Its node.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// The types of the values it takes, parameters left out; each once.
    pub takes: Vec<&'static str>,
    /// The types of what it gives; each once.
    pub gives: Vec<&'static str>,
    /// Whether it is another call of the float model too, and there is none for this one alone.
    pub merged: bool,
    /// Whether activations are quantized over half the range, if they are quantized when the model runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduce_range: Option<bool>,
}

impl RunsAs {
    /// Whether it computes with codes, or gives them: what a call of the float model has as reals.
    pub fn is_quantized(&self) -> bool {
        self.op.starts_with("quantized.") || self.gives.iter().any(|ty| matches!(*ty, "u8" | "i8"))
    }
}

/// The calls of a compiled graph, by the calls of the float model that they compute.
///
/// Rewriting gives a call the name of what it replaces (`NAME` or, where it replaces a quantize, `NAME.quantize`), so names tell. Origins alone
/// don't: a call that reads a dequantized value has the origins of its producer too.
#[derive(Debug)]
pub struct CompiledCalls<'g> {
    graph: &'g Graph,
    by_name: HashMap<&'g str, Vec<NodeId>>,
    /// How many calls of the float model have an origin.
    origins: HashMap<&'g str, usize>,
}

impl<'g> CompiledCalls<'g> {
    /// Those of a compiled graph, with the report of its quantization.
    pub fn new(graph: &'g Graph, report: &'g QuantReport) -> CompiledCalls<'g> {
        let ops: HashMap<&str, &str> = report.nodes.iter().map(|n| (n.name.as_str(), n.op.as_str())).collect();
        let mut by_name: HashMap<&str, Vec<NodeId>> = HashMap::new();
        for id in graph.calls() {
            let Some((op, _)) = graph.node(id).call() else { continue };
            let owner = owner(graph.node(id).name(), op.name(), &ops);
            // What quantizes a value does not compute it, unless that is all that the call does.
            if let Some((name, _)) = owner.filter(|(_, of)| *of == op.name() || op.class() != OpClass::Quantization) {
                by_name.entry(name).or_default().push(id);
            }
        }
        let mut origins: HashMap<&str, usize> = HashMap::new();
        for origin in report.nodes.iter().flat_map(|n| &n.origins) {
            *origins.entry(origin).or_default() += 1;
        }
        CompiledCalls { graph, by_name, origins }
    }

    /// What a call of the float model runs as: the calls named after it, else after its group, else those that it was merged into. Nothing
    /// if it needs no call: its result is a constant, or what it takes.
    pub fn of(&self, node: &NodeReport) -> Vec<RunsAs> {
        let group = match &node.decision {
            Decision::Quantized { group, .. } => group,
            Decision::Float { .. } => &node.name,
        };
        let named = self.by_name.get(node.name.as_str()).or_else(|| self.by_name.get(group.as_str()));
        match named {
            Some(calls) => {
                // What changes the scale of a result does not compute it, unless there is nothing else.
                let computes = |id: &&NodeId| !self.graph.node(**id).is_op("quantized.requantize");
                let only_rescaled = !calls.iter().any(|id| computes(&id));
                let kept = calls.iter().filter(|id| only_rescaled || computes(id));
                kept.filter_map(|id| self.describe(*id, false)).collect()
            }
            None => self.merged(node).into_iter().filter_map(|id| self.describe(id, true)).collect(),
        }
    }

    /// The calls with an origin that is this node's alone, without those that read another of them.
    fn merged(&self, node: &NodeReport) -> Vec<NodeId> {
        let own: HashSet<&str> =
            node.origins.iter().map(String::as_str).filter(|o| self.origins.get(o) == Some(&1)).collect();
        if own.is_empty() {
            return Vec::new();
        }
        let (mut found, mut behind) = (Vec::new(), HashSet::new());
        for id in self.graph.calls() {
            let call = self.graph.node(id);
            let computes = call.call().is_some_and(|(op, _)| op.class() != OpClass::Quantization)
                && call.origins().iter().any(|o| own.contains(o.to_string().as_str()));
            let reads = call.inputs().iter().flatten().any(|v| behind.contains(&v.node));
            if computes && !reads {
                found.push(id);
            }
            if computes || reads {
                behind.insert(id);
            }
        }
        found
    }

    fn describe(&self, id: NodeId, merged: bool) -> Option<RunsAs> {
        let node = self.graph.node(id);
        let (op, attrs) = node.call()?;
        let reduce_range = match op.signature().attr(attrs, "reduce_range") {
            Some(Attr::Bool(reduced)) => Some(reduced),
            _ => None,
        };
        let taken = node.inputs().iter().flatten().filter(|v| !self.is_parameter(**v));
        Some(RunsAs {
            node: node.name().to_owned(),
            op: op.name(),
            takes: distinct(taken.map(|v| self.graph.ty(*v).dtype.name())),
            gives: distinct(node.types().iter().map(|ty| ty.dtype.name())),
            merged,
            reduce_range,
        })
    }

    /// Whether a value is a parameter, or one dequantized.
    fn is_parameter(&self, value: ValueRef) -> bool {
        let is_param = |value: ValueRef| self.graph.node(value.node).param().is_some();
        let inputs = self.graph.node(value.node).inputs();
        is_param(value) || (!inputs.is_empty() && inputs.iter().flatten().all(|v| is_param(*v)))
    }
}

/// The call of the float model that a call of the compiled graph is named after, with its operator. Names are made unique by numbers.
fn owner<'g>(name: &str, op: &str, ops: &HashMap<&'g str, &'g str>) -> Option<(&'g str, &'g str)> {
    let mut name = name;
    loop {
        if let Some((name, of)) = ops.get_key_value(name) {
            return Some((name, of));
        }
        let unnumbered = || name.rsplit_once('_').filter(|(_, n)| n.parse::<u32>().is_ok()).map(|(base, _)| base);
        name = name
            .strip_suffix(".quantize")
            .or_else(|| name.strip_suffix(op).and_then(|base| base.strip_suffix('.')))
            .or_else(unnumbered)?;
    }
}

fn distinct(types: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut all = Vec::new();
    for ty in types {
        if !all.contains(&ty) {
            all.push(ty);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use quantc_quant::report::FloatReason;

    use super::*;

    /// What runs for each call of a report, as `OP (NODE)`.
    fn running(graph: &str, calls: &[(&str, &str, &str)]) -> Vec<Vec<String>> {
        let graph = quantc_ir::text::parse(graph).unwrap_or_else(|e| panic!("{e}"));
        let node = |(name, op, origin): &(&str, &str, &str)| NodeReport {
            name: (*name).to_owned(),
            op: (*op).to_owned(),
            origins: vec![(*origin).to_owned()],
            decision: Decision::Float { reason: FloatReason::NoPattern },
        };
        let report = QuantReport { nodes: calls.iter().map(node).collect(), ..QuantReport::default() };
        let compiled = CompiledCalls::new(&graph, &report);
        let text = |r: RunsAs| format!("{}{} ({})", if r.merged { "part of " } else { "" }, r.op, r.node);
        report.nodes.iter().map(|node| compiled.of(node).into_iter().map(text).collect()).collect()
    }

    /// A call without one of its own is part of the first with its origin, not of those that read that.
    #[test]
    fn merged_calls_are_found_by_their_origins() {
        let graph = "graph g(%x: u8[2,4]) {
  param @w: i8[4,4] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]
  param @s: f32[4] = [0.5, 0.5, 0.5, 0.5]
  %b.quantize = quantized.linear(%x, @w, @s) {scale=0.5, x_scale=0.5, function=\"elu\"}  # a: Linear(linear, 0); b: ELU(elu, 0)
  %y = quantized.linear(%b.quantize, @w, @s) {dtype=f32, x_scale=0.5}  # a: Linear(linear, 0); b: ELU(elu, 0); y: Linear(linear, 0)
  return y=%y
}";
        let calls = [
            ("a", "linear", "a: Linear(linear, 0)"),
            ("b", "elu", "b: ELU(elu, 0)"),
            ("y", "linear", "y: Linear(linear, 0)"),
            ("gone", "dropout", "gone: Dropout(dropout, 0)"),
        ];
        let expected: [&[&str]; 4] = [
            &["part of quantized.linear (b.quantize)"],
            &["quantized.linear (b.quantize)"],
            &["quantized.linear (y)"],
            &[],
        ];
        assert_eq!(running(graph, &calls), expected);
        // An origin that several calls share tells nothing.
        let shared = [("a", "linear", "a: Linear(linear, 0)"), ("c", "relu", "a: Linear(linear, 0)")];
        assert_eq!(running(graph, &shared), [Vec::<String>::new(), Vec::new()]);
    }

    /// Numbers make names unique; what quantizes a result, or changes its scale, does not compute it.
    #[test]
    fn names_tell_what_computes_a_call() {
        let graph = "graph g(%x: u8[1,2,4,4]) {
  %p_1 = max_pool2d(%x) {kernel_size=[2,2], stride=[2,2]}
  %p = dequantize_per_tensor(%p_1) {scale=0.5}
  %p.quantize = quantized.requantize(%p_1) {scale=0.25, x_scale=0.5}
  %e_2 = sigmoid(%p)
  %e_2.quantize = quantize_per_tensor(%e_2) {scale=0.1}
  %i.quantize = quantized.requantize(%p_1) {scale=0.75, x_scale=0.5}
  return a=%p.quantize, b=%e_2.quantize, c=%i.quantize
}";
        let calls =
            [("p", "max_pool2d", "p: M(p, 0)"), ("e_2", "sigmoid", "e: S(s, 0)"), ("i", "identity", "i: I(i, 0)")];
        let expected = [["max_pool2d (p_1)"], ["sigmoid (e_2)"], ["quantized.requantize (i.quantize)"]];
        assert_eq!(running(graph, &calls), expected);
    }
}
