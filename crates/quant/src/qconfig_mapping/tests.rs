//! What the golden files do not show: names, errors, JSON, and what comes before what.

use quantc_ir::Graph;
use quantc_pattern::Library;

use super::*;
use crate::placement::Placement;
use crate::prepare::{Observing, PreparedModel, prepare_fx_with};
use crate::qconfig::{named, presets};
use crate::report::{Decision, FloatReason};

/// Modules, functions in modules, and calls from another format.
const NET: &str = r#"graph net(%x: f32[2,8]) {
  param @w: f32[8,8] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
  %fc = linear(%x, @w)  # body.fc: Linear(linear, 0)
  %inner = linear(%fc, @w)  # body: Head(linear, 0)
  %again = linear(%inner, @w)  # body: Head(linear, 1)
  %act = sigmoid(%again)  # body.act: Sigmoid(sigmoid, 0)
  %gemm = linear(%act, @w)  # "": ""("Gemm", 0)
  return y=%gemm
}"#;

fn net() -> Graph {
    quantc_ir::text::parse(NET).unwrap_or_else(|e| panic!("{e}"))
}

fn x86() -> Option<QConfig> {
    named("x86")
}

/// The entry that each call goes by, for a mapping whose types are all set, the last one named first.
fn by_type(types: &[&str]) -> Vec<(String, String)> {
    let mapping = types.iter().fold(QConfigMapping::new(), |m, t| m.set_object_type(t, x86()));
    let graph = net();
    let resolver = mapping.resolver(&graph);
    let of = |id| (graph.node(id).name().to_owned(), resolver.resolve(id).entry);
    graph.calls().map(of).filter(|(_, entry)| entry != "global").collect()
}

fn reached(types: &[&str]) -> Vec<String> {
    by_type(types).into_iter().map(|(call, _)| call).collect()
}

#[test]
fn pytorchs_names_reach_what_they_name_in_pytorch() {
    assert_eq!(reached(&["Linear"]), ["fc"]);
    assert_eq!(reached(&["torch.nn.Linear"]), ["fc"]);
    assert_eq!(reached(&["torch.nn.modules.linear.Linear"]), ["fc"]);
    // A function's name is no module's; a call that does not come from PyTorch answers to it.
    assert_eq!(reached(&["torch.nn.functional.linear"]), ["inner", "again", "gemm"]);
    assert_eq!(reached(&["torch.sigmoid"]), <[&str; 0]>::default());
    assert_eq!(reached(&["linear"]), ["fc", "inner", "again", "gemm"]);
    assert_eq!(reached(&["Gemm"]), ["gemm"]);
    assert_eq!(reached(&["Head"]), ["inner", "again"]);
    let both = by_type(&["torch.nn.functional.linear", "linear"]);
    assert!(both.iter().all(|(_, entry)| entry == "object_type linear"), "{both:?}");
}

#[test]
fn an_entry_set_again_keeps_its_place() {
    let set = |m: QConfigMapping, re: &str, q| m.set_module_name_regex(re, q).unwrap_or_else(|e| panic!("{e}"));
    let mapping = set(set(set(QConfigMapping::new(), "body", None), "body.fc", x86()), "body", x86());
    let json = mapping.to_json().unwrap_or_else(|e| panic!("{e}"));
    let rows = json["module_name_regex"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|r| &r[0]).collect::<Vec<_>>(), ["body", "body.fc"]);
    assert!(!rows[0][1].is_null());
}

