//! Modules that are prepared on their own: each is a graph of its own while observers are placed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_pattern::BackendConfig;

use super::scope::Standalone;
use super::{Edges, PrepareCustomConfig, observe_outputs};
use crate::error::QuantError;
use crate::group::Group;
use crate::placement::{Placed, Placement, Site};
use crate::prepare::Observing;
use crate::qconfig::QConfig;
use crate::qconfig_mapping::QConfigMapping;

/// Places observers in a graph and in its standalone modules. Sites come in the order in which observers go in: where a value is made before
/// where it crosses an edge.
pub(crate) fn place(
    graph: &Graph,
    mapping: &QConfigMapping,
    backend: &BackendConfig,
    placement: Placement,
    custom: &PrepareCustomConfig,
) -> Result<(Placed, Edges), QuantError> {
    let (mut edges, standalone) = custom.scope(graph)?;
    let mut parts = Vec::new();
    for module in &standalone {
        let part = Part::new(graph, module)?;
        let own = mapping.resolver(graph).resolve_module(&module.path, &module.class);
        let inherited = QConfigMapping::new().set_global(own.as_deref().cloned());
        let entry = module.entry;
        let mapping = entry.qconfig_mapping.as_ref().unwrap_or(&inherited);
        let backend = entry.backend_config.as_ref().unwrap_or(backend);
        let (placed, _) = place(&part.graph, mapping, backend, placement, &entry.prepare_custom_config)?;
        for (_, value) in part.graph.outputs() {
            // What is observed inside needs no observer outside, whether it leaves as integers or as what they stand for.
            let site = placed.sites.iter().rfind(|s| s.value == value);
            if let (Some(site), Some(value)) = (site, part.outer(value))
                && let Some(dtype) = placed.observers[site.observer].dtype()
            {
                edges.quantized.insert(value, dtype);
            }
        }
        parts.push((part, placed, own));
    }
    let mut placed = placement.place(graph, mapping, backend, &edges);
    observe_outputs(graph, mapping, &edges, &mut placed)?;
    for ((part, inner, own), module) in parts.into_iter().zip(&standalone) {
        part.merge(graph, &mut placed, inner, own.as_deref(), &module.entry.prepare_custom_config);
    }
    Ok((placed, edges))
}

/// A module's calls as a graph of their own.
struct Part {
    graph: Graph,
    /// The nodes outside: of each call, and of each placeholder the value that comes in.
    outer: HashMap<NodeId, ValueRef>,
    calls: BTreeSet<NodeId>,
}

impl Part {
    /// The inputs are the values from outside in the order in which the calls take them, the outputs those that others take.
    fn new(graph: &Graph, module: &Standalone<'_>) -> Result<Part, QuantError> {
        let calls: BTreeSet<NodeId> = module.calls.iter().copied().collect();
        let mut part = Part { graph: Graph::new(&module.path), outer: HashMap::new(), calls };
        let mut inner: HashMap<ValueRef, ValueRef> = HashMap::new();
        let mut outputs: Vec<(Arc<str>, ValueRef)> = Vec::new();
        for &id in &module.calls {
            let node = graph.node(id);
            let Some((op, attrs)) = node.call() else { continue };
            for value in node.inputs().iter().flatten().filter(|v| !part.calls.contains(&v.node)) {
                if inner.contains_key(value) {
                    continue;
                }
                let source = graph.node(value.node);
                let copy = match (source.param(), graph.constant(*value)) {
                    (Some(name), Some(tensor)) => part.graph.param(name, tensor.clone()),
                    (Some(name), None) => part.graph.declare_param(name, graph.ty(*value).clone()),
                    (None, _) => {
                        let name = if value.output == 0 {
                            source.name().to_owned()
                        } else {
                            format!("{}.{}", source.name(), value.output)
                        };
                        part.graph.placeholder(&name, graph.ty(*value).clone())
                    }
                };
                inner.insert(*value, copy.into());
                part.outer.insert(copy, *value);
            }
            let inputs: Vec<Option<ValueRef>> =
                node.inputs().iter().map(|v| v.and_then(|v| inner.get(&v).copied())).collect();
            let origins: Vec<Origin> = node.origins().iter().map(|o| relative(o, &module.path)).collect();
            let copy = part.graph.call(node.name(), op, &inputs, attrs.clone(), &origins)?;
            part.outer.insert(copy, id.into());
            for output in 0..node.types().len() as u32 {
                let value = ValueRef { node: id, output };
                inner.insert(value, ValueRef { node: copy, output });
                if graph.users(value).iter().any(|(user, _)| !part.calls.contains(user)) {
                    outputs.push((Arc::from(format!("out{}", outputs.len())), ValueRef { node: copy, output }));
                }
            }
        }
        part.graph.set_outputs(&outputs);
        Ok(part)
    }

