//! PyTorch's placement against PyTorch: which values have observers, who reads what is observed, and which observers are one
//! (`golden/placement.json`, written by `scripts/golden_placement.py`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use quantc_frontend::trace::{Description, Weights};
use quantc_ir::{Graph, NodeId, NodeKind, Origin};
use quantc_ops::Attr;
use quantc_pattern::{Library, RuleSet};
use quantc_quant::{Placement, PreparedModel, QConfigMapping, prepare_fx_with, qconfig};
use quantc_testkit::workspace_root;
use serde_json::Value as Json;

/// What differs on purpose, or cannot be had: (model, backend or "", reason).
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
];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    value: String,
    readers: BTreeSet<String>,
}

/// The places, and the sets of them that share an observer.
type Placed = (BTreeSet<Place>, BTreeSet<BTreeSet<String>>);

fn golden() -> (Vec<Description>, Json) {
    let folder = workspace_root().join("crates/quant/tests/golden");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let models: Vec<Json> = serde_json::from_str(&read("placement_models.json")).expect("models");
    let mut models: Vec<Description> =
        models.iter().map(|m| Description::parse(&m.to_string()).unwrap_or_else(|e| panic!("{m}: {e}"))).collect();
    for name in ["resnet18", "mobilenet_v2"] {
        let path = workspace_root().join(format!("models/{name}.json"));
        models.push(Description::from_file(&path).unwrap_or_else(|e| panic!("{e}")));
    }
    (models, serde_json::from_str(&read("placement.json")).expect("placement"))
}

fn keys(origin: &Origin) -> [String; 2] {
    let Origin { module_path, source_op, index, .. } = origin;
    [format!("{module_path}#{index}"), format!("{module_path}:{source_op}#{index}")]
}

/// The unit of each key of the golden file: the calls that run as one have one name.
struct Units<'g> {
    graph: &'g Graph,
    of_key: HashMap<String, String>,
    of_node: HashMap<NodeId, String>,
}

impl<'g> Units<'g> {
    fn new(prepared: &'g PreparedModel) -> Units<'g> {
        let graph = &prepared.graph;
        let group: HashMap<&str, &str> = prepared
            .report
            .nodes
            .iter()
            .filter_map(|row| match &row.decision {
                quantc_quant::report::Decision::Quantized { group, .. } => Some((&*row.name, &**group)),
                quantc_quant::report::Decision::Float { .. } => None,
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

    fn observer(&self, id: NodeId) -> Option<usize> {
        let (op, attrs) = self.graph.node(id).call()?;
        match op.signature().attr(attrs, "id") {
            Some(Attr::Int(slot)) if op.name() == "observer" => usize::try_from(slot).ok(),
            _ => None,
        }
    }

    fn ours(&self) -> Placed {
        let (mut places, mut classes) = (BTreeSet::new(), BTreeMap::<usize, BTreeSet<String>>::new());
        for id in self.graph.calls() {
            let Some(slot) = self.observer(id) else { continue };
            let value = self.graph.node(id).inputs()[0].expect("an observer has an input").node;
            let value = self.of_node[&value].clone();
            let readers = self.graph.users(id).iter().map(|u| self.of_node[&u.0].clone()).collect();
            let place = Place { value, readers };
            classes.entry(slot).or_default().insert(format!("{place:?}"));
            places.insert(place);
        }
        (places, classes.into_values().collect())
    }

    /// `removed`: calls that do nothing outside training. PyTorch observes their results, which are their inputs; here they are gone, and
    /// who reads them reads what is before them.
    fn theirs(&self, golden: &Json, removed: &BTreeSet<String>) -> Placed {
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
            self.of_key.get(key).unwrap_or_else(|| panic!("no call has the key {key}\n{}", self.graph)).clone()
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
}

#[test]
fn observers_are_where_prepare_fx_puts_them() {
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    let (models, golden) = golden();
    let (mut compared, mut failures) = (0, Vec::new());
    for model in &models {
        let graph = model.trace(Weights::random(1)).unwrap_or_else(|e| panic!("{}: {e}", model.name()));
        for backend in ["fbgemm", "qnnpack", "onednn", "native"] {
            let expected = &golden["models"][model.name()][backend];
            assert!(expected.is_array(), "{} {backend} is not in the golden file", model.name());
            if DIFFERENCES.iter().any(|d| d.0 == model.name() && (d.1.is_empty() || d.1 == backend)) {
                continue;
            }
            let backend = library.backend(backend).unwrap_or_else(|e| panic!("{e}"));
            let rules: RuleSet = library.rules_for(backend).fusing_only();
            let (fused, _) = quantc_rewrite::canonicalize(&graph, &rules).unwrap_or_else(|e| panic!("{e}"));
            let mapping = QConfigMapping::default_for(qconfig::named("fbgemm").expect("a preset"));
            let prepared =
                prepare_fx_with(&fused, &mapping, backend, Placement::PyTorch).unwrap_or_else(|e| panic!("{e}"));
            let units = Units::new(&prepared);
            let idle = |id: &NodeId| graph.node(*id).is_op("dropout");
            let removed =
                graph.calls().filter(idle).flat_map(|id| graph.node(id).origins().to_vec()).flat_map(|o| keys(&o));
            let (ours, theirs) = (units.ours(), units.theirs(expected, &removed.collect()));
            compared += 1;
            if ours != theirs {
                let only = |a: &Placed, b: &Placed| {
                    let lines: Vec<String> = a.0.difference(&b.0).map(|p| format!("\n  {p:?}")).collect();
                    let shared: Vec<String> = a.1.difference(&b.1).map(|c| format!("\n  one: {c:?}")).collect();
                    lines.concat() + &shared.concat()
                };
                failures.push(format!(
                    "{} on {}: only ours {}, only PyTorch's {}\n{}",
                    model.name(),
                    backend.name,
                    only(&ours, &theirs),
                    only(&theirs, &ours),
                    prepared.graph
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared} differ\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 100, "{compared}");
}
