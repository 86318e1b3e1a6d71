//! `convert_pt2e`: observers become quantize and dequantize.

use std::collections::HashSet;

use quantc_interp::eval_constant;
use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_ops::{Attrs, OpRef, lookup};
use quantc_tensor::{DType, QParams, QRange, Tensor};

use super::calibrate::ObservedPt2e;
use super::error::Pt2eError;
use super::prepare::{PreparedObserver, PreparedPt2e, observer_number};
use super::reference::reference_representation_rewrite;
use crate::QuantError;
use crate::qconfig::ObserverSpec;
use crate::weight_only::quantize_table;

/// What [`convert_pt2e`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvertOptions {
    /// Explicit integer arithmetic instead of quantize, dequantize and float operators
    /// ([`super::reference_representation_rewrite`]).
    pub use_reference_representation: bool,
    /// Quantized constants are computed and stored ([`fold_quantize`]).
    pub fold_quantize: bool,
}

impl Default for ConvertOptions {
    /// PyTorch's: q/dq, folded.
    fn default() -> Self {
        ConvertOptions { use_reference_representation: false, fold_quantize: true }
    }
}

/// The operator of that name.
pub(crate) fn operator(name: &'static str) -> Result<OpRef, Pt2eError> {
    Ok(lookup(name).ok_or(QuantError::MissingOperator(name))?)
}

/// Replaces each observer by quantize and dequantize with its parameters (torch.ao.quantization.quantize_pt2e.convert_pt2e): per tensor, per
/// channel, or from the input's own range. Lowering, as after [`crate::convert_to_reference_fx`], makes integer operators of the result.
///
/// # Errors
/// If `qparams` are not those of the prepared graph, or do not fit it.
pub fn convert_pt2e(
    prepared: &PreparedPt2e,
    qparams: &ObservedPt2e,
    options: ConvertOptions,
) -> Result<Graph, Pt2eError> {
    let mut graph = prepared.graph.clone();
    let nodes: Vec<_> = graph.calls().filter_map(|id| Some((id, observer_number(&graph, id)?))).collect();
    for (id, number) in nodes {
        let Some(Some(value)) = graph.node(id).inputs().first().copied() else { continue };
        let name = graph.node(id).name();
        let base = name.rfind(".observer").map_or(name, |at| &name[..at]).to_owned();
        let place = Place { before: id, base, origins: graph.node(id).origins().to_vec() };
        let dequantized = match (prepared.observers.get(number), qparams.get(number)) {
            (Some(PreparedObserver::Observed(spec)), _) if spec.is_dynamic() => {
                place.dynamic(&mut graph, value, &spec.observer)?
            }
            (Some(PreparedObserver::Observed(spec)), _) if spec.is_table() => {
                quantize_table(&mut graph, value, id, &spec.observer)?
            }
            (_, Some(Some(q))) => place.quantize(&mut graph, value, q)?,
            _ => return Err(QuantError::NoCalibrationData.into()),
        };
        graph.replace_uses(id.into(), dequantized, &[]);
        graph.remove(id)?;
    }
    if options.fold_quantize {
        fold_quantize(&mut graph)?;
    }
    graph.eliminate_dead();
    graph.verify()?;
    if options.use_reference_representation {
        return Ok(reference_representation_rewrite(&graph)?.graph);
    }
    Ok(graph)
}

/// Where the calls that replace an observer go, and what they are called.
struct Place {
    before: NodeId,
    base: String,
    origins: Vec<Origin>,
}

/// Attributes that narrow the range of a type, where it is narrowed.
fn with_range(mut attrs: Attrs, range: QRange) -> Attrs {
    attrs.set("dtype", range.dtype);
    if QRange::full(range.dtype) != Some(range) {
        attrs.set("quant_min", range.qmin);
        attrs.set("quant_max", range.qmax);
    }
    attrs
}

