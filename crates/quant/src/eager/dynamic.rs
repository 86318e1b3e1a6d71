//! `quantize_dynamic`: layers with large weights, their activations quantized at each call or not at all.

use std::collections::HashSet;
use std::sync::Arc;

use half::f16;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::OpClass;
use quantc_pattern::DTypeConfig;
use quantc_tensor::Tensor;

use super::convert::{assemble, node_report};
use super::prepare::is_output;
use super::{
    EagerError, EagerModel, QConfigDict, get_default_dynamic_quant_module_mappings, propagate_qconfig, swap_module,
};
use crate::constraints::unfit_weight;
use crate::convert::ConvertedModel;
use crate::error::QuantError;
use crate::group::{Group, Plan};
use crate::qconfig::{ObserverDType, QConfig, named};
use crate::report::{Decision, FloatReason, QuantReport};

/// `dtype` of [`quantize_dynamic`]: the type of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicDType {
    /// 8 bits, one scale; activations quint8 from their own range at each call (`default_dynamic_qconfig`).
    Qint8,
    /// Weights rounded to half precision, everything computed in f32 (`float16_dynamic_qconfig`).
    Float16,
    /// Embeddings with float zero points, 8 bits.
    Quint8,
    /// Embeddings with float zero points, 4 bits.
    Quint4x2,
}

/// `qconfig_spec` of [`quantize_dynamic`]: which modules.
#[derive(Clone, Debug)]
pub enum DynamicSpec {
    /// Linear layers and the recurrent ones.
    Default,
    /// Types and paths of modules; what is inside them is meant too.
    Modules(Vec<String>),
    /// QConfigs by type and path; the type of weights plays no part.
    QConfigs(QConfigDict),
}

/// Quantizes layers without calibration (torch.ao.quantization.quantize_dynamic). Of the types that PyTorch swaps, `Linear` and `LinearReLU` are
/// quantized to 8 bits, and to half precision the recurrent layers as well; others stay float, the report says so. A QConfig's range
/// for activations is its own: PyTorch always halves it.
///
/// # Errors
/// If the type has no QConfig here, or a QConfig's weight is not qint8 with zero points 0.
pub fn quantize_dynamic(
    model: &EagerModel,
    spec: &DynamicSpec,
    dtype: DynamicDType,
) -> Result<ConvertedModel, EagerError> {
    let mut model = model.clone().eval();
    let preset = named("per_tensor_dynamic").map(Arc::new);
    let all = |keys: &[String]| QConfigDict {
        types: keys.iter().map(|k| (k.clone(), preset.clone())).collect(),
        names: keys.iter().map(|k| (k.clone(), preset.clone())).collect(),
    };
    let embedding = |dtype| EagerError::DynamicDType {
        dtype,
        detail: "it is for embeddings, with float zero points, which eager mode does not have here (hint: qint8 or float16)",
    };
    let dict = match (spec, dtype) {
        (DynamicSpec::QConfigs(dict), _) => dict.clone(),
        (_, DynamicDType::Quint8) => return Err(embedding("quint8")),
        (_, DynamicDType::Quint4x2) => return Err(embedding("quint4x2")),
        (DynamicSpec::Modules(keys), _) => all(keys),
        (DynamicSpec::Default, _) => {
            all(&["Linear", "LSTM", "GRU", "LSTMCell", "RNNCell", "GRUCell"].map(str::to_owned))
        }
    };
    propagate_qconfig(&mut model, &dict);
    let (mut groups, mut rows, mut halves) = (Vec::new(), Vec::new(), Vec::new());
    let mut inside: HashSet<NodeId> = HashSet::new();
    for id in model.graph.calls() {
        let Some((unit, qconfig)) = model.unit(id).and_then(|u| Some((u, model.qconfig(u)?))) else {
            rows.push(node_report(&model.graph, id, Decision::Float { reason: FloatReason::NoPattern }));
            continue;
        };
        let swapped = swap_module(model.module_type(unit), true, get_default_dynamic_quant_module_mappings());
        let Some(class) = swapped else {
            rows.push(node_report(&model.graph, id, Decision::Float { reason: FloatReason::NoPattern }));
            continue;
        };
        let half = dtype == DynamicDType::Float16 && preset.as_ref().is_some_and(|p| Arc::ptr_eq(p, &qconfig));
        let linear = model.graph.node(id).is_op("linear");
        let entry = format!("qconfig of {unit}");
        let dtype_config = if half { "float16" } else { "qint8" };
        let quantized = linear || inside.contains(&id) || (half && weights(&model.graph, id).next().is_some());
        let decision = if quantized {
            Decision::Quantized {
                mode: "dynamic".to_owned(),
                pattern: class.to_owned(),
                dtype_config: dtype_config.to_owned(),
                group: model.graph.node(id).name().to_owned(),
                qconfig_entry: entry.clone(),
                input_observers: Vec::new(),
                output_observer: None,
            }
        } else if model.graph.node(id).call().is_none_or(|(op, _)| op.class() != OpClass::Heavy) {
            Decision::Float { reason: FloatReason::NoPattern }
        } else {
            let detail = format!("{class} of {dtype_config} is not there");
            Decision::Float { reason: FloatReason::Unsupported { detail } }
        };
        rows.push(node_report(&model.graph, id, decision));
        if linear && !is_output(&model, id) {
            inside.extend(model.graph.users(ValueRef::from(id)).iter().map(|u| u.0));
        }
        if half {
            halves.extend(weights(&model.graph, id));
        } else if linear {
            groups.push(dynamic_group(&model, id, qconfig, class, entry)?);
        }
    }
    let mut graph = model.graph.clone();
    halves.sort_unstable();
    halves.dedup();
    for name in halves {
        round_to_half(&mut graph, &name)?;
    }
    let report = QuantReport { backend: "eager".to_owned(), nodes: rows, ..QuantReport::default() };
    assemble(&graph, Vec::new(), &[], groups, report, &[])
}

