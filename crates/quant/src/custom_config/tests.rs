//! JSON, errors, and models whose inputs and outputs are integers.

use quantc_interp::Interpreter;
use quantc_ir::Graph;
use quantc_pattern::Library;
use quantc_tensor::{DType, Tensor};

use super::*;
use crate::calibrate::Calibrator;
use crate::convert::{ConvertedModel, convert_to_reference_fx};
use crate::error::QuantError;
use crate::placement::Placement;
use crate::prepare::prepare_fx_custom;
use crate::qconfig::named;
use crate::report::{Decision, FloatReason};

const NET: &str = r#"graph net(%x: f32[4,2]) {
  param @w: f32[2,2] = [1, 0.5, -0.25, 1]
  %a = linear(%x, @w)  # body.fc: Linear(linear, 0)
  %b = relu(%a)  # body: Body(relu, 0)
  %c = linear(%b, @w)  # head: Linear(linear, 0)
  %sum = add(%c, %x)  # "": ""(add, 0)
  return y=%sum, c=%c
}"#;

fn net() -> Graph {
    quantc_ir::text::parse(NET).unwrap_or_else(|e| panic!("{e}"))
}

fn x() -> Tensor {
    Tensor::from_vec(&[4, 2], vec![-1.0f32, 0.5, 2.0, 0.25, -0.75, 1.5, 0.0, 1.0]).expect("fits")
}

fn convert(custom: &PrepareCustomConfig, placement: Placement) -> Result<ConvertedModel, QuantError> {
    let backend = Library::builtin().and_then(|l| l.backend("fbgemm")).unwrap_or_else(|e| panic!("{e}"));
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    let prepared = prepare_fx_custom(&net(), &mapping, backend, placement, custom)?;
    let mut calibrator = Calibrator::new(&prepared)?;
    calibrator.observe(&[("x".to_owned(), x())])?;
    convert_to_reference_fx(&prepared, &calibrator.finish()?)
}

fn run(graph: &Graph, input: Tensor) -> Vec<Tensor> {
    let outputs = Interpreter::new(graph).run(&[("x".to_owned(), input)]).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    outputs.into_iter().map(|o| o.1).collect()
}

/// The integers are those that quantizing the float model's values gives, whoever reads them.
#[test]
fn integers_come_in_and_go_out() {
    for placement in [Placement::Quantc, Placement::PyTorch] {
        let plain = convert(&PrepareCustomConfig::new(), placement).expect("converts");
        let custom =
            PrepareCustomConfig::new().set_input_quantized_indexes(&[0, 0]).set_output_quantized_indexes(&[1, 1]);
        let model = convert(&custom, placement).expect("converts");
        let [input] = &model.report.quantized_inputs[..] else { panic!("{:?}", model.report) };
        let [output] = &model.report.quantized_outputs[..] else { panic!("{:?}", model.report) };
        assert_eq!((&*input.name, &*input.dtype, &*output.name), ("x", "u8", "c"));
        let graph = &model.graph;
        let placeholder = graph.placeholders().next().expect("one");
        let outputs = graph.outputs();
        assert_eq!((graph.ty(placeholder).dtype, graph.ty(outputs[1].1).dtype), (DType::U8, DType::U8), "{graph}");
        // -1..2 in 255 steps.
        assert_eq!((input.scale, input.zero_point), (3.0 / 255.0, 85));
        let codes: Vec<u8> = x()
            .to_f32_vec()
            .iter()
            .map(|v| ((v / input.scale).round_ties_even() + 85.0).clamp(0.0, 255.0) as u8)
            .collect();
        let integers = Tensor::from_vec(&[4, 2], codes.clone()).expect("fits");
        let got = run(graph, integers);
        // The plain model, given what the integers stand for.
        let real: Vec<f32> = codes.iter().map(|q| (f32::from(*q) - 85.0) * input.scale).collect();
        let want = run(&plain.graph, Tensor::from_vec(&[4, 2], real).expect("fits"));
        let stands_for: Vec<f32> =
            got[1].to_f32_vec().iter().map(|q| (q - output.zero_point as f32) * output.scale).collect();
        let step = output.scale / 2.0 + 1e-6;
        for (got, want) in stands_for.iter().zip(want[1].to_f32_vec()) {
            assert!((got - want).abs() <= step, "{placement:?}: {got} for {want}");
        }
        assert!(got[0].bits_eq(&want[0]) || placement == Placement::PyTorch, "{placement:?}");
    }
}

