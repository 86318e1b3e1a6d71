//! Groups: the calls that one backend pattern covers, and how they are to be quantized.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, NodeKind};
use quantc_ops::OpClass;
use quantc_pattern::{
    BackendConfig, BackendPatternConfig, DTypeConfig, FixedQParams, Match, Mode, ObservationType, Role,
};
use quantc_tensor::DType;

use crate::constraints::choose_dtype_config;
use crate::custom_config::{CustomModule, Edges};
use crate::qconfig::{ObserverKind, QConfig};
use crate::qconfig_mapping::{QConfigMapping, Resolved, Resolver};
use crate::report::{Decision, FloatReason, NodeReport, Overruled};
use crate::weight_only::mode_of;

/// What is to happen to a group.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Observed and quantized statically.
    Static { qconfig: Arc<QConfig>, entry: String, dtype_config: DTypeConfig },
    /// Activations quantized when the model runs.
    Dynamic { qconfig: Arc<QConfig>, entry: String, dtype_config: DTypeConfig },
    /// Weights alone are integers.
    WeightOnly { qconfig: Arc<QConfig>, entry: String, dtype_config: DTypeConfig },
    /// Rounded to half precision: weights, or (static) everything.
    Half { entry: String, dtype_config: DTypeConfig, mode: Mode },
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
    /// Whether it is a custom module, which is quantized whatever is around.
    pub(crate) custom: bool,
    /// Whether its QConfig says so: its inputs are then not observed on its account (PyTorch `default_reuse_input_qconfig`).
    pub(crate) reuses_input: bool,
    /// Fixed parameters of the output, for each element type.
    pub(crate) fixed: Vec<FixedQParams>,
    /// Inputs that are quantized as activations: (call, input index).
    pub(crate) activations: Vec<(NodeId, usize)>,
    /// The input that is quantized as a weight, the first of several.
    pub(crate) weight: Option<(NodeId, usize)>,
    /// All such inputs.
    pub(crate) weights: Vec<(NodeId, usize)>,
    /// The bias of the weighted call.
    pub(crate) bias: Option<(NodeId, usize)>,
    /// Calls that an entry other than the global one gives another QConfig than the group's, and that entry.
    pub(crate) overruled: Vec<(String, String)>,
    /// What is to happen.
    pub(crate) plan: Plan,
}

impl Group {
    /// Whether it is a layer with a residual addition.
    pub(crate) fn is_sum(&self, graph: &Graph) -> bool {
        is_sum(graph, &self.nodes)
    }

    /// What the report says of calls that go by the QConfig of others.
    pub(crate) fn overruled(&self) -> Vec<Overruled> {
        let by = match &self.plan {
            Plan::Static { entry, .. } | Plan::Dynamic { entry, .. } | Plan::WeightOnly { entry, .. } => entry,
            Plan::Half { entry, .. } => entry,
            Plan::Float(_) => return Vec::new(),
        };
        let row =
            |(name, entry): &(String, String)| Overruled { name: name.clone(), entry: entry.clone(), by: by.clone() };
        self.overruled.iter().map(row).collect()
    }
}

/// Finds the groups: in reverse order of execution, the largest pattern first, ties by order of registration
/// (torch.ao.quantization.fx `_find_matches`). Calls whose QConfigs keep them apart get smaller groups, where PyTorch refuses the
/// mapping; so do those of a pattern that the QConfig's mode, static or dynamic, rules out: a linear layer is quantized dynamically without
/// the addition behind it. No group with the root in `apart` is a [sum](Group::is_sum), and none has a call that `edges` takes out; custom modules are groups of their own. Returns the groups in order of execution.
pub(crate) fn find_groups(
    graph: &Graph,
    mapping: &QConfigMapping,
    backend: &BackendConfig,
    apart: &HashSet<NodeId>,
    edges: &Edges,
) -> Vec<Group> {
    let resolver = mapping.resolver(graph);
    let mut taken: HashSet<NodeId> = edges.custom.iter().flat_map(|module| module.calls.iter().copied()).collect();
    let mut groups = Vec::new();
    for root in graph.order_reversed() {
        groups.extend(edges.custom.iter().find(|module| module.root() == root).map(CustomModule::group));
        if graph.node(root).call().is_none() || taken.contains(&root) || edges.apart.contains_key(&root) {
            continue;
        }
        let mut matches = backend.matches_at(graph, root);
        matches.retain(|(_, m)| m.nodes.iter().all(|n| !taken.contains(n) && !edges.apart.contains_key(n)));
        if apart.contains(&root) {
            matches.retain(|(_, m)| !is_sum(graph, &m.nodes));
        }
        if matches.is_empty() {
            continue;
        }
        let agree = |m: &Match| members_agree(graph, &resolver, &m.nodes, m.main);
        let chosen = matches
            .iter()
            .position(|(config, m)| agree(m) && has_mode(config, &resolver, m.main))
            .or_else(|| matches.iter().rposition(|(_, m)| agree(m)));
        let (config, found) = matches.swap_remove(chosen.unwrap_or(0));
        taken.extend(found.nodes.iter().copied());
        groups.push(make_group(graph, &resolver, config, found));
    }
    groups.reverse();
    groups
}

