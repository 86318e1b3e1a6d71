//! Annotations, sharing, derived parameters, conversion: what the golden placements do not reach.

use quantc_interp::Interpreter;
use quantc_ir::{Graph, NodeId, text::parse};
use quantc_pattern::Library;
use quantc_quant::pt2e::{
    AnnotatedGraph, BackendConfigQuantizer, ComposableQuantizer, ConvertOptions, DerivedQuantizationSpec, EdgeOrNode,
    FixedQParamsQuantizationSpec, ObserverMap, PreparedObserver, PreparedPt2e, Pt2eCalibrator, Pt2eError,
    QuantizationAnnotation, QuantizationSpecBase, Quantizer, SymmetricQuantization, XNNPACKQuantizer, convert_pt2e,
    get_symmetric_quantization_config, prepare_pt2e,
};
use quantc_quant::{Calibrator, ObserverSpec, QConfigMapping, convert_to_reference_fx, prepare_fx, qconfig};
use quantc_rewrite::lower_quantized;
use quantc_tensor::{DType, QRange, QScheme, Tensor};
use quantc_testkit::{random_tensor, rng, with_random_params};

fn graph(text: &str) -> Graph {
    with_random_params(parse(text).unwrap_or_else(|e| panic!("{e}")), 7)
}

const CHAIN: &str = "graph g(%x: f32[2,4,6,6]) {
  param @a.weight: f32[5,4,3,3]
  param @a.bias: f32[5]
  param @b.weight: f32[3,5,1,1]
  %a = conv2d(%x, @a.weight, @a.bias) : f32[2,5,4,4]
  %relu = relu(%a) : f32[2,5,4,4]
  %b = conv2d(%relu, @b.weight, none) : f32[2,3,4,4]
  return y=%b
}";

fn activation() -> ObserverSpec {
    qconfig::named("x86").expect("a preset").activation
}

fn weight() -> ObserverSpec {
    qconfig::named("x86").expect("a preset").weight
}

/// A quantizer that is a function.
struct By<F: Fn(&mut AnnotatedGraph)>(F);

impl<F: Fn(&mut AnnotatedGraph)> Quantizer for By<F> {
    fn name(&self) -> String {
        "By".to_owned()
    }
    fn annotate(&self, model: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
        (self.0)(model);
        Ok(())
    }
    fn validate(&self, _: &AnnotatedGraph) -> Result<(), Pt2eError> {
        Ok(())
    }
}

fn find(model: &AnnotatedGraph, name: &str) -> NodeId {
    model.graph.find(name).unwrap_or_else(|| panic!("no {name}"))
}

fn inputs(graph: &Graph, seed: u64) -> Vec<(String, Tensor)> {
    let mut rng = rng(seed);
    let input = |id| {
        let node = graph.node(id);
        (node.name().to_owned(), random_tensor(&mut rng, &node.types()[0]))
    };
    graph.placeholders().map(input).collect()
}

fn calibrated(prepared: &PreparedPt2e, options: ConvertOptions) -> Graph {
    let mut calibrator = Pt2eCalibrator::new(prepared).expect("valid observers");
    for seed in 0..3 {
        calibrator.observe(&inputs(&prepared.graph, seed)).expect("runs");
    }
    convert_pt2e(prepared, &calibrator.finish().expect("calibrated"), options).expect("converts")
}

fn refused(quantizer: &dyn Quantizer) -> String {
    prepare_pt2e(&graph(CHAIN), quantizer).expect_err("must be refused").to_string()
}

fn count(graph: &Graph, op: &str) -> usize {
    graph.calls().filter(|id| graph.node(*id).is_op(op)).count()
}

