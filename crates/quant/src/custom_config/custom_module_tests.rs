//! Custom modules from float to quantized.

use std::sync::Arc;

use quantc_interp::Interpreter;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_pattern::Library;
use quantc_tensor::{DType, QParams, Tensor, TensorType};

use super::*;
use crate::calibrate::Calibrator;
use crate::convert::{ConvertedModel, convert_to_reference_fx_custom};
use crate::error::QuantError;
use crate::placement::Placement;
use crate::prepare::{PreparedModel, prepare_fx_custom};
use crate::qconfig::{QConfig, named};
use crate::report::Decision;

const NET: &str = r#"graph net(%x: f32[4,2]) {
  param @w: f32[2,2] = [1, 0.5, -0.25, 1]
  %a = linear(%x, @w)  # body.fc: Linear(linear, 0)
  %b = relu(%a)  # body: Body(relu, 0)
  %c = linear(%b, @w)  # head: Linear(linear, 0)
  return y=%c, b=%b
}"#;

fn net() -> Graph {
    quantc_ir::text::parse(NET).unwrap_or_else(|e| panic!("{e}"))
}

fn x() -> Tensor {
    Tensor::from_vec(&[4, 2], vec![-1.0f32, 0.5, 2.0, 0.25, -0.75, 1.5, 0.0, 1.0]).expect("fits")
}

fn backend() -> &'static BackendConfig {
    let library = Box::leak(Box::new(Library::builtin().unwrap_or_else(|e| panic!("{e}"))));
    library.backend("fbgemm").unwrap_or_else(|e| panic!("{e}"))
}

fn prepare(
    mapping: &QConfigMapping,
    custom: &PrepareCustomConfig,
    placement: Placement,
) -> Result<PreparedModel, QuantError> {
    prepare_fx_custom(&net(), mapping, backend(), placement, custom)
}

fn convert(prepared: &PreparedModel, config: &ConvertCustomConfig) -> Result<ConvertedModel, QuantError> {
    let mut calibrator = Calibrator::new(prepared)?;
    calibrator.observe(&[("x".to_owned(), x())])?;
    convert_to_reference_fx_custom(prepared, &calibrator.finish()?, config)
}

fn run(graph: &Graph, input: Tensor) -> Vec<Tensor> {
    let outputs = Interpreter::new(graph).run(&[("x".to_owned(), input)]).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    outputs.into_iter().map(|o| o.1).collect()
}

/// `Body` with an observer of its own behind the linear layer.
#[derive(Debug)]
struct ObservedBody;

impl ObservedCustomModule for ObservedBody {
    fn name(&self) -> &str {
        "ObservedBody"
    }

    fn observe(&self, float: &Graph, _: &QConfig) -> Result<Graph, String> {
        let mut graph = float.clone();
        let linear = graph.calls().find(|id| graph.node(*id).is_op("linear")).ok_or("it has no linear layer")?;
        let relu = graph.calls().find(|id| graph.node(*id).is_op("relu"));
        let op = lookup("observer").ok_or("no observer")?;
        let observer = graph.call_before(relu, "inner", op, &[Some(linear.into())], Attrs::new().with("id", 0i64), &[]);
        let observer = observer.map_err(|e| e.to_string())?;
        graph.replace_uses(linear.into(), observer.into(), &[observer]);
        Ok(graph)
    }
}

/// `Body` on integers: what a backend's pattern for it would give.
#[derive(Debug)]
struct QuantizedBody;

fn dequantized(graph: &mut Graph, value: NodeId, q: &QParams) -> Result<NodeId, String> {
    let op = lookup("dequantize_per_tensor").ok_or("no dequantize")?;
    let attrs = Attrs::new().with("scale", q.scale[0]).with("zero_point", q.zero_point[0]);
    graph.call("dequantize", op, &[Some(value.into())], attrs, &[]).map_err(|e| e.to_string())
}

impl QuantizedCustomModule for QuantizedBody {
    fn name(&self) -> &str {
        "QuantizedBody"
    }

