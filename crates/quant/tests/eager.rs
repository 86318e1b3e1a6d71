//! The eager workflow against torch 2.8.0 (`golden/eager.json`, written by `scripts/golden_eager.py` from `golden/eager_models.json`).

mod golden_file;

use std::collections::BTreeMap;

use golden_file::read;

use quantc_frontend::trace::{Description, Weights};
use quantc_interp::Interpreter;
use quantc_ir::Graph;
use quantc_quant::eager::{
    DEFAULT_DYNAMIC_TYPES, DynamicDType, DynamicSpec, EagerError, EagerModel, EagerPrepared, QConfigDict,
    add_quant_dequant, convert, convert_with, default_eval_fn, fuse_modules, fuse_modules_qat,
    get_default_dynamic_quant_module_mappings, get_default_static_quant_module_mappings,
    optional_dynamic_quant_module_mappings, prepare, prepare_qat, prepare_with, propagate_qconfig, quantize,
    quantize_dynamic, quantize_dynamic_with, quantize_qat,
};
use quantc_quant::report::{Decision, FloatReason, NodeReport};
use quantc_quant::{ActivationQParams, Calibrator, QConfig, qconfig};
use quantc_tensor::{DType, Tensor, f16};
use quantc_testkit::hashed::{hashed_indices, hashed_input, hashed_weight, with_hashed_params};
use quantc_testkit::sqnr;
use serde_json::{Value as Json, json};

/// The QConfigs of the script by their labels.
fn labelled(label: &Json) -> Option<QConfig> {
    let mut qconfig = qconfig::named("minmax").expect("a preset");
    qconfig.activation.reduce_range = true;
    match label.as_str()? {
        "A" => Some(qconfig),
        "B" => Some(QConfig { weight: qconfig.weight.to_per_tensor(), ..qconfig }),
        "E" => qconfig::named("float_qparams_weight_only_qconfig"),
        other => panic!("no qconfig {other}"),
    }
}

fn label(qconfig: Option<&QConfig>) -> Json {
    let of = |name: &str| labelled(&json!(name)).as_ref() == qconfig;
    ["A", "B", "E"].into_iter().find(|name| qconfig.is_some() && of(name)).map_or(Json::Null, Json::from)
}

fn model(description: &Json) -> EagerModel {
    let description = Description::parse(&description.to_string()).unwrap_or_else(|e| panic!("{e}"));
    let graph = description.trace(Weights::random(1)).unwrap_or_else(|e| panic!("{}: {e}", description.name()));
    EagerModel::new(with_hashed_params(&graph), description.modules())
}

fn set(model: &mut EagerModel, attributes: &Json) {
    for (path, label) in attributes.as_object().expect("attributes") {
        model.set_qconfig(path, labelled(label)).unwrap_or_else(|e| panic!("{e}"));
    }
}

fn lists(json: &Json) -> Vec<Vec<&str>> {
    json.as_array()
        .expect("lists")
        .iter()
        .map(|l| l.as_array().expect("names").iter().map(|n| n.as_str().expect("a name")).collect())
        .collect()
}

