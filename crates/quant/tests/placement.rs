//! PyTorch's placement against PyTorch: which values have observers, who reads what is observed, and which observers are one
//! (`golden/placement.json`, written by `scripts/golden_placement.py`); the same with parts of a model apart (`golden/custom_config.json`,
//! written by `scripts/golden_custom_config.py`).

mod golden_file;
mod torch_models;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quantc_frontend::trace::{Description, Weights};
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_pattern::Library;
use quantc_quant::custom_config::{ObservedClass, ObservedCustomModule, QuantType};
use quantc_quant::{Placement, PrepareCustomConfig, QConfig, prepare_fx_custom};
use serde_json::Value as Json;
use torch_models::{Units, keys};

/// What differs on purpose, or cannot be had: (model, backend, reason).
const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "dropout",
        "",
        "dropout does nothing outside training and is removed; PyTorch observes its result, which is its input",
    ),
    (
        "residual",
        "onednn",
        "PyTorch fuses the relu behind an addition only if it is a module; to us both are one operator",
    ),
    (
        "transposed",
        "onednn",
        "PyTorch's default mapping for onednn gives transposed convolutions a scale for each channel, which it then refuses",
    ),
];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    value: String,
    readers: BTreeSet<String>,
}

/// The places, and the sets of them that share an observer.
type Placed = (BTreeSet<Place>, BTreeSet<BTreeSet<String>>);

fn ours(units: &Units<'_>) -> Placed {
    let (mut places, mut classes) = (BTreeSet::new(), BTreeMap::<usize, BTreeSet<String>>::new());
    for id in units.graph.calls() {
        let Some(slot) = units.observer(id) else { continue };
        let value = units.graph.node(id).inputs()[0].expect("an observer has an input").node;
        let value = units.of_node[&value].clone();
        let readers = units.graph.users(id).iter().map(|u| units.of_node[&u.0].clone()).collect();
        let place = Place { value, readers };
        classes.entry(slot).or_default().insert(format!("{place:?}"));
        places.insert(place);
    }
    (places, classes.into_values().collect())
}

/// `removed`: calls that do nothing outside training. PyTorch observes their results, which are their inputs; here they are gone, and
/// who reads them reads what is before them.
fn theirs(units: &Units<'_>, golden: &Json, removed: &BTreeSet<String>) -> Placed {
    let places = golden.as_array().expect("places");
    let text = |key: &Json| key.as_str().expect("a key").to_owned();
    let readers_of =
        |place: &Json| -> Vec<String> { place["readers"].as_array().expect("readers").iter().map(text).collect() };
    let behind = |key: String| match removed.contains(&key) {
        true => readers_of(places.iter().find(|p| text(&p["value"]) == key).expect("its result is observed")),
        false => vec![key],
    };
    let unit = |key: &str| {
        if key == "output" || key.starts_with("input:") {
            return key.to_owned();
        }
        units.of_key.get(key).unwrap_or_else(|| panic!("no call has the key {key}\n{}", units.graph)).clone()
    };
    let (mut found, mut classes) = (BTreeSet::new(), BTreeMap::<u64, BTreeSet<String>>::new());
    for place in places {
        let value = text(&place["value"]);
        if removed.contains(&value) {
            continue;
        }
        let readers = readers_of(place).into_iter().flat_map(behind).map(|key| unit(&key)).collect();
        let observer = place["observer"].as_u64().expect("a number");
        let place = Place { value: unit(&value), readers };
        classes.entry(observer).or_default().insert(format!("{place:?}"));
        found.insert(place);
    }
    (found, classes.into_values().collect())
}

/// What one has and the other has not.
fn only(a: &Placed, b: &Placed) -> String {
    let lines: Vec<String> = a.0.difference(&b.0).map(|p| format!("\n  {p:?}")).collect();
    let shared: Vec<String> = a.1.difference(&b.1).map(|c| format!("\n  one: {c:?}")).collect();
    lines.concat() + &shared.concat()
}

