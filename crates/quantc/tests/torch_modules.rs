//! Recurrent layers, embeddings and dynamic convolutions against PyTorch's quantized modules (scripts/golden_quantized_modules.py,
//! scripts/golden_dynamic_conv.py): the same integers and parameters bit for bit, results as close as two ways to choose an activation's
//! parameters allow; every plan has the bits of the reference.

mod pipeline;

use std::collections::{BTreeMap, BTreeSet};

use half::f16;
use pipeline::{Inputs, Quantization, check_plans, interpret};
use quantc::{QConfigMapping, QuantizeOptions, Quantized, quantize};
use quantc_frontend::trace::nn::{
    Embedding, EmbeddingBag, MultiheadAttention, Recurrent, RecurrentCell, RecurrentKind,
};
use quantc_frontend::trace::{Description, Module, Tracer, Weights};
use quantc_ir::Graph;
use quantc_pattern::Library;
use quantc_quant::eager::{
    DynamicDType, DynamicSpec, EagerModel, QConfigDict, optional_dynamic_quant_module_mappings, quantize_dynamic,
    quantize_dynamic_with,
};
use quantc_quant::qconfig::named;
use quantc_quant::report::Decision;
use quantc_quant::{Placement, QConfig};
use quantc_tensor::math::round_to_half_f32;
use quantc_tensor::{Tensor, TensorType};
use serde_json::{Value as Json, json};

fn golden() -> Json {
    serde_json::from_str(include_str!("golden/quantized_modules.json")).expect("JSON")
}

fn tensor(json: &Json) -> Tensor {
    let shape: Vec<usize> =
        json["shape"].as_array().expect("sizes").iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let data = json["data"].as_array().expect("elements");
    let ints = || data.iter().map(|v| v.as_i64().expect("a whole number"));
    match json["dtype"].as_str().expect("a dtype") {
        "f32" => {
            Tensor::from_vec(&shape, data.iter().map(|v| v.as_f64().expect("a number") as f32).collect::<Vec<f32>>())
        }
        "i64" => Tensor::from_vec(&shape, ints().collect::<Vec<i64>>()),
        "i8" => Tensor::from_vec(&shape, ints().map(|v| v as i8).collect::<Vec<i8>>()),
        "u8" => Tensor::from_vec(&shape, ints().map(|v| v as u8).collect::<Vec<u8>>()),
        other => panic!("{other}"),
    }
    .expect("fits")
}

fn tensors(json: &Json) -> Vec<Tensor> {
    json.as_array().expect("tensors").iter().map(tensor).collect()
}

/// Signal to quantization noise in dB of all outputs together.
fn sqnr(want: &[Tensor], got: &[Tensor]) -> f64 {
    let (mut signal, mut noise) = (0.0, 0.0);
    for (want, got) in want.iter().zip(got) {
        assert_eq!(want.shape(), got.shape());
        for (w, g) in want.to_f32_vec().iter().zip(got.to_f32_vec()) {
            signal += f64::from(*w).powi(2);
            noise += (f64::from(*w) - f64::from(g)).powi(2);
        }
    }
    10.0 * (signal / noise).log10()
}

fn int(params: &Json, name: &str, default: usize) -> usize {
    params[name].as_u64().map_or(default, |v| v as usize)
}

fn flag(params: &Json, name: &str) -> bool {
    params[name].as_bool().unwrap_or(false)
}

/// The gates of our weights in PyTorch's order.
fn gates(module: &str) -> &'static [usize] {
    match module.trim_end_matches("Cell") {
        "LSTM" => &[0, 3, 1, 2],
        "GRU" => &[1, 0, 2],
        _ => &[0],
    }
}

fn recurrent(case: &Json) -> Box<dyn Module> {
    let (module, params) = (case["module"].as_str().expect("a name"), &case["params"]);
    let (input_size, hidden_size) = (int(params, "input_size", 0), int(params, "hidden_size", 0));
    let kind = match module.trim_end_matches("Cell") {
        "LSTM" => RecurrentKind::Lstm,
        "GRU" => RecurrentKind::Gru,
        _ if params["nonlinearity"] == "relu" => RecurrentKind::RnnRelu,
        _ => RecurrentKind::RnnTanh,
    };
    if module.ends_with("Cell") {
        return Box::new(RecurrentCell { kind, input_size, hidden_size, bias: true });
    }
    Box::new(Recurrent {
        kind,
        input_size,
        hidden_size,
        num_layers: int(params, "num_layers", 1),
        bias: true,
        batch_first: false,
        bidirectional: flag(params, "bidirectional"),
    })
}