fn floats(json: &Json) -> Vec<f64> {
    json.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn size(json: &Json) -> Vec<usize> {
    floats(json).into_iter().map(|v| v as usize).collect()
}

fn inputs(description: &Json, sizes: &Json, seed: &str) -> Vec<(String, Tensor)> {
    let input = |(name, s): (&String, &Json)| {
        let indices = description["inputs"][name].as_str().is_some_and(|ty| ty.starts_with("i64"));
        let of = if indices { hashed_indices } else { hashed_input };
        (name.clone(), of(seed, name, &size(s)))
    };
    sizes.as_object().expect("inputs").iter().map(input).collect()
}

/// The model with hashed weights of these shapes: recurrent layers are traced with weights stacked and reordered.
fn with_weights(description: &Json, shapes: &Json) -> EagerModel {
    let shapes = shapes.as_object().expect("shapes");
    let description = Description::parse(&description.to_string()).unwrap_or_else(|e| panic!("{e}"));
    let weights = shapes.iter().map(|(name, s)| (name.clone(), hashed_weight(name, &size(s))));
    let graph = description.trace(Weights::from_tensors("hashed", weights.collect()));
    EagerModel::new(graph.unwrap_or_else(|e| panic!("{}: {e}", description.name())), description.modules())
}

fn run(interpreter: Interpreter<'_>, inputs: &[(String, Tensor)]) -> Vec<f64> {
    let outputs = interpreter.run(inputs).unwrap_or_else(|e| panic!("{e}"));
    outputs[0].1.to_f32_vec().into_iter().map(f64::from).collect()
}

/// Fused, with QConfigs, prepared.
fn prepared(case: &Json, golden: &Json) -> EagerPrepared {
    let (description, weights) = (&case["description"], &golden["weights"]);
    let model = if weights.is_null() { model(description) } else { with_weights(description, weights) };
    let mut model = fuse_modules(&model, &lists(&case["fuse"])).unwrap_or_else(|e| panic!("{e}"));
    set(&mut model, &case["qconfigs"]);
    prepare(&model).unwrap_or_else(|e| panic!("{e}"))
}

fn calibrated(prepared: &EagerPrepared, case: &Json, golden: &Json) -> Vec<ActivationQParams> {
    let of = |seed: &str| inputs(&case["description"], &golden["inputs"], seed);
    let mut calibrator = Calibrator::new(prepared.prepared()).unwrap_or_else(|e| panic!("{e}"));
    default_eval_fn(&mut calibrator, &[of("a"), of("b")]).unwrap_or_else(|e| panic!("{e}"));
    calibrator.finish().unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn qconfigs_observers_and_outputs_are_pytorchs() {
    let (cases, golden) = (read("eager_models.json"), read("eager.json"));
    let (mut lines, mut failures) = (Vec::new(), 0);
    for case in cases.as_array().expect("cases").iter().filter(|c| c.get("fails").is_none()) {
        let name = case["description"]["name"].as_str().expect("a name");
        let expected = &golden["models"][name];
        let prepared = prepared(case, expected);

        let ours: BTreeMap<&str, Json> = prepared.model().modules().map(|(path, _, q)| (path, label(q))).collect();
        let theirs = expected["qconfigs"].as_object().expect("qconfigs");
        let theirs: BTreeMap<&str, Json> = theirs.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        assert_eq!(ours, theirs, "{name}: which module has which qconfig");

        let mut qparams = calibrated(&prepared, case, expected);
        let observers = expected["observers"].as_object().expect("observers");
        assert_eq!(prepared.observers().count(), observers.len(), "{name}: {observers:?}");
        for (path, slot) in prepared.observers() {
            let theirs = floats(observers.get(path).unwrap_or_else(|| panic!("{name}: {path} is not observed")));
            let (scale, zero_point) = (theirs[0] as f32, theirs[1] as i32);
            let found = &mut qparams[slot];
            // Sums of floats in another order move the ends of the range.
            assert!((found.scale / scale - 1.0).abs() < 1e-5, "{name} {path}: {found:?} against {theirs:?}");
            assert_eq!(found.zero_point, zero_point, "{name} {path}");
            (found.scale, found.zero_point) = (scale, zero_point);
        }

        let converted = convert(&prepared, &qparams).unwrap_or_else(|e| panic!("{name}: {e}"));
        let input = inputs(&case["description"], &expected["inputs"], "c");
        let (theirs, float) = (floats(&expected["output"]), floats(&expected["float"]));
        let ours = run(Interpreter::new(&converted.graph), &input);
        let in_floats = run(Interpreter::new(&converted.graph).in_floats(), &input);
        let same = sqnr(&theirs, &in_floats);
        lines.push(format!(
            "{name}: {same:.1} dB to PyTorch's; contract: {:.1} to PyTorch's, {:.1} to float; PyTorch's to float: {:.1}",
            sqnr(&theirs, &ours),
            sqnr(&float, &ours),
            sqnr(&float, &theirs)
        ));
        // Bit for bit but for the float layers. The contract rounds biases to i32, which moves a value here and
        // there by a step (measured: 3 of 288 in `residual`, 1 of 384 in `called_twice`, none with biases of 0). A key or value that
        // moves is in the sums of every position (`attention`: 15 of 160 by one step, none with biases of 0).
        let most = if name == "attention" { ours.len() / 10 } else { ours.len() / 50 };
        // What observed nothing has the scale 1.
        let scales = qparams.iter().filter(|q| (q.scale, q.zero_point) != (1.0, 0)).map(|q| f64::from(q.scale));
        let step = scales.fold(0.0, f64::max);
        let moved: Vec<f64> = theirs.iter().zip(&ours).map(|(t, o)| (t - o).abs()).filter(|d| *d > 1e-6).collect();
        let steps = moved.iter().all(|d| *d < 1.001 * step);
        failures += u32::from(same < 120.0 || moved.len() > most || !steps);
        let unfused = run(Interpreter::new(prepared.model().graph()), &input);
        assert!(sqnr(&float, &unfused) > 100.0, "{name}: the fused float model is the model");
    }
    println!("{}", lines.join("\n"));
    assert!(failures == 0 && lines.len() == 18, "{}", lines.join("\n"));
}

#[test]
fn what_pytorch_refuses_when_it_runs_is_refused_when_converted() {
    let (cases, golden) = (read("eager_models.json"), read("eager.json"));
    let mut refused = Vec::new();
    for case in cases.as_array().expect("cases").iter().filter(|c| c.get("fails").is_some()) {
        let name = case["description"]["name"].as_str().expect("a name");
        let of_torch = &golden["models"][name];
        let prepared = prepared(case, of_torch);
        let qparams = calibrated(&prepared, case, of_torch);
        let error = convert(&prepared, &qparams).expect_err("PyTorch refuses it");
        let stub = match &error {
            EagerError::MissingQuantStub { .. } => "quant",
            EagerError::MissingDeQuantStub { .. } => "dequant",
            other => panic!("{name}: {other}"),
        };
        assert_eq!(case["fails"], stub, "{name}: {error}");
        assert!(golden["models"][name]["error"].is_string(), "{name}");
        refused.push(error.to_string());
    }
    insta::assert_snapshot!(refused.join("\n"));
}

/// The message says why a module is float: it has no kernel, or the user left it float; a second QuantStub needs no DeQuantStub.
#[test]
fn what_is_float_says_why() {
    let linear = json!({"type": "Linear", "in_features": 8, "out_features": 8});
    let described = |forward: &str| {
        json!({"name": "d", "inputs": {"x": "f32[N,8]"}, "outputs": ["y"],
            "modules": {"quant": "QuantStub", "again": "QuantStub", "fc": linear, "float": linear, "act": "Softplus", "dequant": "DeQuantStub"},
            "forward": [format!("return {forward}")]})
    };
    for (forward, message) in [
        (
            "dequant(fc(again(quant(x))))",
            "`again` (module again: QuantStub) quantizes `quant` (module quant: QuantStub), which is quantized already",
        ),
        ("float(fc(quant(x)))", "`float` (module float: Linear) is float, since its qconfig is None, but `fc`"),
        ("act(fc(quant(x)))", "`act` (module act: Softplus) has no quantized kernel, but `fc`"),
    ] {
        let mut model = model(&described(forward));
        model.set_qconfig("", qconfig::named("fbgemm")).unwrap_or_else(|e| panic!("{e}"));
        model.set_qconfig("float", None).unwrap_or_else(|e| panic!("{e}"));
        let prepared = prepare(&model).unwrap_or_else(|e| panic!("{e}"));
        let mut calibrator = Calibrator::new(prepared.prepared()).unwrap_or_else(|e| panic!("{e}"));
        let x = Tensor::from_vec(&[1, 8], vec![0.5f32; 8]).expect("fits");
        calibrator.observe(&[("x".to_owned(), x)]).unwrap_or_else(|e| panic!("{e}"));
        let qparams = calibrator.finish().unwrap_or_else(|e| panic!("{e}"));
        let error = convert(&prepared, &qparams).map(|_| ()).expect_err(forward).to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn qconfigs_are_propagated_as_pytorch_does() {
    let (cases, golden) = (read("eager_models.json"), read("eager.json"));
    let all = cases.as_array().expect("cases");
    let blocks = &all.iter().find(|c| c["description"]["name"] == "blocks").expect("there is one")["description"];
    let rows = golden["propagate"].as_array().expect("rows");
    for row in rows {
        let mut model = model(blocks);
        set(&mut model, &row["attributes"]);
        let entries = |key: &str| row[key].as_object().expect("entries").clone().into_iter();
        let dict = entries("types").fold(QConfigDict::default(), |d, (t, q)| d.set_type(&t, labelled(&q)));
        let dict = entries("names").fold(dict, |d, (n, q)| d.set_name(&n, labelled(&q)));
        propagate_qconfig(&mut model, &dict);
        for (path, module_type, qconfig) in model.modules() {
            assert_eq!(label(qconfig), row["expected"][path], "{path} ({module_type}) of {row}");
        }
    }
    assert_eq!(rows.len(), 5);

    // Without the list of modules those of the calls are found, and what is around them.
    let mut bare = EagerModel::new(model(blocks).graph().clone(), Vec::new());
    set(&mut bare, &json!({"blocks": "B"}));
    propagate_qconfig(&mut bare, &QConfigDict::default().set_type("Conv2d", labelled(&json!("A"))));
    let found: BTreeMap<&str, Json> = bare.modules().map(|(path, _, qconfig)| (path, label(qconfig))).collect();
    assert_eq!((&found["stem"], &found["blocks.0"], &found["blocks.1.conv"]), (&json!("A"), &json!("B"), &json!("A")));
    assert_eq!(found["quant"], Json::Null);

    let mut wrapped = model(blocks);
    set(&mut wrapped, &golden["wrapped"]["attributes"]);
    add_quant_dequant(&mut wrapped).unwrap_or_else(|e| panic!("{e}"));
    let theirs = golden["wrapped"]["modules"].as_object().expect("modules");
    let modules: BTreeMap<&str, &str> = wrapped.modules().map(|(path, ty, _)| (path, ty)).collect();
    assert_eq!(modules.len(), theirs.len(), "{modules:?}");
    for (path, ty) in modules.into_iter().filter(|m| !m.0.is_empty()) {
        assert_eq!(theirs[path], ty, "{path}");
    }
    // It computes the same, and can be quantized as it is.
    let x = [("x".to_owned(), hashed_input("c", "x", &[2, 3, 8, 8]))];
    let float = run(Interpreter::new(model(blocks).graph()), &x);
    assert_eq!(run(Interpreter::new(wrapped.graph()), &x), float);
    let converted = quantize(&wrapped, |c| c.observe(&x)).unwrap_or_else(|e| panic!("{e}"));
    let quantized = run(Interpreter::new(&converted.graph), &x);
    assert!(sqnr(&float, &quantized) > 25.0, "{}", sqnr(&float, &quantized));
    let convs = converted.report.nodes.iter().filter(|r| matches!(r.decision, Decision::Quantized { .. })).count();
    assert_eq!(convs, 2, "the stem and the first block's convolution");
}

#[test]
fn dynamic_quantization_gives_pytorchs_outputs() {
    let golden = read("eager.json");
    let cases = golden["dynamic"].as_array().expect("cases");
    let (mut lines, mut failed) = (Vec::new(), false);
    for case in cases {
        let mut model = with_weights(&case["description"], &case["weights"]);
        let names = |key: &str| -> Vec<&str> {
            let list = case[key].as_array().into_iter().flatten();
            list.map(|n| n.as_str().expect("a name")).collect()
        };
        if !names("fuse").is_empty() {
            model = fuse_modules(&model, &[names("fuse")]).unwrap_or_else(|e| panic!("{e}"));
        }
        // PyTorch's layers always halve the range of activations.
        let mut halved = qconfig::named("per_tensor_dynamic").expect("a preset");
        halved.activation.reduce_range = true;
        let dtype = match case["dtype"].as_str() {
            Some("qint8") => DynamicDType::Qint8,
            Some("float16") => DynamicDType::Float16,
            Some("quint8") => DynamicDType::Quint8,
            _ => DynamicDType::Quint4x2,
        };
        let spec = match (dtype, case["spec"].is_null()) {
            (DynamicDType::Qint8, all) => {
                let keys = if all { DEFAULT_DYNAMIC_TYPES.to_vec() } else { names("spec") };
                let entry =
                    |d: QConfigDict, k: &&str| d.set_type(k, Some(halved.clone())).set_name(k, Some(halved.clone()));
                DynamicSpec::QConfigs(keys.iter().fold(QConfigDict::default(), entry))
            }
            (_, true) => DynamicSpec::Default,
            (_, false) => DynamicSpec::Modules(names("spec").into_iter().map(str::to_owned).collect()),
        };
        let mapping: Vec<(&str, &str)> = get_default_dynamic_quant_module_mappings()
            .iter()
            .filter(|row| case["mapping"].is_null() || names("mapping").contains(&row.0))
            .copied()
            .collect();
        let converted = quantize_dynamic_with(&model, &spec, dtype, &mapping).unwrap_or_else(|e| panic!("{case}: {e}"));
        let ours = run(Interpreter::new(&converted.graph), &inputs(&case["description"], &case["inputs"], "c"));
        let (theirs, float) = (floats(&case["output"]), floats(&case["float"]));
        let decided = converted.report.nodes.iter().filter_map(|r| match &r.decision {
            Decision::Quantized { mode, .. } => Some(format!("{} {mode}", r.op)),
            Decision::Float { .. } => None,
        });
        let (to_theirs, decided) = (sqnr(&theirs, &ours), decided.collect::<Vec<_>>().join(", "));
        lines.push(format!(
            "{} {} {}: {to_theirs:.1} dB to PyTorch's, {:.1} to float, PyTorch's {:.1}: {decided}",
            case["description"]["name"],
            case["dtype"],
            case["spec"],
            sqnr(&float, &ours),
            sqnr(&float, &theirs)
        ));
        // Measured: 89 dB where activations are quantized (PyTorch chooses their parameters with another rounding), 134 for sums in another
        // order, 73 for 4 bits, whose scales PyTorch stores as halves.
        let limit = match dtype {
            DynamicDType::Qint8 => 85.0,
            DynamicDType::Float16 | DynamicDType::Quint8 => 130.0,
            DynamicDType::Quint4x2 => 70.0,
        };
        failed |= to_theirs < limit;
    }
    println!("{}", lines.join("\n"));
    assert!(!failed && cases.len() == 20, "{}", lines.join("\n"));
}

#[test]
fn dynamic_quantization_says_what_it_leaves_and_refuses() {
    let source = described(LSTM);
    let quantized = |spec: &DynamicSpec, dtype| -> Vec<String> {
        let converted = quantize_dynamic(&source, spec, dtype).unwrap_or_else(|e| panic!("{e}"));
        let quantized = |r: &&NodeReport| matches!(r.decision, Decision::Quantized { .. });
        converted.report.nodes.iter().filter(quantized).map(|r| r.name.clone()).collect()
    };
    assert_eq!(quantized(&DynamicSpec::Default, DynamicDType::Qint8), ["lstm", "fc"]);
    assert!(quantized(&DynamicSpec::Default, DynamicDType::Quint8).is_empty(), "there is no table");
    let only_fc = DynamicSpec::Modules(vec!["fc".to_owned()]);
    assert_eq!(quantized(&only_fc, DynamicDType::Qint8), ["fc"]);
    let error = quantize_dynamic(&source, &only_fc, DynamicDType::Quint8).expect_err("no table");
    assert!(matches!(&error, EagerError::QConfig { path, .. } if path == "fc"), "{error}");
    // The report names the attribute that keeps a module in float.
    let converted = quantize_dynamic(&source, &only_fc, DynamicDType::Qint8).expect("quantizes");
    let lstm = converted.report.nodes.iter().find(|r| r.op == "lstm").map(|r| &r.decision);
    let none = FloatReason::QConfigNone { entry: "qconfig of lstm".to_owned() };
    assert_eq!(lstm, Some(&Decision::Float { reason: none }));
    // In half precision the weights are stored as such, biases are not.
    let half = quantize_dynamic(&source, &DynamicSpec::Default, DynamicDType::Float16).expect("quantizes").graph;
    let stored = half.params().iter().filter(|(_, param)| param.ty.dtype == DType::F16);
    let mut stored: Vec<&str> = stored.map(|(name, _)| &**name).collect();
    stored.sort_unstable();
    assert_eq!(stored, ["fc.weight.half", "lstm.r_l0.half", "lstm.w_l0.half"]);
    let weights: Vec<f32> = source.graph().params()["fc.weight"].value.as_ref().expect("given").to_f32_vec();
    let want: Vec<f32> = weights.iter().map(|v| f16::from_f32(*v).to_f32()).collect();
    assert_eq!(half.params()["fc.weight.half"].value.as_ref().expect("given").to_f32_vec(), want);
    // A mapping may leave types out and have convolutions, and nothing else.
    let linear = [("Linear", "torch.ao.nn.quantized.dynamic.Linear")];
    let converted = quantize_dynamic_with(&source, &DynamicSpec::Default, DynamicDType::Qint8, &linear);
    let lstm = converted.expect("quantizes").report.nodes.into_iter().find(|r| r.op == "lstm").map(|r| r.decision);
    assert_eq!(lstm, Some(Decision::Float { reason: FloatReason::NoPattern }));
    let unknown = [
        ("Linear", "mine.Linear"),
        ("Classifier", "torch.ao.nn.quantized.dynamic.Linear"),
        ("Conv2d", "torch.ao.nn.quantized.Conv2d"),
        ("Conv2d", "torch.ao.nn.quantized.dynamic.Conv1d"),
    ];
    for row in unknown {
        let error = quantize_dynamic_with(&source, &DynamicSpec::Default, DynamicDType::Qint8, &[row])
            .expect_err("no such row");
        assert!(matches!(&error, EagerError::Mapping { module_type, .. } if module_type == row.0), "{error}");
    }
}

#[test]
fn dynamic_convolutions_have_integer_weights() {
    let source = described(
        r#"{"inputs": {"x": "f32[N,3,8,8]"}, "outputs": ["y"], "modules": {
            "down": {"type": "Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 3},
            "up": {"type": "ConvTranspose2d", "in_channels": 4, "out_channels": 3, "kernel_size": 3}},
          "forward": ["return up(down(x))"]}"#,
    );
    let rows = optional_dynamic_quant_module_mappings();
    let both = DynamicSpec::Modules(vec!["Conv2d".to_owned(), "up".to_owned()]);
    let converted = quantize_dynamic_with(&source, &both, DynamicDType::Qint8, rows).unwrap_or_else(|e| panic!("{e}"));
    let patterns = converted.report.nodes.iter().map(|n| match &n.decision {
        Decision::Quantized { pattern, .. } => pattern.as_str(),
        Decision::Float { .. } => "",
    });
    let classes = ["torch.ao.nn.quantized.dynamic.Conv2d", "torch.ao.nn.quantized.dynamic.ConvTranspose2d"];
    assert!(patterns.eq(classes), "{:?}", converted.report.nodes);
    let refused = |spec: &DynamicSpec, dtype, says: &str| {
        let error = quantize_dynamic_with(&source, spec, dtype, rows).expect_err("refused");
        assert!(matches!(&error, EagerError::QConfig { .. }) && error.to_string().contains(says), "{error}");
    };
    refused(&both, DynamicDType::Float16, "the weight must be qint8");
    // A scale for each input channel: the output channels of a transposed convolution are axis 1.
    let per_channel = qconfig::named("minmax").expect("a preset");
    let up = DynamicSpec::QConfigs(QConfigDict::default().set_name("up", Some(per_channel)));
    refused(&up, DynamicDType::Qint8, "ch_axis 1");
}

const LSTM: &str = r#"{"inputs": {"x": "f32[5,N,8]"}, "outputs": ["y"], "modules": {
    "lstm": {"type": "LSTM", "input_size": 8, "hidden_size": 12},
    "fc": {"type": "Linear", "in_features": 12, "out_features": 4}},
  "forward": ["y, h, c = lstm(x)", "return fc(y)"]}"#;

fn described(text: &str) -> EagerModel {
    model(&serde_json::from_str(text).expect("valid"))
}

const TWO: &str = r#"{"inputs": {"x": "f32[N,3,8,8]"}, "outputs": ["y"], "modules": {
    "conv": {"type": "Conv2d", "in_channels": 3, "out_channels": 3, "kernel_size": 1},
    "bn": {"type": "BatchNorm2d", "num_features": 3}, "relu": "ReLU", "other": "ReLU"},
  "forward": ["y = conv(x)", "return relu(bn(y)) + other(y)"]}"#;