    fn quantize(&self, observed: &Graph, qparams: &CustomModuleQParams<'_>) -> Result<Graph, String> {
        let ([Some(input)], Some(output)) = (&qparams.inputs[..], &qparams.output) else {
            return Err(format!("it has other inputs: {qparams:?}"));
        };
        // The linear layer gives -0.75 to 2.125.
        let [inner] = &qparams.observers[..] else { return Err("one observer is inside".to_owned()) };
        assert!((inner.scale[0] - 2.875 / 255.0).abs() < 1e-7, "{inner:?}");
        let numbers: Vec<Option<usize>> =
            observed.calls().map(|id| crate::convert::observer_id(observed, id)).filter(Option::is_some).collect();
        assert_eq!(numbers, [Some(0)]);
        let weight = observed.params()["w"].value.clone().ok_or("the weight has no value")?;
        let mut observer = qparams.qconfig.weight.build().map_err(|e| e.to_string())?;
        observer.observe(&weight.to_f32_vec(), weight.shape()).map_err(|e| e.to_string())?;
        let q = observer.calculate_qparams().map_err(|e| e.to_string())?.qparams;
        let codes = weight.to_f32_vec().iter().map(|v| q.quantize(*v, 0) as i8).collect::<Vec<i8>>();
        let mut graph = Graph::new("quantized");
        let shape = observed.ty(observed.placeholders().next().ok_or("it takes nothing")?).shape.clone();
        let x = graph.placeholder("x", TensorType::new(input.range.dtype, shape));
        // The model has another parameter of that name.
        let w = graph.param("w", Tensor::from_vec(weight.shape(), codes).map_err(|e| e.to_string())?);
        let (x, w) = (dequantized(&mut graph, x, input)?, dequantized(&mut graph, w, &q)?);
        let mut call = |name: &'static str, inputs: &[NodeId], attrs: Attrs| {
            let op = lookup(name).ok_or("no such operator")?;
            let inputs: Vec<Option<ValueRef>> = inputs.iter().map(|id| Some((*id).into())).collect();
            graph.call(name, op, &inputs, attrs, &[]).map_err(|e| e.to_string())
        };
        let y = call("linear", &[x, w], Attrs::new())?;
        let y = call("relu", &[y], Attrs::new())?;
        let attrs = Attrs::new().with("scale", output.scale[0]).with("zero_point", output.zero_point[0]);
        let y = call("quantize_per_tensor", &[y], attrs.with("dtype", output.range.dtype))?;
        graph.set_outputs(&[(Arc::from("y"), y.into())]);
        Ok(graph)
    }
}

fn quantize_count(graph: &Graph) -> usize {
    graph.calls().filter(|id| graph.node(*id).is_op("quantize_per_tensor")).count()
}

fn custom() -> PrepareCustomConfig {
    let observed = ObservedClass::Custom(Arc::new(ObservedBody));
    PrepareCustomConfig::new().set_float_to_observed_mapping("Body", observed, QuantType::Static)
}

fn quantized(quant_type: QuantType) -> ConvertCustomConfig {
    let class = Arc::new(QuantizedBody);
    ConvertCustomConfig::new().set_observed_to_quantized_mapping("ObservedBody", class, quant_type)
}

