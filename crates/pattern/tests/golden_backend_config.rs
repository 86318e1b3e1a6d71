//! Backends against PyTorch's: `golden/backend_config.json`, written by `scripts/golden_backend_config.py`.

use std::collections::{BTreeMap, BTreeSet};

use quantc_pattern::torch_names::{self, Kind};
use quantc_pattern::{BackendConfig, Library, export_backend, import_backend};
use serde_json::{Value as Json, json};

fn golden() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/backend_config.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn builtin(name: &str) -> &'static BackendConfig {
    Library::builtin().and_then(|l| l.backend(name)).unwrap_or_else(|e| panic!("{e}"))
}

/// Names whose patterns none of the four backends has, and why.
const ABSENT: &[(&[&str], &str)] = &[
    (
        &["torch.nn.Dropout", "torch.nn.functional.dropout", "torch.nn.Identity", "contiguous", "detach", "detach_"],
        "they do nothing outside training and are removed before patterns are matched",
    ),
    (
        &[
            "torch.nn.PixelUnshuffle",
            "torch.nn.functional.pixel_unshuffle",
            "torch.repeat_interleave",
            "repeat_interleave",
        ],
        "there is no such operator",
    ),
    (&["torch.stack"], "it is unsqueeze and cat, which have patterns"),
    (&["operator.floordiv"], "it computes sizes, which are not quantized"),
];

/// Results in 0..1.
const ZERO_TO_ONE: &[&str] = &[
    "torch.nn.Sigmoid",
    "torch.sigmoid",
    "sigmoid",
    "sigmoid_",
    "torch.nn.Hardsigmoid",
    "torch.nn.functional.hardsigmoid",
    "hardsigmoid",
    "hardsigmoid_",
    "torch.nn.Softmax",
];
/// Results in -1..1.
const ONE_TO_ONE: &[&str] = &["torch.nn.Tanh", "torch.tanh", "tanh", "tanh_"];

/// What PyTorch's dtype configurations are here, changed where they differ; every change has its reason.
fn expected_types(backend: &str, pattern: &str, theirs: &Json) -> Json {
    let mut configs = theirs.as_array().expect("a list").clone();
    // Codes of 4 bits are a part of the range of 8.
    configs.retain(|c| c["weight_dtype"] != "torch.quint4x2");
    for config in &mut configs {
        let fields = config.as_object_mut().expect("an object");
        // PyTorch asks for the exact parameters of an output of the input too, whose values they say nothing about.
        if fields["output_dtype"]["scale_exact_match"].is_number()
            && let Some(input) = fields["input_dtype"].as_object_mut()
        {
            input.remove("scale_exact_match");
            input.remove("zero_point_exact_match");
        }
        // Tables of onednn have signed codes there; here codes are unsigned.
        let table = [
            "torch.nn.Embedding",
            "torch.nn.EmbeddingBag",
            "torch.ao.nn.qat.Embedding",
            "torch.ao.nn.qat.EmbeddingBag",
        ];
        if backend == "onednn" && table.iter().any(|t| pattern == format!("\"{t}\"")) {
            fields["weight_dtype"] = json!("torch.quint8");
        }
        // A weight that is not quantized is no weight of a pattern.
        if fields.get("weight_dtype") == Some(&json!("torch.float32")) {
            fields.remove("weight_dtype");
            fields.remove("bias_dtype");
        }
        // PyTorch fixes the parameters for quint8 alone; those of qint8 hold the same values.
        let is = |names: &[&str]| names.iter().any(|n| pattern == format!("\"{n}\""));
        let fixed = if is(ZERO_TO_ONE) {
            Some((1.0 / 256.0, -128))
        } else if is(ONE_TO_ONE) {
            Some((2.0 / 256.0, 0))
        } else {
            None
        };
        if let (Some((scale, zero_point)), "qnnpack", "torch.qint8") =
            (fixed, backend, fields["output_dtype"]["dtype"].as_str().unwrap_or_default())
        {
            fields["output_dtype"] =
                json!({"dtype": "torch.qint8", "scale_exact_match": scale, "zero_point_exact_match": zero_point});
        }
    }
    Json::Array(configs)
}

/// The dtype configurations of an entry of ours. The backend native has those of PyTorch's `_native_and_fp16` besides, which rounds
/// everything to half precision, and convolutions that are quantized dynamically.
fn own_types(backend: &str, entry: &Json) -> Json {
    let mut configs = entry["dtype_configs"].as_array().expect("a list").clone();
    let pattern = entry.get("pattern").unwrap_or(&entry["pattern_complex_format"]).to_string();
    let convolution = pattern.to_lowercase().contains("conv");
    let besides = |c: &Json| c["output_dtype"] == "torch.float16" || convolution && c["is_dynamic"] == true;
    configs.retain(|c| backend != "native" || !besides(c));
    Json::Array(configs)
}

