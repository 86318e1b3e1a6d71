//! `quantize_dynamic`: layers with large weights, their activations quantized at each call or not at all.

use std::collections::HashMap;
use std::sync::Arc;

use quantc_ir::{NodeId, ValueRef};
use quantc_ops::OpRef;
use quantc_pattern::{DTypeConfig, Mode};
use quantc_tensor::QScheme;

use super::convert::{assemble, float_reason, node_report};
use super::mappings::{
    ModuleMapping, check_mapping, get_default_dynamic_quant_module_mappings, optional_dynamic_quant_module_mappings,
    swap_module,
};
use super::prepare::is_output;
use super::{EagerError, EagerModel, QConfigDict, propagate_qconfig};
use crate::constraints::unfit_weight;
use crate::convert::ConvertedModel;
use crate::group::{Group, Plan};
use crate::qconfig::{ObserverDType, QConfig, presets};
use crate::report::{Decision, QuantReport};
use crate::weight_only::{reads_rows, unfit_weight_only};

/// `dtype` of [`quantize_dynamic`]: the type of weights, for modules without a QConfig of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicDType {
    /// 8 bits, one scale; activations quint8 from their own range at each call (`default_dynamic_qconfig`).
    Qint8,
    /// Weights rounded to half precision, everything computed in f32 (`float16_dynamic_qconfig`).
    Float16,
    /// Embeddings with float zero points, 8 bits (`float_qparams_weight_only_qconfig`).
    Quint8,
    /// Embeddings with float zero points, 4 bits (`float_qparams_weight_only_qconfig_4bit`).
    Quint4x2,
}

impl DynamicDType {
    /// The QConfig that modules get.
    fn qconfig(self) -> QConfig {
        match self {
            DynamicDType::Qint8 => presets::default_dynamic_qconfig(),
            DynamicDType::Float16 => presets::float16_dynamic_qconfig(),
            DynamicDType::Quint8 => presets::float_qparams_weight_only_qconfig(),
            DynamicDType::Quint4x2 => presets::float_qparams_weight_only_qconfig_4bit(),
        }
    }

    /// The types of modules that get it unless told otherwise.
    fn types(self) -> &'static [&'static str] {
        match self {
            DynamicDType::Qint8 | DynamicDType::Float16 => DEFAULT_DYNAMIC_TYPES,
            DynamicDType::Quint8 => &["EmbeddingBag", "Embedding"],
            DynamicDType::Quint4x2 => &["EmbeddingBag"],
        }
    }
}

/// What [`quantize_dynamic`] quantizes to 8 bits and to half precision.
pub const DEFAULT_DYNAMIC_TYPES: &[&str] = &["Linear", "LSTM", "GRU", "LSTMCell", "RNNCell", "GRUCell"];

/// `qconfig_spec` of [`quantize_dynamic`]: which modules.
#[derive(Clone, Debug)]
pub enum DynamicSpec {
    /// Linear layers and the recurrent ones; embeddings to the types that are for them.
    Default,
    /// Types and paths of modules; what is inside them is meant too.
    Modules(Vec<String>),
    /// QConfigs by type and path; the type of weights plays no part.
    QConfigs(QConfigDict),
}

/// Quantizes layers without calibration (torch.ao.quantization.quantize_dynamic): linear and recurrent layers and cells to 8 bits or half
/// precision, tables of embeddings to 8 or 4 bits. Modules that PyTorch does not swap stay float, the report says so. A QConfig's
/// range for activations is its own: PyTorch always halves it.
///
/// # Errors
/// If a QConfig's weight is not one that the module takes: qint8 with zero points 0 or float16, float zero points for embeddings.
pub fn quantize_dynamic(
    model: &EagerModel,
    spec: &DynamicSpec,
    dtype: DynamicDType,
) -> Result<ConvertedModel, EagerError> {
    quantize_dynamic_with(model, spec, dtype, get_default_dynamic_quant_module_mappings())
}