/// A custom module that does what a pattern does gives what the pattern gives; it takes and gives integers.
#[test]
fn a_custom_module_is_swapped_twice() {
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    for placement in [Placement::Quantc, Placement::PyTorch] {
        let plain = prepare(&mapping, &PrepareCustomConfig::new(), placement).expect("prepares");
        let plain = convert(&plain, &ConvertCustomConfig::new()).expect("converts");
        let prepared = prepare(&mapping, &custom(), placement).expect("prepares");
        let inside =
            prepared.graph.calls().find(|id| prepared.graph.node(*id).name() == "inner").expect("its observer");
        let origin = prepared.graph.node(inside).origins()[0].to_string();
        assert_eq!(origin, "body: ObservedBody(observer, 0)");
        let model = convert(&prepared, &quantized(QuantType::Static)).unwrap_or_else(|e| panic!("{e}"));
        let graph = &model.graph;
        let codes = |id: &NodeId| graph.ty(*id).dtype == DType::U8;
        let own: Vec<NodeId> = graph
            .calls()
            .filter(|id| graph.node(*id).origins().iter().any(|o| &*o.module_type == "QuantizedBody"))
            .collect();
        assert_eq!(own.iter().filter(|id| codes(id)).count(), 1, "{graph}");
        assert!(graph.calls().all(|id| !graph.node(id).is_op("observer")), "{graph}");
        assert_eq!(quantize_count(graph), quantize_count(&plain.graph), "{graph}");
        for (got, want) in run(graph, x()).iter().zip(run(&plain.graph, x())) {
            assert!(got.bits_eq(&want), "{placement:?}:\n{graph}\n{}", plain.graph);
        }
        let row = model.report.nodes.iter().find(|n| n.op == "relu").expect("a row");
        assert!(
            matches!(&row.decision, Decision::Quantized { pattern, mode, .. }
                if pattern == "custom module ObservedBody" && mode == "static"),
            "{row:?}"
        );
    }
}

#[test]
fn integers_cross_the_edge_of_the_model_too() {
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    let config = custom().set_input_quantized_indexes(&[0]).set_output_quantized_indexes(&[1]);
    let plain = PrepareCustomConfig::new().set_input_quantized_indexes(&[0]).set_output_quantized_indexes(&[1]);
    let of = |custom: &PrepareCustomConfig, config: &ConvertCustomConfig| {
        convert(&prepare(&mapping, custom, Placement::Quantc).expect("prepares"), config).expect("converts")
    };
    let (model, plain) = (of(&config, &quantized(QuantType::Static)), of(&plain, &ConvertCustomConfig::new()));
    assert_eq!(model.report.quantized_inputs, plain.report.quantized_inputs);
    assert_eq!(model.report.quantized_outputs, plain.report.quantized_outputs);
    let codes = Tensor::from_vec(&[4, 2], vec![0u8, 100, 255, 85, 31, 4, 200, 85]).expect("fits");
    for (got, want) in run(&model.graph, codes.clone()).iter().zip(run(&plain.graph, codes)) {
        assert!(got.bits_eq(&want), "{}\n{}", model.graph, plain.graph);
    }
}

/// A standalone module has custom modules of its own, by its own mapping; a module in it may be standalone again.
#[test]
fn custom_modules_are_inside_standalone_ones() {
    let inside =
        NET.replace("body.fc:", "all.in.body.fc:").replace("body:", "all.in.body:").replace("head:", "all.head:");
    let inside = quantc_ir::text::parse(&inside).unwrap_or_else(|e| panic!("{e}"));
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    let standalone = |name: &str, prepare_custom_config| {
        let entry = StandaloneModuleConfigEntry { prepare_custom_config, ..Default::default() };
        PrepareCustomConfig::new().set_standalone_module_name(name, entry)
    };
    for placement in [Placement::Quantc, Placement::PyTorch] {
        let nested = standalone("all", standalone("in", custom()));
        let of = |graph: &Graph, config: &PrepareCustomConfig| {
            let prepared =
                prepare_fx_custom(graph, &mapping, backend(), placement, config).unwrap_or_else(|e| panic!("{e}"));
            (prepared.custom.len(), convert(&prepared, &quantized(QuantType::Static)).unwrap_or_else(|e| panic!("{e}")))
        };
        let (count, model) = of(&inside, &nested);
        let graph = &model.graph;
        assert_eq!(count, 1);
        let own = graph.calls().flat_map(|id| graph.node(id).origins()).find(|o| &*o.module_type == "QuantizedBody");
        assert_eq!(own.map(|o| &*o.module_path), Some("all.in.body"), "{graph}");
        let row = model.report.nodes.iter().find(|n| n.op == "relu").expect("a row");
        assert!(matches!(&row.decision, Decision::Quantized { .. }), "{row:?}");
        // The same integers as where the pattern does it; what leaves the model leaves a standalone module first, where it is not observed without one.
        let (_, plain) = of(&inside, &standalone("all", standalone("in", PrepareCustomConfig::new())));
        let (got, want) = (run(graph, x()), run(&plain.graph, x()));
        assert!(got[0].bits_eq(&want[0]), "{placement:?}:\n{graph}\n{}", plain.graph);
        assert_eq!(quantize_count(graph), quantize_count(&plain.graph), "{graph}");
    }
    // Without a QConfig there it stays as it is.
    let entry = StandaloneModuleConfigEntry {
        prepare_custom_config: custom(),
        qconfig_mapping: Some(QConfigMapping::new().set_global(named("minmax")).set_module_name("in.body", None)),
        ..Default::default()
    };
    let config = PrepareCustomConfig::new().set_standalone_module_name("all", entry);
    let prepared = prepare_fx_custom(&inside, &mapping, backend(), Placement::Quantc, &config).expect("prepares");
    assert!(prepared.custom.is_empty());
}

