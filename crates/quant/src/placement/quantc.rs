//! quantc's placement: which groups are worth quantizing, and which values share an observer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::OpClass;
use quantc_pattern::{BackendConfig, FixedQParams};

use super::{Members, Placed, Site, float_outputs};
use crate::custom_config::Edges;
use crate::group::{Group, Plan, find_groups};
use crate::prepare::Observing;
use crate::qconfig::QConfig;
use crate::qconfig_mapping::QConfigMapping;
use crate::report::FloatReason;

/// The groups that are worth quantizing, and one observer for each class of values that quantized operators take.
pub(super) fn place(graph: &Graph, mapping: &QConfigMapping, backend: &BackendConfig, edges: &Edges) -> Placed {
    let groups = worthwhile_groups(graph, mapping, backend, edges);
    let (mut observers, mut sites) = (Vec::new(), Vec::new());
    for class in observed_values(graph, &groups) {
        for (value, everywhere) in class.values.into_iter().filter(|(v, _)| !edges.quantized.contains_key(v)) {
            let takes = |use_: &(NodeId, usize)| {
                everywhere
                    || groups.iter().any(|g| matches!(g.plan, Plan::Static { .. }) && g.activations.contains(use_))
            };
            let readers = graph.users(value).into_iter().filter(takes).collect();
            sites.push(Site { value, observer: observers.len(), readers });
        }
        observers.push(class.observing);
    }
    Placed { groups, observers, sites }
}

/// Values joined into classes; every class has one observer.
#[derive(Default)]
struct ObserverClasses {
    parent: HashMap<ValueRef, ValueRef>,
}

impl ObserverClasses {
    /// The class of a value.
    fn find(&mut self, value: ValueRef) -> ValueRef {
        let parent = *self.parent.entry(value).or_insert(value);
        if parent == value {
            return value;
        }
        let root = self.find(parent);
        self.parent.insert(value, root);
        root
    }

    fn union(&mut self, a: ValueRef, b: ValueRef) {
        let (a, b) = (self.find(a), self.find(b));
        // The smaller value represents the class, so that the result does not depend on the order of unions.
        let (root, child) = if a < b { (a, b) } else { (b, a) };
        self.parent.insert(child, root);
    }
}

/// The groups that are worth quantizing. A residual addition is part of a layer's group only if a quantized operator takes the sum:
/// one that stays real needs no residual of 8 bits. In a transformer the sums go to layer norms.
pub(crate) fn worthwhile_groups(
    graph: &Graph,
    mapping: &QConfigMapping,
    backend: &BackendConfig,
    edges: &Edges,
) -> Vec<Group> {
    let mut apart = HashSet::new();
    loop {
        let mut groups = find_groups(graph, mapping, backend, &apart, edges);
        keep_worthwhile(graph, &mut groups, edges);
        let members = Members::new(&groups);
        let alone = |g: &&Group| {
            matches!(g.plan, Plan::Static { .. }) && g.is_sum(graph) && !members.take_output(graph, &groups, g, edges)
        };
        let unread: Vec<NodeId> = groups.iter().filter(alone).map(|g| g.root).collect();
        if unread.is_empty() {
            return groups;
        }
        apart.extend(unread);
    }
}

impl Members {
    /// Whether a use of a value is of the quantized one.
    fn take(&self, groups: &[Group], user: (NodeId, usize)) -> bool {
        self.quantized(groups, user.0).is_some_and(|g| g.activations.contains(&user))
    }

    /// Whether a quantized operator takes an output of a group, or it leaves the graph quantized.
    fn take_output(&self, graph: &Graph, groups: &[Group], group: &Group, edges: &Edges) -> bool {
        let taken = |v: &ValueRef| graph.users(*v).iter().any(|user| self.take(groups, *user));
        float_outputs(graph, group.root).iter().any(|v| edges.leaving.contains(v) || taken(v))
    }
}

/// Turns groups to float where quantizing would only add conversions: an operator without heavy work is worth quantizing only
/// between quantized neighbours (one that produces an input, one that takes the output). Heavy ones always are.
fn keep_worthwhile(graph: &Graph, groups: &mut [Group], edges: &Edges) {
    let members = Members::new(groups);
    let heavy: Vec<bool> = groups
        .iter()
        .map(|g| {
            g.custom
                || g.nodes.iter().any(|n| graph.node(*n).call().is_some_and(|(op, _)| op.class() == OpClass::Heavy))
        })
        .collect();
    // Backwards first: what no quantized consumer needs. Groups are in reverse order of execution or any other: iterate to the
    // fixpoint, each round only ever turns groups off.
    loop {
        let mut changed = false;
        for i in 0..groups.len() {
            if heavy[i] || !matches!(groups[i].plan, Plan::Static { .. }) {
                continue;
            }
            if !members.take_output(graph, groups, &groups[i], edges) {
                let detail = "no quantized operator takes its output".to_owned();
                groups[i].plan = Plan::Float(FloatReason::Neighbours { detail });
                changed = true;
                continue;
            }
            // An operator that shares its observer may stand right behind a float value: quantizing before a reshape costs
            // the same as after it.
            if groups[i].share {
                continue;
            }
            let produced = groups[i].activations.iter().any(|(node, input)| {
                let Some(v) = graph.node(*node).inputs()[*input] else { return false };
                let by_group = members.quantized(groups, v.node).is_some();
                // An input of the graph that another quantized operator takes is quantized anyway.
                let anyway = || graph.users(v).iter().any(|user| user.0 != *node && members.take(groups, *user));
                by_group || edges.quantized.contains_key(&v) || anyway()
            });
            if !produced {
                let detail = "none of its inputs is quantized".to_owned();
                groups[i].plan = Plan::Float(FloatReason::Neighbours { detail });
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

/// The classes of values that must have one observer: inputs and outputs of operators that only move values.
fn share_observers(graph: &Graph, groups: &[Group]) -> ObserverClasses {
    let mut classes = ObserverClasses::default();
    for group in groups {
        if !group.share || !matches!(group.plan, Plan::Static { .. }) {
            continue;
        }
        let inputs = group.activations.iter().filter_map(|(node, input)| graph.node(*node).inputs()[*input]);
        let all: Vec<ValueRef> = inputs.chain(float_outputs(graph, group.root)).collect();
        for pair in all.windows(2) {
            classes.union(pair[0], pair[1]);
        }
    }
    classes
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
            if group.custom {
                // It gives integers, whoever takes them.
                taken_quantized.entry(v).or_insert_with(|| qconfig.clone());
            }
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
