//! Which groups are worth quantizing, and which values share an observer.

use std::collections::{HashMap, HashSet};

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::OpClass;
use quantc_pattern::BackendConfig;
use quantc_tensor::DType;

use crate::group::{Group, Plan, find_groups};
use crate::qconfig_mapping::QConfigMapping;
use crate::report::FloatReason;

/// Values joined into classes; every class has one observer.
#[derive(Default)]
pub(crate) struct ObserverClasses {
    parent: HashMap<ValueRef, ValueRef>,
}

impl ObserverClasses {
    /// The class of a value.
    pub(crate) fn find(&mut self, value: ValueRef) -> ValueRef {
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

/// The f32 outputs of a node.
pub(crate) fn float_outputs(graph: &Graph, node: NodeId) -> Vec<ValueRef> {
    (0u32..)
        .zip(graph.node(node).types())
        .filter(|(_, ty)| ty.dtype == DType::F32)
        .map(|(output, _)| ValueRef { node, output })
        .collect()
}

/// The groups that are worth quantizing. A residual addition is part of a layer's group only if a quantized operator takes the sum:
/// one that stays real needs no residual of 8 bits. In a transformer the sums go to layer norms.
pub(crate) fn worthwhile_groups(graph: &Graph, mapping: &QConfigMapping, backend: &BackendConfig) -> Vec<Group> {
    let mut apart = HashSet::new();
    loop {
        let mut groups = find_groups(graph, mapping, backend, &apart);
        keep_worthwhile(graph, &mut groups);
        let members = Members::new(&groups);
        let alone = |g: &&Group| {
            matches!(g.plan, Plan::Static { .. }) && g.is_sum(graph) && !members.take_output(graph, &groups, g)
        };
        let unread: Vec<NodeId> = groups.iter().filter(alone).map(|g| g.root).collect();
        if unread.is_empty() {
            return groups;
        }
        apart.extend(unread);
    }
}

/// The group of each call, by its index.
struct Members(HashMap<NodeId, usize>);

impl Members {
    fn new(groups: &[Group]) -> Members {
        Members(groups.iter().enumerate().flat_map(|(i, g)| g.nodes.iter().map(move |n| (*n, i))).collect())
    }

    /// The statically quantized group of a call.
    fn quantized<'g>(&self, groups: &'g [Group], call: NodeId) -> Option<&'g Group> {
        self.0.get(&call).map(|&i| &groups[i]).filter(|g| matches!(g.plan, Plan::Static { .. }))
    }

    /// Whether a use of a value is of the quantized one.
    fn take(&self, groups: &[Group], user: (NodeId, usize)) -> bool {
        self.quantized(groups, user.0).is_some_and(|g| g.activations.contains(&user))
    }

    /// Whether a quantized operator takes an output of a group.
    fn take_output(&self, graph: &Graph, groups: &[Group], group: &Group) -> bool {
        let outputs = float_outputs(graph, group.root);
        outputs.iter().any(|v| graph.users(*v).iter().any(|user| self.take(groups, *user)))
    }
}

/// Turns groups to float where quantizing would only add conversions: an operator without heavy work is worth quantizing only
/// between quantized neighbours (one that produces an input, one that takes the output). Heavy ones always are.
fn keep_worthwhile(graph: &Graph, groups: &mut [Group]) {
    let members = Members::new(groups);
    let heavy: Vec<bool> = groups
        .iter()
        .map(|g| g.nodes.iter().any(|n| graph.node(*n).call().is_some_and(|(op, _)| op.class() == OpClass::Heavy)))
        .collect();
    // Backwards first: what no quantized consumer needs. Groups are in reverse order of execution or any other: iterate to the
    // fixpoint, each round only ever turns groups off.
    loop {
        let mut changed = false;
        for i in 0..groups.len() {
            if heavy[i] || !matches!(groups[i].plan, Plan::Static { .. }) {
                continue;
            }
            if !members.take_output(graph, groups, &groups[i]) {
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
                by_group || anyway()
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
pub(crate) fn share_observers(graph: &Graph, groups: &[Group]) -> ObserverClasses {
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