#[test]
fn mistakes_name_the_edge() {
    let shared = |model: &AnnotatedGraph, from: &str, to: &str| {
        QuantizationSpecBase::shared(EdgeOrNode::edge(find(model, from), find(model, to)))
    };
    let nowhere = By(|m| {
        let (a, x) = (find(m, "a"), find(m, "x"));
        let spec = shared(m, "relu", "b");
        m.annotate(a, QuantizationAnnotation::decided().input(x, spec));
    });
    assert!(
        refused(&nowhere).starts_with("the edge `x` -> `a` refers to the edge `relu` -> `b`, which is not annotated")
    );
    let cycle = By(|m| {
        let (a, x, b, relu) = (find(m, "a"), find(m, "x"), find(m, "b"), find(m, "relu"));
        let (one, two) = (shared(m, "relu", "b"), shared(m, "x", "a"));
        m.annotate(a, QuantizationAnnotation::decided().input(x, one));
        m.annotate(b, QuantizationAnnotation::decided().input(relu, two));
    });
    let message = refused(&cycle);
    assert!(
        message.contains("the edge `x` -> `a` shares with itself: the edge `x` -> `a`, the edge `relu` -> `b`"),
        "{message}"
    );
    let no_edge = By(|m| {
        let (b, x) = (find(m, "b"), find(m, "x"));
        m.annotate(b, QuantizationAnnotation::decided().input(x, activation()));
    });
    assert_eq!(refused(&no_edge), "the annotation of `b` names `x`, which is none of its inputs");
    let derived = |m: &AnnotatedGraph, spec: &str| {
        let (a, x, w) = (find(m, "a"), find(m, "x"), find(m, "@a.weight"));
        let from = if spec == "a" { EdgeOrNode::node(a) } else { EdgeOrNode::edge(x, a) };
        DerivedQuantizationSpec::bias(from, EdgeOrNode::edge(w, a), true)
    };
    let unobserved = By(|m| {
        let (a, bias) = (find(m, "a"), find(m, "@a.bias"));
        let spec = derived(m, "x");
        m.annotate(a, QuantizationAnnotation::decided().input(bias, spec));
    });
    assert!(refused(&unobserved).contains("derived from those of the edge `x` -> `a`, which has none"));
    let circular = By(|m| {
        let a = find(m, "a");
        let mut spec = derived(m, "a");
        spec.derived_from = vec![EdgeOrNode::node(a)];
        m.annotate(a, QuantizationAnnotation::decided().output(spec));
    });
    assert_eq!(refused(&circular), "the parameters of the output of `a` are derived from themselves");
    let dynamic = By(|m| {
        let (a, x, w, bias) = (find(m, "a"), find(m, "x"), find(m, "@a.weight"), find(m, "@a.bias"));
        let spec = derived(m, "x");
        let own = qconfig::named("dynamic").expect("a preset").activation;
        m.annotate(a, QuantizationAnnotation::decided().input(x, own).input(w, weight()).input(bias, spec));
    });
    assert!(refused(&dynamic).ends_with("it is quantized when the model runs"));
}

#[test]
fn integers_are_not_observed() {
    let text = "graph g(%x: i64[3]) {
  %y = add(%x, %x) : i64[3]
  return y=%y
}";
    let all = By(|m| {
        let (y, x) = (find(m, "y"), find(m, "x"));
        m.annotate(y, QuantizationAnnotation::decided().input(x, activation()));
    });
    let error = prepare_pt2e(&parse(text).expect("parses"), &all).expect_err("i64");
    assert!(error.to_string().starts_with("the edge `x` -> `y` is i64; only f32 can be quantized"), "{error}");
}

/// A quantizer for static i8 convolutions with an i32 bias at the scale of the product.
fn with_integer_bias() -> impl Quantizer {
    By(|m| {
        let (a, x, w, bias) = (find(m, "a"), find(m, "x"), find(m, "@a.weight"), find(m, "@a.bias"));
        let (relu, b, v) = (find(m, "relu"), find(m, "b"), find(m, "@b.weight"));
        let derived = DerivedQuantizationSpec::bias(EdgeOrNode::edge(x, a), EdgeOrNode::edge(w, a), true);
        let decided = QuantizationAnnotation::decided;
        m.annotate(a, decided().input(x, activation()).input(w, weight()).input(bias, derived));
        m.annotate(relu, decided().output(activation()));
        m.annotate(b, decided().input(relu, activation()).input(v, weight()));
    })
}