/// Whether the members of a group may share the QConfig of its main call. A ReLU is part of the layer before it: only entries for
/// types tell them apart, as in PyTorch, which compares those of fused modules, and only if they observe activations differently. Other
/// functions, which PyTorch does not fuse, must be observed alike, whatever names them; anything else needs the same QConfig.
fn members_agree(graph: &Graph, resolver: &Resolver<'_>, nodes: &[NodeId], main: NodeId) -> bool {
    let (own, own_type) = (resolver.resolve(main).qconfig, resolver.of_type(main));
    nodes.iter().filter(|n| **n != main).all(|n| {
        let other = resolver.resolve(*n).qconfig;
        let is_unary = graph.node(*n).call().is_some_and(|(op, _)| op.class() == OpClass::Unary);
        let observed_alike =
            || is_unary && matches!((&own, &other), (Some(a), Some(b)) if a.activation == b.activation);
        let fused_alike = || graph.node(*n).is_op("relu") && resolver.of_type(*n) == own_type;
        other == own || observed_alike() || fused_alike()
    })
}

/// Whether calls are a layer and arithmetic with another value behind it.
fn is_sum(graph: &Graph, nodes: &[NodeId]) -> bool {
    let any = |class| nodes.iter().any(|n| graph.node(*n).call().is_some_and(|(op, _)| op.class() == class));
    any(OpClass::Heavy) && any(OpClass::Elementwise)
}

/// Whether a pattern has a configuration of the QConfig's mode: static, dynamic or weight-only.
fn has_mode(config: &BackendPatternConfig, resolver: &Resolver<'_>, main: NodeId) -> bool {
    let qconfig = resolver.resolve(main).qconfig;
    qconfig.is_none_or(|qconfig| config.dtype_configs.iter().any(|d| d.mode() == mode_of(&qconfig)))
}

fn make_group(graph: &Graph, resolver: &Resolver<'_>, config: &BackendPatternConfig, found: Match) -> Group {
    let Match { nodes, main, values, .. } = found;
    let mut activations = Vec::new();
    let (mut weights, mut bias) = (Vec::new(), None);
    for &node in &nodes {
        for (i, input) in graph.node(node).inputs().iter().enumerate() {
            let Some(value) = *input else { continue };
            if nodes.contains(&value.node) {
                continue;
            }
            if values.weights.contains(&value) {
                weights.push((node, i));
            } else if Some(value) == values.bias {
                bias = Some((node, i));
            } else if graph.ty(value).dtype == DType::F32 && values.inputs.contains(&value) {
                activations.push((node, i));
            }
        }
    }
    let observed = |qconfig: &Option<Arc<QConfig>>| qconfig.as_ref().map(|q| q.activation.clone());
    let own = observed(&resolver.resolve(main).qconfig);
    let other = |n: &NodeId| {
        let Resolved { qconfig, entry } = resolver.resolve(*n);
        (observed(&qconfig) != own && entry != "global").then(|| (graph.node(*n).name().to_owned(), entry))
    };
    let overruled = nodes.iter().filter_map(other).collect();
    let mut group = Group {
        root: nodes[0],
        nodes,
        pattern: config.name.to_string(),
        share: config.observation_type == ObservationType::OutputShareObserverWithInput,
        custom: false,
        reuses_input: false,
        fixed: config.fixed_qparams.clone(),
        activations,
        weight: weights.first().copied(),
        weights,
        bias,
        overruled,
        plan: Plan::Float(FloatReason::NoPattern),
    };
    group.plan = plan(graph, resolver, config, &mut group, main);
    group
}