#[test]
fn fusing_refuses_what_it_must() {
    let model = described(TWO);
    let refused = |names: &[&str]| fuse_modules(&model, &[names.to_vec()]).expect_err("refused");
    assert!(matches!(refused(&["conv", "nope"]), EagerError::UnknownModule { path, .. } if path == "nope"));
    assert!(matches!(refused(&["relu", "conv"]), EagerError::NoFuser { types, .. } if types == "ReLU, Conv2d"));
    assert!(matches!(refused(&["conv"]), EagerError::NoFuser { .. }));
    let read_twice = refused(&["conv", "bn"]);
    assert_eq!(read_twice.to_string(), "`conv` and `bn` can't be fused: the result of `conv` is read in 2 places");
    assert!(fuse_modules(&model, &[vec!["bn", "relu"]]).is_ok());
    let training = fuse_modules(&model.clone().train(), &[vec!["conv", "bn"]]).expect_err("in training");
    assert!(matches!(training, EagerError::Training { path } if path == "bn"));
    assert!(fuse_modules(&model.train(), &[vec!["bn", "relu"]]).is_ok(), "nothing is folded there");
}

#[test]
fn qconfigs_that_cannot_be_used_are_refused() {
    let with = |label: &str| {
        let mut model = described(TWO);
        model.set_qconfig("conv", qconfig::named(label)).expect("there is such a module");
        model
    };
    let dynamic = prepare(&with("dynamic")).expect_err("dynamic");
    assert!(matches!(&dynamic, EagerError::QConfig { path, .. } if path == "conv"), "{dynamic}");
    assert!(matches!(described(TWO).set_qconfig("nope", None), Err(EagerError::UnknownModule { .. })));
    let model = with("minmax");
    for (error, function) in [
        (fuse_modules_qat(&model, &[]).expect_err("QAT"), "fuse_modules_qat"),
        (prepare_qat(&model).expect_err("QAT"), "prepare_qat"),
        (quantize_qat(&model).expect_err("QAT"), "quantize_qat"),
    ] {
        assert!(matches!(&error, EagerError::Qat { function: f } if *f == function), "{error}");
    }
    // Fused, the layer that keeps its own None makes the fused module unusable.
    let mut model = described(
        r#"{"inputs": {"x": "f32[N,4]"}, "outputs": ["y"], "modules": {"quant": "QuantStub",
        "fc": {"type": "Linear", "in_features": 4, "out_features": 4}, "relu": "ReLU"},
      "forward": ["return relu(fc(quant(x)))"]}"#,
    );
    model.set_qconfig("", qconfig::named("minmax")).expect("the root");
    model.set_qconfig("fc", None).expect("there is such a module");
    let fused = fuse_modules(&model, &[vec!["fc", "relu"]]).expect("fuses");
    let x = [("x".to_owned(), hashed_input("a", "x", &[2, 4]))];
    let error = quantize(&fused, |c| c.observe(&x)).expect_err("no weight observer");
    assert!(matches!(&error, EagerError::QConfig { path, .. } if path == "fc.0"), "{error}");
}

