//! Modules that are prepared on their own: each is a graph of its own while observers are placed.

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_pattern::BackendConfig;

use super::part::Part;
use super::{CustomModule, Edges, PrepareCustomConfig, observe_outputs};
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
    modules: Vec<CustomModule>,
) -> Result<(Placed, Edges), QuantError> {
    let (mut edges, standalone) = custom.scope(graph)?;
    let (inside, own): (Vec<_>, Vec<_>) = modules.iter().cloned().partition(|m| edges.apart.contains_key(&m.root()));
    edges.custom = own;
    let mut parts = Vec::new();
    for module in &standalone {
        let part = Part::new(graph, &module.path, &module.calls)?;
        let (own, mapping) = module.mapping(graph, mapping);
        let config = module.config(custom);
        let backend = module.entry.backend_config.as_ref().unwrap_or(backend);
        let modules: Vec<CustomModule> = inside.iter().filter_map(|m| m.seen_from(&part)).collect();
        let (placed, _) = place(&part.graph, &mapping, backend, placement, &config, modules)?;
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
        part.merge(graph, &mut placed, inner, own.as_ref(), &module.entry.prepare_custom_config);
    }
    edges.custom = modules;
    Ok((placed, edges))
}

impl Part {
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