/// A module traced with its weights on its inputs.
fn trace(module: &dyn Module, weights: BTreeMap<String, Tensor>, inputs: &Inputs, outputs: usize) -> Graph {
    let types: Vec<(&str, TensorType)> = inputs.iter().map(|(n, t)| (n.as_str(), t.ty())).collect();
    let outputs: Vec<String> = (0..outputs).map(|i| format!("y{i}")).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let weights = Weights::from_tensors("golden", weights);
    Tracer::trace(module, "module", &types, &outputs, weights).unwrap_or_else(|e| panic!("{e}"))
}

fn inputs(case: &Json) -> Inputs {
    tensors(&case["inputs"]).into_iter().enumerate().map(|(i, t)| (format!("x{i}"), t)).collect()
}

fn quantized(graph: &Graph, qconfig: QConfig) -> Quantized {
    quantized_on("x86", graph, qconfig)
}

fn quantized_on(backend: &str, graph: &Graph, qconfig: QConfig) -> Quantized {
    let library = Library::builtin().expect("built in");
    let backend = library.backend(backend).expect("built in").clone();
    let rules = library.rules_for(&backend);
    let mapping = QConfigMapping::default_for(qconfig);
    let (prepare_custom_config, convert_custom_config) = Default::default();
    let placement = Placement::Quantc;
    let options = QuantizeOptions {
        mapping,
        backend,
        rules,
        placement,
        prepare_custom_config,
        convert_custom_config,
        bias_correction: true,
    };
    quantize(graph, &options, None, |_| ()).unwrap_or_else(|e| panic!("{e}"))
}

/// A graph quantized statically, its module type having an entry of its own, calibrated on these inputs.
fn quantized_statically(graph: &Graph, module: &str, inputs: &Inputs) -> Graph {
    let library = Library::builtin().expect("built in");
    let backend = library.backend("x86").expect("built in");
    let qconfig = named("onednn").expect("a preset");
    let mapping = QConfigMapping::default_for(qconfig.clone()).set_object_type(module, Some(qconfig));
    let (canonical, _) = quantc::canonicalize(graph, &library.rules).unwrap_or_else(|e| panic!("{e}"));
    let (samples, runs) = (std::slice::from_ref(inputs), std::slice::from_ref(inputs));
    let rules = &library.rules;
    let quantization = Quantization {
        mapping: &mapping,
        backend,
        placement: Placement::Quantc,
        rules,
        samples,
        runs,
        powers_of_two: false,
    };
    quantization.check(&canonical).unwrap_or_else(|e| panic!("{e}"))
}

/// The outputs of a graph, which all plans must have, too.
fn run(graph: &Graph, inputs: &Inputs) -> Vec<Tensor> {
    let want = interpret("quantized", graph, inputs).unwrap_or_else(|e| panic!("{e}"));
    check_plans("quantized", graph, inputs, &want).unwrap_or_else(|e| panic!("{e}"));
    want
}

/// Blocks of rows in another order.
fn reordered<T: Copy>(data: &[T], order: &[usize]) -> Vec<T> {
    let block = data.len() / order.len();
    order.iter().flat_map(|g| data[g * block..(g + 1) * block].iter().copied()).collect()
}

/// The integer weights and scales that PyTorch made, in our layout, are those of the quantized graph.
fn same_weights(case: &Json, graph: &Graph) {
    let order = gates(case["module"].as_str().expect("a name"));
    let directions = if flag(&case["params"], "bidirectional") { 2 } else { 1 };
    let given = case["quantized_weights"].as_object().expect("weights");
    for (part, ours) in [("weight_ih", "w"), ("weight_hh", "r")] {
        let of_part: Vec<_> = given.iter().filter(|(name, _)| name.starts_with(part)).collect();
        for (layer, weights) in of_part.chunks(directions).enumerate() {
            let (mut ints, mut scales) = (Vec::new(), Vec::new());
            for (_, weight) in weights {
                let (own, own_scales) = (tensor(&weight["ints"]), tensor(&weight["scales"]).to_f32_vec());
                ints.extend(reordered(own.slice::<i8>().expect("i8"), order));
                scales.extend(if own_scales.len() == 1 { own_scales } else { reordered(&own_scales, order) });
            }
            let is_cell = !given.keys().any(|k| k.contains("_l0"));
            let name = if is_cell { ours.to_owned() } else { format!("{ours}_l{layer}") };
            let param = |suffix: &str| {
                let found = graph.params().iter().find(|(n, _)| n.ends_with(&format!("{name}.{suffix}")));
                found.and_then(|(_, p)| p.value.clone()).unwrap_or_else(|| panic!("no {name}.{suffix}\n{graph}"))
            };
            assert_eq!(param("int_repr").slice::<i8>().expect("i8"), ints, "{name}");
            assert_eq!(param("scale").to_f32_vec(), scales, "{name}");
        }
    }
}

