//! The models of the golden files that torch 2.8.0 wrote, and what names their calls.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;

use quantc_frontend::trace::{Description, Weights};
use quantc_ir::{Graph, NodeId, NodeKind, Origin};
use quantc_ops::Attr;
use quantc_pattern::{BackendConfig, Library, RuleSet};
use quantc_quant::qconfig_mapping::{QConfigMapping, get_default_qconfig_mapping};
use quantc_quant::report::Decision;
use quantc_quant::{Placement, PreparedModel, prepare_fx_with};
use quantc_testkit::hashed::{with_exact_params, with_hashed_params};
use quantc_testkit::workspace_root;
use serde_json::Value as Json;

use crate::golden_file::read;

/// Name and graph of each model. The deep ones have images of `size` pixels in each direction, and parameters with which sums are exact.
pub fn models(size: &str) -> Vec<(String, Graph)> {
    let small: Vec<Json> = read("placement_models.json").as_array().expect("models").clone();
    let shipped = ["resnet18", "mobilenet_v2"].map(|name| {
        let path = workspace_root().join(format!("models/{name}.json"));
        std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{name}: {e}"))
            .replace("224,224", &format!("{size},{size}"))
    });
    let texts = small.iter().map(Json::to_string).chain(shipped);
    texts
        .map(|text| {
            let description = Description::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let graph = description.trace(Weights::random(1)).unwrap_or_else(|e| panic!("{}: {e}", description.name()));
            let deep = ["resnet18", "mobilenet_v2"].contains(&description.name());
            let filled = if deep { with_exact_params(&graph) } else { with_hashed_params(&graph) };
            (description.name().to_owned(), filled)
        })
        .collect()
}

/// A built-in backend.
pub fn backend(name: &str) -> &'static BackendConfig {
    Library::builtin().and_then(|l| l.backend(name)).unwrap_or_else(|e| panic!("{e}"))
}

/// PyTorch's default mapping for a backend, as the golden files were made with.
pub fn mapping(backend: &str) -> QConfigMapping {
    let of = if backend == "native" { "fbgemm" } else { backend };
    get_default_qconfig_mapping(of, 0).unwrap_or_else(|e| panic!("{e}"))
}

/// Fused and prepared as PyTorch does it.
pub fn prepare(graph: &Graph, backend: &BackendConfig, mapping: &QConfigMapping) -> PreparedModel {
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    let rules: RuleSet = library.rules_for(backend).fusing_only();
    let (fused, _) = quantc_rewrite::canonicalize(graph, &rules).unwrap_or_else(|e| panic!("{e}"));
    prepare_fx_with(&fused, mapping, backend, Placement::PyTorch).unwrap_or_else(|e| panic!("{e}"))
}

/// The keys of a call in the golden files: as a module's, and as a function's.
pub fn keys(origin: &Origin) -> [String; 2] {
    let Origin { module_path, source_op, index, .. } = origin;
    [format!("{module_path}#{index}"), format!("{module_path}:{source_op}#{index}")]
}

/// The unit of each key of the golden file: the calls that run as one have one name.
pub struct Units<'g> {
    /// The prepared graph.
    pub graph: &'g Graph,
    /// The unit of each key.
    pub of_key: HashMap<String, String>,
    /// The unit of each node.
    pub of_node: HashMap<NodeId, String>,
}

impl<'g> Units<'g> {
    /// The units of a prepared graph.
    pub fn new(prepared: &'g PreparedModel) -> Units<'g> {
        let graph = &prepared.graph;
        let group: HashMap<&str, &str> = prepared
            .report
            .nodes
            .iter()
            .filter_map(|row| match &row.decision {
                Decision::Quantized { group, .. } => Some((&*row.name, &**group)),
                Decision::Float { .. } => None,
            })
            .collect();
        let (mut of_key, mut of_node) = (HashMap::new(), HashMap::new());
        for id in graph.order() {
            let node = graph.node(id);
            let name = node.name();
            let unit = match node.kind() {
                NodeKind::Call { op, .. } if op.name() == "observer" => continue,
                _ if Some(id) == graph.output_node() => "output".to_owned(),
                NodeKind::Call { .. } => (*group.get(name).unwrap_or(&name)).to_owned(),
                _ => format!("input:{name}"),
            };
            for key in node.origins().iter().flat_map(keys) {
                of_key.insert(key, unit.clone());
            }
            of_node.insert(id, unit);
        }
        Units { graph, of_key, of_node }
    }

    /// The observer of a call of `observer`.
    pub fn observer(&self, id: NodeId) -> Option<usize> {
        let (op, attrs) = self.graph.node(id).call()?;
        match op.signature().attr(attrs, "id") {
            Some(Attr::Int(slot)) if op.name() == "observer" => usize::try_from(slot).ok(),
            _ => None,
        }
    }
}