#[test]
fn layers_without_a_quantizable_form_are_refused() {
    let recurrent = |ty: &str, sizes: &str, states: &str| {
        let mut model = described(&format!(
            r#"{{"inputs": {{"x": "f32[{sizes},8]"}}, "outputs": ["y"], "modules": {{"quant": "QuantStub", "dequant": "DeQuantStub",
            "m": {{"type": "{ty}", "input_size": 8, "hidden_size": 4}}}}, "forward": ["y, {states} = m(quant(x))", "return dequant(y)"]}}"#
        ));
        model.set_qconfig("", qconfig::named("minmax")).expect("the root");
        model
    };
    assert!(prepare(&recurrent("LSTM", "5,N", "h, c")).is_ok());
    for (ty, sizes, states, why) in
        [("LSTM", "T,N", "h, c", "length of its sequences is not known"), ("GRU", "5,N", "h", "has no form of it")]
    {
        let error = prepare(&recurrent(ty, sizes, states)).expect_err("refused");
        assert!(matches!(&error, EagerError::Unsupported { path, .. } if path == "m"), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    // Tables need float zero points.
    let mut model = described(
        r#"{"inputs": {"x": "i64[N,4]"}, "outputs": ["y"], "modules": {"m": {"type": "Embedding", "num_embeddings": 10,
        "embedding_dim": 8}}, "forward": ["return m(x)"]}"#,
    );
    model.set_qconfig("", qconfig::named("minmax")).expect("the root");
    let error = quantize(&model, |_| Ok(())).expect_err("not for tables");
    assert!(matches!(&error, EagerError::QConfig { path, .. } if path == "m"), "{error}");
}

