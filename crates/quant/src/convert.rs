//! `convert_to_reference_fx`: observers become quantize / dequantize pairs, weights become integers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attrs, OpRef, lookup};
use quantc_pattern::Mode;
use quantc_tensor::{DType, QParams, QRange, Tensor};

use crate::calibrate::ActivationQParams;
use crate::custom_config::{ConvertCustomConfig, preserve_attributes, quantize_ports};
use crate::error::QuantError;
use crate::group::{Group, Plan};
use crate::half::Halves;
use crate::prepare::PreparedModel;
use crate::qconfig::ObserverSpec;
use crate::recurrent::{is_recurrent, quantize_recurrent};
use crate::report::{ObserverReport, QuantReport};
use crate::unmet;
use crate::weight_only::{Tables, is_table};

/// A graph with explicit quantize and dequantize nodes: what the numeric contract gives an integer meaning.
#[derive(Clone, Debug)]
pub struct ConvertedModel {
    /// The reference q/dq graph.
    pub graph: Graph,
    /// What was decided, with the observers' results.
    pub report: QuantReport,
}

fn operator(name: &'static str) -> Result<OpRef, QuantError> {
    lookup(name).ok_or(QuantError::MissingOperator(name))
}

/// Replaces each observer by quantize and dequantize with its parameters, and each weight of a quantized group by integers and
/// dequantize (torch.ao.quantization.quantize_fx.convert_to_reference_fx).
///
/// # Errors
/// If a weight cannot be quantized (NaN, infinite).
pub fn convert_to_reference_fx(
    prepared: &PreparedModel,
    qparams: &[ActivationQParams],
) -> Result<ConvertedModel, QuantError> {
    convert_to_reference_fx_custom(prepared, qparams, &ConvertCustomConfig::default())
}

/// [`convert_to_reference_fx`] with the quantized forms of custom modules (the `convert_custom_config` of PyTorch's convert_fx).
///
/// # Errors
/// If a weight cannot be quantized (NaN, infinite), or a custom module cannot.
pub fn convert_to_reference_fx_custom(
    prepared: &PreparedModel,
    qparams: &[ActivationQParams],
    custom: &ConvertCustomConfig,
) -> Result<ConvertedModel, QuantError> {
    let mut graph = prepared.graph.clone();
    let mut report = prepared.report.clone();
    let (mut weights, mut tables, mut halves) = (Weights::default(), Tables::default(), Halves::default());
    for group in unmet::keep_satisfied(&mut graph, &mut report, &prepared.groups, qparams)? {
        if group.custom {
            continue;
        }
        match &group.plan {
            Plan::Static { qconfig, .. } => {
                let input_scale = input_scale(&graph, group, qparams);
                weights.quantize(&mut graph, group, &qconfig.weight, input_scale)?;
            }
            Plan::Dynamic { qconfig, .. } if is_recurrent(&graph, group) => {
                quantize_recurrent(&mut graph, group, qconfig)?;
            }
            Plan::Dynamic { qconfig, .. } => {
                quantize_when_run(&mut graph, group, qconfig.activation.reduce_range)?;
                weights.quantize(&mut graph, group, &qconfig.weight, None)?;
            }
            Plan::WeightOnly { qconfig, .. } if is_table(&graph, group) => {
                tables.quantize(&mut graph, group, &qconfig.weight)?;
            }
            Plan::WeightOnly { qconfig, .. } => weights.quantize(&mut graph, group, &qconfig.weight, None)?,
            Plan::Half { mode: Mode::Float16Dynamic, .. } => halves.round_weights(&mut graph, group)?,
            Plan::Half { .. } => halves.round_all(&mut graph, group)?,
            Plan::Float(_) => {}
        }
    }
    let edges = prepared.custom.iter().map(|module| Ok((module, module.edge(&graph, qparams)?)));
    let edges = edges.collect::<Result<Vec<_>, QuantError>>()?;
    let inside: HashSet<NodeId> = prepared.custom.iter().flat_map(|module| module.calls.iter().copied()).collect();
    let around = graph.calls().filter(|id| !inside.contains(id));
    let nodes: Vec<_> = around.filter_map(|id| observer_id(&graph, id).map(|slot| (id, slot))).collect();
    for (id, slot) in nodes {
        let q = qparams.get(slot).ok_or(QuantError::NoCalibrationData)?;
        replace_observer(&mut graph, id, q)?;
    }
    (report.quantized_inputs, report.quantized_outputs) = quantize_ports(&mut graph, &prepared.ports)?;
    for (module, edge) in edges {
        module.quantize(&mut graph, edge, custom)?;
    }
    graph.eliminate_dead();
    let preserved = [&prepared.preserved[..], custom.preserved_attributes()].concat();
    preserve_attributes(&prepared.graph, &preserved, &mut graph).map_err(QuantError::from)?;
    graph.verify()?;
    report.observers = prepared
        .observers
        .iter()
        .zip(qparams)
        .enumerate()
        .map(|(id, (slot, q))| ObserverReport {
            id,
            values: slot.values.clone(),
            observer: slot.name().to_owned(),
            range: q.seen,
            scale: q.scale,
            zero_point: q.zero_point,
            dtype: q.range.dtype.name().to_owned(),
        })
        .collect();
    Ok(ConvertedModel { graph, report })
}