/// Quantized dynamically, a custom module takes and gives floats; nothing about it is observed.
#[test]
fn other_types_have_classes_of_their_own() {
    #[derive(Debug)]
    struct Doubled;
    impl QuantizedCustomModule for Doubled {
        fn name(&self) -> &str {
            "Doubled"
        }
        fn quantize(&self, observed: &Graph, qparams: &CustomModuleQParams<'_>) -> Result<Graph, String> {
            assert_eq!((&qparams.inputs[..], &qparams.output), (&[None][..], &None));
            let mut graph = observed.clone();
            let op = lookup("add").ok_or("no addition")?;
            let y = graph.outputs()[0].1;
            let y = graph.call("twice", op, &[Some(y), Some(y)], Attrs::new(), &[]).map_err(|e| e.to_string())?;
            graph.set_outputs(&[(Arc::from("y"), y.into())]);
            Ok(graph)
        }
    }
    let custom = PrepareCustomConfig::new().set_float_to_observed_mapping(
        "Body",
        ObservedClass::Custom(Arc::new(AsItIs)),
        QuantType::Dynamic,
    );
    let config =
        ConvertCustomConfig::new().set_observed_to_quantized_mapping("AsItIs", Arc::new(Doubled), QuantType::Dynamic);
    let mapping = QConfigMapping::new().set_module_name("body", named("dynamic"));
    let prepared = prepare(&mapping, &custom, Placement::Quantc).expect("prepares");
    assert!(prepared.observers.is_empty());
    let model = convert(&prepared, &config).expect("converts");
    let (got, float) = (run(&model.graph, x()), run(&net(), x()));
    let twice: Vec<f32> = float[1].to_f32_vec().iter().map(|v| 2.0 * v).collect();
    assert_eq!(got[1].to_f32_vec(), twice);
}

#[test]
fn modules_without_qconfig_and_inside_others_stay() {
    let mapping = QConfigMapping::new().set_global(named("minmax")).set_module_name("body", None);
    let prepared = prepare(&mapping, &custom(), Placement::Quantc).expect("prepares");
    assert!(prepared.graph.find("inner").is_none() && prepared.graph.find("a").is_some());
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    let config = custom().set_non_traceable_module_names(&["body"]);
    let prepared = prepare(&mapping, &config, Placement::Quantc).expect("prepares");
    assert!(prepared.graph.find("inner").is_none());
    // The class of a module without calls of its own is known from the list of modules.
    let head = ObservedClass::Custom(Arc::new(ObservedBody));
    let config = PrepareCustomConfig::new().set_float_to_observed_mapping("Outer", head, QuantType::Static);
    let error = prepare(&mapping, &config, Placement::Quantc).map(|p| p.graph.to_string()).expect_err("unknown");
    assert!(error.to_string().contains("the model has no module of the class `Outer`"), "{error}");
    let config = config.set_modules(vec![("body".to_owned(), "Outer".to_owned())]);
    let prepared = prepare(&mapping, &config, Placement::Quantc).expect("prepares");
    assert!(prepared.graph.find("inner").is_some());
}

