//! `prepare_pt2e`: observers where the annotations ask for them.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId, NodeKind, Origin, ValueRef};
use quantc_ops::{Attr, Attrs, lookup};

use super::error::Pt2eError;
use super::quantizer::{AnnotatedGraph, Quantizer};
use super::sharing::{Specs, groups, root_spec, specs};
use super::spec::{DerivedQuantizationSpec, EdgeOrNode, FixedQParamsQuantizationSpec, QuantizationSpec};
use super::spec::{QuantizationSpecBase, SharedQuantizationSpec};
use crate::QuantError;

/// An observer of a prepared graph (PyTorch `ObserverOrFakeQuantize`).
#[derive(Clone, Debug, PartialEq)]
pub enum PreparedObserver {
    /// Watches values, or stands for a range that is taken when the model runs.
    Observed(QuantizationSpec),
    /// Has fixed parameters (PyTorch `FixedQParamsObserver`).
    Fixed(FixedQParamsQuantizationSpec),
    /// Computes its parameters from those of other tensors (PyTorch `_DerivedObserverOrFakeQuantize`).
    Derived(DerivedQuantizationSpec),
}

impl PreparedObserver {
    /// The class name, as PyTorch has it.
    pub fn name(&self) -> &'static str {
        match self {
            PreparedObserver::Observed(spec) => spec.observer.name(),
            PreparedObserver::Fixed(_) => "FixedQParamsObserver",
            PreparedObserver::Derived(_) => "_DerivedObserverOrFakeQuantize",
        }
    }

    /// Whether the range is taken from each input when the model runs.
    pub fn is_dynamic(&self) -> bool {
        matches!(self, PreparedObserver::Observed(spec) if spec.is_dynamic())
    }
}

/// The observer of each annotated tensor (PyTorch `edge_or_node_to_obs_or_fq`).
#[derive(Clone, Debug, Default)]
pub struct ObserverMap {
    pub(crate) observers: Vec<PreparedObserver>,
    pub(crate) of: IndexMap<EdgeOrNode, usize>,
}

impl ObserverMap {
    /// The annotated tensors that have an observer.
    pub fn tensors(&self) -> impl Iterator<Item = EdgeOrNode> + '_ {
        self.of.keys().copied()
    }

    /// The number of a tensor's observer: tensors with the same one share it.
    pub fn number(&self, at: EdgeOrNode) -> Option<usize> {
        self.of.get(&at).copied()
    }

    /// The observer of a tensor.
    pub fn get(&self, at: EdgeOrNode) -> Option<&PreparedObserver> {
        self.observers.get(self.number(at)?)
    }

    /// The observer of a tensor and of all that share it, to be changed.
    pub fn get_mut(&mut self, at: EdgeOrNode) -> Option<&mut PreparedObserver> {
        let number = self.number(at)?;
        self.observers.get_mut(number)
    }

    /// Gives one tensor another observer, which it shares with none.
    pub fn set(&mut self, at: EdgeOrNode, observer: PreparedObserver) {
        self.of.insert(at, self.observers.len());
        self.observers.push(observer);
    }

    /// Leaves a tensor without observer.
    pub fn remove(&mut self, at: EdgeOrNode) {
        self.of.shift_remove(&at);
    }
}

/// A graph with observers, ready for calibration (PyTorch's prepared `GraphModule`).
#[derive(Clone, Debug)]
pub struct PreparedPt2e {
    /// The graph with `observer` nodes.
    pub graph: Graph,
    /// The observers, by the `id` of the nodes.
    pub observers: Vec<PreparedObserver>,
    /// The annotated tensors and their observers, with the names of the graph before preparation.
    pub tensors: IndexMap<EdgeOrNode, usize>,
}

impl PreparedPt2e {
    /// Names of what an observer watches, for messages.
    pub(crate) fn describe(&self, observer: usize) -> String {
        let tensors = self.tensors.iter().filter(|(_, number)| **number == observer);
        let names: Vec<String> = tensors.map(|(at, _)| at.describe(&self.graph)).collect();
        names.join(", ")
    }