/// The scale of the activation that a group's weighted call takes.
pub(crate) fn input_scale(graph: &Graph, group: &Group, qparams: &[ActivationQParams]) -> Option<f32> {
    let weighted = |(node, _): &&(NodeId, usize)| group.weight.is_some_and(|w| w.0 == *node);
    let (node, input) = group.activations.iter().find(weighted)?;
    let value = graph.node(*node).inputs()[*input]?;
    observer_id(graph, value.node).and_then(|id| qparams.get(id)).map(|q| q.scale)
}

/// Which observer a node is.
pub(crate) fn observer_id(graph: &Graph, id: NodeId) -> Option<usize> {
    let (op, attrs) = graph.node(id).call()?;
    match op.signature().attr(attrs, "id") {
        Some(quantc_ops::Attr::Int(slot)) if op.name() == "observer" => usize::try_from(slot).ok(),
        _ => None,
    }
}

fn replace_observer(graph: &mut Graph, observer: NodeId, q: &ActivationQParams) -> Result<(), QuantError> {
    let Some(Some(value)) = graph.node(observer).inputs().first().copied() else { return Ok(()) };
    let base = graph.node(value.node).name().trim_start_matches('@').to_owned();
    let origins = graph.node(observer).origins().to_vec();
    let attrs = quantize_attrs(q.scale, q.zero_point, q.range);
    let quantize = graph.call_before(
        Some(observer),
        &format!("{base}.quantize"),
        operator("quantize_per_tensor")?,
        &[Some(value)],
        attrs,
        &origins,
    )?;
    let dequantize = graph.call_before(
        Some(observer),
        &format!("{base}.dequantize"),
        operator("dequantize_per_tensor")?,
        &[Some(quantize.into())],
        Attrs::new().with("scale", q.scale).with("zero_point", q.zero_point),
        &origins,
    )?;
    graph.replace_uses(observer.into(), dequantize.into(), &[]);
    graph.remove(observer)?;
    Ok(())
}

/// The attributes of a `quantize_per_tensor`.
pub(crate) fn quantize_attrs(scale: f32, zero_point: i32, range: QRange) -> Attrs {
    let mut attrs = Attrs::new().with("scale", scale).with("zero_point", zero_point).with("dtype", range.dtype);
    if range.dtype.quantized_range() != Some((range.qmin, range.qmax)) {
        attrs.set("quant_min", range.qmin);
        attrs.set("quant_max", range.qmax);
    }
    attrs
}

