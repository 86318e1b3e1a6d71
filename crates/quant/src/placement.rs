//! Which groups are worth quantizing, and which values share an observer.

use std::collections::HashMap;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::OpClass;
use quantc_tensor::DType;

use crate::group::{Group, Plan};
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

/// Turns groups to float where quantizing would only add conversions: an operator without heavy work is worth quantizing only
/// between quantized neighbours (one that produces an input, one that takes the output). Heavy ones always are.
pub(crate) fn keep_worthwhile(graph: &Graph, groups: &mut [Group]) {
    let mut group_of: HashMap<NodeId, usize> = HashMap::new();
    for (i, group) in groups.iter().enumerate() {
        group_of.extend(group.nodes.iter().map(|n| (*n, i)));
    }
    let heavy: Vec<bool> = groups
        .iter()
        .map(|g| g.nodes.iter().any(|n| graph.node(*n).call().is_some_and(|(op, _)| op.class() == OpClass::Heavy)))
        .collect();
    let takes_quantized = |groups: &[Group], user: NodeId, input: usize| {
        group_of.get(&user).is_some_and(|&i| {
            matches!(groups[i].plan, Plan::Static { .. }) && groups[i].activations.contains(&(user, input))
        })
    };
    // Backwards first: what no quantized consumer needs. Groups are in reverse order of execution or any other: iterate to the
    // fixpoint, each round only ever turns groups off.
    loop {
        let mut changed = false;
        for i in 0..groups.len() {
            if heavy[i] || !matches!(groups[i].plan, Plan::Static { .. }) {
                continue;
            }
            let consumed = float_outputs(graph, groups[i].root)
                .iter()
                .any(|v| graph.users(*v).iter().any(|(user, input)| takes_quantized(groups, *user, *input)));
            if !consumed {
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
                let by_group = group_of.get(&v.node).is_some_and(|&p| matches!(groups[p].plan, Plan::Static { .. }));
                // An input of the graph that another quantized operator takes is quantized anyway.
                let anyway = || {
                    graph.users(v).iter().any(|(user, input)| *user != *node && takes_quantized(groups, *user, *input))
                };
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