impl Place {
    fn call(
        &self,
        graph: &mut Graph,
        suffix: &str,
        op: &'static str,
        inputs: &[ValueRef],
        attrs: Attrs,
    ) -> Result<NodeId, Pt2eError> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let name = format!("{}.{suffix}", self.base);
        Ok(graph.call_before(Some(self.before), &name, operator(op)?, &inputs, attrs, &self.origins)?)
    }

    fn param(&self, graph: &mut Graph, suffix: &str, value: Tensor) -> ValueRef {
        let name = graph.fresh_param_name(&format!("{}.{suffix}", self.base));
        graph.param(&name, value).into()
    }

    /// Quantized with parameters that are known.
    fn quantize(&self, graph: &mut Graph, value: ValueRef, q: &QParams) -> Result<ValueRef, Pt2eError> {
        let Some(axis) = q.axis else {
            let (scale, zero_point) = (q.scale.first().copied(), q.zero_point.first().copied());
            let attrs = Attrs::new().with("scale", scale.unwrap_or(1.0)).with("zero_point", zero_point.unwrap_or(0));
            let quantize = with_range(attrs.clone(), q.range);
            let quantized = self.call(graph, "quantize", "quantize_per_tensor", &[value], quantize)?;
            return Ok(self.call(graph, "dequantize", "dequantize_per_tensor", &[quantized.into()], attrs)?.into());
        };
        let mut parameters = vec![self.param(graph, "scale", Tensor::vector(q.scale.clone()))];
        if q.zero_point.iter().any(|z| *z != 0) {
            parameters.push(self.param(graph, "zero_point", Tensor::vector(q.zero_point.clone())));
        }
        let attrs = Attrs::new().with("axis", axis);
        let inputs = [&[value], &parameters[..]].concat();
        let quantize = with_range(attrs.clone(), q.range);
        let quantized = self.call(graph, "quantize", "quantize_per_channel", &inputs, quantize)?;
        let inputs = [&[quantized.into()], &parameters[..]].concat();
        Ok(self.call(graph, "dequantize", "dequantize_per_channel", &inputs, attrs)?.into())
    }

    /// Quantized over its own range when the model runs: by the operator that has kernels where it means the same, else by
    /// PyTorch's three.
    fn dynamic(&self, graph: &mut Graph, value: ValueRef, spec: &ObserverSpec) -> Result<ValueRef, Pt2eError> {
        let range = spec.range();
        let symmetric = spec.qscheme.is_symmetric();
        if !symmetric && spec.eps == f32::EPSILON && QRange::full(range.dtype) == Some(range) {
            let attrs = Attrs::new().with("dtype", range.dtype);
            return Ok(self.call(graph, "dynamic_quantize", "dynamic_quantize_dequantize", &[value], attrs)?.into());
        }
        let choose = if symmetric { "choose_qparams_symmetric" } else { "choose_qparams" };
        let attrs = Attrs::new()
            .with("quant_min", range.qmin)
            .with("quant_max", range.qmax)
            .with("eps", spec.eps)
            .with("dtype", range.dtype);
        let chosen = self.call(graph, "choose_qparams", choose, &[value], attrs)?;
        let parameters = [chosen.into(), ValueRef { node: chosen, output: 1 }];
        let inputs = [&[value], &parameters[..]].concat();
        let attrs = with_range(Attrs::new(), range);
        let quantized = self.call(graph, "quantize", "quantize_per_tensor.tensor", &inputs, attrs)?;
        let inputs = [&[quantized.into()], &parameters[..]].concat();
        Ok(self.call(graph, "dequantize", "dequantize_per_tensor.tensor", &inputs, Attrs::new())?.into())
    }
}

/// Computes the quantized constants, and what is between a constant and its quantize (PyTorch's `fold_quantize`): a weight becomes
/// integers, its dequantize stays. Returns how many quantize calls went.
///
/// # Errors
/// If a call can't be evaluated.
pub fn fold_quantize(graph: &mut Graph) -> Result<usize, Pt2eError> {
    let is_quantize = |graph: &Graph, id: NodeId| {
        graph.node(id).is_op("quantize_per_tensor") || graph.node(id).is_op("quantize_per_channel")
    };
    let quantizes: Vec<NodeId> = graph.calls().filter(|id| is_quantize(graph, *id)).collect();
    let mut folded = 0;
    for id in quantizes {
        let Some(calls) = constant_calls(graph, id) else { continue };
        for call in calls {
            let Some(values) = eval_constant(graph, call)? else { break };
            let [value] = &values[..] else { break };
            let own = graph.node(call).inputs().first().copied().flatten().and_then(|v| graph.node(v.node).param());
            let base = own.map_or_else(|| graph.node(call).name().to_owned(), ToString::to_string);
            let suffix = if value.dtype() == DType::F32 { "folded" } else { "int_repr" };
            let name = graph.fresh_param_name(&format!("{base}.{suffix}"));
            let param = graph.param(&name, value.clone());
            graph.replace_uses(call.into(), param.into(), &[]);
            graph.remove(call)?;
            folded += usize::from(call == id);
        }
    }
    graph.eliminate_dead();
    Ok(folded)
}

/// The calls that a call depends on, itself included, in execution order, if they depend on constants only.
fn constant_calls(graph: &Graph, id: NodeId) -> Option<Vec<NodeId>> {
    let mut needed: HashSet<NodeId> = HashSet::new();
    let mut work = vec![id];
    while let Some(id) = work.pop() {
        if !needed.insert(id) {
            continue;
        }
        for value in graph.node(id).inputs().iter().flatten() {
            match graph.constant(*value) {
                Some(_) => {}
                None if graph.node(value.node).call().is_some() => work.push(value.node),
                None => return None,
            }
        }
    }
    Some(graph.order().filter(|id| needed.contains(id)).collect())
}