/// An observed class that gives this.
#[derive(Debug)]
struct Gives(&'static str);

impl ObservedCustomModule for Gives {
    fn name(&self) -> &str {
        "Gives"
    }

    fn observe(&self, _: &Graph, _: &QConfig) -> Result<Graph, String> {
        match self.0 {
            "" => Err("its linear layer has no bias".to_owned()),
            text => quantc_ir::text::parse(text).map_err(|e| e.to_string()),
        }
    }
}

/// A class, observed or quantized, that leaves a module as it is.
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

impl QuantizedCustomModule for AsItIs {
    fn name(&self) -> &str {
        "AsItIs"
    }

    fn quantize(&self, observed: &Graph, _: &CustomModuleQParams<'_>) -> Result<Graph, String> {
        Ok(observed.clone())
    }
}

/// A module that nothing depends on, before or after others are swapped, is left out.
#[test]
fn modules_without_readers_go() {
    let text = "graph net(%x: f32[2,2]) {
  %a = mul(%x, %x)  # a: A(mul, 0)
  %b = relu(%a)  # b: B(relu, 0)
  %unread = relu(%x)  # c: A(relu, 0)
  %after = neg(%unread)
  return y=%b
}";
    let graph = quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let constant =
        "graph b(%x: f32[2,2]) {\n  param @one: f32[2,2] = [1, 1, 1, 1]\n  %r = relu(@one)\n  return y=%r\n}";
    let mapping = QConfigMapping::new().set_global(named("dynamic"));
    let prepare = PrepareCustomConfig::new()
        .set_float_to_observed_mapping("A", ObservedClass::Custom(Arc::new(AsItIs)), QuantType::Dynamic)
        .set_float_to_observed_mapping("B", ObservedClass::Custom(Arc::new(Gives(constant))), QuantType::Dynamic);
    let convert =
        ConvertCustomConfig::new().set_observed_to_quantized_mapping("Gives", Arc::new(AsItIs), QuantType::Dynamic);
    for placement in [Placement::Quantc, Placement::PyTorch] {
        let prepared = prepare_fx_custom(&graph, &mapping, backend(), placement, &prepare).expect("prepares");
        let model = convert_to_reference_fx_custom(&prepared, &[], &convert).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(model.graph.calls().count(), 1, "{}", model.graph);
        let x = Tensor::from_vec(&[2, 2], vec![2.0f32; 4]).expect("fits");
        assert_eq!(run(&model.graph, x)[0].to_f32_vec(), [1.0; 4]);
    }
}

/// Like the mapping, the configuration takes PyTorch's full names of classes.
#[test]
fn classes_have_full_names() {
    let text = "graph net(%x: f32[2,2]) {\n  %y = silu(%x)  # act: SiLU(silu, 0)\n  return y=%y\n}";
    let graph = quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    for (class, in_mapping) in [("torch.nn.SiLU", "SiLU"), ("SiLU", "torch.nn.SiLU")] {
        let mapping = QConfigMapping::new().set_object_type(in_mapping, named("minmax"));
        let config = PrepareCustomConfig::new().set_float_to_observed_mapping(
            class,
            ObservedClass::Custom(Arc::new(AsItIs)),
            QuantType::Static,
        );
        let prepared = prepare_fx_custom(&graph, &mapping, backend(), Placement::Quantc, &config).expect("prepares");
        assert_eq!(prepared.custom.len(), 1, "{class}");
    }
}

