//! Where observers go, and which of them are one.

mod pytorch;
mod quantc;
pub(crate) use quantc::worthwhile_groups;

use std::collections::HashMap;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_pattern::BackendConfig;
use quantc_tensor::DType;

use crate::custom_config::Edges;
use crate::group::{Group, Plan};
use crate::prepare::Observing;
use crate::qconfig_mapping::QConfigMapping;

/// How [`crate::prepare_fx_with`] decides what to observe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// quantc's: an operator without heavy work is quantized only between quantized neighbours, and a value that no quantized
    /// operator takes stays float.
    #[default]
    Quantc,
    /// PyTorch's `prepare_fx` (torch.ao.quantization.fx.prepare): every operator that a pattern covers is quantized, and its output observed,
    /// whatever comes before and after it.
    PyTorch,
}

/// One place of an observer.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// What it watches.
    pub(crate) value: ValueRef,
    /// The index of its observer; places with one index share it.
    pub(crate) observer: usize,
    /// Who reads the observed value: (call, input).
    pub(crate) readers: Vec<(NodeId, usize)>,
}

/// The groups, and the observers at their edges.
pub(crate) struct Placed {
    pub(crate) groups: Vec<Group>,
    pub(crate) observers: Vec<Observing>,
    /// Each with its observer's index.
    pub(crate) sites: Vec<Site>,
}

impl Placement {
    pub(crate) fn place(
        self,
        graph: &Graph,
        mapping: &QConfigMapping,
        backend: &BackendConfig,
        edges: &Edges,
    ) -> Placed {
        match self {
            Placement::Quantc => quantc::place(graph, mapping, backend, edges),
            Placement::PyTorch => pytorch::place(graph, mapping, backend, edges),
        }
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
}
