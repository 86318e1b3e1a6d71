//! Numeric debugging: values of two versions of a graph compared by the handles of their nodes
//! (torch.ao.quantization.pt2e._numeric_debugger).
//!
//! A handle is part of a node's [`Origin`], so that it goes wherever origins go: through canonicalization, preparation, conversion,
//! lowering, the text form and compiled files. A fused node has the handles of all its members; its value is that of the last one.

use std::collections::BTreeMap;
use std::sync::Arc;

use quantc_interp::Interpreter;
use quantc_ir::{Graph, NodeId, Origin};
use quantc_ops::Attr;
use quantc_tensor::{DType, Tensor, Value, scaled};

use super::error::Pt2eError;

/// Gives each call that has no handle yet one that no other has, in execution order from 1 (PyTorch `generate_numeric_debug_handle`).
/// Parameters and inputs have none.
pub fn generate_numeric_debug_handle(graph: &mut Graph) {
    let calls: Vec<NodeId> = graph.calls().collect();
    let taken = calls.iter().flat_map(|id| graph.node(*id).origins()).filter_map(|o| o.handle).max();
    let mut next = taken.unwrap_or(0) + 1;
    for id in calls {
        let node = graph.node(id);
        let mut origins = node.origins().to_vec();
        let origin =
            origins.pop().unwrap_or_else(|| Origin::new("", "", node.call().map_or("", |(op, _)| op.name()), 0));
        if origin.handle.is_some() {
            continue;
        }
        origins.push(origin.with_handle(next));
        next += 1;
        graph.set_origins(id, &origins);
    }
}

/// Where the value of a handle is.
#[derive(Clone, Debug)]
struct Logger {
    handle: u32,
    node: NodeId,
}

/// A graph that records the values of its nodes with handles (PyTorch: the model with `OutputLogger`s). Memory grows with each run.
#[derive(Clone, Debug)]
pub struct LoggedGraph {
    graph: Graph,
    loggers: Vec<Logger>,
    stats: BTreeMap<u32, Vec<Tensor>>,
    taken_in: BTreeMap<u32, String>,
}

/// What one logger recorded.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The node.
    pub node_name: String,
    /// The module it is in (PyTorch: the last of `nn_module_stack`).
    pub module_path: String,
    /// Its first output in each run, as f32; quantized tensors are dequantized.
    pub stats: Vec<Tensor>,
}

/// The handle whose value a node has: that of its last origin.
fn handle(graph: &Graph, id: NodeId) -> Option<u32> {
    graph.node(id).origins().last().and_then(|o| o.handle)
}

/// Whether a node's first output is a real tensor, or one that the node's attributes say how to dequantize.
fn is_readable(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let Some(ty) = node.types().first() else { return false };
    match ty.dtype {
        DType::U8 | DType::I8 => quantization(graph, id).is_some(),
        _ => true,
    }
}

/// Scale and zero point of a node's quantized result.
fn quantization(graph: &Graph, id: NodeId) -> Option<(f32, i32)> {
    let (op, attrs) = graph.node(id).call()?;
    match (op.signature().attr(attrs, "scale")?, op.signature().attr(attrs, "zero_point")?) {
        (Attr::Float(scale), Attr::Int(zero)) => Some((scale.0, i32::try_from(zero).ok()?)),
        _ => None,
    }
}

/// A graph that records, for each handle, the value of the last node that has it (PyTorch `prepare_for_propagation_comparison`).
pub fn prepare_for_propagation_comparison(graph: &Graph) -> LoggedGraph {
    let mut at: BTreeMap<u32, NodeId> = BTreeMap::new();
    for id in graph.calls().filter(|id| is_readable(graph, *id)) {
        at.extend(handle(graph, id).map(|h| (h, id)));
    }
    let mut taken_in = BTreeMap::new();
    for id in graph.calls() {
        for h in graph.node(id).origins().iter().filter_map(|o| o.handle).filter(|h| !at.contains_key(h)) {
            taken_in.insert(h, graph.node(id).name().to_owned());
        }
    }
    let loggers = at.into_iter().map(|(handle, node)| Logger { handle, node }).collect();
    LoggedGraph { graph: graph.clone(), loggers, stats: BTreeMap::new(), taken_in }
}