/// Shapes alone are enough to prepare a model: its parameters may come later.
#[test]
fn parameters_without_values_stay_the_models() {
    let text = "graph net(%x: f32[4,2]) {
  param @w: f32[2,2]
  param @b: f32[2]
  %y = linear(%x, @w, @b)  # act: A(linear, 0)
  return y=%y
}";
    let graph = quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    let prepare = |observed: Arc<dyn ObservedCustomModule>| {
        let observed = ObservedClass::Custom(observed);
        let config = PrepareCustomConfig::new().set_float_to_observed_mapping("A", observed, QuantType::Static);
        prepare_fx_custom(&graph, &mapping, backend(), Placement::Quantc, &config)
    };
    let prepared = prepare(Arc::new(AsItIs)).unwrap_or_else(|e| panic!("{e}"));
    let linear = prepared.graph.calls().find(|id| prepared.graph.node(*id).is_op("linear")).expect("the layer");
    assert!(prepared.graph.node(linear).inputs().iter().all(Option::is_some), "{}", prepared.graph);
    let other = "graph a(%x: f32[4,2]) {
  param @w: f32[2,2]
  param @c: f32[2]
  %y = linear(%x, @w, @c)
  return y=%y
}";
    let error = prepare(Arc::new(Gives(other))).map(|p| p.graph.to_string()).expect_err("no c");
    assert!(error.to_string().contains("(Gives): its parameter `c` has no value"), "{error}");
}

