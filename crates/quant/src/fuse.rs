//! `fuse_fx`: batch norms folded, and which calls a backend runs as one.

use std::collections::HashSet;

use quantc_ir::Graph;
use quantc_pattern::{BackendConfig, RuleSet};
use quantc_rewrite::{RewriteReport, canonicalize};

use crate::custom_config::{Edges, FuseCustomConfig, preserve_attributes};
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
    fuse_fx_custom(graph, rules, backend, &FuseCustomConfig::default())
}

/// [`fuse_fx`] with parameters that stay (the `fuse_custom_config` of PyTorch's fuse_fx).
///
/// # Errors
/// As [`fuse_fx`], and if the model has no such parameter.
pub fn fuse_fx_custom(
    source: &Graph,
    rules: &RuleSet,
    backend: &BackendConfig,
    custom: &FuseCustomConfig,
) -> Result<FusedModel, QuantError> {
    let (mut graph, report) = canonicalize(source, rules).map_err(Box::new)?;
    preserve_attributes(source, custom.preserved_attributes(), &mut graph).map_err(QuantError::from)?;
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