/// The quantized graph has the layer's integer operator and nothing of the float one.
fn only_dynamic(graph: &Graph, layers: usize) {
    let ops: Vec<&str> = graph.calls().filter_map(|id| Some(graph.node(id).call()?.0.name())).collect();
    assert!(!ops.iter().any(|op| ["lstm", "gru", "rnn"].contains(op)), "{ops:?}");
    assert_eq!(ops.iter().filter(|op| op.ends_with("_dynamic")).count(), layers, "{ops:?}");
}

#[test]
fn dynamic_layers_are_pytorchs() {
    let golden = golden();
    assert_eq!(golden["torch"], "2.8.0");
    // PyTorch halves the range of activations on this engine.
    assert_eq!(golden["engine"], "x86");
    for case in golden["dynamic"].as_array().expect("cases") {
        let name = format!("{} {} {}", case["module"], case["scheme"], case["params"]);
        let (inputs, float) = (inputs(case), tensors(&case["float"]));
        let module = recurrent(case);
        let weights: BTreeMap<String, Tensor> =
            case["weights"].as_object().expect("weights").iter().map(|(k, v)| (k.clone(), tensor(v))).collect();
        let graph = trace(module.as_ref(), weights, &inputs, float.len());
        let own = interpret("float", &graph, &inputs).unwrap_or_else(|e| panic!("{e}"));
        assert!(sqnr(&float, &own) > 110.0, "{name}: float {}", sqnr(&float, &own));
        // PyTorch's observers of weights: the full range, symmetric.
        let mut qconfig = named("per_tensor_dynamic").expect("a preset");
        if case["scheme"] == "per_channel" {
            qconfig.weight = named("minmax").expect("a preset").weight;
        }
        let full = quantized(&graph, qconfig.clone());
        let layers = int(&case["params"], "num_layers", 1);
        only_dynamic(&full.stages.quantized, layers);
        same_weights(case, &full.stages.quantized);
        let own = run(&full.stages.quantized, &inputs);
        qconfig.activation.reduce_range = true;
        let reduced = quantized(&graph, qconfig);
        let half = run(&reduced.stages.quantized, &inputs);
        let theirs = tensors(&case["quantized"]);
        let (to_theirs, of_theirs, of_own) = (sqnr(&theirs, &half), sqnr(&float, &theirs), sqnr(&float, &own));
        // The same integers; the activations' scales are rounded from f64 there, sums and functions have another order here.
        assert!(to_theirs > 135.0, "{name}: {to_theirs} dB to PyTorch's");
        // One bit more of the activations.
        assert!(of_own > of_theirs + 2.0, "{name}: {of_own} dB, PyTorch's {of_theirs}");
    }
}

/// A convolution with PyTorch's weights.
fn convolution(case: &Json, inputs: &Inputs) -> EagerModel {
    let (module, params, weight) = (case["module"].as_str().expect("a name"), &case["params"], tensor(&case["weight"]));
    let groups = int(params, "groups", 1);
    let transposed = module.starts_with("ConvTranspose");
    let (inner, outer) = (weight.shape()[1] * groups, weight.shape()[0]);
    let (in_channels, out_channels) = if transposed { (outer, inner) } else { (inner, outer) };
    let mut layer = json!({
        "type": module, "in_channels": in_channels, "out_channels": out_channels, "kernel_size": weight.shape()[2..],
        "stride": params["stride"], "padding": params["padding"], "dilation": params["dilation"], "groups": groups,
        "bias": !case["bias"].is_null(),
    });
    if transposed {
        layer["output_padding"] = params["output_padding"].clone();
    }
    let x = inputs[0].1.ty().to_string();
    let text = json!({"inputs": {"x0": x}, "outputs": ["y"], "modules": {"m": layer}, "forward": ["return m(x0)"]});
    let description = Description::parse(&text.to_string()).unwrap_or_else(|e| panic!("{e}"));
    let mut weights = BTreeMap::from([("m.weight".to_owned(), weight)]);
    if !case["bias"].is_null() {
        weights.insert("m.bias".to_owned(), tensor(&case["bias"]));
    }
    let graph = description.trace(Weights::from_tensors("golden", weights)).unwrap_or_else(|e| panic!("{e}"));
    EagerModel::new(graph, description.modules())
}