#[test]
fn observers_are_where_prepare_fx_puts_them() {
    let golden = golden_file::read("placement.json");
    let (mut compared, mut failures) = (0, Vec::new());
    for (name, graph) in torch_models::models("224") {
        for backend in ["fbgemm", "qnnpack", "onednn", "native"] {
            let expected = &golden["models"][&name][backend];
            assert!(expected.is_array(), "{name} {backend} is not in the golden file");
            if DIFFERENCES.iter().any(|d| d.0 == name && d.1 == backend) {
                continue;
            }
            let mapping = torch_models::mapping(backend);
            let prepared = torch_models::prepare(&graph, torch_models::backend(backend), &mapping);
            let units = Units::new(&prepared);
            let idle = |id: &NodeId| graph.node(*id).is_op("dropout");
            let removed =
                graph.calls().filter(idle).flat_map(|id| graph.node(id).origins().to_vec()).flat_map(|o| keys(&o));
            let (ours, theirs) = (ours(&units), theirs(&units, expected, &removed.collect()));
            compared += 1;
            if ours != theirs {
                let (more, less) = (only(&ours, &theirs), only(&theirs, &ours));
                failures
                    .push(format!("{name} on {backend}: only ours {more}, only PyTorch's {less}\n{}", prepared.graph));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared} differ\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 100, "{compared}");
}

/// Where observers are, seen through the edges of modules: what is watched, who reads what is observed, and the class.
fn flat(units: &Units<'_>, opaque: &[&str]) -> Vec<(String, Vec<String>, String)> {
    let graph = units.graph;
    let unit = |id: NodeId| {
        let inside = |module: &&&str| {
            graph
                .node(id)
                .origins()
                .iter()
                .any(|o| o.module_path.strip_prefix(**module).is_some_and(|r| r.is_empty() || r.starts_with('.')))
        };
        opaque.iter().find(inside).map_or_else(|| units.of_node[&id].clone(), |module| (*module).to_owned())
    };
    let mut places = Vec::new();
    for id in graph.calls().filter(|id| units.observer(*id).is_some()) {
        let mut value: ValueRef = graph.node(id).inputs()[0].expect("an observer has an input");
        while units.observer(value.node).is_some() {
            value = graph.node(value.node).inputs()[0].expect("an observer has an input");
        }
        let readers = graph.users(id).into_iter().map(|u| u.0).filter(|u| units.observer(*u).is_none());
        let readers: BTreeSet<String> = readers.map(unit).collect();
        places.push((unit(value.node), readers.into_iter().collect(), String::new()));
    }
    places
}

/// An observed class whose modules are the float ones.
#[derive(Debug)]
struct AsItIs;

impl ObservedCustomModule for AsItIs {
    fn name(&self) -> &str {
        "AsItIs"
    }

    fn observe(&self, float: &Graph, _: &QConfig) -> Result<Graph, String> {
        Ok(float.clone())
    }
}

#[test]
fn parts_that_are_apart_are_observed_as_in_prepare_fx() {
    let golden = golden_file::read("custom_config.json");
    let description = Description::parse(&golden["model"].to_string()).unwrap_or_else(|e| panic!("{e}"));
    let traced = description.trace(Weights::random(1)).unwrap_or_else(|e| panic!("{e}"));
    let backend = torch_models::backend("fbgemm");
    let rules = Library::builtin().unwrap_or_else(|e| panic!("{e}")).rules_for(backend).fusing_only();
    let (graph, _) = quantc_rewrite::canonicalize(&traced, &rules).unwrap_or_else(|e| panic!("{e}"));
    let cases = golden["cases"].as_array().expect("cases");
    let mut failures = Vec::new();
    for case in cases {
        let mut config = case["config"].clone();
        give_mappings(&mut config);
        let swapped = config.as_object_mut().and_then(|c| c.remove("float_to_observed_custom_module_class"));
        let mut custom = PrepareCustomConfig::from_json(&config.to_string())
            .unwrap_or_else(|e| panic!("{e}"))
            .set_modules(description.modules());
        for class in swapped.iter().flat_map(|s| s["static"].as_object().expect("classes").keys()) {
            let observed = ObservedClass::Custom(Arc::new(AsItIs));
            custom = custom.set_float_to_observed_mapping(class, observed, QuantType::Static);
        }
        let mapping = torch_models::mapping("fbgemm");
        let prepared = prepare_fx_custom(&graph, &mapping, backend, Placement::PyTorch, &custom)
            .unwrap_or_else(|e| panic!("{}: {e}", case["name"]));
        let units = Units::new(&prepared);
        let opaque: &[&str] = match case["name"].as_str() {
            Some("non-traceable by name" | "custom module in a non-traceable one") => &["block"],
            Some("non-traceable by class" | "non-traceable in standalone") => &["block.inner"],
            Some("custom module" | "custom module, quantized input and output") => &["block.inner"],
            _ => &[],
        };
        let mut ours = flat(&units, opaque);
        let classes = graph_classes(&prepared);
        for (place, class) in ours.iter_mut().zip(classes) {
            place.2 = class;
        }
        // An input that arrives as integers is observed here to find what they are; PyTorch's tensors know.
        ours.retain(|place| place.0 != "input:x" || custom.input_quantized_indexes().is_empty());
        let unit = |key: &Json| {
            let key = key.as_str().expect("a key");
            let module = key.strip_suffix("#0").filter(|m| opaque.contains(m));
            match module {
                Some(module) => module.to_owned(),
                None if key == "output" || key.starts_with("input:") => key.to_owned(),
                None => units.of_key.get(key).unwrap_or_else(|| panic!("no call has the key {key}")).clone(),
            }
        };
        let mut theirs: Vec<(String, Vec<String>, String)> = Vec::new();
        for place in case["places"].as_array().expect("places") {
            let readers: BTreeSet<String> = place["readers"].as_array().expect("readers").iter().map(unit).collect();
            let class = place["class"].as_str().expect("a class").to_owned();
            theirs.push((unit(&place["value"]), readers.into_iter().collect(), class));
        }
        ours.sort();
        theirs.sort();
        if ours != theirs {
            failures.push(format!("{}:\n  ours {ours:#?}\n  PyTorch's {theirs:#?}\n{}", case["name"], prepared.graph));
        }
    }
    assert!(failures.is_empty(), "{} of {} differ\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert_eq!(cases.len(), 19);
}

/// The class of each observer, in order of the calls.
fn graph_classes(prepared: &quantc_quant::PreparedModel) -> Vec<String> {
    let units = Units::new(prepared);
    let slots = prepared.graph.calls().filter_map(|id| units.observer(id));
    slots.map(|slot| prepared.observers[slot].name().to_owned()).collect()
}

/// The golden file has names of QConfigs where a configuration has mappings.
fn give_mappings(config: &mut Json) {
    let Some(rows) = config.get_mut("standalone_module_name").and_then(Json::as_array_mut) else { return };
    for row in rows {
        if let Some(name) = row[1].as_str().map(str::to_owned) {
            row[1] = serde_json::json!({ "": name });
        }
        give_mappings(&mut row[3]);
    }
}