#[test]
fn a_derived_bias_is_i32_at_the_scale_of_the_product() {
    let source = graph(CHAIN);
    let prepared = prepare_pt2e(&source, &with_integer_bias()).expect("prepares");
    assert_eq!(prepared.observers.len(), 5, "relu and its edge share");
    let converted = calibrated(&prepared, ConvertOptions::default());
    let param = |name: &str| {
        converted.params().get(name).and_then(|p| p.value.clone()).unwrap_or_else(|| panic!("{name} in\n{converted}"))
    };
    let bias = param("a.bias.int_repr");
    assert_eq!((bias.dtype(), bias.shape()), (DType::I32, &[5][..]));
    let scale = |name: &str| param(name).to_f32_vec();
    let quantize = converted.find("x.quantize").expect("there");
    let Some((op, attrs)) = converted.node(quantize).call() else { panic!("a call") };
    let Some(quantc_ops::Attr::Float(sx)) = op.signature().attr(attrs, "scale") else { panic!("a scale") };
    let products: Vec<f32> = scale("a.weight.scale").iter().map(|sw| sx.0 * sw).collect();
    assert_eq!(scale("a.bias.scale"), products);
    let float = source.params()["a.bias"].value.clone().expect("a value").to_f32_vec();
    let want: Vec<i64> = float.iter().zip(&products).map(|(b, s)| (b * (1.0 / s)).round_ties_even() as i64).collect();
    assert_eq!(bias.to_i64_vec(), want);
    // The bias adds exactly what a float one adds under the contract.
    let float_bias = By(|m| {
        with_integer_bias().annotate(m).expect("annotates");
        let (a, bias) = (find(m, "a"), find(m, "@a.bias"));
        m.annotations.get_mut(&a).expect("annotated").input_qspec_map.insert(bias.into(), None);
    });
    let other = calibrated(&prepare_pt2e(&source, &float_bias).expect("prepares"), ConvertOptions::default());
    same_outputs(&converted, &other);
}

fn same_outputs(a: &Graph, b: &Graph) {
    for seed in 10..13 {
        let inputs = inputs(a, seed);
        let (x, y) = (Interpreter::new(a).run(&inputs).expect("runs"), Interpreter::new(b).run(&inputs).expect("runs"));
        assert_eq!(x.len(), y.len());
        for ((name, x), (_, y)) in x.iter().zip(&y) {
            assert!(x.bits_eq(y), "{name}, seed {seed}:\n{a}\n{b}");
        }
    }
}

#[test]
fn folding_stores_integers_and_changes_nothing() {
    let prepared = prepare_pt2e(&graph(CHAIN), &with_integer_bias()).expect("prepares");
    let folded = calibrated(&prepared, ConvertOptions::default());
    let plain = calibrated(&prepared, ConvertOptions { fold_quantize: false, ..ConvertOptions::default() });
    let quantizes = |g: &Graph| count(g, "quantize_per_tensor") + count(g, "quantize_per_channel");
    assert_eq!((quantizes(&plain), quantizes(&folded)), (5, 2));
    assert!(plain.params().contains_key("b.weight") && !folded.params().contains_key("b.weight"));
    same_outputs(&plain, &folded);
}

#[test]
fn what_a_transposed_weight_becomes_is_stored_too() {
    let text = "graph g(%x: f32[2,4]) {
  param @w: f32[4,3]
  %t = permute(@w) {dims=[1,0]} : f32[3,4]
  %y = linear(%x, %t, none) : f32[2,3]
  return y=%y
}";
    let all = By(|m| {
        let (y, x, t) = (find(m, "y"), find(m, "x"), find(m, "t"));
        m.annotate(y, QuantizationAnnotation::decided().input(x, activation()).input(t, weight()));
    });
    let prepared = prepare_pt2e(&graph(text), &all).expect("prepares");
    let folded = calibrated(&prepared, ConvertOptions::default());
    assert_eq!((count(&folded, "permute"), count(&folded, "quantize_per_channel")), (0, 0));
    same_outputs(&calibrated(&prepared, ConvertOptions { fold_quantize: false, ..Default::default() }), &folded);
}

#[test]
fn an_edge_with_another_spec_than_its_value_gets_both() {
    let two = By(|m| {
        let (relu, b) = (find(m, "relu"), find(m, "b"));
        let mut other = activation();
        other.quant_max = Some(100);
        other.quant_min = Some(0);
        m.annotate(relu, QuantizationAnnotation::decided().output(activation()));
        m.annotate(b, QuantizationAnnotation::decided().input(relu, other));
    });
    let prepared = prepare_pt2e(&graph(CHAIN), &two).expect("prepares");
    let b = prepared.graph.find("b").expect("there");
    let near = prepared.graph.node(b).inputs()[0].expect("given").node;
    let far = prepared.graph.node(near).inputs()[0].expect("given").node;
    assert!(prepared.graph.node(near).is_op("observer") && prepared.graph.node(far).is_op("observer"));
    assert_eq!(prepared.observers.len(), 2);
}

