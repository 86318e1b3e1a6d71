//! `prepare_fx`: decides what is quantized and inserts observers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_pattern::{BackendConfig, FixedQParams};

use crate::error::QuantError;
use crate::group::{Group, Plan, report};
use crate::placement::{float_outputs, share_observers, worthwhile_groups};
use crate::qconfig::{ObserverSpec, QConfig};
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
}

impl PreparedModel {
    /// Whether any observer must see data.
    pub fn needs_calibration(&self) -> bool {
        self.observers.iter().any(|o| matches!(o.observing, Observing::Calibrated(_)))
    }
}

/// Decides from the mapping and the backend what is quantized, and inserts one observer for each quantized value
/// (torch.ao.quantization.quantize_fx.prepare_fx). Observers are placed at the edges of groups of calls that the backend runs as
/// one, without committing to the fusion. Differences to PyTorch, on purpose: an operator without heavy work is quantized only
/// between quantized neighbours, and a value that no quantized operator takes (the model's outputs) stays float.
///
/// # Errors
/// If the graph is not valid.
pub fn prepare_fx(
    graph: &Graph,
    mapping: &QConfigMapping,
    backend: &BackendConfig,
) -> Result<PreparedModel, QuantError> {
    let mut graph = graph.clone();
    let reasons = unroll_recurrent(&mut graph, mapping)?;
    let mut groups = worthwhile_groups(&graph, mapping, backend);
    for group in &mut groups {
        if let Some(detail) = reasons.get(graph.node(group.root).name()) {
            group.plan = Plan::Float(FloatReason::Unsupported { detail: detail.clone() });
        }
    }
    let observed = observed_values(&graph, &groups);
    let mut slots: Vec<ObserverSlot> = Vec::new();
    let mut slot_of_value: HashMap<ValueRef, usize> = HashMap::new();
    for class in observed {
        let id = slots.len();
        for value in class.values.keys() {
            slot_of_value.insert(*value, id);
        }
        let names = class.values.keys().map(|v| graph.node(v.node).name().to_owned()).collect();
        for (value, everywhere) in &class.values {
            insert_observer(&mut graph, *value, id, *everywhere, &groups)?;
        }
        slots.push(ObserverSlot { observing: class.observing, values: names });
    }
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
        &|node, input| graph.node(node).inputs()[input].and_then(observer_id),
        &|root| slot_of_value.get(&ValueRef::from(root)).copied(),
    )
    .into_iter()
    .filter(|row| row.op != "observer")
    .collect();
    let report = QuantReport {
        backend: backend.name.to_string(),
        nodes: rows,
        observers: Vec::new(),
        bias_corrected: Vec::new(),
    };
    Ok(PreparedModel { graph, observers: slots, report, groups })
}

/// Values that share an observer.
struct ObservedClass {
    observing: Observing,
    /// Each value, and whether all its users take the quantized one (its producer computes in integers).
    values: BTreeMap<ValueRef, bool>,
}

/// The classes of values to observe, in order of execution of their first value.
fn observed_values(graph: &Graph, groups: &[Group]) -> Vec<ObservedClass> {
    let mut classes = share_observers(graph, groups);
    let position: HashMap<NodeId, usize> = graph.order().enumerate().map(|(i, id)| (id, i)).collect();
    let mut taken_quantized: HashMap<ValueRef, Arc<QConfig>> = HashMap::new();
    let mut produced: HashMap<ValueRef, (&Group, Arc<QConfig>)> = HashMap::new();
    for group in groups {
        let Plan::Static { qconfig, .. } = &group.plan else { continue };
        for (node, input) in &group.activations {
            if let Some(v) = graph.node(*node).inputs()[*input] {
                taken_quantized.entry(v).or_insert_with(|| qconfig.clone());
            }
        }
        for v in float_outputs(graph, group.root) {
            produced.insert(v, (group, qconfig.clone()));
        }
    }
    // Values by class, in execution order: only those that a quantized operator takes need an observer.
    let mut values: Vec<ValueRef> = taken_quantized.keys().copied().collect();
    values.sort_by_key(|v| (position[&v.node], v.output));
    let mut by_class: Vec<(ValueRef, Vec<ValueRef>)> = Vec::new();
    for v in values {
        let class = classes.find(v);
        match by_class.iter_mut().find(|c| c.0 == class) {
            Some(c) => c.1.push(v),
            None => by_class.push((class, vec![v])),
        }
    }
    by_class
        .into_iter()
        .filter_map(|(_, members)| {
            let first = members.first()?;
            // The producer's QConfig decides; a float producer has none, then the first consumer's does.
            let qconfig = members.iter().find_map(|v| produced.get(v).map(|p| &p.1)).or(taken_quantized.get(first))?;
            let spec = &qconfig.activation;
            // Fixed parameters hold only if everything in the class has the same.
            let of = |group: &Group| group.fixed.iter().copied().find(|f| f.dtype == spec.dtype);
            let fixed: Vec<Option<FixedQParams>> = members
                .iter()
                .filter(|v| !produced.get(*v).is_some_and(|p| p.0.share))
                .map(|v| produced.get(v).and_then(|p| of(p.0)))
                .collect();
            let observing = match fixed.first() {
                Some(Some(first)) if fixed.iter().all(|f| *f == Some(*first)) => Observing::Fixed(*first),
                _ => Observing::Calibrated(spec.clone()),
            };
            let values = members.iter().map(|v| (*v, produced.contains_key(v))).collect();
            Some(ObservedClass { observing, values })
        })
        .collect()
}

/// Puts an `observer` node behind a value; its users, or only those that take it quantized, get the observed value.
fn insert_observer(
    graph: &mut Graph,
    value: ValueRef,
    id: usize,
    everywhere: bool,
    groups: &[Group],
) -> Result<(), QuantError> {
    let op = lookup("observer").ok_or(QuantError::MissingOperator("observer"))?;
    let users = graph.users(value);
    let takes: Vec<(NodeId, usize)> = users
        .into_iter()
        .filter(|use_| {
            everywhere || groups.iter().any(|g| matches!(g.plan, Plan::Static { .. }) && g.activations.contains(use_))
        })
        .collect();
    // Right behind the producer; inputs and parameters have no call to stand behind.
    let before = graph
        .order()
        .skip_while(|n| *n != value.node)
        .skip(1)
        .find(|n| graph.node(*n).call().is_some() || Some(*n) == graph.output_node());
    let name = format!("{}.observer", graph.node(value.node).name().trim_start_matches('@'));
    let origins = graph.node(value.node).origins().to_vec();
    let observer = graph.call_before(before, &name, op, &[Some(value)], Attrs::new().with("id", id), &origins)?;
    for (user, input) in takes {
        graph.set_input(user, input, Some(observer.into()));
    }
    Ok(())
}
