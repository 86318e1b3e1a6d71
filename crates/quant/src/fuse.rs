//! `fuse_fx`: batch norms folded, and which calls a backend runs as one.

use std::collections::HashSet;

use quantc_ir::Graph;
use quantc_pattern::{BackendConfig, RuleSet};
use quantc_rewrite::{RewriteReport, canonicalize};

use crate::custom_config::Edges;
use crate::error::QuantError;
use crate::group::find_groups;
use crate::qconfig_mapping::QConfigMapping;

/// A float graph in canonical form with the fusions that a backend makes of it.
#[derive(Clone, Debug)]
pub struct FusedModel {
    /// The canonical graph: what [`crate::prepare_fx`] takes.
    pub graph: Graph,
    /// What rewriting did.
    pub report: RewriteReport,
    /// The calls that the backend runs as one, in order of execution.
    pub groups: Vec<FusedGroup>,
}

/// Several calls that run as one (PyTorch's `ConvReLU2d`, `LinearReLU`, ...).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FusedGroup {
    /// The backend's pattern.
    pub pattern: String,
    /// Names of the nodes, in order of execution.
    pub nodes: Vec<String>,
}

/// Folds batch norms and the like into the calls before them and finds the calls that the backend runs as one
/// (torch.ao.quantization.quantize_fx.fuse_fx, in eval mode). The groups are a view: the members stay calls of their own, so that
/// lowering may still choose another fusion, and each keeps its origins.
///
/// # Errors
/// If a constant can't be evaluated, or a rule is unsound.
pub fn fuse_fx(graph: &Graph, rules: &RuleSet, backend: &BackendConfig) -> Result<FusedModel, QuantError> {
    let (graph, report) = canonicalize(graph, rules).map_err(Box::new)?;
    let groups = find_groups(&graph, &QConfigMapping::default(), backend, &HashSet::new(), &Edges::default())
        .into_iter()
        .filter(|group| group.nodes.len() > 1)
        .map(|group| FusedGroup {
            pattern: group.pattern,
            nodes: group.nodes.iter().rev().map(|n| graph.node(*n).name().to_owned()).collect(),
        })
        .collect();
    Ok(FusedModel { graph, report, groups })
}