    /// The observers that a derived one takes its parameters from.
    ///
    /// # Errors
    /// A tensor that has none.
    pub(crate) fn sources(&self, observer: usize, spec: &DerivedQuantizationSpec) -> Result<Vec<usize>, Pt2eError> {
        let number = |from: &EdgeOrNode| {
            self.tensors.get(from).copied().ok_or_else(|| Pt2eError::DerivedFromNothing {
                at: self.describe(observer),
                from: from.describe(&self.graph),
                why: "it is not to be quantized",
            })
        };
        spec.derived_from.iter().map(number).collect()
    }
}

/// The number of the observer that a node is, if it is one.
pub(crate) fn observer_number(graph: &Graph, id: NodeId) -> Option<usize> {
    let (op, attrs) = graph.node(id).call()?;
    match op.signature().attr(attrs, "id") {
        Some(Attr::Int(number)) if op.name() == "observer" => usize::try_from(number).ok(),
        _ => None,
    }
}

/// The value that observers behind it pass on.
pub(crate) fn original(graph: &Graph, mut value: ValueRef) -> ValueRef {
    while observer_number(graph, value.node).is_some()
        && let Some(Some(input)) = graph.node(value.node).inputs().first()
    {
        value = *input;
    }
    value
}

/// Lets the quantizer annotate the graph and inserts the observers that it asks for
/// (torch.ao.quantization.quantize_pt2e.prepare_pt2e). An edge whose observer is another one than its value's gets both, one behind
/// the other. Unlike PyTorch's it does not fold batch norms: the graph is in canonical form already, as for [`crate::prepare_fx`].
///
/// # Errors
/// As the quantizer; annotations that contradict each other or the graph.
pub fn prepare_pt2e(graph: &Graph, quantizer: &dyn Quantizer) -> Result<PreparedPt2e, Pt2eError> {
    let mut model = AnnotatedGraph::new(quantizer.transform_for_annotation(graph.clone())?);
    quantizer.annotate(&mut model)?;
    quantizer.validate(&model)?;
    let specs = specs(&model)?;
    let mut map = observers(&model, &specs)?;
    quantizer.prepare_obs_or_fq_callback(&model, &mut map)?;
    insert(model, map)
}

/// One observer for each group, made from the spec of its first member.
fn observers(model: &AnnotatedGraph, specs: &Specs) -> Result<ObserverMap, Pt2eError> {
    let mut map = ObserverMap::default();
    let mut of_group: BTreeMap<usize, Option<usize>> = BTreeMap::new();
    for (at, group) in groups(model, specs)? {
        let number = match of_group.get(&group) {
            Some(number) => *number,
            None => {
                let number = match root_spec(&model.graph, specs, at)? {
                    // A root is never shared.
                    None | Some(QuantizationSpecBase::Shared(SharedQuantizationSpec { .. })) => None,
                    Some(QuantizationSpecBase::Spec(spec)) => Some(PreparedObserver::Observed(spec.clone())),
                    Some(QuantizationSpecBase::FixedQParams(spec)) => Some(PreparedObserver::Fixed(*spec)),
                    Some(QuantizationSpecBase::Derived(spec)) => Some(PreparedObserver::Derived(spec.clone())),
                }
                .map(|observer| {
                    map.observers.push(observer);
                    map.observers.len() - 1
                });
                of_group.insert(group, number);
                number
            }
        };
        if let Some(number) = number {
            map.of.insert(at, number);
        }
    }
    Ok(map)
}

