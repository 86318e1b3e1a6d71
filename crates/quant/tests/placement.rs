//! PyTorch's placement against PyTorch: which values have observers, who reads what is observed, and which observers are one
//! (`golden/placement.json`, written by `scripts/golden_placement.py`).

mod golden_file;
mod torch_models;

use std::collections::{BTreeMap, BTreeSet};

use quantc_ir::NodeId;
use quantc_quant::qconfig;
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
            let qconfig = qconfig::named("fbgemm").expect("a preset");
            let prepared = torch_models::prepare(&graph, torch_models::backend(backend), qconfig);
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