/// Dynamic quantization: the activation is quantized from its own range at each run.
fn quantize_when_run(graph: &mut Graph, group: &Group, reduce_range: bool) -> Result<(), QuantError> {
    let Some(&(node, input)) = group.activations.first() else { return Ok(()) };
    let Some(value) = graph.node(node).inputs()[input] else { return Ok(()) };
    let op = operator("dynamic_quantize_dequantize")?;
    // Several layers that read one value share its quantization.
    let existing = graph.users(value).into_iter().map(|u| u.0).find(|u| {
        graph.node(*u).call().is_some_and(|(o, a)| {
            o == op && o.signature().attr(a, "reduce_range") == Some(quantc_ops::Attr::Bool(reduce_range))
        })
    });
    let id = match existing {
        Some(id) => id,
        None => {
            let base = graph.node(value.node).name().trim_start_matches('@').to_owned();
            let origins = graph.node(value.node).origins().to_vec();
            // It must stand before every reader, so it goes right behind the producer.
            let before = graph
                .order()
                .skip_while(|n| *n != value.node)
                .skip(1)
                .find(|n| graph.node(*n).call().is_some() || Some(*n) == graph.output_node());
            let attrs = Attrs::new().with("reduce_range", reduce_range);
            graph.call_before(before, &format!("{base}.dynamic_quantize"), op, &[Some(value)], attrs, &origins)?
        }
    };
    graph.set_input(node, input, Some(id.into()));
    Ok(())
}

/// Quantized weights by parameter and configuration, so that a shared weight is quantized once.
#[derive(Default)]
pub(crate) struct Weights {
    done: HashMap<(Arc<str>, String), ValueRef>,
}

/// A weight and how it is quantized.
pub(crate) struct Weight {
    /// The parameter.
    pub(crate) name: Arc<str>,
    /// Scales and zero points.
    pub(crate) qparams: QParams,
    value: ValueRef,
    tensor: Tensor,
}

impl Weights {
    /// How a group's weight is to be quantized; `None` if it has none.
    pub(crate) fn qparams(
        graph: &Graph,
        group: &Group,
        config: &ObserverSpec,
        input_scale: Option<f32>,
    ) -> Result<Option<Weight>, QuantError> {
        let Some((node, input)) = group.weight else { return Ok(None) };
        let Some(value) = graph.node(node).inputs()[input] else { return Ok(None) };
        let (Some(name), Some(tensor)) = (graph.node(value.node).param().cloned(), graph.constant(value).cloned())
        else {
            return Ok(None);
        };
        let bias = group
            .bias
            .and_then(|(n, i)| graph.node(n).inputs().get(i).copied().flatten())
            .and_then(|v| graph.constant(v))
            .map(Tensor::to_f32_vec);
        let fail = |message: String| QuantError::Weight { name: name.to_string(), message };
        let mut observer = config.build().map_err(|e| fail(e.to_string()))?;
        let data: &[f32] = tensor.slice().map_err(|e| fail(e.to_string()))?;
        if let Some(at) = data.iter().position(|v| !v.is_finite()) {
            return Err(fail(format!("element {at} is {}", data[at])));
        }
        observer.observe(data, tensor.shape()).map_err(|e| fail(e.to_string()))?;
        let mut qparams = observer.calculate_qparams().map_err(|e| fail(e.to_string()))?.qparams;
        if let (Some(bias), Some(input_scale)) = (&bias, input_scale) {
            widen_for_bias(&mut qparams, bias, input_scale);
        }
        Ok(Some(Weight { name, qparams, value, tensor }))
    }

