//! QConfigMapping against what torch 2.8.0's prepare_fx gives each node, and the default mappings against PyTorch's
//! (`scripts/golden_qconfig_mapping.py` made the files).

mod described;
mod hex;

use std::collections::BTreeMap;

use described::{BuiltQConfig, check_qconfig};
use quantc_ir::{Graph, Origin};
use quantc_ops::{Attrs, lookup};
use quantc_pattern::Library;
use quantc_quant::qconfig::named;
use quantc_quant::qconfig_mapping::{
    QConfigMapping, get_default_qat_qconfig_mapping, get_default_qconfig_mapping,
    get_symmetric_qnnpack_qat_qconfig_mapping, get_symmetric_qnnpack_qconfig_mapping,
};
use quantc_quant::report::{Decision, FloatReason, NodeReport};
use quantc_quant::{QConfig, prepare_fx};
use quantc_tensor::{DType, Shape, TensorType};
use quantc_testkit::with_random_params;
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
    // No entry names it.
    let op = lookup("neg").expect("an operator");
    for node in nodes.iter().filter(|n| n.op != "get_attr") {
        let (path, module_type) = node.scope.clone().unwrap_or_default();
        let source_op = if node.op == "call_module" { "aten".to_owned() } else { node.target.clone() };
        let index = seen.entry((path.clone(), source_op.clone())).or_default();
        let module_type = if node.op == "call_module" { node.object_type.clone() } else { module_type };
        let origin = Origin::new(&path, &module_type, &source_op, *index);
        *index += 1;
        last = graph.call(&node.name, op, &[Some(last.into())], Attrs::new(), &[origin]).expect("a valid call");
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

/// The label of the QConfig that each call gets, and the entry that gives it.
fn labels(graph: &Graph, mapping: &QConfigMapping) -> BTreeMap<String, (Option<char>, String)> {
    let resolver = mapping.resolver(graph);
    let label = |id| {
        let resolved = resolver.resolve(id);
        let label = resolved.qconfig.map(|q| char::from((q.activation.eps * 1024.0) as u8));
        (graph.node(id).name().to_owned(), (label, resolved.entry))
    };
    graph.calls().map(label).collect()
}

#[derive(Deserialize)]
struct Generated {
    models: BTreeMap<String, Vec<GoldenNode>>,
    cases: Vec<Pair>,
}

/// A tree of modules and a mapping.
#[derive(Deserialize)]
struct Pair {
    model: String,
    mapping: Json,
    /// A label for each node, `-` for none.
    expected: String,
}

#[test]
fn two_hundred_random_pairs_resolve_as_in_prepare_fx() {
    let golden: Generated = serde_json::from_str(include_str!("golden/qconfig_mapping_generated.json"))
        .expect("the golden file is well-formed");
    let (mut compared, mut wrong) = (0, Vec::new());
    for (i, case) in golden.cases.iter().enumerate() {
        let nodes = &golden.models[&case.model];
        let mapping = QConfigMapping::from_json(&with_qconfigs(&case.mapping)).expect("a valid mapping");
        let ours = labels(&graph_of(nodes), &mapping);
        for (node, expected) in nodes.iter().zip(case.expected.chars()).filter(|(n, _)| n.op != "get_attr") {
            let (label, entry) = &ours[&node.name];
            if *label != Some(expected).filter(|e| *e != '-') {
                wrong.push(format!("{i}: {}: got {label:?} by {entry}, expected {expected}", node.name));
            }
            compared += 1;
        }
    }
    assert!(golden.cases.len() == 200 && compared > 2000, "only {compared} nodes compared");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[derive(Deserialize)]
struct Defaults {
    qconfigs: Vec<BuiltQConfig>,
    /// With the indices of QConfigs.
    mappings: BTreeMap<String, Json>,
}

#[test]
fn default_mappings_are_torch_s() {
    let golden: Defaults = serde_json::from_str(include_str!("golden/qconfig_mapping_defaults.json"))
        .expect("the golden file is well-formed");
    let mut compared = 0;
    for (name, expected) in &golden.mappings {
        let words: Vec<&str> = name.split(' ').collect();
        let version = |v: &&str| v.parse().expect("a version");
        let ours = match words.as_slice() {
            ["symmetric", "qnnpack"] => get_symmetric_qnnpack_qconfig_mapping(),
            ["symmetric", "qnnpack", "qat"] => get_symmetric_qnnpack_qat_qconfig_mapping(),
            [backend] => get_default_qconfig_mapping(backend, 0).expect("a backend"),
            [backend, "qat", v] => get_default_qat_qconfig_mapping(backend, version(v)).expect("a backend"),
            _ => panic!("{name}"),
        };
        let ours = ours.to_json().expect("finite");
        assert_eq!(ours.as_object().map(|o| o.len()), Some(2), "{name}: {ours}");
        let (rows, expected_rows) = (&ours["object_type"], &expected["object_type"]);
        let len = |rows: &Json| rows.as_array().map_or(0, Vec::len);
        assert_eq!(len(rows), len(expected_rows), "{name}: {rows:#}");
        let global = (json!("global"), &ours[""], &expected[""]);
        let rows = (0..len(rows)).map(|i| {
            assert_eq!(rows[i][0], expected_rows[i][0], "{name}: row {i}");
            (rows[i][0].clone(), &rows[i][1], &expected_rows[i][1])
        });
        for (key, qconfig, expected) in rows.chain([global]) {
            let qconfig: QConfig = serde_json::from_value(qconfig.clone()).expect("a QConfig");
            let index = expected.as_u64().expect("an index") as usize;
            check_qconfig(&format!("{name}: {key}"), &qconfig, &golden.qconfigs[index]);
            compared += 1;
        }
    }
    assert_eq!(compared, 14 * 24);
    assert!(get_default_qconfig_mapping("tpu", 0).is_err() && get_default_qat_qconfig_mapping("x86", 2).is_err());
}

#[test]
fn each_node_gets_the_qconfig_that_prepare_fx_gives_it() {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/qconfig_mapping.json")).expect("the golden file is well-formed");
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in golden.cases.iter().filter(|c| c.model == "plain" && !BEYOND.contains(&c.name.as_str())) {
        let graph = graph_of(&golden.models[&case.model]);
        let mapping = QConfigMapping::from_json(&with_qconfigs(&case.mapping)).expect("a valid mapping");
        let expected = case.expected.as_ref().expect("no case of `plain` is refused");
        for (name, (label, entry)) in labels(&graph, &mapping) {
            if label.map(String::from) != expected[&name] {
                wrong.push(format!("{}: {name}: got {label:?} by {entry}, expected {:?}", case.name, expected[&name]));
            }
            compared += 1;
        }
    }
    assert!(compared > 400, "only {compared} nodes compared");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The model `fused` of the script after canonicalization: batch norm is folded, every activation is a call of its own.
const FUSED: &str = r#"graph fused(%x: f32[1,4,4,4]) {
  param @w: f32[4,4,1,1]
  param @w3: f32[4,4,3,3]
  param @fc: f32[4,4]
  param @b: f32[4]
  %stem = conv2d(%x, @w, @b)  # stem: Conv2d(aten, 0)
  %act = relu(%stem)  # act: ReLU(aten, 0)
  %layer1_0_conv = conv2d(%act, @w3, @b) {padding=[1,1]}  # layer1.0.conv: Conv2d(aten, 0); layer1.0.bn: BatchNorm2d(aten, 0)
  %layer1_0_relu = relu(%layer1_0_conv)  # layer1.0.relu: ReLU(aten, 0)
  %layer1_1_conv = conv2d(%layer1_0_relu, @w3, @b) {padding=[1,1]}  # layer1.1.conv: Conv2d(aten, 0); layer1.1.bn: BatchNorm2d(aten, 0)
  %layer1_1_relu = relu(%layer1_1_conv)  # layer1.1.relu: ReLU(aten, 0)
  %add = add(%layer1_1_relu, %act)  # "": ""("operator.add", 0)
  %pool = adaptive_avg_pool2d(%add) {output_size=[1,1]}  # pool: AdaptiveAvgPool2d(aten, 0)
  %flatten = flatten(%pool)  # "": ""("torch.flatten", 0)
  %fc = linear(%flatten, @fc, @b)  # fc: Linear(aten, 0)
  %relu = relu(%fc)  # "": ""("torch.nn.functional.relu", 0)
  return y=%relu
}"#;

/// Each fused layer and its activation.
const LAYERS: [(&str, &str); 4] =
    [("stem", "act"), ("layer1_0_conv", "layer1_0_relu"), ("layer1_1_conv", "layer1_1_relu"), ("fc", "relu")];

/// The label of the entry that decided about a node.
fn label_of(row: &NodeReport, mapping: &Json) -> Option<String> {
    let entry = match &row.decision {
        Decision::Quantized { qconfig_entry, .. } => qconfig_entry,
        Decision::Float { reason: FloatReason::QConfigNone { entry } } => entry,
        Decision::Float { reason } => panic!("{} stays float: {reason}", row.name),
    };
    let (kind, name) = entry.split_once(' ').unwrap_or((entry, ""));
    if kind == "global" {
        return mapping[""].as_str().map(str::to_owned);
    }
    let rows = mapping[kind].as_array().expect("the mapping has such entries");
    let row = rows.iter().rev().find(|row| row[0] == name).expect("the mapping has that entry");
    row[1].as_str().map(str::to_owned)
}

#[test]
fn fused_layers_get_the_qconfig_that_prepare_fx_gives_them() {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/qconfig_mapping.json")).expect("the golden file is well-formed");
    let graph = with_random_params(quantc_ir::text::parse(FUSED).expect("parses"), 1);
    let library = Library::builtin().expect("built in");
    let backend = library.backend("x86").expect("there");
    let (mut compared, mut refused) = (0, 0);
    for case in golden.cases.iter().filter(|c| c.model == "fused") {
        let mapping = QConfigMapping::from_json(&with_qconfigs(&case.mapping)).expect("a valid mapping");
        let prepared = prepare_fx(&graph, &mapping, backend).expect("prepares");
        let row = |name: &str| prepared.report.nodes.iter().find(|n| n.name == name).expect("a call of the graph");
        let group = |name: &str| match &row(name).decision {
            Decision::Quantized { group, .. } => Some(group.clone()),
            Decision::Float { .. } => None,
        };
        if let Some(expected) = &case.expected {
            for (name, label) in expected {
                assert_eq!(label_of(row(name), &case.mapping), *label, "{}: {name}", case.name);
                compared += 1;
            }
            // The functional relu has an entry for its own type only.
            for (layer, activation) in LAYERS.iter().filter(|(layer, _)| *layer != "fc" && expected[*layer].is_some()) {
                assert_eq!(group(layer), group(activation), "{}: {layer} and {activation} are one group", case.name);
            }
        } else {
            // Where PyTorch refuses to fuse calls of different QConfigs, quantc leaves those apart: each has its own. PyTorch takes
            // the functional relu for a `ReLU`, quantc does not: nothing here has an entry for it.
            refused += 1;
            let types = case.mapping["object_type"].as_array().expect("types");
            let entry = |of: &str| types.iter().find(|e| e[0] == of).and_then(|e| e[1].as_str());
            for (layer, activation) in LAYERS {
                let (of_layer, of_activation) =
                    if layer == "fc" { (entry("Linear"), None) } else { (entry("Conv2d"), entry("ReLU")) };
                let apart = group(layer) != group(activation);
                assert_eq!(apart, of_layer != of_activation, "{}: {layer} and {activation}", case.name);
                let global = case.mapping[""].as_str();
                assert_eq!(
                    label_of(row(layer), &case.mapping).as_deref(),
                    of_layer.or(global),
                    "{}: {layer}",
                    case.name
                );
                // The last activation has no quantized user, so alone it stays float.
                if layer != "fc" {
                    let label = label_of(row(activation), &case.mapping);
                    assert_eq!(label.as_deref(), of_activation.or(global), "{}: {activation}", case.name);
                }
            }
        }
    }
    assert!(compared >= 7 * 7 && refused == 5, "{compared} nodes, {refused} refused mappings");
}