/// `quantize_dynamic` with a mapping for convolutions, as in PyTorch: the backend's patterns play no part.
fn eager(model: &EagerModel, module: &str, qconfig: QConfig) -> Graph {
    let spec = DynamicSpec::QConfigs(QConfigDict::default().set_type(module, Some(qconfig)));
    let none = quantize_dynamic(model, &spec, DynamicDType::Qint8).unwrap_or_else(|e| panic!("{e}"));
    let float = |d: &Decision| matches!(d, Decision::Float { .. });
    assert!(none.report.nodes.iter().all(|n| float(&n.decision)), "the default mapping has no convolutions");
    let rows = optional_dynamic_quant_module_mappings();
    let converted = quantize_dynamic_with(model, &spec, DynamicDType::Qint8, rows).unwrap_or_else(|e| panic!("{e}"));
    assert!(converted.report.nodes.iter().all(|n| !float(&n.decision)), "{:?}", converted.report.nodes);
    let rules = &Library::builtin().expect("built in").rules;
    quantc_rewrite::lower_quantized(&converted.graph, rules).unwrap_or_else(|e| panic!("{e}")).0
}

#[test]
fn dynamic_convolutions_are_pytorchs() {
    let golden: Json = serde_json::from_str(include_str!("golden/dynamic_conv.json")).expect("JSON");
    assert_eq!((&golden["torch"], &golden["engine"]), (&json!("2.8.0"), &json!("fbgemm")));
    let cases = golden["cases"].as_array().expect("cases");
    let mut modules = BTreeSet::new();
    let (mut differ, mut all) = (0, 0);
    for case in cases {
        let module = case["module"].as_str().expect("a name");
        let name = format!("{module} {} {}", case["scheme"], case["params"]);
        modules.insert(module);
        let inputs = vec![("x0".to_owned(), tensor(&case["input"]))];
        let (model, float) = (convolution(case, &inputs), [tensor(&case["float"])]);
        let mut qconfig = named("per_tensor_dynamic").expect("a preset");
        if case["scheme"] == "per_channel" {
            qconfig.weight = named("minmax").expect("a preset").weight;
        }
        for range in case["ranges"].as_array().expect("two") {
            let reduce_range = flag(range, "reduce_range");
            qconfig.activation.reduce_range = reduce_range;
            let graph = quantized_on("native", model.graph(), qconfig.clone()).stages.quantized;
            only_dynamic(&graph, 1);
            let param = |suffix: &str| {
                let found = graph.params().iter().find(|(n, _)| n.ends_with(suffix));
                found.and_then(|(_, p)| p.value.clone()).unwrap_or_else(|| panic!("no {suffix}\n{graph}"))
            };
            assert!(param("weight.int_repr").bits_eq(&tensor(&case["ints"])), "{name}");
            let scales: Vec<Tensor> = graph
                .calls()
                .filter_map(|id| graph.node(id).inputs()[2])
                .filter_map(|v| graph.constant(v).cloned())
                .collect();
            assert_eq!(scales[0].to_f32_vec(), tensor(&case["scales"]).to_f32_vec(), "{name}");
            let own = run(&graph, &inputs);
            let eager = eager(&model, module, qconfig.clone());
            only_dynamic(&eager, 1);
            assert!(run(&eager, &inputs)[0].bits_eq(&own[0]), "{name}\n{eager}");
            // PyTorch rounds the result to the codes of the input's scale and zero point, and cuts it off there; here it stays real. Rounded
            // that way it has the same codes, but where it is as near to the middle of two as bias in i32 is to the float one there.
            let theirs = [tensor(&range["quantized"])];
            let (scale, zero_point) = (tensor(&range["scale"]).to_f32_vec()[0], int(range, "zero_point", 0) as f32);
            let bias_step = scales[0].to_f32_vec().into_iter().fold(0.0, f32::max) / 2.0;
            for (own, theirs) in own[0].to_f32_vec().into_iter().zip(theirs[0].to_f32_vec()) {
                let (own, code) = ((own / scale + zero_point).clamp(0.0, 255.0), theirs / scale + zero_point);
                assert!((own - code).abs() < 0.5 + bias_step + 1e-4, "{name}: {own} is {code} there");
                differ += usize::from(own.round_ties_even() != code.round());
                all += 1;
            }
            let (to_float, of_theirs) = (sqnr(&float, &own), sqnr(&float, &theirs));
            println!("{name} reduce_range={reduce_range}: {to_float:.1} dB to float, PyTorch's {of_theirs:.1}");
            assert!(to_float > of_theirs + 3.0 && to_float > if reduce_range { 36.0 } else { 42.0 }, "{name}");
        }
    }
    assert_eq!((differ, all), (1, 12552), "codes that differ from PyTorch's");
    assert_eq!(modules.len(), 6, "{modules:?}");
    assert_eq!(cases.len(), 14);
}

