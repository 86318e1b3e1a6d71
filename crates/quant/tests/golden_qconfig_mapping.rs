//! QConfigMapping against what torch 2.8.0's prepare_fx gives each node (`scripts/golden_qconfig_mapping.py` made the file).

use std::collections::BTreeMap;

use quantc_ir::{Graph, Origin};
use quantc_ops::{Attrs, lookup};
use quantc_quant::QConfigMapping;
use quantc_quant::qconfig::named;
use quantc_tensor::{DType, Shape, TensorType};
use serde::Deserialize;
use serde_json::{Value as Json, json};

#[derive(Deserialize)]
struct Golden {
    models: BTreeMap<String, Vec<GoldenNode>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct GoldenNode {
    name: String,
    op: String,
    target: String,
    #[serde(rename = "type")]
    object_type: String,
    scope: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    mapping: Json,
    expected: Option<BTreeMap<String, Option<String>>>,
}

/// Where quantc goes further than PyTorch, on purpose: it counts methods like any other operator.
const BEYOND: [&str; 1] = ["order does not reach methods"];

/// The calls of a model as quantc records them. The operator itself plays no part: entries name module types and source operators here.
fn graph_of(nodes: &[GoldenNode]) -> Graph {
    let mut graph = Graph::new("golden");
    let ty = TensorType::new(DType::F32, Shape::known(&[1]));
    let mut last = graph.placeholder("x", ty);
    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    let relu = lookup("relu").expect("relu is an operator");
    for node in nodes.iter().filter(|n| n.op != "get_attr") {
        let (path, module_type) = node.scope.clone().unwrap_or_default();
        let source_op = if node.op == "call_module" { "aten".to_owned() } else { node.target.clone() };
        let index = seen.entry((path.clone(), source_op.clone())).or_default();
        let module_type = if node.op == "call_module" { node.object_type.clone() } else { module_type };
        let origin = Origin::new(&path, &module_type, &source_op, *index);
        *index += 1;
        last = graph.call(&node.name, relu, &[Some(last.into())], Attrs::new(), &[origin]).expect("a valid call");
    }
    graph
}

/// The labels as QConfigs that can be told apart by eps.
fn qconfig_of(label: &str) -> Json {
    let mut qconfig = serde_json::to_value(named("x86").expect("a preset")).expect("serializable");
    qconfig["activation"]["eps"] = json!(f64::from(label.as_bytes()[0]) / 1024.0);
    qconfig
}

fn with_qconfigs(mapping: &Json) -> String {
    let mut mapping = mapping.clone();
    for (key, value) in mapping.as_object_mut().expect("a mapping is an object") {
        if key.is_empty() {
            *value = value.as_str().map_or(Json::Null, qconfig_of);
            continue;
        }
        for row in value.as_array_mut().expect("rows") {
            let last = row.as_array_mut().and_then(|r| r.last_mut()).expect("a row ends with its qconfig");
            *last = last.as_str().map_or(Json::Null, qconfig_of);
        }
    }
    mapping.to_string()
}

#[test]
fn each_node_gets_the_qconfig_that_prepare_fx_gives_it() {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/qconfig_mapping.json")).expect("the golden file is well-formed");
    let (mut compared, mut wrong) = (0, Vec::new());
    // After fusion PyTorch names other types (ConvReLU2d) than quantc, which resolves each member: `plain` has no fusion.
    for case in golden.cases.iter().filter(|c| c.model == "plain" && !BEYOND.contains(&c.name.as_str())) {
        let graph = graph_of(&golden.models[&case.model]);
        let mapping = QConfigMapping::from_json(&with_qconfigs(&case.mapping)).expect("a valid mapping");
        let resolver = mapping.resolver(&graph);
        let expected = case.expected.as_ref().expect("no case of `plain` is refused");
        for id in graph.calls() {
            let name = graph.node(id).name();
            let resolved = resolver.resolve(id);
            let label = resolved.qconfig.map(|q| char::from((q.activation.eps * 1024.0) as u8).to_string());
            if label != expected[name] {
                wrong.push(format!(
                    "{}: {name}: got {label:?} by {}, expected {:?}",
                    case.name, resolved.entry, expected[name]
                ));
            }
            compared += 1;
        }
    }
    assert!(compared > 400, "only {compared} nodes compared");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}