impl LoggedGraph {
    /// Runs the graph and records.
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<(Arc<str>, Tensor)>, Pt2eError> {
        let LoggedGraph { graph, loggers, stats, .. } = self;
        let of: BTreeMap<NodeId, u32> = loggers.iter().map(|l| (l.node, l.handle)).collect();
        let outputs = Interpreter::new(graph).run_with(inputs, |node, values: &[Value]| {
            let (Some(handle), Some(value)) = (of.get(&node), values.first()) else { return };
            let tensor = value.to_tensor();
            let quantized = matches!(tensor.dtype(), DType::U8 | DType::I8);
            let real = match quantization(graph, node).filter(|_| quantized) {
                Some((scale, zero)) => scaled::dequantize_dense(&tensor, scale, zero).unwrap_or(tensor),
                None => tensor.cast(DType::F32),
            };
            stats.entry(*handle).or_default().push(real);
        })?;
        Ok(outputs)
    }

    /// Handles whose value no node has any more, and the node that took their call in.
    pub fn taken_in(&self) -> &BTreeMap<u32, String> {
        &self.taken_in
    }
}

/// What was recorded, by handle (PyTorch `extract_results_from_loggers`).
pub fn extract_results_from_loggers(model: &LoggedGraph) -> BTreeMap<u32, Logged> {
    let logged = |l: &Logger| {
        let node = model.graph.node(l.node);
        let stats = model.stats.get(&l.handle)?.clone();
        let module_path = node.origins().last().map_or(String::new(), |o| o.module_path.to_string());
        Some((l.handle, Logged { node_name: node.name().to_owned(), module_path, stats }))
    };
    model.loggers.iter().filter_map(logged).collect()
}

/// One pair of tensors (PyTorch `QuantizationComparisonResult`).
#[derive(Clone, Debug)]
pub struct QuantizationComparisonResult {
    /// Of the transformed graph.
    pub actual: Tensor,
    /// Of the reference.
    pub reference: Tensor,
}

impl QuantizationComparisonResult {
    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        let wide = |t: &Tensor| t.to_f32_vec().into_iter().map(f64::from);
        wide(&self.actual).zip(wide(&self.reference))
    }

    /// The mean squared error (PyTorch `mse_loss`); NaN of no elements.
    pub fn mse_loss(&self) -> f64 {
        let squares: f64 = self.pairs().map(|(a, r)| (a - r) * (a - r)).sum();
        squares / self.actual.numel() as f64
    }

    /// The signal to quantization noise ratio in dB, `20 log10(|actual| / |actual - reference|)` (PyTorch `sqnr`); infinite if they are
    /// equal.
    pub fn sqnr(&self) -> f64 {
        let (signal, noise) = self.pairs().fold((0.0, 0.0), |(s, n), (a, r)| (s + a * a, n + (a - r) * (a - r)));
        if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() }
    }
}

/// How well a node of one graph agrees with that of the other (PyTorch `NodeAccuracySummary`).
#[derive(Clone, Debug)]
pub struct NodeAccuracySummary {
    /// The handle.
    pub handle: u32,
    /// The node of the transformed graph.
    pub actual_node_name: String,
    /// The module it is in.
    pub actual_module_path: String,
    /// The node of the reference graph.
    pub ref_node_name: String,
    /// The module it is in.
    pub ref_module_path: String,
    /// One result for each run.
    pub results: Vec<QuantizationComparisonResult>,
}

/// Compares what two graphs recorded in the same runs, by handle; handles that only one has are left out (PyTorch `compare_results`).
///
/// # Errors
/// If two values have different shapes.
pub fn compare_results(
    reference: &BTreeMap<u32, Logged>,
    actual: &BTreeMap<u32, Logged>,
) -> Result<BTreeMap<u32, NodeAccuracySummary>, Pt2eError> {
    let mut summaries = BTreeMap::new();
    for (&handle, r) in reference {
        let Some(a) = actual.get(&handle) else {
            tracing::debug!("the handle {handle} of `{}` is not in the transformed graph", r.node_name);
            continue;
        };
        let mut results = Vec::with_capacity(r.stats.len());
        for (actual, reference) in a.stats.iter().zip(&r.stats) {
            if actual.shape() != reference.shape() {
                let message = format!(
                    "`{}` is {}, `{}` of the reference is {}",
                    a.node_name,
                    actual.ty(),
                    r.node_name,
                    reference.ty()
                );
                return Err(Pt2eError::Compare { handle, message });
            }
            results.push(QuantizationComparisonResult { actual: actual.clone(), reference: reference.clone() });
        }
        let summary = NodeAccuracySummary {
            handle,
            actual_node_name: a.node_name.clone(),
            actual_module_path: a.module_path.clone(),
            ref_node_name: r.node_name.clone(),
            ref_module_path: r.module_path.clone(),
            results,
        };
        summaries.insert(handle, summary);
    }
    Ok(summaries)
}