#[test]
fn json_comes_back_as_it_was() {
    let all = QConfigMapping::new()
        .set_global(x86())
        .set_object_type("conv2d", None)
        .set_object_type("Linear", named("dynamic"))
        .set_module_name("body", named("float16_static_qconfig"))
        .set_module_name_object_type_order("body", "linear", 1, None)
        .set_module_name_regex(r"body\.[a-z]+", named("fbgemm"))
        .unwrap_or_else(|e| panic!("{e}"));
    let defaults =
        ["x86", "fbgemm", "qnnpack", "onednn"].map(|b| get_default_qconfig_mapping(b, 0).expect("a backend"));
    let qat = get_default_qat_qconfig_mapping("x86", 1).expect("a backend");
    for mapping in
        defaults.into_iter().chain([all, qat, QConfigMapping::new(), get_symmetric_qnnpack_qconfig_mapping()])
    {
        let json = mapping.to_json().unwrap_or_else(|e| panic!("{e}"));
        let read = QConfigMapping::from_json(&json.to_string()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(read.to_json(), Ok(json));
    }
    let both = QConfigMapping::from_json(r#"{"": null, "global": "x86"}"#).expect_err("one key twice");
    assert!(both.to_string().contains("another name of the key"), "{both}");
}

/// What no observer can be built from is refused where it is read, with its place.
#[test]
fn qconfigs_that_contradict_themselves_are_refused() {
    let activation = |of: &str| {
        let text = format!(
            r#"{{"module_name": [["a", "x86"], ["b", {{"activation": {{"dtype": "quint8", "qscheme": "per_tensor_affine", {of}}},
            "weight": {{"observer": "min_max", "dtype": "qint8", "qscheme": "per_channel_symmetric"}}}}]]}}"#
        );
        QConfigMapping::from_json(&text).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(activation(r#""observer": "min_max", "quant_min": 0, "quant_max": 100"#), Ok(()));
    for (bad, word) in [
        (r#""observer": "min_max", "quant_min": 200, "quant_max": 100"#, "quant_min 200"),
        (r#""observer": "min_max", "eps": -1"#, "eps"),
        (r#""observer": {"aligned_histogram": {"search": {"percentile": 150}}}"#, "percentile"),
        (r#""observer": {"moving_average_min_max": {"averaging_constant": 7}}"#, "averaging"),
        (r#""observer": {"fixed_qparams": {"scale": 0, "zero_point": 300}}"#, "zero point 300"),
    ] {
        let message = activation(bad).expect_err(bad);
        assert!(message.starts_with("QConfigMapping: module_name[1]: ") && message.contains(word), "{message}");
    }
    for (name, preset) in presets::QCONFIGS {
        assert_eq!(preset().check(), Ok(()), "{name}");
    }
}

fn check(mapping: QConfigMapping) -> Result<(), String> {
    mapping.check(&net(), ["ConvTranspose"]).map_err(|e| e.to_string())
}

#[test]
fn entries_that_name_nothing_are_errors_with_the_nearest_name() {
    let new = QConfigMapping::new;
    let order = |module, object_type, index| new().set_module_name_object_type_order(module, object_type, index, None);
    // What this model has not, others have.
    for known in
        ["conv2d", "Conv2d", "torch.nn.Conv2d", "torch.nn.functional.conv2d", "reshape", "ConvTranspose", "Head"]
    {
        assert_eq!(check(new().set_object_type(known, None)), Ok(()), "{known}");
    }
    for backend in ["x86", "qnnpack"] {
        assert_eq!(check(get_default_qconfig_mapping(backend, 0).expect("a backend")), Ok(()));
    }
    assert_eq!(check(new().set_module_name("body", None).set_module_name("body.act", None)), Ok(()));
    assert_eq!(check(order("body", "linear", 1)), Ok(()));
    assert_eq!(check(order("body", "Linear", 0)), Ok(()));
    assert_eq!(check(order("", "Gemm", 0)), Ok(()));
    let unknown = "no call is of this type, and neither quantc nor PyTorch knows it";
    for (mapping, message) in [
        (new().set_object_type("conv2", None), format!("`object_type conv2`: {unknown} (hint: conv2d)")),
        (new().set_object_type("Liner", None), format!("`object_type Liner`: {unknown} (hint: Linear)")),
        (
            new().set_object_type("torch.nn.Conv9d", None),
            format!("`object_type torch.nn.Conv9d`: {unknown} (hint: torch.nn.Conv1d)"),
        ),
        (
            new().set_module_name("body.fd", None),
            "`module_name body.fd`: the model has no module `body.fd` (hint: body.fc)".to_owned(),
        ),
        (
            order("bodi", "linear", 0),
            "`module_name_object_type_order (bodi, linear, 0)`: the model has no module `bodi` (hint: body)".to_owned(),
        ),
        (
            order("body", "linear", 2),
            "`module_name_object_type_order (body, linear, 2)`: `body` makes 2 calls of `linear`, counted from 0 (hint: 0 is inner, 1 is again)"
                .to_owned(),
        ),
        (
            order("", "sigmoid", 0),
            "`module_name_object_type_order (, sigmoid, 0)`: the model itself makes no call of `sigmoid`".to_owned(),
        ),
    ] {
        assert_eq!(check(mapping), Err(format!("QConfigMapping: {message}")));
    }
}

#[test]
fn what_comes_before_what_is_told() {
    let graph = net();
    let mapping = QConfigMapping::new()
        .set_global(x86())
        .set_object_type("Head", None)
        .set_object_type("torch.nn.functional.linear", x86())
        .set_module_name_regex(r"body\.f", None)
        .and_then(|m| m.set_module_name_regex(r"body\.fc", x86()))
        .unwrap_or_else(|e| panic!("{e}"));
    let shadowed = |m: &QConfigMapping| -> Vec<(String, String, Vec<String>, Option<Surprise>)> {
        m.resolver(&graph).shadowed().into_iter().map(|s| (s.by, s.entry, s.calls, s.surprise)).collect()
    };
    let row = |by: &str, entry: &str, calls: &[&str], surprise| {
        (by.to_owned(), entry.to_owned(), calls.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>(), surprise)
    };
    let types = row(
        "object_type Head",
        "object_type torch.nn.functional.linear",
        &["inner", "again"],
        Some(Surprise::ContainingModuleType),
    );
    assert_eq!(
        shadowed(&mapping),
        [
            types.clone(),
            row(r"module_name_regex body\.f", r"module_name_regex body\.fc", &["fc"], Some(Surprise::FirstRegex))
        ]
    );
    let name = r"module_name body";
    let named = mapping.set_module_name("body", x86());
    assert_eq!(
        shadowed(&named),
        [
            row(name, "object_type Head", &["inner", "again"], None),
            row(name, r"module_name_regex body\.f", &["fc"], Some(Surprise::AncestorBeforeRegex)),
        ]
    );
    let twice = QConfigMapping::new().set_object_type("Linear", x86()).set_object_type("torch.nn.Linear", None);
    let [both] = &shadowed(&twice)[..] else { panic!("{:?}", shadowed(&twice)) };
    assert_eq!(
        (&*both.0, &*both.1, both.3),
        ("object_type torch.nn.Linear", "object_type Linear", Some(Surprise::LastSpelling))
    );
    // The same QConfig either way is nothing to tell.
    assert_eq!(shadowed(&QConfigMapping::new().set_object_type("Head", x86()).set_module_name("body", x86())), []);
}

fn prepare(text: &str, mapping: &QConfigMapping) -> PreparedModel {
    let graph = quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let backend = Library::builtin().and_then(|l| l.backend("fbgemm")).unwrap_or_else(|e| panic!("{e}"));
    prepare_fx_with(&graph, mapping, backend, Placement::PyTorch).unwrap_or_else(|e| panic!("{e}"))
}

/// What each observer watches.
fn observed(prepared: &PreparedModel) -> Vec<(&str, String)> {
    prepared.observers.iter().map(|o| (o.name(), o.values.join(","))).collect()
}

/// PyTorch takes the result of a reshape with `default_reuse_input_qconfig` for quantized even if its input is not, so that the layer behind it
/// has no observer and stays float (torch 2.8.0: `self.l(x.reshape(-1, 8))`).
#[test]
fn a_reshape_of_a_real_value_hides_nothing() {
    let mapping = get_default_qconfig_mapping("fbgemm", 0).expect("a backend");
    let text = "graph net(%x: f32[2,8]) {\n  param @w: f32[2,2] = [1, 2, 3, 4]\n  %r = reshape(%x) {shape=[8,2]}\n  %y = linear(%r, @w)\n  return y=%y\n}";
    let prepared = prepare(text, &mapping);
    let histogram = |value: &str| ("HistogramObserver", value.to_owned());
    assert_eq!(observed(&prepared), [histogram("r"), histogram("y")]);
    // Behind a layer, all three are one.
    let text = "graph net(%x: f32[4,2]) {\n  param @w: f32[2,2] = [1, 2, 3, 4]\n  %a = linear(%x, @w)\n  %r = reshape(%a) {shape=[4,2]}\n  %y = linear(%r, @w)\n  return y=%y\n}";
    assert_eq!(observed(&prepare(text, &mapping)), [histogram("x"), histogram("a,r"), histogram("y")]);
}

/// PyTorch observes the input of a sigmoid with the fixed parameters of its result (torch 2.8.0: `torch.sigmoid(x)`), which cuts off what is not in 0..1.
#[test]
fn fixed_parameters_are_the_results_alone() {
    let text = "graph net(%x: f32[4,2]) {\n  %y = sigmoid(%x)\n  return y=%y\n}";
    let prepared = prepare(text, &get_default_qconfig_mapping("fbgemm", 0).expect("a backend"));
    assert_eq!(observed(&prepared), [("HistogramObserver", "x".to_owned()), ("FixedQParamsObserver", "y".to_owned())]);
    assert!(
        matches!(prepared.observers[1].observing, Observing::Fixed(f) if f.scale == 1.0 / 256.0 && f.zero_point == 0)
    );
    let reason = |mapping: &QConfigMapping| match &prepare(text, mapping).report.nodes[0].decision {
        Decision::Float { reason: FloatReason::DTypeConstraint { violations, .. } } => violations.join("; "),
        other => panic!("{other:?}"),
    };
    let fixed = |observer| Some(QConfig { activation: observer, weight: presets::default_weight_observer() });
    let alone =
        QConfigMapping::new().set_object_type("sigmoid", fixed(presets::default_fixed_qparams_range_0to1_observer()));
    assert_eq!(
        reason(&alone),
        "input: its QConfig is for results, and no other entry says how its inputs are observed"
    );
    let other = alone
        .set_global(x86())
        .set_object_type("sigmoid", fixed(presets::default_fixed_qparams_range_neg1to1_observer()));
    assert_eq!(reason(&other), "output: its parameters are 3.90625e-3, 0, its QConfig fixes 7.8125e-3, 128");
}