#[test]
fn what_cannot_be_swapped_is_an_error() {
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    let custom_of = |class: &str, gives: &'static str, quant_type| {
        let observed = ObservedClass::Custom(Arc::new(Gives(gives)));
        PrepareCustomConfig::new().set_float_to_observed_mapping(class, observed, quant_type)
    };
    let inside = custom_of("Boby", "", QuantType::Static);
    let entry = StandaloneModuleConfigEntry { prepare_custom_config: inside, ..Default::default() };
    for (config, message) in [
        (custom_of("Body", "", QuantType::Static), "the custom module `body` (Gives): its linear layer has no bias"),
        (
            custom_of("Boby", "", QuantType::Static),
            "float_to_observed_custom_module_class: the model has no module of the class `Boby` (hint: Body)",
        ),
        (
            custom_of("Body", "", QuantType::Dynamic),
            "the custom module `body` (Body): its QConfig is static, the class has an observed one for dynamic",
        ),
        (
            custom_of("Body", "graph g(%x: f32[4,3]) {\n  %y = relu(%x)\n  return y=%y\n}", QuantType::Static),
            "(Gives): it takes (f32[4,3]) instead of (f32[4,2])",
        ),
        (
            custom_of("Body", "graph g(%x: f32[4,2]) {\n  return y=%x\n}", QuantType::Static),
            "(Gives): what it gives is made by none of its calls",
        ),
        (
            custom_of(
                "Body",
                "graph g(%x: f32[4,2]) {\n  %y = flatten(%x) {start_dim=0}\n  return y=%y\n}",
                QuantType::Static,
            ),
            "(Gives): it gives f32[8] instead of f32[4,2]",
        ),
        (
            custom_of(
                "Body",
                "graph g(%x: f32[4,2]) {\n  %o = observer(%x) {id=3}\n  return y=%o\n}",
                QuantType::Static,
            ),
            "(Gives): its observers are numbered up to 3, there are 1",
        ),
        (
            custom_of(
                "Body",
                "graph g(%x: f32[4,2]) {\n  %o = observer(%x) {id=-1}\n  return y=%o\n}",
                QuantType::Static,
            ),
            "(Gives): the number of an observer is below 0",
        ),
        (
            PrepareCustomConfig::new().set_float_to_observed_mapping(
                "Body",
                ObservedClass::Quantizable,
                QuantType::Static,
            ),
            "the custom module `body` (Body): it has no quantizable form for static quantization",
        ),
        (
            PrepareCustomConfig::new().set_standalone_module_name("body", entry),
            "float_to_observed_custom_module_class: the model has no module of the class `Boby`",
        ),
    ] {
        let error = prepare(&mapping, &config, Placement::Quantc).map(|p| p.graph.to_string()).expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
    // Observers need calibration.
    let dynamic = QConfigMapping::new().set_global(named("dynamic"));
    let observes = "graph g(%x: f32[4,2]) {\n  %o = observer(%x) {id=0}\n  return y=%o\n}";
    let config = custom_of("Body", observes, QuantType::Dynamic);
    let error = prepare(&dynamic, &config, Placement::Quantc).map(|p| p.graph.to_string()).expect_err("an observer");
    let message = "(Gives): it has observers, whose ranges dynamic quantization does not find";
    assert!(error.to_string().contains(message), "{error}");
    // Two linear layers give what is read outside.
    let observed = ObservedClass::Custom(Arc::new(ObservedBody));
    let config = PrepareCustomConfig::new()
        .set_float_to_observed_mapping("All", observed, QuantType::Static)
        .set_modules(vec![("all".to_owned(), "All".to_owned())]);
    let two = NET.replace("body.fc", "all.a").replace("body:", "all.b:").replace("%c, b=%b", "%c, b=%b, a=%a");
    let two = quantc_ir::text::parse(&two).unwrap_or_else(|e| panic!("{e}"));
    let error = prepare_fx_custom(&two, &mapping, backend(), Placement::Quantc, &config).map(|p| p.graph.to_string());
    let error = error.expect_err("two values").to_string();
    assert!(error.contains("it gives 2 values to others; a custom module gives one"), "{error}");
    let prepared = prepare(&mapping, &custom(), Placement::Quantc).expect("prepares");
    let error = convert(&prepared, &ConvertCustomConfig::new()).map(|m| m.graph.to_string()).expect_err("no class");
    assert!(error.to_string().contains("(ObservedBody): no quantized class for it, static"), "{error}");
    let error = convert(&prepared, &quantized(QuantType::Dynamic)).map(|m| m.graph.to_string()).expect_err("no class");
    assert!(error.to_string().contains("(ObservedBody): no quantized class for it, static"), "{error}");
    /// A quantized class that gives integers, by way of an observer.
    #[derive(Debug)]
    struct Observes;
    impl QuantizedCustomModule for Observes {
        fn name(&self) -> &str {
            "Observes"
        }
        fn quantize(&self, _: &Graph, qparams: &CustomModuleQParams<'_>) -> Result<Graph, String> {
            assert_eq!(qparams.inputs.len(), 1);
            let text = "graph g(%x: u8[4,2]) {
  %r = dequantize_per_tensor(%x) {scale=0.5}
  %o = observer(%r) {id=0}
  %y = quantize_per_tensor(%o) {scale=0.5}
  return y=%y
}";
            quantc_ir::text::parse(text).map_err(|e| e.to_string())
        }
    }
    let config = ConvertCustomConfig::new().set_observed_to_quantized_mapping(
        "ObservedBody",
        Arc::new(Observes),
        QuantType::Static,
    );
    let error = convert(&prepared, &config).map(|m| m.graph.to_string()).expect_err("an observer");
    assert!(error.to_string().contains("(Observes): it still has an observer"), "{error}");
}