/// [`quantize_dynamic`] with its argument `mapping`: the types that are swapped, and for which class. It may have rows of
/// [`optional_dynamic_quant_module_mappings`], too: convolutions.
///
/// # Errors
/// As [`quantize_dynamic`]; if the mapping gives a type a class that it cannot become here.
pub fn quantize_dynamic_with(
    model: &EagerModel,
    spec: &DynamicSpec,
    dtype: DynamicDType,
    mapping: ModuleMapping<'_>,
) -> Result<ConvertedModel, EagerError> {
    check_mapping(mapping, &[get_default_dynamic_quant_module_mappings(), optional_dynamic_quant_module_mappings()])?;
    let mut model = model.clone().eval();
    let own = Some(Arc::new(dtype.qconfig()));
    let all = |keys: Vec<String>| QConfigDict {
        types: keys.iter().map(|k| (k.clone(), own.clone())).collect(),
        names: keys.iter().map(|k| (k.clone(), own.clone())).collect(),
    };
    let dict = match spec {
        DynamicSpec::QConfigs(dict) => dict.clone(),
        DynamicSpec::Modules(keys) => all(keys.clone()),
        DynamicSpec::Default => all(dtype.types().iter().map(|t| (*t).to_owned()).collect()),
    };
    propagate_qconfig(&mut model, &dict);
    let (mut groups, mut rows): (Vec<Group>, Vec<_>) = (Vec::new(), Vec::new());
    // Calls of fused modules behind the layer, with the layer's group.
    let mut inside: HashMap<NodeId, usize> = HashMap::new();
    for id in model.graph.calls() {
        let swapped = model.unit(id).and_then(|unit| {
            let qconfig = model.qconfig(unit)?;
            Some((unit, qconfig, swap_module(model.module_type(unit), true, mapping)?))
        });
        let mut decision = Decision::Float { reason: float_reason(&model, id) };
        if let Some((unit, qconfig, class)) = swapped {
            let entry = format!("qconfig of {unit}");
            if let Some(group) = dynamic_group(&model, id, qconfig, class, &entry)? {
                decision = group_decision(&model, &group);
                if !is_output(&model, id) {
                    inside.extend(model.graph.users(ValueRef::from(id)).iter().map(|u| (u.0, groups.len())));
                }
                groups.push(group);
            } else if let Some(layer) = inside.get(&id).and_then(|at| groups.get(*at)) {
                decision = group_decision(&model, layer);
            }
        }
        rows.push(node_report(&model.graph, id, decision));
    }
    let report = QuantReport { backend: "eager".to_owned(), nodes: rows, ..QuantReport::default() };
    assemble(&model.graph, Vec::new(), &[], groups, report, &[])
}

/// What the report says of a call of a group.
pub(super) fn group_decision(model: &EagerModel, group: &Group) -> Decision {
    let (mode, entry, dtype_config) = match &group.plan {
        Plan::Dynamic { entry, dtype_config, .. } => (Mode::Dynamic, entry, dtype_config),
        Plan::WeightOnly { entry, dtype_config, .. } => (Mode::WeightOnly, entry, dtype_config),
        Plan::Half { entry, dtype_config, mode } => (*mode, entry, dtype_config),
        Plan::Static { entry, dtype_config, .. } => (Mode::Static, entry, dtype_config),
        Plan::Float(reason) => return Decision::Float { reason: reason.clone() },
    };
    Decision::Quantized {
        mode: mode.to_string(),
        pattern: group.pattern.clone(),
        dtype_config: dtype_config.name.to_string(),
        group: model.graph.node(group.root).name().to_owned(),
        qconfig_entry: entry.clone(),
        input_observers: Vec::new(),
        output_observer: None,
    }
}

