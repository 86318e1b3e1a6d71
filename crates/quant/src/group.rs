//! Groups: the calls that one backend pattern covers, and how they are to be quantized.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, NodeKind};
use quantc_ops::OpClass;
use quantc_pattern::{BackendConfig, BackendPatternConfig, FixedQParams, Match, ObservationType, Role};
use quantc_tensor::DType;

use crate::constraints::choose_dtype_config;
use crate::qconfig::QConfig;
use crate::qconfig_mapping::{QConfigMapping, Resolved, Resolver};
use crate::report::{Decision, FloatReason, NodeReport};

/// What is to happen to a group.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Observed and quantized statically.
    Static { qconfig: Arc<QConfig>, entry: String, dtype_config: String },
    /// Activations quantized when the model runs.
    Dynamic { qconfig: Arc<QConfig>, entry: String, dtype_config: String },
    /// Stays float.
    Float(FloatReason),
}

/// The calls that one pattern covers.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The call whose output is the group's.
    pub(crate) root: NodeId,
    /// All calls, root first.
    pub(crate) nodes: Vec<NodeId>,
    /// The pattern's name.
    pub(crate) pattern: String,
    /// Whether output and inputs share an observer.
    pub(crate) share: bool,
    /// Fixed parameters of the output, for each element type.
    pub(crate) fixed: Vec<FixedQParams>,
    /// Inputs that are quantized as activations: (call, input index).
    pub(crate) activations: Vec<(NodeId, usize)>,
    /// The input that is quantized as a weight.
    pub(crate) weight: Option<(NodeId, usize)>,
    /// The bias of the weighted call.
    pub(crate) bias: Option<(NodeId, usize)>,
    /// What is to happen.
    pub(crate) plan: Plan,
}

/// Finds the groups: in reverse order of execution, the largest pattern first, ties by order of registration
/// (torch.ao.quantization.fx `_find_matches`). Calls whose QConfigs keep them apart get smaller groups, where PyTorch refuses the
/// mapping, and so do those whose pattern does not run with the dtypes of their QConfig, where PyTorch leaves them float. Returns them in
/// order of execution.
pub(crate) fn find_groups(graph: &Graph, mapping: &QConfigMapping, backend: &BackendConfig) -> Vec<Group> {
    let resolver = mapping.resolver(graph);
    let mut taken: HashSet<NodeId> = HashSet::new();
    let mut groups = Vec::new();
    for root in graph.order_reversed() {
        if graph.node(root).call().is_none() || taken.contains(&root) {
            continue;
        }
        let mut matches = backend.matches_at(graph, root);
        matches.retain(|(_, m)| m.nodes.iter().all(|n| !taken.contains(n)));
        let mut chosen = None;
        if matches.iter().any(|(_, m)| members_agree(graph, &resolver, &m.nodes, m.main)) {
            matches.retain(|(_, m)| members_agree(graph, &resolver, &m.nodes, m.main));
        }
        for (config, found) in matches {
            let group = make_group(graph, &resolver, config, found);
            let refused = matches!(group.plan, Plan::Float(FloatReason::DTypeConstraint { .. }));
            // If all are, the smallest group leaves the other calls to theirs.
            chosen = Some(group);
            if !refused {
                break;
            }
        }
        if let Some(group) = chosen {
            taken.extend(group.nodes.iter().copied());
            groups.push(group);
        }
    }
    groups.reverse();
    groups
}

/// Whether the members of a group may share the QConfig of its main call. An activation is part of the layer before it: only an entry for
/// a type tells them apart, as in PyTorch, which compares those of fused modules, and then only if activations are observed otherwise: it has
/// no weight. Anything else needs the same QConfig.
fn members_agree(graph: &Graph, resolver: &Resolver<'_>, nodes: &[NodeId], main: NodeId) -> bool {
    let (own, own_type) = (resolver.resolve(main).qconfig, resolver.of_type(main));
    let observed = |qconfig: Option<Arc<QConfig>>| qconfig.map(|q| q.activation.clone());
    nodes.iter().filter(|n| **n != main).all(|n| {
        if graph.node(*n).call().is_some_and(|(op, _)| op.class() == OpClass::Unary) {
            let of_type = resolver.of_type(*n);
            of_type == own_type || observed(resolver.resolve(*n).qconfig) == observed(own.clone())
        } else {
            resolver.resolve(*n).qconfig == own
        }
    })
}