#[test]
fn implicit_sharing_can_be_turned_off() {
    let not_shared = By(|m| {
        let (relu, b) = (find(m, "relu"), find(m, "b"));
        m.annotate(relu, QuantizationAnnotation::decided().output(activation()));
        let alone = QuantizationAnnotation { allow_implicit_sharing: false, ..QuantizationAnnotation::decided() };
        m.annotate(b, alone.input(relu, activation()));
    });
    assert_eq!(prepare_pt2e(&graph(CHAIN), &not_shared).expect("prepares").observers.len(), 2);
}

#[test]
fn quantizers_are_composed_and_leave_each_other_alone() {
    let first = || {
        Box::new(By(|m| {
            let b = find(m, "b");
            m.annotate(b, QuantizationAnnotation::decided());
        }))
    };
    let xnnpack =
        || Box::new(XNNPACKQuantizer::new().set_global(get_symmetric_quantization_config(Default::default())));
    let composed = ComposableQuantizer::new(vec![first(), xnnpack()]);
    assert_eq!(composed.name(), "ComposableQuantizer(By, XNNPACKQuantizer)");
    let prepared = prepare_pt2e(&graph(CHAIN), &composed).expect("prepares");
    let b = prepared.graph.find("b").expect("there");
    let w = prepared.graph.node(b).inputs()[1].expect("a weight").node;
    assert!(prepared.graph.node(w).param().is_some(), "b stays float");
    assert_eq!(prepared.observers.len(), 3, "a's input and weight, relu");
    let thief = Box::new(By(|m| {
        let b = find(m, "b");
        m.annotations.remove(&b);
    }));
    let composed = ComposableQuantizer::new(vec![first(), thief]);
    assert_eq!(refused(&composed), "the quantizer By has removed the annotation of `b`, which another quantizer made");
    let vandal = Box::new(By(|m| {
        let (b, relu) = (find(m, "b"), find(m, "relu"));
        m.annotate(b, QuantizationAnnotation::decided().input(relu, activation()));
    }));
    let composed = ComposableQuantizer::new(vec![first(), vandal]);
    assert_eq!(refused(&composed), "the quantizer By has changed the annotation of `b`, which another quantizer made");
}

#[test]
fn operator_types_are_set_and_unset() {
    let config = |args| get_symmetric_quantization_config(args);
    let weights = |quantizer: XNNPACKQuantizer| {
        let text = "graph g(%x: f32[1,4,6,6]) {
  param @c.weight: f32[4,4,3,3]
  param @l.weight: f32[5,4]
  %c = conv2d(%x, @c.weight, none) : f32[1,4,4,4]
  %r = relu(%c) : f32[1,4,4,4]
  %l = linear(%r, @l.weight, none) : f32[1,4,4,5]
  return y=%l
}";
        let prepared = prepare_pt2e(&graph(text), &quantizer).expect("prepares");
        let observed = |name: &str| {
            let id = prepared.graph.find(name).expect("there");
            let observer = prepared.graph.uses(id)[0].0;
            if !prepared.graph.node(observer).is_op("observer") {
                return None;
            }
            prepared.tensors.iter().find(|(at, _)| at.value().node == id).map(|(_, n)| prepared.observers[*n].name())
        };
        (observed("@c.weight"), observed("@l.weight"))
    };
    let per_channel = SymmetricQuantization { is_per_channel: true, ..Default::default() };
    let all = XNNPACKQuantizer::new().set_global(config(SymmetricQuantization::default()));
    assert_eq!(weights(all.clone()), (Some("MinMaxObserver"), Some("MinMaxObserver")));
    let convolutions = all.clone().set_operator_type("conv2d", config(per_channel));
    assert_eq!(weights(convolutions), (Some("PerChannelMinMaxObserver"), Some("MinMaxObserver")));
    assert_eq!(weights(all.set_operator_type("linear", None)), (Some("MinMaxObserver"), None));
}

/// The callback gives the model's input fixed parameters.
struct FixedInput;

