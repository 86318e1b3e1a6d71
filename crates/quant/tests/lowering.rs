//! A backend that lists only linear layers runs nothing else on integers, whatever comes in and goes out.

use quantc_ir::{Graph, text::parse};
use quantc_ops::{Attr, OpClass};
use quantc_pattern::library::builtin_sources;
use quantc_pattern::{Library, Source};
use quantc_quant::{Calibrator, Placement, QConfigMapping, convert_to_reference_fx, prepare_fx_with, qconfig};
use quantc_tensor::{DType, TensorType};
use quantc_testkit::{random_tensor, rng, with_random_params};

const ONLY_LINEAR: &str = "(backend only-linear :doc \"d\"
  (dtype-config static :input u8 :output u8 :weight i8 :bias f32)
  (pattern linear :doc \"d\" :match (linear ?x ?w (optional ?b)) :when (constant ?w)
    :weight ?w :bias ?b :observation different :dtypes (static)))";

/// Calls of `%a`, which is f32[2,8,8], that a linear layer takes; the first word is the operator.
const BETWEEN: &[&str] = &[
    "relu(%a)",
    "relu6(%a)",
    "clamp(%a) {min=-0.5, max=0.5}",
    "elu(%a)",
    "leaky_relu(%a)",
    "hardswish(%a)",
    "hardsigmoid(%a)",
    "sigmoid(%a)",
    "tanh(%a)",
    "silu(%a)",
    "gelu(%a)",
    "mish(%a)",
    "exp(%a)",
    "neg(%a)",
    "add(%a, %a)",
    "sub(%a, %b)",
    "mul(%a, %b)",
    "add(%a, %b)",
    "matmul(%a, %b)",
    "softmax(%a)",
    "layer_norm(%a)",
    "batch_norm(%a, @gamma, @beta, @mean, @var)",
    "max_pool1d(%a) {kernel_size=[1]}",
    "mean(%a) {dims=[1], keepdim=true}",
    "permute(%a) {dims=[0,2,1]}",
    "reshape(%a) {shape=[4,4,8]}",
    "flatten(%a) {start_dim=0, end_dim=1}",
    "slice(%a) {starts=[1], ends=[5], axes=[1]}",
    "pad(%a) {pads=[0,1,0,0,1,0]}",
    "cat(%a, %b) {dim=1}",
    "unsqueeze(%a) {dims=[0]}",
];

/// Two layers, whose results are observed because others take them; the call between is taken by a third.
fn graph(call: &str) -> Graph {
    let text = format!(
        "graph net(%x: f32[2,8,8]) {{
           param @a.weight: f32[8,8]
           param @b.weight: f32[8,8]
           param @c.weight: f32[8,8]
           param @d.weight: f32[8,8]
           param @gamma: f32[8]
           param @beta: f32[8]
           param @mean: f32[8]
           param @var: f32[8]
           %a = linear(%x, @a.weight)
           %b = linear(%a, @b.weight)
           %c = linear(%b, @c.weight)
           %between = {call}
           %d = linear(%between, @d.weight)
           return c=%c, d=%d
         }}"
    );
    let mut graph = with_random_params(parse(&text).unwrap_or_else(|e| panic!("{call}: {e}")), 3);
    graph.set_param("var", quantc_tensor::Tensor::vector(vec![1.0f32; 8]));
    graph
}

/// The graph as the backend runs it.
fn lowered(graph: &Graph, library: &Library, backend: &str, placement: Placement) -> Graph {
    let backend = library.backend(backend).unwrap_or_else(|e| panic!("{e}"));
    let mapping = QConfigMapping::default_for(qconfig::named("x86").expect("a preset"));
    let prepared = prepare_fx_with(graph, &mapping, backend, placement).expect("prepares");
    let mut calibrator = Calibrator::new(&prepared).expect("valid observers");
    let x = random_tensor(&mut rng(5), &TensorType::new(DType::F32, [2usize, 8, 8].as_slice()));
    calibrator.observe(&[("x".to_owned(), x)]).expect("runs");
    let converted = convert_to_reference_fx(&prepared, &calibrator.finish().expect("calibrated")).expect("converts");
    let rules = library.rules_for(backend);
    quantc_rewrite::lower_quantized(&converted.graph, &rules).expect("lowers").0
}

/// What of a graph computes on integers, and is neither a plain linear layer nor a conversion.
fn other_integer_calls(graph: &Graph) -> Vec<String> {
    let mut out = Vec::new();
    for id in graph.calls() {
        let node = graph.node(id);
        let (op, attrs) = node.call().expect("a call");
        let attr = |name: &str| op.signature().attr(attrs, name);
        let plain = |name: &str, neutral: f32| attr(name) == Some(Attr::from(neutral));
        let is_layer = op.name() == "quantized.linear"
            && attr("function") == Some(Attr::from("none"))
            && plain("activation_min", f32::NEG_INFINITY)
            && plain("activation_max", f32::INFINITY)
            // The residual is its fifth input.
            && node.inputs().get(4).copied().flatten().is_none();
        // The bounds of the quantized range are the type's own: no clamp is hidden in them.
        let unbounded = attr("quant_min").is_none() && attr("quant_max").is_none();
        let allowed =
            unbounded && (is_layer || op.class() == OpClass::Quantization || op.name() == "quantized.requantize");
        let integer =
            |v: &Option<quantc_ir::ValueRef>| v.is_some_and(|v| matches!(graph.ty(v).dtype, DType::U8 | DType::I8));
        if !allowed && (op.name().starts_with("quantized.") || node.inputs().iter().any(integer) || !unbounded) {
            out.push(format!("%{} = {}", node.name(), op.name()));
        }
    }
    out
}

#[test]
fn a_backend_that_lists_linear_layers_runs_nothing_else_on_integers() {
    let mut sources = builtin_sources();
    sources.push(Source::new("only-linear.qpat", ONLY_LINEAR));
    let library = Library::parse(&sources).unwrap_or_else(|e| panic!("{e}"));
    let mut on_x86 = 0;
    for call in BETWEEN {
        let graph = graph(call);
        let name = call.split('(').next().expect("an operator");
        for placement in [Placement::Quantc, Placement::PyTorch] {
            let own = lowered(&graph, &library, "only-linear", placement);
            let others = other_integer_calls(&own);
            assert!(others.is_empty(), "{call} {placement:?}: {others:?}\n{own}");
            let layers = own.calls().filter(|id| own.node(*id).is_op("quantized.linear")).count();
            assert_eq!(layers, 4, "{call} {placement:?}\n{own}");
            let kept = own.calls().filter(|id| own.node(*id).is_op(name)).count();
            assert_eq!(kept, 1, "{call} {placement:?}\n{own}");
        }
        let x86 = other_integer_calls(&lowered(&graph, &library, "x86", Placement::PyTorch));
        on_x86 += usize::from(!x86.is_empty());
    }
    // The same graphs have integer operators on a backend that lists them.
    assert!(on_x86 >= 24, "{on_x86} of {}", BETWEEN.len());
}