#[test]
fn what_is_apart_says_so() {
    let custom = PrepareCustomConfig::new().set_non_traceable_module_names(&["body"]);
    let model = convert(&custom, Placement::Quantc).expect("converts");
    let apart = |name: &str| {
        let row = model.report.nodes.iter().find(|n| n.name == name).expect("a call");
        matches!(&row.decision, Decision::Float { reason: FloatReason::Apart { module } } if module == "body")
    };
    assert!(apart("a") && apart("b") && !apart("c"), "{:?}", model.report.nodes);
    let reason = FloatReason::Apart { module: "body".to_owned() }.to_string();
    assert_eq!(reason, "it is in the module `body`, which PrepareCustomConfig sets apart");
}

/// A module with a mapping of its own, whose names are relative to it.
#[test]
fn a_standalone_module_has_its_own_mapping() {
    let mapping = QConfigMapping::new().set_global(named("minmax")).set_module_name("fc", None);
    let entry = StandaloneModuleConfigEntry { qconfig_mapping: Some(mapping), ..Default::default() };
    let model = convert(&PrepareCustomConfig::new().set_standalone_module_name("body", entry), Placement::PyTorch);
    let model = model.expect("converts");
    let decisions: Vec<(String, bool)> =
        model.report.nodes.iter().map(|n| (n.name.clone(), matches!(n.decision, Decision::Quantized { .. }))).collect();
    let of = |name: &str| decisions.iter().any(|d| d.0 == name && d.1);
    // The relu is part of the layer before it.
    assert!(!of("a") && !of("b") && of("c"), "{decisions:?}");
    run(&model.graph, x());
}

/// PyTorch takes what a standalone module gives for quantized even if nothing inside is, so that the layer behind it has no observer and stays float
/// (torch 2.8.0: a linear layer behind a module with `QConfigMapping().set_global(None)`).
#[test]
fn a_float_standalone_module_hides_nothing() {
    let entry = StandaloneModuleConfigEntry { qconfig_mapping: Some(QConfigMapping::new()), ..Default::default() };
    let custom = PrepareCustomConfig::new().set_standalone_module_name("body", entry);
    let model = convert(&custom, Placement::PyTorch).expect("converts");
    let watched = model.report.observers.iter().find(|o| o.values.contains(&"b".to_owned()));
    assert!(watched.is_some_and(|o| o.range != (0.0, 0.0)), "{:?}", model.report.observers);
    // An input that the module would take as integers has no QConfig to make them: it is observed inside, if at all.
    let inner = PrepareCustomConfig::new().set_input_quantized_indexes(&[0]);
    let own = QConfigMapping::new().set_global(named("minmax"));
    let entry =
        StandaloneModuleConfigEntry { qconfig_mapping: Some(own), prepare_custom_config: inner, backend_config: None };
    let graph = net();
    let backend = Library::builtin().and_then(|l| l.backend("fbgemm")).unwrap_or_else(|e| panic!("{e}"));
    let custom = PrepareCustomConfig::new().set_standalone_module_name("body", entry);
    let prepared = prepare_fx_custom(&graph, &QConfigMapping::new(), backend, Placement::PyTorch, &custom);
    let prepared = prepared.expect("prepares");
    let watched: Vec<&str> = prepared.observers.iter().flat_map(|o| o.values.iter().map(String::as_str)).collect();
    assert_eq!(watched, ["x", "b"]);
}

#[test]
fn what_is_not_there_is_an_error() {
    let new = PrepareCustomConfig::new;
    let entry = StandaloneModuleConfigEntry::default;
    for (custom, message) in [
        (
            new().set_non_traceable_module_names(&["bady"]),
            "non_traceable_module_name: the model has no module called `bady` (hint: body)",
        ),
        (
            new().set_non_traceable_module_classes(&["Liner"]),
            "non_traceable_module_class: the model has no module of the class `Liner` (hint: Linear)",
        ),
        (
            new().set_standalone_module_name("heat", entry()),
            "standalone_module_name: the model has no module called `heat` (hint: head)",
        ),
        (
            new().set_standalone_module_class("Boby", entry()),
            "standalone_module_class: the model has no module of the class `Boby` (hint: Body)",
        ),
        (new().set_input_quantized_indexes(&[1]), "input_quantized_idxs: index 1: there are 1 of them, counted from 0"),
        (
            new().set_output_quantized_indexes(&[2]),
            "output_quantized_idxs: index 2: there are 2 of them, counted from 0",
        ),
        (
            new().set_input_quantized_indexes(&[0]).set_non_traceable_module_names(&["body", "head"]),
            "`x` cannot be quantized: no quantized call takes it, so nothing says what its integers are",
        ),
    ] {
        let error = convert(&custom, Placement::Quantc).map(|m| m.graph.to_string()).expect_err(message);
        assert_eq!(error.to_string(), format!("PrepareCustomConfig: {message}"));
    }
}