/// Puts the observers into the graph.
fn insert(model: AnnotatedGraph, map: ObserverMap) -> Result<PreparedPt2e, Pt2eError> {
    let AnnotatedGraph { mut graph, annotations } = model;
    let nodes: Vec<NodeId> = graph.order().filter(|id| annotations.contains_key(id)).collect();
    for id in nodes {
        for input in 0..graph.node(id).inputs().len() {
            observe_input(&mut graph, &map, id, input)?;
        }
        if matches!(graph.node(id).kind(), NodeKind::Output { .. }) {
            continue;
        }
        for output in 0..graph.node(id).types().len() as u32 {
            let value = ValueRef { node: id, output };
            let Some(number) = map.number(EdgeOrNode::Node(value)) else { continue };
            let observer = insert_observer(&mut graph, value, number, true)?;
            graph.replace_uses(value, observer.into(), &[observer]);
        }
    }
    graph.verify()?;
    let prepared = PreparedPt2e { graph, observers: map.observers, tensors: map.of };
    check_derived(&prepared)?;
    Ok(prepared)
}

fn observe_input(graph: &mut Graph, map: &ObserverMap, id: NodeId, input: usize) -> Result<(), Pt2eError> {
    let Some(value) = graph.node(id).inputs()[input] else { return Ok(()) };
    let source = original(graph, value);
    let Some(number) = map.number(EdgeOrNode::edge(source, id)) else { return Ok(()) };
    // The value itself is observed by it already.
    if map.number(EdgeOrNode::Node(source)) == Some(number) {
        return Ok(());
    }
    // Another user has put it there.
    let existing =
        graph.users(value).into_iter().map(|(user, _)| user).find(|u| observer_number(graph, *u) == Some(number));
    let observer = match existing {
        Some(observer) => observer,
        None => insert_observer(graph, value, number, false)?,
    };
    graph.set_input(id, input, Some(observer.into()));
    Ok(())
}

/// Puts an `observer` node right behind a value; nobody uses it yet. One for the value itself, and not for one of its edges, is the value
/// to numeric debugging.
fn insert_observer(graph: &mut Graph, value: ValueRef, number: usize, whole: bool) -> Result<NodeId, Pt2eError> {
    let op = lookup("observer").ok_or(QuantError::MissingOperator("observer"))?;
    // Inputs and parameters have no call to stand behind.
    let before = graph
        .order()
        .skip_while(|n| *n != value.node)
        .skip(1)
        .find(|n| graph.node(*n).call().is_some() || Some(*n) == graph.output_node());
    let source = graph.node(original(graph, value).node);
    let name = format!("{}.observer", source.name().trim_start_matches('@'));
    let keep = |o: &Origin| Origin { handle: o.handle.filter(|_| whole), ..o.clone() };
    let origins: Vec<Origin> = source.origins().iter().map(keep).collect();
    Ok(graph.call_before(before, &name, op, &[Some(value)], Attrs::new().with("id", number), &origins)?)
}

/// Fails if derived parameters depend on themselves, on tensors without observer or on ranges that are taken when the model runs.
fn check_derived(prepared: &PreparedPt2e) -> Result<(), Pt2eError> {
    /// Whether an observer is being looked at, or has been.
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        Open,
        Done,
    }
    fn visit(prepared: &PreparedPt2e, number: usize, seen: &mut [Seen]) -> Result<(), Pt2eError> {
        let PreparedObserver::Derived(spec) = &prepared.observers[number] else { return Ok(()) };
        match seen[number] {
            Seen::Done => return Ok(()),
            Seen::Open => return Err(Pt2eError::DerivedCycle { at: prepared.describe(number) }),
            Seen::Not => seen[number] = Seen::Open,
        }
        for source in prepared.sources(number, spec)? {
            if prepared.observers[source].is_dynamic() {
                return Err(Pt2eError::DerivedFromNothing {
                    at: prepared.describe(number),
                    from: prepared.describe(source),
                    why: "it is quantized when the model runs",
                });
            }
            visit(prepared, source, seen)?;
        }
        seen[number] = Seen::Done;
        Ok(())
    }
    let mut seen = vec![Seen::Not; prepared.observers.len()];
    (0..seen.len()).try_for_each(|number| visit(prepared, number, &mut seen))
}
