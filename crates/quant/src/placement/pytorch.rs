//! PyTorch's placement: node by node in execution order, inputs first, then the output (torch.ao.quantization.fx.prepare
//! `insert_observers_for_model`).

use std::collections::HashMap;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_pattern::BackendConfig;

use super::{Members, Placed, Site, float_outputs};
use crate::custom_config::Edges;
use crate::group::{Group, Plan, find_groups};
use crate::prepare::Observing;
use crate::qconfig::{ObserverDType, ObserverSpec};
use crate::qconfig_mapping::QConfigMapping;

/// The groups of the backend's patterns, and the observers of all their inputs and outputs.
pub(super) fn place(graph: &Graph, mapping: &QConfigMapping, backend: &BackendConfig, edges: &Edges) -> Placed {
    let groups = find_groups(graph, mapping, backend, &Default::default(), edges);
    let mut placing = Placing {
        graph,
        groups: &groups,
        members: Members::new(&groups),
        edges,
        sites: Vec::new(),
        outputs: HashMap::new(),
    };
    for group in &groups {
        if let Plan::Static { qconfig, .. } = &group.plan {
            if !group.reuses_input {
                placing.observe_inputs(group, &qconfig.activation);
            }
            placing.observe_output(group, &qconfig.activation);
        }
    }
    let (observers, sites) = placing.finish();
    Placed { groups, observers, sites }
}

/// A place whose observer is not numbered yet.
struct Proposed {
    value: ValueRef,
    /// What a new observer there does.
    observing: Observing,
    /// The place whose observer it has instead; its own index, if none.
    observer_of: usize,
    readers: Vec<(NodeId, usize)>,
}

struct Placing<'g> {
    graph: &'g Graph,
    groups: &'g [Group],
    members: Members,
    edges: &'g Edges,
    sites: Vec<Proposed>,
    /// The place behind a value that a quantized group gives: everything that reads the value reads what is observed.
    outputs: HashMap<ValueRef, usize>,
}

impl Placing<'_> {
    /// The type that a value has where it is made: of its group's observers, or none if it is real. What reuses its input's observer is real
    /// if that has none; PyTorch takes it for quantized, and leaves the layer behind it without an input's observer.
    fn dtype(&self, value: ValueRef) -> Option<ObserverDType> {
        if let Some(dtype) = self.edges.quantized.get(&value) {
            return Some(*dtype);
        }
        let group = self.members.quantized(self.groups, value.node)?;
        match &group.plan {
            Plan::Static { .. } if group.reuses_input && !self.outputs.contains_key(&value) => None,
            Plan::Static { qconfig, .. } => Some(qconfig.activation.dtype),
            _ => None,
        }
    }

    fn add(&mut self, value: ValueRef, observing: Observing, readers: Vec<(NodeId, usize)>) -> usize {
        let site = self.sites.len();
        self.sites.push(Proposed { value, observing, observer_of: site, readers });
        site
    }

    /// The activations that PyTorch has as tensors: a Python number is a constant without dimensions here.
    fn tensors(&self, group: &Group) -> Vec<(NodeId, usize)> {
        let value = |&(node, input): &(NodeId, usize)| self.graph.node(node).inputs()[input];
        let number = |v: ValueRef| self.graph.constant(v).is_some_and(|t| t.rank() == 0);
        group.activations.iter().copied().filter(|use_| !value(use_).is_some_and(number)).collect()
    }

    /// An input is observed where its type differs from the one wanted, by the observer that another reader has put there if it is of
    /// the same class and type.
    fn observe_inputs(&mut self, group: &Group, spec: &ObserverSpec) {
        for (node, input) in self.tensors(group) {
            let Some(value) = self.graph.node(node).inputs()[input] else { continue };
            if self.dtype(value) == Some(spec.dtype) {
                continue;
            }
            let same = |s: &Proposed| s.value == value && s.observing.is_like(spec);
            match self.sites.iter().position(same) {
                Some(site) => self.sites[site].readers.push((node, input)),
                None => {
                    self.add(value, Observing::Calibrated(spec.clone()), vec![(node, input)]);
                }
            }
        }
    }

    /// The output is observed, and everything that reads it reads what is observed. Where input and output share, all are given the observer
    /// of the first input; if that has none, the output has none either.
    fn observe_output(&mut self, group: &Group, spec: &ObserverSpec) {
        let tensors = self.tensors(group);
        for value in float_outputs(self.graph, group.root) {
            let fixed = group.fixed.iter().copied().find(|f| f.dtype == spec.dtype);
            let observing = fixed.map_or_else(|| Observing::Calibrated(spec.clone()), Observing::Fixed);
            // What a standalone module gives has its observer inside. PyTorch shares one further back then, whatever that has seen.
            let first_value = tensors.first().and_then(|(node, input)| self.graph.node(*node).inputs()[*input]);
            let observed_inside = first_value.is_some_and(|v| self.edges.quantized.contains_key(&v));
            if !group.share || observed_inside {
                let site = self.add(value, observing, self.graph.users(value));
                self.outputs.insert(value, site);
                continue;
            }
            let Some(first) = tensors.first().and_then(|use_| self.observer_before(*use_)) else { continue };
            let site = self.add(value, observing, self.graph.users(value));
            self.outputs.insert(value, site);
            let others: Vec<usize> = tensors[1..].iter().filter_map(|use_| self.observer_before(*use_)).collect();
            for other in others.into_iter().chain([site]) {
                self.sites[other].observer_of = self.sites[first].observer_of;
            }
        }
    }

    /// The place of the observer that an input reads, or else of the first one found going back along first inputs.
    fn observer_before(&self, (mut node, mut input): (NodeId, usize)) -> Option<usize> {
        loop {
            let value = self.graph.node(node).inputs()[input]?;
            let reads = |s: &Proposed| s.readers.contains(&(node, input));
            if let Some(site) = self.outputs.get(&value).copied().or_else(|| self.sites.iter().position(reads)) {
                return Some(site);
            }
            self.graph.node(value.node).call()?;
            (node, input) = (value.node, 0);
        }
    }

    /// Observers numbered in order of their first place.
    fn finish(self) -> (Vec<Observing>, Vec<Site>) {
        let (mut observers, mut sites) = (Vec::new(), Vec::new());
        let mut number: HashMap<usize, usize> = HashMap::new();
        for proposed in &self.sites {
            let observer = *number.entry(proposed.observer_of).or_insert_with(|| {
                observers.push(self.sites[proposed.observer_of].observing.clone());
                observers.len() - 1
            });
            sites.push(Site { value: proposed.value, observer, readers: proposed.readers.clone() });
        }
        (observers, sites)
    }
}