#[test]
fn attributes_are_preserved() {
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    let plain = prepare(&mapping, &PrepareCustomConfig::new(), Placement::Quantc).expect("prepares");
    let float = net().params()["w"].value.clone().expect("a value");
    let has = |graph: &Graph| graph.params().get("w").and_then(|p| p.value.clone()).is_some_and(|w| w.bits_eq(&float));
    assert!(!has(&convert(&plain, &ConvertCustomConfig::new()).expect("converts").graph));
    let kept = convert(&plain, &ConvertCustomConfig::new().set_preserved_attributes(&["w"])).expect("converts");
    assert!(has(&kept.graph) && kept.graph.verify().is_ok());
    let config = PrepareCustomConfig::new().set_preserved_attributes(&["w"]);
    let prepared = prepare(&mapping, &config, Placement::Quantc).expect("prepares");
    assert!(has(&convert(&prepared, &ConvertCustomConfig::new()).expect("converts").graph));
    let config = PrepareCustomConfig::new().set_preserved_attributes(&["v"]);
    let error = prepare(&mapping, &config, Placement::Quantc).map(|p| p.graph.to_string()).expect_err("no v");
    assert_eq!(error.to_string(), "preserved_attributes: the model has no parameter `v` (hint: w)");
    // A folded batch norm's parameters.
    let norm = quantc_ir::text::parse(
        "graph g(%x: f32[1,2,3,3]) {
  param @w: f32[2,2,1,1] = [1, 0.5, -0.25, 1]
  param @g: f32[2] = [2, 3]
  param @o: f32[2] = [0, 1]
  %a = conv2d(%x, @w)
  %b = batch_norm(%a, @g, @o, @o, @g)
  return y=%b
}",
    );
    let norm = norm.unwrap_or_else(|e| panic!("{e}"));
    let rules = Library::builtin().unwrap_or_else(|e| panic!("{e}")).rules_for(backend());
    let fuse =
        |custom: &FuseCustomConfig| crate::fuse_fx_custom(&norm, &rules, backend(), custom).expect("fuses").graph;
    assert!(!fuse(&FuseCustomConfig::new()).params().contains_key("g"));
    assert!(fuse(&FuseCustomConfig::new().set_preserved_attributes(&["g"])).params().contains_key("g"));
}

/// PyTorch's own custom class: under a global QConfig a recurrent layer stays float unless the configuration names its class.
#[test]
fn an_lstm_has_a_quantizable_form() {
    let text = r#"graph g(%x: f32[3,1,2]) {
  param @w: f32[1,8,2]
  param @r: f32[1,8,2]
  %y = lstm(%x, @w, @r) {hidden_size=2}  # rnn: LSTM(lstm, 0)
  return y=%y
}"#;
    let graph = quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let graph = quantc_testkit::with_random_params(graph, 1);
    let mapping = QConfigMapping::new().set_global(named("minmax"));
    let linears = |config: &PrepareCustomConfig| {
        let prepared = prepare_fx_custom(&graph, &mapping, backend(), Placement::Quantc, config).expect("prepares");
        prepared.graph.calls().filter(|id| prepared.graph.node(*id).is_op("linear")).count()
    };
    // One product with all of x, none with the first state, which is 0.
    assert_eq!(linears(&PrepareCustomConfig::new()), 0);
    let json =
        r#"{"float_to_observed_custom_module_class": {"static": {"torch.nn.LSTM": "torch.ao.nn.quantizable.LSTM"}}}"#;
    let config = PrepareCustomConfig::from_json(json).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(linears(&config), 3);
    // What is apart stays one call, whatever the class and whoever names it.
    let entry = StandaloneModuleConfigEntry::default();
    assert_eq!(linears(&config.clone().set_standalone_module_name("rnn", entry)), 0);
    let apart = config.clone().set_non_traceable_module_names(&["rnn"]);
    assert_eq!(linears(&apart), 0);
    let named = mapping.clone().set_module_name("rnn", named("minmax"));
    let prepared = prepare_fx_custom(&graph, &named, backend(), Placement::Quantc, &apart).expect("prepares");
    assert!(prepared.graph.calls().all(|id| prepared.graph.node(id).is_op("lstm")), "{}", prepared.graph);
    let linear = config.clone().set_float_to_observed_mapping("Linear", ObservedClass::Quantizable, QuantType::Static);
    let error = linear.to_json().map(|json| json.to_string()).expect_err("no such form").to_string();
    assert_eq!(error, "PrepareCustomConfig: Linear: it has no quantizable form");
    let again = config.to_json().and_then(|json| PrepareCustomConfig::from_json(&json.to_string()));
    assert_eq!(linears(&again.unwrap_or_else(|e| panic!("{e}"))), 3);
}
