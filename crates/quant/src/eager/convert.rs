//! `convert`: modules with QConfigs become quantized ones, and what is quantized must reach them quantized.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::OpClass;
use quantc_pattern::{DTypeConfig, FixedQParams};
use quantc_tensor::{DType, QRange};

use super::dynamic::{group_decision, table_group};
use super::kernels::{QuantizedKernel, quantized_kernel};
use super::mappings::{ModuleMapping, check_mapping, get_default_static_quant_module_mappings, swap_module};
use super::prepare::{before_its_relu, is_output, number_of, unsupported};
use super::quantizable::is_absent_state;
use super::{EagerError, EagerModel, EagerPrepared, WhyFloat};
use crate::calibrate::ActivationQParams;
use crate::constraints::unfit_weight;
use crate::convert::{ConvertedModel, convert_to_reference_fx};
use crate::error::QuantError;
use crate::group::{Group, Plan};
use crate::placement::Site;
use crate::prepare::{Observing, PreparedModel, insert_observers};
use crate::qconfig::{ObserverDType, QConfig};
use crate::report::{Decision, FloatReason, NodeReport, QuantReport};

/// The reference graph of the model that torch.ao.quantization.convert makes: the modules that have a QConfig and a quantized counterpart run between
/// dequantize and quantize, `QuantStub` is a quantize, `DeQuantStub` the end of the integers. Other operators on quantized tensors do what
/// PyTorch's kernels for them do: most keep scale and zero point, sigmoid and tanh have fixed ones. An output that is quantized is given
/// dequantized. `qparams`: of [`crate::Calibrator::finish`].
///
/// # Errors
/// If a float tensor reaches a quantized module or a quantized one an operator without a quantized kernel (PyTorch: "Could not run ... with
/// arguments from the 'CPU' backend" when the model runs); or as [`convert_to_reference_fx`].
pub fn convert(prepared: &EagerPrepared, qparams: &[ActivationQParams]) -> Result<ConvertedModel, EagerError> {
    convert_with(prepared, qparams, get_default_static_quant_module_mappings())
}

/// [`convert()`] with its argument `mapping`: the types that are swapped, and for which class.
///
/// # Errors
/// As [`convert()`]; if the mapping gives a type a class that it cannot become here.
pub fn convert_with(
    prepared: &EagerPrepared,
    qparams: &[ActivationQParams],
    mapping: ModuleMapping<'_>,
) -> Result<ConvertedModel, EagerError> {
    check_mapping(mapping, &[get_default_static_quant_module_mappings()])?;
    let model = &prepared.model;
    if qparams.len() != prepared.slots.len() {
        return Err(QuantError::NoCalibrationData.into());
    }
    let mut walk = Walk {
        model,
        mapping,
        slots: &prepared.slots,
        // A narrower range of the observer has made the scale; the quantized tensors of PyTorch have the whole type's.
        qparams: qparams
            .iter()
            .map(|q| ActivationQParams { range: QRange::full(q.range.dtype).unwrap_or(q.range), ..*q })
            .collect(),
        observing: prepared.prepared().observers.iter().map(|o| o.observing.clone()).collect(),
        states: HashMap::new(),
        sites: Vec::new(),
        groups: Vec::new(),
        rows: Vec::new(),
    };
    for id in model.graph.calls() {
        walk.call(id)?;
    }
    let Walk { qparams, observing, sites, groups, rows, .. } = walk;
    let report = QuantReport { backend: "eager".to_owned(), nodes: rows, ..QuantReport::default() };
    assemble(&model.graph, observing, &sites, groups, report, &qparams)
}

/// The converted graph of these groups and observed values, without stubs.
pub(super) fn assemble(
    graph: &Graph,
    observing: Vec<Observing>,
    sites: &[Site],
    groups: Vec<Group>,
    report: QuantReport,
    qparams: &[ActivationQParams],
) -> Result<ConvertedModel, EagerError> {
    let mut graph = graph.clone();
    let observers = insert_observers(&mut graph, observing, sites)?;
    let mut converted = convert_to_reference_fx(
        &PreparedModel {
            graph,
            observers,
            report,
            groups,
            ports: Default::default(),
            custom: Vec::new(),
            preserved: Vec::new(),
        },
        qparams,
    )?;
    let graph = &mut converted.graph;
    let is_stub = |id: &NodeId| graph.node(*id).is_op("quant_stub") || graph.node(*id).is_op("dequant_stub");
    for stub in graph.calls().filter(is_stub).collect::<Vec<_>>() {
        if let Some(Some(input)) = graph.node(stub).inputs().first().copied() {
            graph.replace_uses(stub.into(), input, &[]);
            graph.remove(stub)?;
        }
    }
    graph.verify()?;
    Ok(converted)
}