impl Quantizer for FixedInput {
    fn name(&self) -> String {
        "FixedInput".to_owned()
    }
    fn annotate(&self, m: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
        with_integer_bias().annotate(m)
    }
    fn validate(&self, _: &AnnotatedGraph) -> Result<(), Pt2eError> {
        Ok(())
    }
    fn prepare_obs_or_fq_callback(&self, m: &AnnotatedGraph, map: &mut ObserverMap) -> Result<(), Pt2eError> {
        let range = QRange { dtype: DType::U8, qmin: 0, qmax: 255 };
        let fixed = FixedQParamsQuantizationSpec { scale: 0.0625, zero_point: 128, range };
        let at = EdgeOrNode::edge(find(m, "x"), find(m, "a"));
        assert_eq!(map.get(at).map(PreparedObserver::name), Some("MinMaxObserver"));
        *map.get_mut(at).expect("observed") = PreparedObserver::Fixed(fixed);
        assert_eq!(map.tensors().count(), 6);
        map.remove(EdgeOrNode::edge(find(m, "@b.weight"), find(m, "b")));
        // The edge no longer shares with the value, which is quantized twice.
        map.set(EdgeOrNode::edge(find(m, "relu"), find(m, "b")), PreparedObserver::Fixed(fixed));
        Ok(())
    }
}

#[test]
fn the_callback_changes_observers_before_they_are_inserted() {
    let converted = calibrated(&prepare_pt2e(&graph(CHAIN), &FixedInput).expect("prepares"), ConvertOptions::default());
    let text = converted.to_string();
    assert!(text.contains("%x.quantize = quantize_per_tensor(%x) {scale=0.0625, zero_point=128}"), "{text}");
    assert!(converted.params().contains_key("b.weight"), "left float");
    assert_eq!(count(&converted, "quantize_per_tensor"), 3, "{text}");
}

/// Renames a node before it annotates it.
struct Renaming(&'static str, &'static str);

impl Quantizer for Renaming {
    fn name(&self) -> String {
        "Renaming".to_owned()
    }
    fn transform_for_annotation(&self, mut graph: Graph) -> Result<Graph, Pt2eError> {
        let node = graph.find(self.0).unwrap_or_else(|| panic!("no {}", self.0));
        assert!(graph.rename(node, self.1));
        Ok(graph)
    }
    fn annotate(&self, m: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
        m.annotate(find(m, self.1), QuantizationAnnotation::decided().output(activation()));
        Ok(())
    }
    fn validate(&self, _: &AnnotatedGraph) -> Result<(), Pt2eError> {
        Ok(())
    }
}

#[test]
fn a_quantizer_changes_the_graph_before_it_annotates_it() {
    let source = graph(CHAIN);
    let composed =
        ComposableQuantizer::new(vec![Box::new(Renaming("relu", "middle")), Box::new(Renaming("b", "last"))]);
    let prepared = prepare_pt2e(&source, &composed).expect("prepares");
    for (before, after) in [("relu", "middle"), ("b", "last")] {
        assert!(source.find(before).is_some() && prepared.graph.find(before).is_none(), "{before}");
        let id = prepared.graph.find(after).unwrap_or_else(|| panic!("no {after}"));
        assert!(prepared.graph.node(prepared.graph.uses(id)[0].0).is_op("observer"), "{}", prepared.graph);
    }
}

#[test]
fn calibration_is_needed_where_values_are_observed() {
    let prepared = prepare_pt2e(&graph(CHAIN), &with_integer_bias()).expect("prepares");
    let error = Pt2eCalibrator::new(&prepared).expect("valid").finish().expect_err("no data");
    assert!(error.to_string().starts_with("no calibration data"), "{error}");
    let mut calibrator = Pt2eCalibrator::new(&prepared).expect("valid");
    let mut batch = inputs(&prepared.graph, 1);
    batch[0].1 = Tensor::full(&[2, 4, 6, 6], f32::NAN);
    assert!(calibrator.observe(&batch).expect_err("NaN").to_string().starts_with("NaN in the calibration data"));
    let dynamic = XNNPACKQuantizer::new().set_global(get_symmetric_quantization_config(SymmetricQuantization {
        is_dynamic: true,
        ..Default::default()
    }));
    let text = "graph g(%x: f32[3,4]) {
  param @w: f32[5,4]
  %y = linear(%x, @w, none) : f32[3,5]
  return y=%y
}";
    let prepared = prepare_pt2e(&graph(text), &dynamic).expect("prepares");
    let calibrator = Pt2eCalibrator::new(&prepared).expect("valid");
    assert!(!calibrator.needs_calibration());
    let converted = convert_pt2e(&prepared, &calibrator.finish().expect("nothing to see"), Default::default());
    let converted = converted.expect("converts");
    assert_eq!(count(&converted, "choose_qparams"), 1, "eps is 2^-12:\n{converted}");
}