fn table(case: &Json) -> (Box<dyn Module>, &'static str) {
    let params = &case["params"];
    let (num_embeddings, embedding_dim) = (int(params, "num_embeddings", 0), int(params, "embedding_dim", 0));
    if case["module"] == "Embedding" {
        return (Box::new(Embedding { num_embeddings, embedding_dim }), "quantized.embedding");
    }
    let bag = EmbeddingBag {
        num_embeddings,
        embedding_dim,
        mode: params["mode"].as_str().expect("a mode").to_owned(),
        include_last_offset: flag(params, "include_last_offset"),
        padding_idx: None,
    };
    (Box::new(bag), "quantized.embedding_bag")
}

#[test]
fn embeddings_are_pytorchs() {
    for case in golden()["embedding"].as_array().expect("cases") {
        let name = format!("{} {} bits, {}", case["module"], case["bits"], case["params"]);
        let inputs = inputs(case);
        let (module, op) = table(case);
        let graph =
            trace(module.as_ref(), BTreeMap::from([("weight".to_owned(), tensor(&case["weight"]))]), &inputs, 1);
        let bits = case["bits"].as_u64().expect("a number");
        let preset =
            if bits == 8 { "float_qparams_weight_only_qconfig" } else { "float_qparams_weight_only_qconfig_4bit" };
        let result = quantized(&graph, named(preset).expect("a preset"));
        let graph = &result.stages.quantized;
        let ops: Vec<&str> = graph.calls().filter_map(|id| Some(graph.node(id).call()?.0.name())).collect();
        assert_eq!(ops, [op], "{name}");
        let param = |suffix: &str| {
            let found = graph.params().iter().find(|(n, _)| n.ends_with(suffix));
            found.and_then(|(_, p)| p.value.clone()).unwrap_or_else(|| panic!("no {suffix}\n{graph}"))
        };
        // PyTorch's int_repr of a 4-bit tensor are its bytes, row by row as ours.
        assert_eq!(
            param(".int_repr").slice::<u8>().expect("u8"),
            tensor(&case["codes"]).slice::<u8>().expect("u8"),
            "{name}"
        );
        assert!(param(".scale").bits_eq(&tensor(&case["scales"])), "{name}");
        assert!(param(".zero_point").bits_eq(&tensor(&case["zero_points"])), "{name}");
        let own = run(graph, &inputs);
        let reference = [tensor(&case["reference"])];
        if inputs.len() < 3 {
            assert!(own[0].bits_eq(&reference[0]), "{name}");
        } else {
            // With factors PyTorch's float kernel fuses their products with the additions.
            assert!(sqnr(&reference, &own) > 140.0, "{name}: {}", sqnr(&reference, &own));
        }
        if !case["quantized"].is_null() {
            // PyTorch's kernel computes q * s + (-z * s), fused; of 4-bit rows it keeps scale and offset in half precision.
            let to_kernel = sqnr(&[tensor(&case["quantized"])], &own);
            assert!(to_kernel > if bits == 8 { 135.0 } else { 60.0 }, "{name}: {to_kernel} dB to the kernel");
        }
    }
}

