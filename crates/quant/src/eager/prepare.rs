//! `prepare`: observers on the outputs of modules.

use std::sync::Arc;

use indexmap::IndexMap;
use quantc_ir::{NodeId, ValueRef};
use quantc_tensor::Tensor;

use super::quantizable::make_quantizable;
use super::{EagerError, EagerModel, QConfigDict, convert, get_default_qconfig_propagation_list, propagate_qconfig};
use crate::calibrate::Calibrator;
use crate::convert::ConvertedModel;
use crate::error::QuantError;
use crate::placement::Site;
use crate::prepare::{ObserverSlot, Observing, PreparedModel, insert_observers};
use crate::qconfig::QConfig;
use crate::report::QuantReport;

/// A model with observers: calibrate [`EagerPrepared::prepared`], then [`convert`].
#[derive(Clone, Debug)]
pub struct EagerPrepared {
    pub(super) model: EagerModel,
    prepared: PreparedModel,
    /// The observer of each observed module.
    pub(super) slots: IndexMap<String, usize>,
}

impl EagerPrepared {
    /// The graph with observers, for a [`Calibrator`].
    pub fn prepared(&self) -> &PreparedModel {
        &self.prepared
    }

    /// The model, with the QConfigs that its modules were given.
    pub fn model(&self) -> &EagerModel {
        &self.model
    }

    /// Path of each observed module, and its observer's index.
    pub fn observers(&self) -> impl Iterator<Item = (&str, usize)> {
        self.slots.iter().map(|(path, slot)| (path.as_str(), *slot))
    }
}

/// Gives modules the QConfigs of their parents and puts an observer on the output of every leaf module that has one and is in the
/// [propagation list](get_default_qconfig_propagation_list), of `QuantStub`s, and of the methods of `FloatFunctional` (torch.ao.quantization.prepare). A
/// module that is called several times has one observer. LSTM and attention layers with a QConfig become modules of `torch.ao.nn.quantizable` first.
///
/// # Errors
/// If a QConfig is dynamic or has a scale for each channel of activations, or a module with one is a GRU, or an LSTM whose sequences have no known length.
pub fn prepare(model: &EagerModel) -> Result<EagerPrepared, EagerError> {
    prepare_with(model, &get_default_qconfig_propagation_list())
}

/// [`prepare`] with its argument `allow_list`: the types whose outputs are observed. A fused module and `FloatFunctional` are observed anyway.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_with(model: &EagerModel, allow_list: &[&str]) -> Result<EagerPrepared, EagerError> {
    let mut model = model.clone();
    propagate_qconfig(&mut model, &QConfigDict::default());
    if !model.modules().any(|(_, _, qconfig)| qconfig.is_some()) {
        tracing::warn!("no module has a qconfig: nothing is quantized (hint: EagerModel::set_qconfig)");
    }
    make_quantizable(&mut model)?;
    let mut observed: Vec<(String, Arc<QConfig>)> = Vec::new();
    observe(&model, "", allow_list, &mut observed)?;
    let calls = model.calls();
    let mut graph = model.graph.clone();
    let (mut slots, mut observing, mut sites) = (IndexMap::new(), Vec::new(), Vec::new());
    for (path, qconfig) in observed {
        let members: Vec<NodeId> = match model.modules.get(&path) {
            Some(m) if m.fused => {
                model.children(&path).iter().filter_map(|c| calls.get(c)).flatten().copied().collect()
            }
            _ => calls.get(&path).cloned().unwrap_or_default(),
        };
        let slot = observing.len();
        for id in members.into_iter().filter(|id| is_output(&model, *id)) {
            let value = ValueRef::from(id);
            sites.push(Site { value, observer: slot, readers: graph.users(value) });
        }
        observing.push(Observing::Calibrated(qconfig.activation.clone()));
        slots.insert(path, slot);
    }
    let observers: Vec<ObserverSlot> = insert_observers(&mut graph, observing, &sites)?;
    graph.verify()?;
    let prepared = PreparedModel {
        graph,
        observers,
        report: QuantReport::default(),
        groups: Vec::new(),
        ports: Default::default(),
        custom: Vec::new(),
        preserved: Vec::new(),
    };
    Ok(EagerPrepared { model, prepared, slots })
}