#[test]
fn a_dynamic_range_with_the_usual_eps_is_the_operator_that_has_kernels() {
    let source = graph(
        "graph g(%x: f32[3,4]) {
  param @w: f32[5,4]
  %y = linear(%x, @w, none) : f32[3,5]
  return y=%y
}",
    );
    let by = |eps: f32, qscheme: QScheme| {
        let quantizer = By(move |m: &mut AnnotatedGraph| {
            let (y, x, w) = (find(m, "y"), find(m, "x"), find(m, "@w"));
            let mut spec = qconfig::named("dynamic").expect("a preset").activation;
            (spec.eps, spec.qscheme) = (eps, qscheme);
            m.annotate(y, QuantizationAnnotation::decided().input(x, spec).input(w, weight()));
        });
        let prepared = prepare_pt2e(&source, &quantizer).expect("prepares");
        let qparams = Pt2eCalibrator::new(&prepared).expect("valid").finish().expect("nothing to see");
        convert_pt2e(&prepared, &qparams, ConvertOptions::default()).expect("converts")
    };
    let usual = by(f32::EPSILON, QScheme::PerTensorAffine);
    assert_eq!((count(&usual, "dynamic_quantize_dequantize"), count(&usual, "choose_qparams")), (1, 0));
    let other = by(f32::EPSILON.next_up(), QScheme::PerTensorAffine);
    assert_eq!((count(&other, "dynamic_quantize_dequantize"), count(&other, "choose_qparams")), (0, 1));
    // No input is so small that eps matters.
    same_outputs(&usual, &other);
    let symmetric = by(f32::EPSILON, QScheme::PerTensorSymmetric);
    assert_eq!(count(&symmetric, "choose_qparams_symmetric"), 1);
    Interpreter::new(&symmetric).run(&inputs(&symmetric, 1)).expect("runs");
}

const NET: &str = "graph net(%x: f32[2,4,8,8]) {
  param @a.weight: f32[8,4,3,3]
  param @a.bias: f32[8]
  param @b.weight: f32[8,8,3,3]
  param @c.weight: f32[8,8,1,1]
  param @fc.weight: f32[5,8]
  param @fc.bias: f32[5]
  %a = conv2d(%x, @a.weight, @a.bias) {padding=[1,1]} : f32[2,8,8,8]  # a: Conv2d(conv2d, 0)
  %relu = relu(%a) : f32[2,8,8,8]  # relu: ReLU(relu, 0)
  %pool = max_pool2d(%relu) {kernel_size=[2,2]} : f32[2,8,4,4]  # pool: MaxPool2d(max_pool2d, 0)
  %b = conv2d(%pool, @b.weight, none) {padding=[1,1]} : f32[2,8,4,4]  # b: Conv2d(conv2d, 0)
  %add = add(%b, %pool) : f32[2,8,4,4]  # \"\": Net(add, 0)
  %relu2 = relu(%add) : f32[2,8,4,4]  # \"\": Net(relu, 0)
  %c = conv2d(%relu2, @c.weight, none) : f32[2,8,4,4]  # c: Conv2d(conv2d, 0)
  %cat = cat(%c, %relu2) {dim=1} : f32[2,16,4,4]  # \"\": Net(cat, 0)
  %sig = sigmoid(%c) : f32[2,8,4,4]  # \"\": Net(sigmoid, 0)
  %mean = mean(%sig) {dims=[2,3]} : f32[2,8]  # \"\": Net(mean, 0)
  %fc = linear(%mean, @fc.weight, @fc.bias) : f32[2,5]  # fc: Linear(linear, 0)
  return y=%fc, z=%cat
}";