fn dynamic_group(
    model: &EagerModel,
    id: NodeId,
    qconfig: Arc<QConfig>,
    class: &str,
    entry: String,
) -> Result<Group, EagerError> {
    let node = model.graph.node(id);
    // The layer inside a fused module says how its weight is observed.
    let path = node.origins().first().map_or("", |o| &*o.module_path);
    let qconfig = model.qconfig(path).unwrap_or(qconfig);
    let refused = |detail: String| EagerError::QConfig {
        path: path.to_owned(),
        module_type: model.module_type(path).to_owned(),
        detail,
    };
    if qconfig.weight.dtype != ObserverDType::Qint8 {
        return Err(refused(format!("the weight must be qint8, its observer gives {}", qconfig.weight.dtype)));
    }
    if let Some(detail) = node.call().and_then(|(op, _)| unfit_weight(op, &qconfig.weight)) {
        return Err(refused(format!("weight: {detail}")));
    }
    Ok(Group {
        root: id,
        nodes: vec![id],
        pattern: class.to_owned(),
        share: false,
        reuses_input: false,
        fixed: Vec::new(),
        activations: vec![(id, 0)],
        weight: Some((id, 1)),
        weights: vec![(id, 1)],
        bias: node.inputs().get(2).is_some_and(Option::is_some).then_some((id, 2)),
        plan: Plan::Dynamic { qconfig, entry, dtype_config: DTypeConfig::new("qint8".into()) },
    })
}

/// Names of the parameters that are the weights of a layer: biases and states are none.
fn weights(graph: &Graph, id: NodeId) -> impl Iterator<Item = String> {
    let node = graph.node(id);
    let named = node.call().map_or(&[][..], |(op, _)| op.signature().inputs);
    let weights = named.iter().zip(node.inputs()).filter(|(spec, _)| ["weight", "w", "r"].contains(&spec.name));
    weights.filter_map(|(_, value)| graph.node((*value)?.node).param().map(ToString::to_string))
}

/// Rounds a parameter to half precision; what is too large becomes the largest number of that type, as in PyTorch.
fn round_to_half(graph: &mut Graph, name: &str) -> Result<(), EagerError> {
    let fail = |message: String| QuantError::Weight { name: name.to_owned(), message };
    let Some(tensor) = graph.params().get(name).and_then(|p| p.value.clone()) else { return Ok(()) };
    let largest = f16::MAX.to_f32();
    let rounded = tensor.to_f32_vec().into_iter().map(|v| f16::from_f32(v.clamp(-largest, largest)).to_f32());
    let rounded = Tensor::from_vec(tensor.shape(), rounded.collect()).map_err(|e| fail(e.to_string()))?;
    graph.set_param(name, rounded);
    Ok(())
}