    fn quantize(
        &mut self,
        graph: &mut Graph,
        group: &Group,
        config: &ObserverSpec,
        input_scale: Option<f32>,
    ) -> Result<(), QuantError> {
        let Some((node, input)) = group.weight else { return Ok(()) };
        let Some(weight) = Weights::qparams(graph, group, config, input_scale)? else { return Ok(()) };
        let Weight { name, qparams: q, value, tensor } = weight;
        let fail = |message: String| QuantError::Weight { name: name.to_string(), message };
        let data: &[f32] = tensor.slice().map_err(|e| fail(e.to_string()))?;
        let key = (name.clone(), format!("{config:?} {:?}", q.scale));
        let dequantized = match self.done.get(&key) {
            Some(v) => *v,
            None => {
                // Groups are visited in the order of their last calls, so another reader may stand before this one.
                let readers: HashSet<NodeId> = graph.users(value).into_iter().map(|(reader, _)| reader).collect();
                let first = graph.order().find(|id| readers.contains(id)).unwrap_or(node);
                let v = replace_weight(graph, &name, first, &tensor, data, &q).map_err(|e| match e {
                    WeightError::Ir(e) => QuantError::from(e),
                    WeightError::Operator(o) => QuantError::MissingOperator(o),
                    WeightError::Shape(m) => fail(m),
                })?;
                self.done.insert(key, v);
                v
            }
        };
        graph.set_input(node, input, Some(dequantized));
        Ok(())
    }
}

enum WeightError {
    Ir(quantc_ir::IrError),
    Operator(&'static str),
    Shape(String),
}

/// Adds the integer weight, its scales and their dequantize before `user`.
fn replace_weight(
    graph: &mut Graph,
    name: &str,
    user: NodeId,
    weight: &Tensor,
    data: &[f32],
    q: &QParams,
) -> Result<ValueRef, WeightError> {
    let shape = weight.shape();
    let (inner, len) = match q.axis {
        Some(axis) => (shape[axis + 1..].iter().product::<usize>().max(1), shape[axis].max(1)),
        None => (usize::MAX, 1),
    };
    let ints: Vec<i32> = data.iter().enumerate().map(|(i, &v)| q.quantize(v, (i / inner) % len)).collect();
    let ints = Tensor::from_vec(shape, ints).map_err(|e| WeightError::Shape(e.to_string()))?.cast(q.range.dtype);
    let int_name = graph.fresh_param_name(&format!("{name}.int_repr"));
    let w = graph.param(&int_name, ints);
    let op = |n: &'static str| lookup(n).ok_or(WeightError::Operator(n));
    let (inputs, op, attrs) = match q.axis {
        None => {
            let attrs = Attrs::new().with("scale", q.scale[0]).with("zero_point", q.zero_point[0]);
            (vec![Some(w.into())], op("dequantize_per_tensor")?, attrs)
        }
        Some(axis) => {
            let scales = graph.fresh_param_name(&format!("{name}.scale"));
            let scales = graph.param(&scales, Tensor::vector(q.scale.clone()));
            let mut inputs = vec![Some(w.into()), Some(scales.into())];
            if q.zero_point.iter().any(|z| *z != 0) {
                let zeros = graph.fresh_param_name(&format!("{name}.zero_point"));
                inputs.push(Some(graph.param(&zeros, Tensor::vector(q.zero_point.clone())).into()));
            }
            (inputs, op("dequantize_per_channel")?, Attrs::new().with("axis", axis))
        }
    };
    debug_assert!(graph.node(user).call().is_some() && weight.dtype() == DType::F32);
    let id = graph
        .call_before(Some(user), &format!("{name}.dequantize"), op, &inputs, attrs, &[])
        .map_err(WeightError::Ir)?;
    Ok(id.into())
}

/// The bias is added as an i32 at scale `s_x * s_w[c]`: where a channel's weights are so small that its bias would not fit (a
/// dead channel), the weight scale grows until it takes at most 2^29, which costs nothing that the output's 8 bits could show.
fn widen_for_bias(q: &mut QParams, bias: &[f32], input_scale: f32) {
    const LARGEST: f32 = (1u32 << 29) as f32;
    let per_tensor = q.axis.is_none();
    for (c, b) in bias.iter().enumerate() {
        let needed = b.abs() / (input_scale * LARGEST);
        let slot = if per_tensor { 0 } else { c };
        if let Some(scale) = q.scale.get_mut(slot)
            && needed.is_finite()
            && *scale < needed
        {
            *scale = needed;
        }
    }
}