fn make_group(graph: &Graph, resolver: &Resolver<'_>, config: &BackendPatternConfig, found: Match) -> Group {
    let Match { nodes, main, values, .. } = found;
    let mut activations = Vec::new();
    let (mut weight, mut bias) = (None, None);
    for &node in &nodes {
        for (i, input) in graph.node(node).inputs().iter().enumerate() {
            let Some(value) = *input else { continue };
            if nodes.contains(&value.node) {
                continue;
            }
            if Some(value) == values.weight {
                weight = Some((node, i));
            } else if Some(value) == values.bias {
                bias = Some((node, i));
            } else if graph.ty(value).dtype == DType::F32 {
                activations.push((node, i));
            }
        }
    }
    let mut group = Group {
        root: nodes[0],
        nodes,
        pattern: config.name.to_string(),
        share: config.observation_type == ObservationType::OutputShareObserverWithInput,
        fixed: Vec::new(),
        activations,
        weight,
        bias,
        plan: Plan::Float(FloatReason::NoPattern),
    };
    group.fixed.clone_from(&config.fixed_qparams);
    group.plan = plan(graph, resolver, config, &group, main);
    group
}

fn plan(graph: &Graph, resolver: &Resolver<'_>, config: &BackendPatternConfig, group: &Group, main: NodeId) -> Plan {
    let float = graph.ty(group.root).dtype == DType::F32 && !group.activations.is_empty();
    if !float {
        return Plan::Float(FloatReason::NotFloat);
    }
    let Resolved { qconfig, entry } = resolver.resolve(main);
    let Some(qconfig) = qconfig else { return Plan::Float(FloatReason::QConfigNone { entry }) };
    if !members_agree(graph, resolver, &group.nodes, main) {
        let others = group.nodes.iter().filter(|n| **n != main).map(|n| resolver.resolve(*n).entry);
        return Plan::Float(FloatReason::MixedQConfigs { entries: std::iter::once(entry).chain(others).collect() });
    }
    if config.roles.iter().any(|r| r.1 == Role::Weight) {
        let constant = group.weight.and_then(|(n, i)| graph.node(n).inputs()[i]).and_then(|v| graph.constant(v));
        if constant.is_none() {
            return Plan::Float(FloatReason::WeightNotConstant);
        }
    }
    let weighted = group.weight.and_then(|(node, _)| graph.node(node).call()).map(|(op, _)| op);
    match choose_dtype_config(config, &qconfig, weighted) {
        Err(violations) => Plan::Float(FloatReason::DTypeConstraint { pattern: group.pattern.clone(), violations }),
        Ok(dtype_config) if qconfig.is_dynamic() => Plan::Dynamic { qconfig, entry, dtype_config },
        Ok(dtype_config) => Plan::Static { qconfig, entry, dtype_config },
    }
}

/// One report row for each call, in execution order.
pub(crate) fn report(
    graph: &Graph,
    backend: &BackendConfig,
    groups: &[Group],
    observer_of: &dyn Fn(NodeId, usize) -> Option<usize>,
    output_observer: &dyn Fn(NodeId) -> Option<usize>,
) -> Vec<NodeReport> {
    let mut group_of: HashMap<NodeId, &Group> = HashMap::new();
    for group in groups {
        group_of.extend(group.nodes.iter().map(|n| (*n, group)));
    }
    let mut rows = Vec::new();
    for id in graph.order() {
        let node = graph.node(id);
        let NodeKind::Call { op, .. } = node.kind() else { continue };
        let quantized = |group: &Group, mode: &str, entry: &String, dtype_config: &String| Decision::Quantized {
            mode: mode.to_owned(),
            pattern: group.pattern.clone(),
            dtype_config: dtype_config.clone(),
            group: graph.node(group.root).name().to_owned(),
            qconfig_entry: entry.clone(),
            input_observers: group.activations.iter().filter_map(|(n, i)| observer_of(*n, *i)).collect(),
            output_observer: output_observer(group.root),
        };
        let decision = match group_of.get(&id).map(|g| (*g, &g.plan)) {
            None if node.types().iter().all(|t| t.dtype != DType::F32) => {
                Decision::Float { reason: FloatReason::NotFloat }
            }
            None => match backend.unsupported.get(op.name()) {
                Some(unsupported) => {
                    Decision::Float { reason: FloatReason::Unsupported { detail: unsupported.reason.clone() } }
                }
                None => Decision::Float { reason: FloatReason::NoPattern },
            },
            Some((_, Plan::Float(reason))) => Decision::Float { reason: reason.clone() },
            Some((g, Plan::Static { entry, dtype_config, .. })) => quantized(g, "static", entry, dtype_config),
            Some((g, Plan::Dynamic { entry, dtype_config, .. })) => quantized(g, "dynamic", entry, dtype_config),
        };
        rows.push(NodeReport {
            name: node.name().to_owned(),
            op: op.name().to_owned(),
            origins: node.origins().iter().map(ToString::to_string).collect(),
            decision,
        });
    }
    rows
}