/// The modules under a path that have observers, in PyTorch's order (`_add_observer_`).
fn observe(
    model: &EagerModel,
    path: &str,
    list: &[&str],
    observed: &mut Vec<(String, Arc<QConfig>)>,
) -> Result<(), EagerError> {
    let children = model.children(path);
    for child in &children {
        let module_type = model.module_type(child);
        let qconfig = model.qconfig(child);
        let fused = model.modules.get(child).is_some_and(|m| m.fused);
        match qconfig {
            _ if module_type == "Dropout" => {}
            Some(qconfig) if fused || module_type == "FloatFunctional" => {
                observed.push((child.clone(), check(model, child, qconfig)?));
            }
            None if fused || module_type == "FloatFunctional" => {}
            Some(_) if module_type == "GRU" => {
                let detail = "torch.ao.nn.quantizable has no form of it that is quantized statically \
                              (hint: set its qconfig to None, or quantize_dynamic)";
                return Err(unsupported(model, child, detail));
            }
            _ => observe(model, child, list, observed)?,
        }
    }
    let module_type = model.module_type(path);
    // Tables give floats: their QConfig's activations have a placeholder.
    if let (true, Some(qconfig)) = (children.is_empty(), model.qconfig(path))
        && !["Embedding", "EmbeddingBag"].contains(&module_type)
        && module_type != "Sequential"
        && module_type != "DeQuantStub"
        && list.contains(&module_type)
    {
        observed.push((path.to_owned(), check(model, path, qconfig)?));
    }
    Ok(())
}

fn check(model: &EagerModel, path: &str, qconfig: Arc<QConfig>) -> Result<Arc<QConfig>, EagerError> {
    let detail = if qconfig.is_dynamic() {
        "it is dynamic, prepare and convert quantize statically (hint: quantize_dynamic)"
    } else if qconfig.activation.qscheme.is_per_channel() {
        "an activation has one scale, its observer gives one for each channel (hint: a scheme per tensor)"
    } else {
        return Ok(qconfig);
    };
    Err(EagerError::qconfig(model, path, detail.to_owned()))
}

pub(super) fn unsupported(model: &EagerModel, path: &str, detail: &str) -> EagerError {
    let module_type = model.module_type(path).to_owned();
    EagerError::Unsupported { path: path.to_owned(), module_type, detail: detail.to_owned() }
}

/// Whether the result of a call is that of the module around it: of a fused module only its last call's is, of `FloatFunctional` not
/// that of an addition before its own ReLU, nor what is computed with a number, which PyTorch does not observe.
pub(super) fn is_output(model: &EagerModel, id: NodeId) -> bool {
    let Some(unit) = model.unit(id) else { return false };
    let graph = &model.graph;
    let path = graph.node(id).origins().first().map_or("", |o| &*o.module_path);
    if path != unit {
        return model.children(unit).last().is_some_and(|last| last == path);
    }
    if model.module_type(unit) != "FloatFunctional" {
        return true;
    }
    number_of(model, id).is_none() && !before_its_relu(model, id)
}

/// The number that a call of `FloatFunctional`'s `add_scalar` or `mul_scalar` has as second operand.
pub(super) fn number_of(model: &EagerModel, id: NodeId) -> Option<f32> {
    let node = model.graph.node(id);
    let value = (*node.inputs().get(1)?)?;
    let number = model.graph.constant(value).filter(|t| t.rank() == 0)?;
    (node.is_op("add") || node.is_op("mul")).then(|| number.to_f32_vec().first().copied())?
}

/// Whether a call of `FloatFunctional` is the addition of `add_relu`.
pub(super) fn before_its_relu(model: &EagerModel, id: NodeId) -> bool {
    let graph = &model.graph;
    let same = |user: NodeId| graph.node(user).is_op("relu") && model.unit(user) == model.unit(id);
    graph.node(id).is_op("add") && graph.users(ValueRef::from(id)).iter().any(|(user, _)| same(*user))
}

/// Runs every batch through the observers (torch.ao.quantization.default_eval_fn).
///
/// # Errors
/// As [`Calibrator::observe`].
pub fn default_eval_fn(calibrator: &mut Calibrator<'_>, batches: &[Vec<(String, Tensor)>]) -> Result<(), QuantError> {
    batches.iter().try_for_each(|batch| calibrator.observe(batch))
}

/// Prepares, lets `run_fn` run the calibration data, and converts (torch.ao.quantization.quantize).
///
/// # Errors
/// As [`prepare`], `run_fn` and [`convert`].
pub fn quantize(
    model: &EagerModel,
    run_fn: impl FnOnce(&mut Calibrator<'_>) -> Result<(), QuantError>,
) -> Result<ConvertedModel, EagerError> {
    let prepared = prepare(&model.clone().eval())?;
    let mut calibrator = Calibrator::new(prepared.prepared())?;
    run_fn(&mut calibrator)?;
    convert(&prepared, &calibrator.finish()?)
}

/// torch.ao.quantization.prepare_qat.
///
/// # Errors
/// Always: there is no training in eager mode.
pub fn prepare_qat(_: &EagerModel) -> Result<EagerPrepared, EagerError> {
    Err(EagerError::Qat { function: "prepare_qat" })
}

/// torch.ao.quantization.quantize_qat.
///
/// # Errors
/// Always: there is no training in eager mode.
pub fn quantize_qat(_: &EagerModel) -> Result<ConvertedModel, EagerError> {
    Err(EagerError::Qat { function: "quantize_qat" })
}