/// What a value is when the converted model runs; values without a state are float.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Quantized, with the parameters of that index.
    Quantized(usize),
    /// Inside a fused module, before its last call.
    Inside,
}

struct Walk<'m> {
    model: &'m EagerModel,
    mapping: ModuleMapping<'m>,
    slots: &'m IndexMap<String, usize>,
    qparams: Vec<ActivationQParams>,
    observing: Vec<Observing>,
    states: HashMap<ValueRef, State>,
    sites: Vec<Site>,
    groups: Vec<Group>,
    rows: Vec<NodeReport>,
}

impl Walk<'_> {
    fn call(&mut self, id: NodeId) -> Result<(), EagerError> {
        let model = self.model;
        let swapped = model.unit(id).and_then(|unit| {
            let qconfig = model.qconfig(unit)?;
            let class = swap_module(model.module_type(unit), true, self.mapping)?;
            Some((unit, qconfig, class))
        });
        let Some((unit, qconfig, class)) = swapped else { return self.plain(id) };
        let module_type = model.module_type(unit);
        match module_type {
            "QuantStub" => {
                if let Some(value) = self.inputs(id).into_iter().find(|v| self.states.contains_key(v)) {
                    return Err(self.missing_dequant_stub(value, id));
                }
                self.mark(id.into(), self.slot(unit)?);
            }
            "DeQuantStub" => {}
            "Dropout" => self.plain(id)?,
            "ReLU6" => {
                self.quantized_inputs(id)?;
                self.plain(id)?;
            }
            "Embedding" | "EmbeddingBag" => {
                let group = table_group(model, id, qconfig, class, &format!("qconfig of {unit}"))?;
                let decision = group_decision(model, &group);
                self.row(id, decision);
                self.groups.push(group);
            }
            "PReLU" => {
                let detail = format!("{class} is not there (hint: set its qconfig to None)");
                return Err(unsupported(model, unit, &detail));
            }
            "FloatFunctional" if number_of(model, id).is_some() => self.with_number(id)?,
            _ => {
                let inside = self.inputs(id).iter().any(|v| self.states.get(v) == Some(&State::Inside));
                if !inside {
                    self.quantized_inputs(id)?;
                }
                if is_output(model, id) && !before_its_relu(model, id) {
                    let slot = self.slot(unit)?;
                    self.group(id, unit, &qconfig, class, slot)?;
                    self.mark(id.into(), slot);
                } else {
                    self.states.insert(id.into(), State::Inside);
                }
            }
        }
        Ok(())
    }

    /// The f32 values that a call reads as activations: of a layer or norm the first input.
    fn inputs(&self, id: NodeId) -> Vec<ValueRef> {
        let graph = &self.model.graph;
        let node = graph.node(id);
        let parameters =
            matches!(node.call(), Some((op, _)) if op.signature().inputs.iter().any(|i| i.name == "weight"));
        let values = node.inputs().iter().take(if parameters { 1 } else { usize::MAX });
        values.flatten().copied().filter(|v| graph.ty(*v).dtype == DType::F32).collect()
    }

    fn slot(&self, unit: &str) -> Result<usize, EagerError> {
        let detail = "it has a quantized counterpart, but no observer";
        self.slots.get(unit).copied().ok_or_else(|| unsupported(self.model, unit, detail))
    }

    /// Parameters that are not calibrated.
    fn fixed(&mut self, scale: f32, zero_point: i32, range: QRange) -> usize {
        let end = |q: i32| (q - zero_point) as f32 * scale;
        let seen = (end(range.qmin), end(range.qmax));
        self.qparams.push(ActivationQParams { scale, zero_point, range, seen });
        self.observing.push(Observing::Fixed(FixedQParams { dtype: range.dtype, scale, zero_point }));
        self.qparams.len() - 1
    }

    fn mark(&mut self, value: ValueRef, slot: usize) {
        self.states.insert(value, State::Quantized(slot));
        let readers = self.model.graph.users(value);
        if !readers.is_empty() {
            self.sites.push(Site { value, observer: slot, readers });
        }
    }

    /// Fails if an activation of a quantized module is float.
    fn quantized_inputs(&self, id: NodeId) -> Result<Vec<usize>, EagerError> {
        let slot = |value: ValueRef| match self.states.get(&value) {
            Some(State::Quantized(slot)) => Ok(*slot),
            _ => Err(self.missing_quant_stub(value, id)),
        };
        self.inputs(id).into_iter().map(slot).collect()
    }

    /// An operator that belongs to no quantized module.
    fn plain(&mut self, id: NodeId) -> Result<(), EagerError> {
        let graph = &self.model.graph;
        if is_absent_state(graph, id) {
            let slot = self.fixed(1.0, 0, QRange { dtype: DType::U8, qmin: 0, qmax: 255 });
            self.mark(id.into(), slot);
            return Ok(());
        }
        let node = graph.node(id);
        let inputs = self.inputs(id);
        let quantized = inputs.iter().find_map(|v| match self.states.get(v) {
            Some(State::Quantized(slot)) => Some((*v, *slot)),
            _ => None,
        });
        let name = node.call().map_or("", |(op, _)| op.name());
        let Some((value, slot)) = quantized else {
            if !["quant_stub", "dequant_stub"].contains(&name) {
                self.row(id, Decision::Float { reason: float_reason(self.model, id) });
            }
            return Ok(());
        };
        let slot = match quantized_kernel(name) {
            None => return Err(self.missing_dequant_stub(value, id)),
            Some(QuantizedKernel::Metadata) => return Ok(()),
            Some(QuantizedKernel::Keeps) => {
                self.quantized_inputs(id)?;
                slot
            }
            Some(QuantizedKernel::Fixed(scale, zero_point)) => {
                let range = self.qparams[slot].range;
                let shift = if range.dtype == DType::I8 { 128 } else { 0 };
                self.fixed(scale, zero_point - shift, range)
            }
        };
        for (output, ty) in (0u32..).zip(node.types()) {
            if ty.dtype == DType::F32 {
                self.mark(ValueRef { node: id, output }, slot);
            }
        }
        if !["quant_stub", "dequant_stub"].contains(&name) {
            self.row_quantized(id, id, "QuantizedCPU kernel", "of its input", slot);
        }
        Ok(())
    }

    /// `add_scalar` and `mul_scalar` (`quantized::add_scalar`, `quantized::mul_scalar` of ATen): the integers stay as they are, scale and zero point
    /// take the number in, unless the zero point would leave the range.
    fn with_number(&mut self, id: NodeId) -> Result<(), EagerError> {
        let number = number_of(self.model, id).unwrap_or_default();
        let first = self.inputs(id).into_iter().take(1);
        let slots: Vec<usize> = first
            .map(|value| match self.states.get(&value) {
                Some(State::Quantized(slot)) => Ok(*slot),
                _ => Err(self.missing_quant_stub(value, id)),
            })
            .collect::<Result<_, _>>()?;
        let Some(&slot) = slots.first() else { return Ok(()) };
        let ActivationQParams { scale, zero_point, range, .. } = self.qparams[slot];
        let (scale, zero_point) = if self.model.graph.node(id).is_op("add") {
            let steps = (f64::from(number) / f64::from(scale)).round_ties_even();
            let shifted = f64::from(zero_point) - steps;
            let (qmin, qmax) = (f64::from(range.qmin), f64::from(range.qmax));
            if shifted < qmin {
                (((qmax - shifted) / (qmax - qmin) * f64::from(scale)) as f32, range.qmin)
            } else if shifted > qmax {
                (((shifted - qmin) / (qmax - qmin) * f64::from(scale)) as f32, range.qmax)
            } else {
                (scale, shifted as i32)
            }
        } else if number == 0.0 {
            (1.0, 0)
        } else if number > 0.0 {
            (scale * number, zero_point)
        } else {
            (scale * number.abs(), range.qmax + range.qmin - zero_point)
        };
        let slot = self.fixed(scale, zero_point, range);
        self.mark(id.into(), slot);
        self.row_quantized(id, id, "torch.ao.nn.quantized.QFunctional", "of its input", slot);
        Ok(())
    }

    /// The calls of a quantized module that end in `root`, and their weight.
    fn group(
        &mut self,
        root: NodeId,
        unit: &str,
        qconfig: &Arc<QConfig>,
        class: &str,
        slot: usize,
    ) -> Result<(), EagerError> {
        let graph = &self.model.graph;
        let mut nodes = vec![root];
        while let Some(value) =
            self.inputs(nodes[nodes.len() - 1]).into_iter().find(|v| self.states.get(v) == Some(&State::Inside))
        {
            nodes.push(value.node);
        }
        let main = nodes[nodes.len() - 1];
        let weighted = graph
            .node(main)
            .call()
            .filter(|(op, _)| op.class() == OpClass::Heavy && op.signature().inputs.iter().any(|i| i.name == "weight"));
        let mut config = qconfig.clone();
        if let Some((op, _)) = weighted {
            // The weight is observed as the layer inside a fused module says.
            let path = graph.node(main).origins().first().map_or(unit, |o| &*o.module_path);
            let refused = |detail: String| EagerError::qconfig(self.model, path, detail);
            config = self
                .model
                .qconfig(path)
                .ok_or_else(|| refused(format!("it is None, but `{unit}`, of which it is a part, is quantized")))?;
            if config.weight.dtype != ObserverDType::Qint8 {
                return Err(refused(format!("the weight must be qint8, its observer gives {}", config.weight.dtype)));
            }
            if let Some(detail) = unfit_weight(op, &config.weight) {
                return Err(refused(format!("weight: {detail}")));
            }
        }
        let operand = |input: usize| {
            let there = graph.node(main).inputs().get(input).is_some_and(Option::is_some);
            (weighted.is_some() && there).then_some((main, input))
        };
        let activations = vec![(main, 0)];
        let entry = format!("qconfig of {unit}");
        let dtype_config = DTypeConfig::new(config.activation.dtype.name().into());
        for id in nodes.iter().rev().copied() {
            self.row_quantized(id, root, class, &entry, slot);
        }
        self.groups.push(Group {
            root,
            nodes,
            pattern: class.to_owned(),
            share: false,
            custom: false,
            reuses_input: false,
            overruled: Vec::new(),
            fixed: Vec::new(),
            activations,
            weight: operand(1),
            weights: operand(1).into_iter().collect(),
            bias: operand(2),
            plan: Plan::Static { qconfig: config, entry, dtype_config },
        });
        Ok(())
    }

    fn row(&mut self, id: NodeId, decision: Decision) {
        self.rows.push(node_report(&self.model.graph, id, decision));
    }

    fn row_quantized(&mut self, id: NodeId, root: NodeId, class: &str, entry: &str, slot: usize) {
        let inputs = self.inputs(id);
        let input_observers = inputs.iter().filter_map(|v| match self.states.get(v) {
            Some(State::Quantized(slot)) => Some(*slot),
            _ => None,
        });
        let decision = Decision::Quantized {
            mode: "static".to_owned(),
            pattern: class.to_owned(),
            dtype_config: self.qparams[slot].range.dtype.name().to_owned(),
            group: self.model.graph.node(root).name().to_owned(),
            qconfig_entry: entry.to_owned(),
            input_observers: input_observers.collect(),
            output_observer: Some(slot),
        };
        self.row(id, decision);
    }

    /// A node's module, as messages name it.
    fn module(&self, id: NodeId) -> String {
        match self.model.graph.node(id).origins().first() {
            Some(o) if o.module_path.is_empty() => format!("in {}", o.module_type),
            Some(o) => format!("module {}: {}", o.module_path, o.module_type),
            None if self.model.graph.node(id).call().is_none() => "an input of the model".to_owned(),
            None => "no module".to_owned(),
        }
    }

    fn missing_quant_stub(&self, value: ValueRef, reader: NodeId) -> EagerError {
        let name = |id: NodeId| self.model.graph.node(id).name().to_owned();
        EagerError::MissingQuantStub {
            value: name(value.node),
            value_module: self.module(value.node),
            reader: name(reader),
            reader_module: self.module(reader),
        }
    }

    fn missing_dequant_stub(&self, value: ValueRef, reader: NodeId) -> EagerError {
        let graph = &self.model.graph;
        let op = graph.node(reader).call().map_or("", |(op, _)| op.name());
        let functional = ["add", "mul", "matmul"].into_iter().find(|name| *name == op);
        let (reader_module, value_module) = (self.module(reader), self.module(value.node));
        let (at, value) = (reader, graph.node(value.node).name().to_owned());
        let reader = graph.node(reader).name().to_owned();
        if op == "quant_stub" {
            return EagerError::QuantizedTwice { value, value_module, reader, reader_module };
        }
        let why = match float_reason(self.model, at) {
            FloatReason::QConfigNone { .. } => WhyFloat::QConfigNone,
            _ => WhyFloat::NoKernel,
        };
        EagerError::MissingDeQuantStub { value, value_module, reader, reader_module, why, functional }
    }
}

/// Why a call stays float that no quantized module makes.
pub(super) fn float_reason(model: &EagerModel, id: NodeId) -> FloatReason {
    match model.unit(id) {
        Some(unit) if model.qconfig(unit).is_none() => FloatReason::QConfigNone { entry: format!("qconfig of {unit}") },
        _ => FloatReason::NoPattern,
    }
}

/// The report's row of a call.
pub(super) fn node_report(graph: &Graph, id: NodeId, decision: Decision) -> NodeReport {
    let node = graph.node(id);
    NodeReport {
        name: node.name().to_owned(),
        op: node.call().map_or("", |(op, _)| op.name()).to_owned(),
        origins: node.origins().iter().map(ToString::to_string).collect(),
        decision,
    }
}
