//! `prepare_fx`: decides what is quantized and inserts observers.

use std::collections::HashMap;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_pattern::{BackendConfig, FixedQParams};

use crate::custom_config::{
    self, CustomModule, PrepareCustomConfig, QuantizedPorts, number_observers, observe_custom_modules,
    preserve_attributes,
};
use crate::error::QuantError;
use crate::group::{Group, Plan, report};
use crate::placement::{Placed, Placement, Site};
use crate::qconfig::{ObserverDType, ObserverSpec};
use crate::qconfig_mapping::QConfigMapping;
use crate::report::{FloatReason, QuantReport};
use crate::unroll::unroll_recurrent;

/// What an observer of the prepared model does.
#[derive(Clone, Debug)]
pub enum Observing {
    /// Watches values and computes the parameters.
    Calibrated(ObserverSpec),
    /// The parameters are fixed by the operator (PyTorch `FixedQParamsObserver`).
    Fixed(FixedQParams),
}

/// One observer of the prepared model; `observer` nodes name it by its index.
#[derive(Clone, Debug)]
pub struct ObserverSlot {
    /// What it does.
    pub observing: Observing,
    /// Names of the nodes whose values it watches.
    pub values: Vec<String>,
}

impl Observing {
    /// Whether it does what an observer of that specification would, as PyTorch sees it: class and type are the same.
    pub(crate) fn is_like(&self, spec: &ObserverSpec) -> bool {
        matches!(self, Observing::Calibrated(own) if own.name() == spec.name() && own.dtype == spec.dtype)
    }

    /// The type of the observed value; `None` if it has no integers.
    pub(crate) fn dtype(&self) -> Option<ObserverDType> {
        match self {
            Observing::Calibrated(spec) => Some(spec.dtype),
            Observing::Fixed(fixed) => ObserverDType::ALL.iter().copied().find(|d| fixed.dtype == *d),
        }
    }
}

impl ObserverSlot {
    /// The class name, as PyTorch has it.
    pub fn name(&self) -> &'static str {
        match &self.observing {
            Observing::Calibrated(spec) => spec.name(),
            Observing::Fixed(_) => "FixedQParamsObserver",
        }
    }
}

/// A graph with observers, ready for calibration (PyTorch's prepared `GraphModule`).
#[derive(Clone, Debug)]
pub struct PreparedModel {
    /// The graph with `observer` nodes.
    pub graph: Graph,
    /// The observers.
    pub observers: Vec<ObserverSlot>,
    /// What was decided.
    pub report: QuantReport,
    pub(crate) groups: Vec<Group>,
    pub(crate) ports: QuantizedPorts,
    pub(crate) custom: Vec<CustomModule>,
    pub(crate) preserved: Vec<String>,
}

impl PreparedModel {
    /// Whether any observer must see data.
    pub fn needs_calibration(&self) -> bool {
        self.observers.iter().any(|o| matches!(o.observing, Observing::Calibrated(_)))
    }
}

/// Decides from the mapping and the backend what is quantized, and inserts observers, as quantc places them
/// (torch.ao.quantization.quantize_fx.prepare_fx; [`Placement::PyTorch`] is PyTorch's own placement). Observers are placed at the edges
/// of groups of calls that the backend runs as one, without committing to the fusion.
///
/// # Errors
/// If the graph is not valid.
pub fn prepare_fx(
    graph: &Graph,
    mapping: &QConfigMapping,
    backend: &BackendConfig,
) -> Result<PreparedModel, QuantError> {
    prepare_fx_with(graph, mapping, backend, Placement::default())
}

/// [`prepare_fx`] with a choice of how observers are placed.
///
/// # Errors
/// If the graph is not valid.
pub fn prepare_fx_with(
    graph: &Graph,
    mapping: &QConfigMapping,
    backend: &BackendConfig,
    placement: Placement,
) -> Result<PreparedModel, QuantError> {
    prepare_fx_custom(graph, mapping, backend, placement, &PrepareCustomConfig::default())
}