/// The group of a layer that has weights; `None` for other calls of a module.
fn dynamic_group(
    model: &EagerModel,
    id: NodeId,
    qconfig: Arc<QConfig>,
    class: &str,
    entry: &str,
) -> Result<Option<Group>, EagerError> {
    let node = model.graph.node(id);
    let Some((op, _)) = node.call() else { return Ok(None) };
    if reads_rows(op) {
        return table_group(model, id, qconfig, class, entry).map(Some);
    }
    let weights = weights(op);
    if weights.is_empty() {
        return Ok(None);
    }
    // The layer inside a fused module says how its weight is observed.
    let path = node.origins().first().map_or("", |o| &*o.module_path);
    let qconfig = model.qconfig(path).unwrap_or(qconfig);
    let refused = |detail: String| EagerError::qconfig(model, path, detail);
    let (entry, dtype_config) = (entry.to_owned(), DTypeConfig::new(qconfig.weight.dtype.name().into()));
    let convolution = op.name().starts_with("conv");
    let plan = match qconfig.weight.dtype {
        ObserverDType::Float16 if !convolution => Plan::Half { entry, dtype_config, mode: Mode::Float16Dynamic },
        ObserverDType::Qint8 => match unfit_weight(op, &qconfig.weight) {
            Some(detail) => return Err(refused(format!("weight: {detail}"))),
            None => Plan::Dynamic { qconfig, entry, dtype_config },
        },
        other => {
            let types = if convolution { "qint8" } else { "qint8 or float16" };
            return Err(refused(format!("the weight must be {types}, its observer gives {other}")));
        }
    };
    let bias = ((convolution || op.name() == "linear") && node.inputs().get(2).is_some_and(Option::is_some))
        .then_some((id, 2));
    Ok(Some(group(id, class, vec![(id, 0)], &weights, bias, plan)))
}

/// The group of a table of embeddings (torch.ao.nn.quantized.Embedding, EmbeddingBag), whose output is float.
///
/// # Errors
/// If its QConfig's weight has not float zero points and 8 or 4 bits.
pub(super) fn table_group(
    model: &EagerModel,
    id: NodeId,
    qconfig: Arc<QConfig>,
    class: &str,
    entry: &str,
) -> Result<Group, EagerError> {
    let node = model.graph.node(id);
    let weight = &qconfig.weight;
    let fits = weight.qscheme == QScheme::PerChannelAffineFloatQParams
        && matches!(weight.dtype, ObserverDType::Quint8 | ObserverDType::Quint4x2);
    let detail = if fits {
        node.call().and_then(|(op, _)| unfit_weight_only(op, weight)).map(|detail| format!("weight: {detail}"))
    } else {
        let hint = "(hint: float_qparams_weight_only_qconfig, or None)";
        let dtype = weight.dtype;
        Some(format!(
            "a table of embeddings has float zero points and quint8 or quint4x2, its observer gives {dtype} {hint}"
        ))
    };
    if let Some(detail) = detail {
        let path = node.origins().first().map_or("", |o| &*o.module_path);
        return Err(EagerError::qconfig(model, path, detail));
    }
    let dtype_config = DTypeConfig::new(weight.dtype.name().into());
    Ok(group(id, class, Vec::new(), &[0], None, Plan::WeightOnly { qconfig, entry: entry.to_owned(), dtype_config }))
}

/// The group of one call.
fn group(
    id: NodeId,
    class: &str,
    activations: Vec<(NodeId, usize)>,
    weights: &[usize],
    bias: Option<(NodeId, usize)>,
    plan: Plan,
) -> Group {
    let weights: Vec<(NodeId, usize)> = weights.iter().map(|input| (id, *input)).collect();
    Group {
        root: id,
        nodes: vec![id],
        pattern: class.to_owned(),
        share: false,
        custom: false,
        reuses_input: false,
        overruled: Vec::new(),
        fixed: Vec::new(),
        activations,
        weight: weights.first().copied(),
        weights,
        bias,
        plan,
    }
}

/// The inputs of a layer that are its weights: biases and states are none.
fn weights(op: OpRef) -> Vec<usize> {
    let inputs = op.signature().inputs.iter().enumerate();
    inputs.filter(|(_, spec)| ["weight", "w", "r"].contains(&spec.name)).map(|(input, _)| input).collect()
}