#[test]
fn float16_layers_are_pytorchs() {
    for case in golden()["float16"].as_array().expect("cases") {
        let name = format!("{} {}", case["module"], case["params"]);
        let (inputs, float, theirs) = (inputs(case), tensors(&case["float"]), tensors(&case["quantized"]));
        let weights: BTreeMap<String, Tensor> =
            case["weights"].as_object().expect("weights").iter().map(|(k, v)| (k.clone(), tensor(v))).collect();
        let graph = trace(recurrent(case).as_ref(), weights, &inputs, float.len());
        let result = quantized(&graph, named("float16_dynamic_qconfig").expect("a preset"));
        let own = run(&result.stages.quantized, &inputs);
        // Rounding the weights shows, the order of the sums does not.
        let (to_theirs, to_float) = (sqnr(&theirs, &own), sqnr(&float, &own));
        assert!(to_theirs > 135.0, "{name}: {to_theirs} dB to PyTorch's");
        assert!((65.0..90.0).contains(&to_float), "{name}: {to_float} dB to float");
    }
}

#[test]
fn halves_are_rounded_as_by_the_half_crate() {
    let all = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32());
    // Halfway between neighbours, and next to that.
    let between = (0..0x7bffu16).flat_map(|bits| {
        let (a, b) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
        let middle = (a + b) / 2.0;
        [middle, -middle, f32::from_bits(middle.to_bits() - 1), f32::from_bits(middle.to_bits() + 1)]
    });
    let large = [65504.0, 65519.0, 65519.996, 65520.0, 1e30, f32::MAX, f32::INFINITY, 1e-30, f32::MIN_POSITIVE];
    for x in all.chain(between).chain(large) {
        let want = f16::from_f32(x).to_f32();
        let got = round_to_half_f32(x, false);
        assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{x:e}: {got:e}, {want:e}");
        let saturated = round_to_half_f32(x, true);
        assert!(saturated == want.clamp(-65504.0, 65504.0) || want.is_nan(), "{x:e}: {saturated:e}");
    }
}

/// The first two dimensions in the other order.
fn batch_first(t: &Tensor) -> Tensor {
    let [a, b, c] = *t.shape() else { panic!("{}", t.ty()) };
    let data = t.to_f32_vec();
    let at = |i: usize| data[(i / c % a * b + i / (c * a)) * c + i % c];
    Tensor::from_vec(&[b, a, c], (0..data.len()).map(at).collect::<Vec<f32>>()).expect("fits")
}

#[test]
fn quantizable_layers_are_as_exact_as_pytorchs() {
    for case in golden()["static"].as_array().expect("cases") {
        let (module, params) = (case["module"].as_str().expect("a name"), &case["params"]);
        let weights: BTreeMap<String, Tensor> =
            case["weights"].as_object().expect("weights").iter().map(|(k, v)| (k.clone(), tensor(v))).collect();
        let attention = module == "MultiheadAttention";
        let order = |t: Tensor| if attention { batch_first(&t) } else { t };
        let inputs: Inputs = inputs(case).into_iter().map(|(n, t)| (n, order(t))).collect();
        let of = |key: &str| tensors(&case[key]).into_iter().map(order).collect::<Vec<Tensor>>();
        let (float, theirs) = (of("float"), of("quantized"));
        let graph = if attention {
            let layer =
                MultiheadAttention { embed_dim: int(params, "embed_dim", 0), num_heads: int(params, "num_heads", 0) };
            trace(&layer, weights, &inputs, 1)
        } else {
            let mut graph = trace(recurrent(case).as_ref(), weights, &inputs, 3);
            let first = graph.outputs()[0].clone();
            graph.set_outputs(&[first]);
            graph
        };
        let lowered = quantized_statically(&graph, module, &inputs);
        let ops: Vec<&str> = lowered.calls().filter_map(|id| Some(lowered.node(id).call()?.0.name())).collect();
        assert!(ops.contains(&"quantized.linear") && !ops.contains(&"linear") && !ops.contains(&"lstm"), "{lowered}");
        assert!(!attention || !ops.contains(&"matmul"), "{lowered}");
        let own = interpret("quantized", &lowered, &inputs).unwrap_or_else(|e| panic!("{e}"));
        let (own, theirs) = (sqnr(&float, &own), sqnr(&float, &theirs));
        assert!(own > theirs, "{module} {params}: {own} dB, PyTorch's {theirs}");
    }
}
