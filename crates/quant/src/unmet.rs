//! Groups that the backend can't run with the parameters that calibration found: they stay float.

use std::collections::HashSet;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_tensor::QParams;

use crate::calibrate::ActivationQParams;
use crate::constraints::{Found, asks_of_weight, unmet};
use crate::convert::{Weights, input_scale, observer_id};
use crate::error::QuantError;
use crate::group::{Group, Plan};
use crate::report::{Decision, FloatReason, QuantReport};

/// The groups whose parameters satisfy their dtype configurations. The calls of the others read real values again, and the report says
/// which parameter of theirs is not allowed.
///
/// # Errors
/// If a weight cannot be quantized (NaN, infinite).
pub(crate) fn keep_satisfied<'g>(
    graph: &mut Graph,
    report: &mut QuantReport,
    groups: &'g [Group],
    qparams: &[ActivationQParams],
) -> Result<Vec<&'g Group>, QuantError> {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for group in groups {
        let violations = violations(graph, group, qparams)?;
        if violations.is_empty() {
            kept.push(group);
        } else {
            dropped.push((group, violations));
        }
    }
    for (group, violations) in dropped {
        let reason = FloatReason::DTypeConstraint { pattern: group.pattern.clone(), violations };
        tracing::warn!("{} stays float: {reason}", graph.node(group.root).name());
        read_reals(graph, group, &kept);
        for row in &mut report.nodes {
            if group.nodes.iter().any(|n| graph.node(*n).name() == row.name) {
                row.decision = Decision::Float { reason: reason.clone() };
            }
        }
    }
    Ok(kept)
}

/// What the parameters of a group violate.
fn violations(graph: &Graph, group: &Group, qparams: &[ActivationQParams]) -> Result<Vec<String>, QuantError> {
    let (config, qconfig, input_scale) = match &group.plan {
        Plan::Static { dtype_config, qconfig, .. } => (dtype_config, qconfig, input_scale(graph, group, qparams)),
        Plan::Dynamic { dtype_config, qconfig, .. } | Plan::WeightOnly { dtype_config, qconfig, .. } => {
            (dtype_config, qconfig, None)
        }
        Plan::Half { .. } | Plan::Float(_) => return Ok(Vec::new()),
    };
    let found = |observer: NodeId| {
        let watched = graph.node(observer).inputs().first().copied().flatten()?;
        Some((graph.node(watched.node).name(), qparams.get(observer_id(graph, observer)?)?))
    };
    let reads = |&(node, input): &(NodeId, usize)| graph.node(node).inputs().get(input).copied().flatten();
    let inputs = group.activations.iter().filter_map(|use_| found(reads(use_)?.node)).collect();
    let output = outputs(graph, group).into_iter().find_map(|value| found(observer_of(graph, value)?));
    let weight =
        if asks_of_weight(config) { Weights::qparams(graph, group, &qconfig.weight, input_scale)? } else { None };
    let weight: Option<(&str, &QParams)> = weight.as_ref().map(|w| (&*w.name, &w.qparams));
    Ok(unmet(config, &Found { inputs, weight, output }))
}

fn outputs(graph: &Graph, group: &Group) -> Vec<ValueRef> {
    (0u32..).zip(graph.node(group.root).types()).map(|(output, _)| ValueRef { node: group.root, output }).collect()
}

/// The observer behind a value that watches it for everybody.
fn observer_of(graph: &Graph, value: ValueRef) -> Option<NodeId> {
    graph.users(value).into_iter().map(|(user, _)| user).find(|user| observer_id(graph, *user).is_some())
}

/// Takes the observers away between a group that stays float and whatever else is real. What quantized calls share with it stays as it is.
fn read_reals(graph: &mut Graph, group: &Group, kept: &[&Group]) {
    let made_quantized: HashSet<NodeId> = kept.iter().flat_map(|g| g.nodes.iter().copied()).collect();
    let taken: HashSet<(NodeId, usize)> = kept.iter().flat_map(|g| g.activations.iter().copied()).collect();
    for &(node, input) in &group.activations {
        let Some(read) = graph.node(node).inputs().get(input).copied().flatten() else { continue };
        if observer_id(graph, read.node).is_some()
            && let Some(real) = graph.node(read.node).inputs().first().copied().flatten()
            // What a quantized call gives to another is rounded for everybody who reads it.
            && !(made_quantized.contains(&real.node) && graph.users(read).iter().any(|u| taken.contains(u)))
        {
            graph.set_input(node, input, Some(real));
        }
    }
    for value in outputs(graph, group) {
        let observers = graph.users(value).into_iter().map(|(user, _)| user);
        let observers: Vec<NodeId> = observers.filter(|user| observer_id(graph, *user).is_some()).collect();
        for (user, input) in observers.iter().flat_map(|o| graph.users(*o)).collect::<Vec<_>>() {
            if !taken.contains(&(user, input)) {
                graph.set_input(user, input, Some(value));
            }
        }
    }
}