#[test]
fn only_allowed_types_are_observed() {
    let model = || {
        let mut model = described(
            r#"{"inputs": {"x": "f32[N,4]"}, "outputs": ["y"], "modules": {"quant": "QuantStub", "dequant": "DeQuantStub",
            "fc": {"type": "Linear", "in_features": 4, "out_features": 4}, "act": {"type": "LeakyReLU", "negative_slope": 0.1}},
          "forward": ["return dequant(act(fc(quant(x))))"]}"#,
        );
        model.set_qconfig("", qconfig::named("minmax")).expect("the root");
        model
    };
    let observed = |prepared: &EagerPrepared| prepared.observers().map(|o| o.0.to_owned()).collect::<Vec<_>>();
    assert_eq!(observed(&prepare(&model()).expect("prepares")), ["quant", "fc", "act"]);
    let fewer = prepare_with(&model(), &["QuantStub", "Linear"]).expect("prepares");
    assert_eq!(observed(&fewer), ["quant", "fc"]);
    // Swapped without an observer it has no parameters; left as it is, it runs as PyTorch's kernel for quantized tensors does.
    let x = [("x".to_owned(), hashed_input("a", "x", &[2, 4]))];
    let mut calibrator = Calibrator::new(fewer.prepared()).expect("observers");
    calibrator.observe(&x).expect("runs");
    let qparams = calibrator.finish().expect("finishes");
    let error = convert(&fewer, &qparams).expect_err("no observer");
    assert!(matches!(&error, EagerError::Unsupported { path, .. } if path == "act"), "{error}");
    let mapping: Vec<(&str, &str)> =
        get_default_static_quant_module_mappings().iter().filter(|row| row.0 != "LeakyReLU").copied().collect();
    let converted = convert_with(&fewer, &qparams, &mapping).unwrap_or_else(|e| panic!("{e}"));
    let act = converted.report.nodes.iter().find(|r| r.name == "act").map(|r| &r.decision);
    assert!(matches!(act, Some(Decision::Quantized { pattern, .. }) if pattern == "QuantizedCPU kernel"), "{act:?}");
}