/// The annotations of a BackendConfig give what `prepare_fx` and `convert_to_reference_fx` give, bit for bit.
#[test]
fn the_backend_config_quantizer_quantizes_like_fx() {
    let source = graph(NET);
    let library = Library::builtin().expect("the embedded patterns are valid");
    for (backend, preset) in [("x86", "x86"), ("x86", "dynamic"), ("qnnpack", "qnnpack"), ("x86", "histogram")] {
        let backend = library.backend(backend).expect("exists");
        let mapping = QConfigMapping::default_for(qconfig::named(preset).expect("a preset"));
        let fx = prepare_fx(&source, &mapping, backend).expect("prepares");
        let mut calibrator = Calibrator::new(&fx).expect("valid observers");
        for seed in 0..3 {
            calibrator.observe(&inputs(&source, seed)).expect("runs");
        }
        let fx = convert_to_reference_fx(&fx, &calibrator.finish().expect("calibrated")).expect("converts").graph;
        let quantizer = BackendConfigQuantizer::new(mapping, backend.clone());
        let pt2e = calibrated(&prepare_pt2e(&source, &quantizer).expect("prepares"), ConvertOptions::default());
        for op in ["quantize_per_tensor", "dynamic_quantize_dequantize", "dequantize_per_channel"] {
            assert_eq!(count(&fx, op), count(&pt2e, op), "{preset}: {op}\n{fx}\n{pt2e}");
        }
        assert!(count(&pt2e, "quantize_per_tensor") + count(&pt2e, "dynamic_quantize_dequantize") > 0);
        same_outputs(&fx, &pt2e);
    }
}

/// An XNNPACK-quantized graph is lowered to integer operators that have its bits.
#[test]
fn converted_graphs_are_lowered() {
    let quantizer = XNNPACKQuantizer::new().set_global(get_symmetric_quantization_config(SymmetricQuantization {
        is_per_channel: true,
        ..Default::default()
    }));
    let converted = calibrated(&prepare_pt2e(&graph(NET), &quantizer).expect("prepares"), ConvertOptions::default());
    let rules = quantc_pattern::RuleSet::builtin().expect("valid");
    let (lowered, _) = lower_quantized(&converted, &rules).expect("lowers");
    assert!(count(&lowered, "quantized.conv2d") == 3 && count(&lowered, "quantized.linear") == 1, "{lowered}");
    same_outputs(&converted, &lowered);
}

#[test]
fn a_spec_that_no_observer_takes_names_its_tensor() {
    let odd = By(|m| {
        let (a, x) = (find(m, "a"), find(m, "x"));
        let mut spec = activation();
        spec.quant_min = Some(3);
        m.annotate(a, QuantizationAnnotation::decided().input(x, spec));
    });
    let prepared = prepare_pt2e(&graph(CHAIN), &odd).expect("prepares");
    let error = Pt2eCalibrator::new(&prepared).err().expect("refused").to_string();
    assert!(error.starts_with("the edge `x` -> `a`: "), "{error}");
}

#[test]
fn a_shared_spec_may_refer_to_a_later_tensor() {
    let later = By(|m| {
        let (a, x, b, relu) = (find(m, "a"), find(m, "x"), find(m, "b"), find(m, "relu"));
        let shared = QuantizationSpecBase::shared(EdgeOrNode::edge(relu, b));
        m.annotate(a, QuantizationAnnotation::decided().input(x, shared));
        m.annotate(b, QuantizationAnnotation::decided().input(relu, activation()));
    });
    let prepared = prepare_pt2e(&graph(CHAIN), &later).expect("prepares");
    assert_eq!((prepared.observers.len(), prepared.tensors.len()), (1, 2));
    assert_eq!(count(&prepared.graph, "observer"), 2);
}

/// XNNPACK's GRU: what goes in and comes out is quantized, each with its own parameters.
#[test]
fn the_inputs_and_outputs_of_a_gru_are_observed() {
    let text = "graph g(%x: f32[3,2,4], %h: f32[1,2,4]) {
  param @w: f32[1,12,4]
  param @r: f32[1,12,4]
  %g = gru(%x, @w, @r, none, none, %h) {hidden_size=4} : f32[3,1,2,4], f32[1,2,4]
  return y=%g, h=%g:1
}";
    let quantizer = XNNPACKQuantizer::new().set_global(get_symmetric_quantization_config(Default::default()));
    let prepared = prepare_pt2e(&graph(text), &quantizer).expect("prepares");
    assert_eq!((prepared.observers.len(), count(&prepared.graph, "observer")), (4, 4));
    let gru = prepared.graph.find("g").expect("there");
    let observed = |i: usize| {
        let value = prepared.graph.node(gru).inputs()[i].expect("given");
        prepared.graph.node(value.node).is_op("observer")
    };
    assert_eq!([0, 1, 2, 5].map(observed), [true, false, false, true]);
    for (name, value) in prepared.graph.outputs() {
        assert!(prepared.graph.node(value.node).is_op("observer"), "{name}");
    }
    calibrated(&prepared, ConvertOptions::default());
}