    /// A value of the whole graph.
    fn outer(&self, value: ValueRef) -> Option<ValueRef> {
        let at = self.outer.get(&value.node)?;
        Some(if self.calls.contains(&at.node) { ValueRef { node: at.node, output: value.output } } else { *at })
    }

    fn call(&self, id: NodeId) -> NodeId {
        self.outer.get(&id).map_or(id, |v| v.node)
    }

    /// Adds what was placed inside to what was placed outside. `own` is the module's QConfig, which quantizes the inputs that it takes as
    /// integers, unless what makes them does.
    fn merge(
        self,
        graph: &Graph,
        placed: &mut Placed,
        inner: Placed,
        own: Option<&QConfig>,
        custom: &PrepareCustomConfig,
    ) {
        // Without a QConfig nobody outside quantizes them: they are observed inside as others are.
        let quantized = |(i, _): &(usize, NodeId)| own.is_some() && custom.input_quantized_indexes.contains(i);
        let arriving: Vec<NodeId> = self.graph.placeholders().enumerate().filter(quantized).map(|p| p.1).collect();
        let first = placed.observers.len();
        placed.observers.extend(inner.observers);
        let outside = |value: ValueRef| -> Vec<(NodeId, usize)> {
            graph.users(value).into_iter().filter(|(user, _)| !self.calls.contains(user)).collect()
        };
        let output = self.graph.output_node();
        // Made inside: before the sites of those who take it outside.
        let (mut made, mut taken) = (Vec::new(), Vec::new());
        for site in inner.sites.into_iter().filter(|s| !arriving.contains(&s.value.node)) {
            let Some(value) = self.outer(site.value) else { continue };
            let mut readers: Vec<(NodeId, usize)> = Vec::new();
            for (node, input) in site.readers {
                match Some(node) == output {
                    true => readers.extend(outside(value)),
                    false => readers.push((self.call(node), input)),
                }
            }
            let list = if self.calls.contains(&value.node) { &mut made } else { &mut taken };
            list.push(Site { value, observer: first + site.observer, readers });
        }
        for node in arriving {
            let (Some(value), Some(own)) = (self.outer(node.into()), own) else { continue };
            let readers: Vec<(NodeId, usize)> =
                graph.users(value).into_iter().filter(|(user, _)| self.calls.contains(user)).collect();
            let reads = |s: &Site| s.value == value && readers.iter().all(|r| s.readers.contains(r));
            if placed.sites.iter().any(reads) {
                continue;
            }
            let same = |s: &&mut Site| s.value == value && placed.observers[s.observer].is_like(&own.activation);
            match placed.sites.iter_mut().find(same) {
                Some(site) => site.readers.extend(readers),
                None => {
                    placed.observers.push(Observing::Calibrated(own.activation.clone()));
                    taken.push(Site { value, observer: placed.observers.len() - 1, readers });
                }
            }
        }
        made.append(&mut placed.sites);
        placed.sites = made;
        placed.sites.append(&mut taken);
        placed.groups.extend(inner.groups.into_iter().map(|group| self.group(group)));
    }

    fn group(&self, group: Group) -> Group {
        let at = |(node, input): (NodeId, usize)| (self.call(node), input);
        Group {
            root: self.call(group.root),
            nodes: group.nodes.into_iter().map(|n| self.call(n)).collect(),
            activations: group.activations.into_iter().map(at).collect(),
            weight: group.weight.map(at),
            weights: group.weights.into_iter().map(at).collect(),
            bias: group.bias.map(at),
            ..group
        }
    }
}

/// An origin as seen from a module. The module itself has no class there, as the root has none.
fn relative(origin: &Origin, module: &str) -> Origin {
    match origin.module_path.strip_prefix(module) {
        Some("") => Origin::new("", "", &origin.source_op, origin.index),
        Some(rest) if rest.starts_with('.') => Origin { module_path: Arc::from(&rest[1..]), ..origin.clone() },
        _ => origin.clone(),
    }
}