/// [`prepare_fx_with`] with parts of the model apart, custom modules, and quantized inputs and outputs (the `prepare_custom_config` of PyTorch's prepare_fx).
///
/// # Errors
/// If the graph is not valid, the configuration names what it does not have, or a custom module can't be observed.
pub fn prepare_fx_custom(
    graph: &Graph,
    mapping: &QConfigMapping,
    backend: &BackendConfig,
    placement: Placement,
    custom: &PrepareCustomConfig,
) -> Result<PreparedModel, QuantError> {
    let source = graph;
    let mut graph = source.clone();
    let modules = observe_custom_modules(&mut graph, mapping, custom)?;
    let reasons = unroll_recurrent(&mut graph, mapping, custom, &modules)?;
    let (Placed { mut groups, observers, sites }, mut edges) =
        custom_config::place(&graph, mapping, backend, placement, custom, modules)?;
    for group in &mut groups {
        if let Some(detail) = reasons.get(graph.node(group.root).name()) {
            group.plan = Plan::Float(FloatReason::Unsupported { detail: detail.clone() });
        }
    }
    let mut slots = insert_observers(&mut graph, observers, &sites)?;
    let inside = number_observers(&mut graph, &mut edges.custom, slots.len())?;
    slots.extend(inside.into_iter().map(|(observing, value)| ObserverSlot { observing, values: vec![value] }));
    let slot_of_value: HashMap<ValueRef, usize> = sites.iter().map(|site| (site.value, site.observer)).collect();
    graph.verify()?;
    let observer_id = |value: ValueRef| {
        let node = graph.node(value.node);
        let (op, attrs) = node.call()?;
        match op.signature().attr(attrs, "id") {
            Some(quantc_ops::Attr::Int(id)) if op.name() == "observer" => Some(id as usize),
            _ => None,
        }
    };
    let rows = report(
        &graph,
        backend,
        &groups,
        &edges,
        &|node, input| graph.node(node).inputs()[input].and_then(observer_id),
        &|root| slot_of_value.get(&ValueRef::from(root)).copied(),
    )
    .into_iter()
    .filter(|row| row.op != "observer")
    .collect();
    let overruled = groups.iter().flat_map(Group::overruled).collect();
    let report = QuantReport { backend: backend.name.to_string(), nodes: rows, overruled, ..QuantReport::default() };
    let preserved = custom.preserved_attributes().to_vec();
    preserve_attributes(source, &preserved, &mut graph).map_err(QuantError::from)?;
    Ok(PreparedModel { graph, observers: slots, report, groups, ports: custom.into(), custom: edges.custom, preserved })
}

/// Puts an `observer` node at every site.
pub(crate) fn insert_observers(
    graph: &mut Graph,
    observers: Vec<Observing>,
    sites: &[Site],
) -> Result<Vec<ObserverSlot>, QuantError> {
    let mut slots: Vec<ObserverSlot> =
        observers.into_iter().map(|observing| ObserverSlot { observing, values: Vec::new() }).collect();
    for site in sites {
        slots[site.observer].values.push(graph.node(site.value.node).name().to_owned());
        insert_observer(graph, site)?;
    }
    Ok(slots)
}

/// Puts an `observer` node behind a value, for those who read it there.
fn insert_observer(graph: &mut Graph, site: &Site) -> Result<(), QuantError> {
    let op = lookup("observer").ok_or(QuantError::MissingOperator("observer"))?;
    let value = site.value;
    // Who reads what is observed already, as at the edge of a standalone module, observes that.
    let observed = |(user, input): &(NodeId, usize)| {
        let before = graph.node(*user).inputs().get(*input).copied().flatten()?;
        (graph.node(before.node).is_op("observer") && graph.node(before.node).inputs().first() == Some(&Some(value)))
            .then_some(before)
    };
    let value = site.readers.first().and_then(observed).unwrap_or(value);
    // Right behind the producer; inputs and parameters have no call to stand behind.
    let before = graph
        .order()
        .skip_while(|n| *n != value.node)
        .skip(1)
        .find(|n| graph.node(*n).call().is_some() || Some(*n) == graph.output_node());
    let name = format!("{}.observer", graph.node(value.node).name().trim_start_matches('@'));
    let origins = graph.node(value.node).origins().to_vec();
    let attrs = Attrs::new().with("id", site.observer);
    let observer = graph.call_before(before, &name, op, &[Some(value)], attrs, &origins)?;
    for (user, input) in &site.readers {
        graph.set_input(*user, *input, Some(observer.into()));
    }
    Ok(())
}