/// The entries of a document by their patterns.
fn entries(document: &Json) -> BTreeMap<String, &Json> {
    let configs = document["configs"].as_array().expect("a list");
    let pattern = |c: &Json| c.get("pattern").unwrap_or(&c["pattern_complex_format"]).to_string();
    configs.iter().map(|c| (pattern(c), c)).collect()
}

/// Every name in a pattern.
fn names(pattern: &str) -> Vec<String> {
    fn collect(value: &Json, out: &mut Vec<String>) {
        match value {
            Json::Array(parts) => parts.iter().for_each(|p| collect(p, out)),
            name => out.push(name.as_str().expect("a name").to_owned()),
        }
    }
    let mut out = Vec::new();
    collect(&serde_json::from_str(pattern).expect("JSON"), &mut out);
    out
}

#[test]
fn backends_of_pytorchs_names_have_its_patterns() {
    let golden = golden();
    let (mut compared, mut failures) = (0, Vec::new());
    for backend in ["fbgemm", "native", "onednn", "qnnpack"] {
        let theirs = &golden["backends"][backend];
        let exported = export_backend(builtin(backend));
        let ours = entries(&exported.document);
        for (pattern, entry) in entries(theirs) {
            compared += 1;
            let absent = ABSENT.iter().any(|(of, _)| names(&pattern).iter().any(|n| of.contains(&n.as_str())));
            match ours.get(&pattern) {
                None if absent => {}
                None => failures.push(format!("{backend} has no pattern for {pattern}")),
                Some(_) if absent => {
                    failures.push(format!("{backend} has a pattern for {pattern}, which is listed as absent"))
                }
                Some(own) => {
                    for key in ["observation_type", "num_tensor_args_to_observation_type", "input_type_to_index"] {
                        if own[key] != entry[key] {
                            failures.push(format!("{backend} {pattern}: {key} {} is {} there", own[key], entry[key]));
                        }
                    }
                    let wanted = expected_types(backend, &pattern, &entry["dtype_configs"]);
                    if own_types(backend, own) != wanted {
                        failures
                            .push(format!("{backend} {pattern}: types {} should be {wanted}", own["dtype_configs"]));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared} differ\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 780, "{compared}");
}

/// Tree, conditions, observation and types of each pattern.
fn patterns(backend: &BackendConfig) -> BTreeSet<String> {
    let one = |p: &quantc_pattern::BackendPatternConfig| {
        let types: Vec<_> = p
            .dtype_configs
            .iter()
            .map(|c| format!("{:?}", (&c.input, &c.output, &c.weight, c.bias, c.dynamic)))
            .collect();
        let conditions = quantc_pattern::print::conditions(&p.conditions, &p.pattern.vars);
        format!("{} when {conditions:?} {:?} {:?} {types:#?}", p.pattern_text(), p.observation_type, p.fixed_qparams)
    };
    backend.patterns.iter().map(one).collect()
}

fn imported(document: &Json) -> BackendConfig {
    let found = import_backend(&document.to_string(), None).unwrap_or_else(|e| panic!("{e}"));
    let source = quantc_pattern::Source::new("imported.qpat", &found.text);
    Library::parse(&[source]).unwrap_or_else(|e| panic!("{e}")).backends.swap_remove(0)
}

#[test]
fn backends_of_pytorchs_names_have_no_other_trees() {
    let golden = golden();
    for name in ["fbgemm", "native", "onednn", "qnnpack"] {
        let exported = export_backend(builtin(name));
        let compared = |document: &Json, types: &dyn Fn(&str, &Json) -> Json| {
            let mut document = document.clone();
            for entry in document["configs"].as_array_mut().expect("a list") {
                let pattern = entry.get("pattern").unwrap_or(&entry["pattern_complex_format"]).to_string();
                entry["dtype_configs"] = types(&pattern, entry);
            }
            patterns(&imported(&document))
        };
        let ours = compared(&exported.document, &|_, entry| own_types(name, entry));
        let theirs = compared(&golden["backends"][name], &|pattern, entry| {
            expected_types(name, pattern, &entry["dtype_configs"])
        });
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>().join("\n");
        let (here, there) = (only(&ours, &theirs), only(&theirs, &ours));
        assert!(ours == theirs, "{name}\nonly here:\n{here}\nonly in PyTorch:\n{there}");
        let trees = exported.document["configs"].as_array().expect("a list").len();
        assert!(trees > 190, "{name}: {trees}");
    }
}

/// What of PyTorch's x86 list x86 does not have, besides [`ABSENT`], and why.
const NOT_ON_X86: &[(&[&str], &str)] = &[
    (&["shape", "size"], "sizes are computed as they are, without a pattern"),
    (
        &["torch.nn.PReLU", "repeat"],
        "there is no int8 kernel: quantized, it would be real arithmetic between two conversions",
    ),
    (&["torch.nn.Softmax"], "unsupported: 8 bits lose the small probabilities"),
];

#[test]
fn x86_covers_pytorchs_x86() {
    let golden = golden();
    let exported = export_backend(builtin("x86"));
    let ours = entries(&exported.document);
    let theirs = entries(&golden["backends"]["x86"]);
    let listed = |pattern: &str| {
        let any = |lists: &[(&[&str], &str)]| {
            names(pattern).iter().any(|n| lists.iter().any(|(of, _)| of.contains(&n.as_str())))
        };
        any(ABSENT) || any(NOT_ON_X86)
    };
    for (pattern, entry) in &theirs {
        let Some(own) = ours.get(pattern) else {
            assert!(listed(pattern), "x86 has no pattern for {pattern}");
            continue;
        };
        assert!(!listed(pattern), "x86 has a pattern for {pattern}, which is listed as absent");
        // Every way of quantizing it that PyTorch has: static or dynamic, of these element types.
        let dtype = |t: &Json| t.get("dtype").unwrap_or(t).clone();
        let modes = |config: &Json| -> BTreeSet<String> {
            let configs = config["dtype_configs"].as_array().expect("a list").iter();
            let weighted = configs.clone().any(|c| c["weight_dtype"].is_string());
            let of = |c: &Json| {
                let weight = if weighted { c["weight_dtype"].clone() } else { Json::Null };
                json!([dtype(&c["input_dtype"]), dtype(&c["output_dtype"]), weight, c["is_dynamic"]]).to_string()
            };
            configs.map(of).filter(|m| !m.contains("quint4x2")).collect()
        };
        let mut theirs = modes(entry);
        if names(pattern).len() > 1 || pattern.contains("LinearReLU") {
            // The layer is rounded to half precision without what is behind it.
            theirs.retain(|m| !m.contains("float16"));
        }
        if own["dtype_configs"].as_array().is_some_and(|c| c.iter().all(|c| c.get("weight_dtype").is_none())) {
            // PyTorch's x86 list gives a weight to functions that have none.
            theirs = theirs.iter().map(|m| m.replace("\"torch.qint8\",null", "null,null")).collect();
        }
        assert!(modes(own).is_superset(&theirs), "{pattern}: {:?} against {theirs:?}", modes(own));
    }
    assert!(theirs.len() > 190, "{}", theirs.len());
}

/// Whether a dotted name is one of PyTorch's, or a word a method.
fn is_public(golden: &Json, name: &str) -> bool {
    let (namespace, last) = name.rsplit_once('.').unwrap_or(("torch.Tensor", name));
    golden["names"][namespace].as_array().is_some_and(|names| names.iter().any(|n| n == last))
}

#[test]
fn every_module_that_an_entry_names_is_pytorchs() {
    let golden = golden();
    let mut seen = BTreeSet::new();
    for backend in &Library::builtin().unwrap_or_else(|e| panic!("{e}")).backends {
        let exported = export_backend(backend);
        for entry in exported.document["configs"].as_array().expect("a list") {
            let keys = ["root_module", "qat_module", "reference_quantized_module_for_root", "fused_module"];
            seen.extend(keys.iter().filter_map(|key| entry.get(key)?.as_str().map(str::to_owned)));
        }
    }
    assert!(seen.len() > 40, "{seen:?}");
    assert!(seen.iter().all(|name| is_public(&golden, name)), "{seen:?}");
}

#[test]
fn every_name_of_the_table_is_pytorchs() {
    let golden = golden();
    // PyTorch's lists name methods that tensors do not have, and a property.
    let listed = ["hardsigmoid", "hardsigmoid_", "shape"];
    for row in torch_names::all() {
        assert!(is_public(&golden, row.name) != listed.contains(&row.name), "{}", row.name);
        let class = row.module_type().is_some_and(|t| t.starts_with(char::is_uppercase));
        assert_eq!(class, row.kind == Kind::Module, "{}", row.name);
    }
    let same = golden["same"].as_array().expect("a list");
    for (alias, name) in torch_names::aliases() {
        let both =
            |names: &Json| names.as_array().is_some_and(|n| n.contains(&json!(alias)) && n.contains(&json!(name)));
        assert!(same.iter().any(both), "{alias} is not {name}");
    }
    // No function is in the table twice.
    for names in same {
        let rows = torch_names::all().iter().filter(|r| names.as_array().is_some_and(|n| n.contains(&json!(r.name))));
        assert!(rows.count() <= 1, "{names}");
    }
}