#[test]
fn json_has_pytorchs_keys() {
    let text = r#"{
        "standalone_module_name": [["body", {"": "minmax"}, [1, 2], {"input_quantized_idxs": [0]}, "qnnpack"], ["head", null]],
        "standalone_module_class": [["Linear", null, null, {}, null]],
        "non_traceable_module_name": ["head"], "non_traceable_module_class": ["Body"],
        "float_to_observed_custom_module_class": {"static": {"LSTM": "torch.ao.nn.quantizable.LSTM"}}, "preserved_attributes": ["a"],
        "input_quantized_idxs": [0], "output_quantized_idxs": [1, 0]}"#;
    let config = PrepareCustomConfig::from_json(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((config.input_quantized_indexes(), config.output_quantized_indexes()), (&[0][..], &[1, 0][..]));
    let json = config.to_json().unwrap_or_else(|e| panic!("{e}"));
    let again = PrepareCustomConfig::from_json(&json.to_string()).and_then(|c| c.to_json());
    assert_eq!(again, Ok(json.clone()));
    assert_eq!(json["standalone_module_name"][0][4], "qnnpack");
    for (text, message) in [
        ("[]", "the document: must be an object"),
        (r#"{"input_quantized_idxs": [-1]}"#, "input_quantized_idxs[0]: must be an index"),
        (r#"{"non_traceable_module_name": "a"}"#, "non_traceable_module_name: must be a list"),
        (r#"{"standalone_module_name": [[]]}"#, "standalone_module_name[0]: must be a list of a name"),
        (r#"{"standalone_module_name": [["a", {"": "best"}]]}"#, "unknown qconfig `best`"),
        (r#"{"standalone_module_name": [["a", null, null, null, "tpu"]]}"#, "tpu"),
        (
            r#"{"float_to_observed_custom_module_class": {"static": {"Mine": "Observed"}}}"#,
            "float_to_observed_custom_module_class.static: \"Observed\" of Mine is not known: under static there are torch.ao.nn.quantizable.LSTM of LSTM",
        ),
        (
            r#"{"float_to_observed_custom_module_class": {"often": {}}}"#,
            "`often` is none of static, dynamic, weight_only",
        ),
        (r#"{"what": []}"#, "what: unknown key (the keys are: "),
    ] {
        let error = PrepareCustomConfig::from_json(text).expect_err(text).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn mappings_of_standalone_modules_are_checked() {
    let standalone = |name: &str, mapping: QConfigMapping, custom: PrepareCustomConfig| {
        let entry = StandaloneModuleConfigEntry {
            qconfig_mapping: Some(mapping),
            prepare_custom_config: custom,
            ..Default::default()
        };
        PrepareCustomConfig::new().set_standalone_module_name(name, entry)
    };
    let none = PrepareCustomConfig::new;
    let check = |config: &PrepareCustomConfig| config.check_mappings(&net(), ["Gemm"]).map_err(|e| e.to_string());
    let named = QConfigMapping::new().set_module_name("fcc", None);
    let error = check(&standalone("body", named, none())).expect_err("no fcc");
    assert_eq!(
        error,
        "PrepareCustomConfig: the mapping of the standalone module `body`: QConfigMapping: `module_name fcc`: the model has no module `fcc` (hint: fc)"
    );
    let typed = QConfigMapping::new().set_object_type("Linar", None);
    let nested = standalone("body", QConfigMapping::new(), standalone("fc", typed, none()));
    let error = check(&nested).expect_err("no Linar");
    assert!(error.contains("the standalone module `body.fc`: QConfigMapping: `object_type Linar`"), "{error}");
    let known = QConfigMapping::new().set_object_type("Gemm", None).set_module_name_regex("zzz", None);
    let unused = check(&standalone("body", known.unwrap_or_else(|e| panic!("{e}")), none())).expect("known");
    assert_eq!(
        unused,
        ["the entry `module_name_regex zzz` of the mapping of the standalone module `body` has no effect"]
    );
}

#[test]
fn a_module_is_apart_once() {
    let entry = StandaloneModuleConfigEntry::default;
    let twice = PrepareCustomConfig::new()
        .set_standalone_module_name("body", entry())
        .set_non_traceable_module_names(&["body"]);
    let inside = PrepareCustomConfig::new()
        .set_standalone_module_name("body", entry())
        .set_standalone_module_name("body.fc", entry());
    for (config, message) in [
        (twice, "standalone_module_name: `body` is in non_traceable_module_name, too"),
        (inside, "standalone_module_name: `body.fc` is inside `body`, which is prepared on its own"),
    ] {
        let error = convert(&config, Placement::Quantc).map(|m| m.graph.to_string()).expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
}