/// A QConfig may say of the result alone that it is observed in a way of its own: with fixed parameters, or by the observer of the input. The
/// group takes note, and is given the activations of the next entry that names the call: its inputs are observed as those say, where
/// PyTorch takes a result's fixed parameters for its inputs too.
fn split_output(
    resolver: &Resolver<'_>,
    config: &BackendPatternConfig,
    group: &mut Group,
    main: NodeId,
    qconfig: Arc<QConfig>,
) -> Result<Arc<QConfig>, FloatReason> {
    let reason = |violation: String| FloatReason::DTypeConstraint {
        pattern: config.name.to_string(),
        violations: vec![violation],
    };
    let of_output =
        |q: &QConfig| matches!(q.activation.observer, ObserverKind::FixedQParams { .. } | ObserverKind::ReuseInput);
    if let ObserverKind::FixedQParams { scale, zero_point } = qconfig.activation.observer {
        let given = qconfig.activation.dtype.storage().map(|dtype| FixedQParams { dtype, scale, zero_point });
        let Some(given) = given else { return Ok(qconfig) };
        if let Some(known) = config.fixed_qparams_for(given.dtype).filter(|known| *known != given) {
            return Err(reason(format!(
                "output: its parameters are {:e}, {}, its QConfig fixes {scale:e}, {zero_point}",
                known.scale, known.zero_point
            )));
        }
        group.fixed = vec![given];
    }
    if !of_output(&qconfig) {
        return Ok(qconfig);
    }
    group.reuses_input = qconfig.is_reuse_input();
    group.share |= group.reuses_input;
    let inputs = resolver.resolve_all(main).into_iter().filter_map(|r| r.qconfig).find(|q| !of_output(q));
    let inputs = inputs.ok_or_else(|| {
        reason("input: its QConfig is for results, and no other entry says how its inputs are observed".to_owned())
    })?;
    Ok(Arc::new(QConfig { activation: inputs.activation.clone(), weight: qconfig.weight.clone() }))
}

fn plan(
    graph: &Graph,
    resolver: &Resolver<'_>,
    config: &BackendPatternConfig,
    group: &mut Group,
    main: NodeId,
) -> Plan {
    let read = !group.activations.is_empty() || group.weight.is_some();
    let float = graph.ty(group.root).dtype == DType::F32 && read;
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
    let qconfig = match split_output(resolver, config, group, main, qconfig) {
        Ok(qconfig) => qconfig,
        Err(reason) => return Plan::Float(reason),
    };
    let weighted = group.weight.and_then(|(node, _)| graph.node(node).call()).map(|(op, _)| op);
    match choose_dtype_config(config, &qconfig, weighted) {
        Err(violations) => Plan::Float(FloatReason::DTypeConstraint { pattern: group.pattern.clone(), violations }),
        Ok(dtype_config) => match mode_of(&qconfig) {
            Mode::Static | Mode::Dynamic if config.observation_type == ObservationType::InputOutputNotObserved => {
                Plan::Float(FloatReason::NotObserved { pattern: group.pattern.clone() })
            }
            Mode::Static => Plan::Static { qconfig, entry, dtype_config },
            Mode::Dynamic => Plan::Dynamic { qconfig, entry, dtype_config },
            Mode::WeightOnly => Plan::WeightOnly { qconfig, entry, dtype_config },
            mode @ (Mode::Float16Dynamic | Mode::Float16Static) => Plan::Half { entry, dtype_config, mode },
        },
    }
}

/// One report row for each call, in execution order.
pub(crate) fn report(
    graph: &Graph,
    backend: &BackendConfig,
    groups: &[Group],
    edges: &Edges,
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
        let quantized = |group: &Group, mode: Mode, entry: &String, dtype_config: &DTypeConfig| Decision::Quantized {
            mode: mode.to_string(),
            pattern: group.pattern.clone(),
            dtype_config: dtype_config.name.to_string(),
            group: graph.node(group.root).name().to_owned(),
            qconfig_entry: entry.clone(),
            input_observers: group.activations.iter().filter_map(|(n, i)| observer_of(*n, *i)).collect(),
            output_observer: output_observer(group.root),
        };
        let decision = match group_of.get(&id).map(|g| (*g, &g.plan)) {
            None if node.types().iter().all(|t| t.dtype != DType::F32) => {
                Decision::Float { reason: FloatReason::NotFloat }
            }
            None if edges.apart.contains_key(&id) => {
                let module = edges.apart.get(&id).cloned().unwrap_or_default();
                Decision::Float { reason: FloatReason::Apart { module } }
            }
            None => match backend.unsupported.get(op.name()) {
                Some(unsupported) => {
                    Decision::Float { reason: FloatReason::Unsupported { detail: unsupported.reason.clone() } }
                }
                None => Decision::Float { reason: FloatReason::NoPattern },
            },
            Some((_, Plan::Float(reason))) => Decision::Float { reason: reason.clone() },
            Some((g, Plan::Static { entry, dtype_config, .. })) => quantized(g, Mode::Static, entry, dtype_config),
            Some((g, Plan::Dynamic { entry, dtype_config, .. })) => quantized(g, Mode::Dynamic, entry, dtype_config),
            Some((g, Plan::Half { entry, dtype_config, mode })) => quantized(g, *mode, entry, dtype_config),
            Some((g, Plan::WeightOnly { entry, dtype_config, .. })) => {
                quantized(g, Mode::WeightOnly, entry, dtype_config)
            }
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