#[test]
fn converted_graphs_have_no_stubs_and_lower_to_integer_operators() {
    let cases = read("eager_models.json");
    let golden = read("eager.json");
    let library = quantc_pattern::Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    let rules = library.rules_for(library.backend("fbgemm").unwrap_or_else(|e| panic!("{e}")));
    let mut integer = BTreeMap::new();
    for case in cases.as_array().expect("cases").iter().filter(|c| c.get("fails").is_none()) {
        let name = case["description"]["name"].as_str().expect("a name");
        let of_torch = &golden["models"][name];
        let prepared = prepared(case, of_torch);
        let qparams = calibrated(&prepared, case, of_torch);
        let converted = convert(&prepared, &qparams).unwrap_or_else(|e| panic!("{e}"));
        let ops = |g: &Graph| -> Vec<&str> { g.calls().filter_map(|c| Some(g.node(c).call()?.0.name())).collect() };
        assert!(!ops(&converted.graph).iter().any(|op| op.ends_with("_stub")), "{}", converted.graph);
        let (lowered, _) = quantc_rewrite::lower_quantized(&converted.graph, &rules).unwrap_or_else(|e| panic!("{e}"));
        let input = inputs(&case["description"], &of_torch["inputs"], "c");
        let (reference, lowered_output) =
            (run(Interpreter::new(&converted.graph), &input), run(Interpreter::new(&lowered), &input));
        assert_eq!(reference, lowered_output, "{name}");
        integer.insert(name.to_owned(), ops(&lowered).iter().filter(|op| op.starts_with("quantized.")).count());
    }
    assert!(integer.values().all(|n| *n > 0), "{integer:?}");
}
