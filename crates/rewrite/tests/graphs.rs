//! Whole graphs: what canonicalize and lower_quantized make of them, that values are kept, and that nothing depends on order.

use quantc_interp::Interpreter;
use quantc_ir::Graph;
use quantc_ir::text::parse;
use quantc_pattern::{Phase, RuleSet};
use quantc_rewrite::{Budget, RewriteReport, Stop, canonicalize, lower_quantized, run_phase};
use quantc_tensor::{DType, Tensor};

fn rules() -> RuleSet {
    RuleSet::builtin().unwrap_or_else(|e| panic!("{e}"))
}

/// A spread of values that depends on the name.
fn values(name: &str, dtype: DType, shape: &[usize]) -> Tensor {
    let seed: usize = name.bytes().map(usize::from).sum();
    let len: usize = shape.iter().product();
    let data: Vec<f32> = (0..len)
        .map(|i| {
            let v = ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0;
            match dtype {
                DType::U8 => (v + 1.0) * 100.0,
                DType::I8 => v * 100.0,
                _ if name.contains("var") || name.contains("scale") => 0.1 + v.abs(),
                _ => v,
            }
        })
        .collect();
    Tensor::from_vec(shape, data).expect("fits").cast(dtype)
}

/// A graph from its text, its declared parameters filled.
fn graph(text: &str) -> Graph {
    let mut graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
    let open: Vec<_> =
        graph.params().iter().filter(|(_, p)| p.value.is_none()).map(|(n, p)| (n.clone(), p.ty.clone())).collect();
    for (name, ty) in open {
        let shape = ty.shape.to_known().expect("known");
        graph.set_param(&name, values(&name, ty.dtype, &shape));
    }
    graph
}

fn run(graph: &Graph) -> Vec<Tensor> {
    let inputs: Vec<(String, Tensor)> = graph
        .placeholders()
        .map(|id| {
            let node = graph.node(id);
            let shape = node.types()[0].shape.to_known().expect("known");
            (node.name().to_owned(), values(node.name(), node.types()[0].dtype, &shape))
        })
        .collect();
    Interpreter::new(graph).run(&inputs).unwrap_or_else(|e| panic!("{e}\n{graph}")).into_iter().map(|o| o.1).collect()
}

fn close(a: &Graph, b: &Graph, tolerance: f32) {
    for (a, b) in run(a).iter().zip(&run(b)) {
        let (a, b) = (a.to_f32_vec(), b.to_f32_vec());
        assert_eq!(a.len(), b.len());
        let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= tolerance * largest, "{a} {b}");
        }
    }
}

fn same_bits(a: &Graph, b: &Graph) {
    for (a, b) in run(a).iter().zip(&run(b)) {
        assert!(a.bits_eq(b));
    }
}

const RESIDUAL: &str = r#"graph block(%x: f32[1,4,6,6]) {
  param @conv1.weight: f32[4,4,3,3]
  param @bn1.weight: f32[4]
  param @bn1.bias: f32[4]
  param @bn1.mean: f32[4]
  param @bn1.var: f32[4]
  param @conv2.weight: f32[4,4,3,3]
  param @conv2.bias: f32[4]
  param @bn2.weight: f32[4]
  param @bn2.bias: f32[4]
  param @bn2.mean: f32[4]
  param @bn2.var: f32[4]
  param @fc.weight: f32[4,10]
  param @fc.bias: f32[10]
  %conv1 = conv2d(%x, @conv1.weight) {padding=[1,1]}  # conv1: Conv2d(Conv, 0)
  %bn1 = batch_norm(%conv1, @bn1.weight, @bn1.bias, @bn1.mean, @bn1.var) # bn1: BatchNorm2d(BatchNormalization, 0)
  %clip = clamp(%bn1) {min=0.0, max=6.0}  # relu: ReLU6(Clip, 0)
  %drop = dropout(%clip)  # drop: Dropout(Dropout, 0)
  %conv2 = conv2d(%drop, @conv2.weight, @conv2.bias) {padding=[1,1]}  # conv2: Conv2d(Conv, 0)
  %bn2 = batch_norm(%conv2, @bn2.weight, @bn2.bias, @bn2.mean, @bn2.var)  # bn2: BatchNorm2d(BatchNormalization, 0)
  %sum = add(%bn2, %x)  # "": Block(Add, 0)
  %out = clamp(%sum) {min=0.0}  # out: ReLU(Relu, 0)
  %pool = adaptive_avg_pool2d(%out) {output_size=[1,1]}  # pool: AvgPool(GlobalAveragePool, 0)
  %flat = flatten(%pool)
  %mm = matmul(%flat, @fc.weight)  # fc: Linear(MatMul, 0)
  %fc = add(%mm, @fc.bias)  # fc: Linear(Add, 0)
  return logits=%fc
}
"#;

#[test]
fn batch_norms_fold_and_origins_survive() {
    let before = graph(RESIDUAL);
    let (after, report) = canonicalize(&before, &rules()).expect("rewrites");
    insta::assert_snapshot!(after);
    insta::assert_snapshot!("residual_report", report);
    close(&before, &after, 1e-4);
    let origins = |g: &Graph| {
        let mut all: Vec<String> =
            g.calls().flat_map(|id| g.node(id).origins().iter().map(ToString::to_string).collect::<Vec<_>>()).collect();
        all.sort();
        all.dedup();
        all
    };
    let gone: Vec<_> = origins(&before).into_iter().filter(|o| !origins(&after).contains(o)).collect();
    assert_eq!(gone, ["drop: Dropout(Dropout, 0)"], "only what does nothing may go without a trace");
}

const TRANSFORMER: &str = r#"graph encoder(%x: f32[2,3,8]) {
  param @two: f32[] = [2.0]
  param @eps: f32[] = [0.00001]
  param @one: f32[] = [1.0]
  param @half: f32[] = [0.5]
  param @sqrt2: f32[] = [1.4142135]
  param @ln.weight: f32[8]
  param @ln.bias: f32[8]
  param @fc.weight: f32[8,8]
  param @fc.bias: f32[8]
  %mean = mean(%x) {dims=[-1], keepdim=true}
  %d1 = sub(%x, %mean)
  %d2 = sub(%x, %mean)
  %sq = pow(%d1, @two)
  %var = mean(%sq) {dims=[-1], keepdim=true}
  %ve = add(%var, @eps)
  %std = sqrt(%ve)
  %norm = div(%d2, %std)
  %scaled = mul(%norm, @ln.weight)
  %ln = add(%scaled, @ln.bias)
  %mm = matmul(%ln, @fc.weight)
  %fc = add(@fc.bias, %mm)
  %div = div(%fc, @sqrt2)
  %erf = erf(%div)
  %p = add(%erf, @one)
  %m = mul(%fc, %p)
  %gelu = mul(%m, @half)
  %res = add(%gelu, %x)
  %sig = sigmoid(%res)
  %swish = mul(%res, %sig)
  return y=%swish
}
"#;

#[test]
fn decompositions_are_recognised() {
    let before = graph(TRANSFORMER);
    let (after, _) = canonicalize(&before, &rules()).expect("rewrites");
    insta::assert_snapshot!(after);
    close(&before, &after, 1e-4);
}

const QDQ: &str = r#"graph qdq(%x: f32[1,4,6,6]) {
  param @conv1.weight: i8[4,4,3,3]
  param @conv1.scale: f32[4]
  param @conv1.bias: f32[4]
  param @conv2.weight: i8[4,4,3,3]
  param @conv2.scale: f32[4]
  param @fc.weight: i8[10,4]
  param @fc.scale: f32[10]
  param @fc.bias: f32[10]
  %q0 = quantize_per_tensor(%x) {scale=0.01, zero_point=128}
  %d0 = dequantize_per_tensor(%q0) {scale=0.01, zero_point=128}
  %w1 = dequantize_per_channel(@conv1.weight, @conv1.scale)
  %conv1 = conv2d(%d0, %w1, @conv1.bias) {padding=[1,1]}  # conv1: Conv2d(Conv, 0)
  %relu1 = relu6(%conv1)  # relu1: ReLU6(Clip, 0)
  %q1 = quantize_per_tensor(%relu1) {scale=0.05, zero_point=2}
  %d1 = dequantize_per_tensor(%q1) {scale=0.05, zero_point=2}
  %w2 = dequantize_per_channel(@conv2.weight, @conv2.scale)
  %conv2 = conv2d(%d1, %w2) {padding=[1,1]}  # conv2: Conv2d(Conv, 0)
  %sum = add(%d0, %conv2)  # "": Block(Add, 0)
  %relu2 = relu(%sum)  # relu2: ReLU(Relu, 0)
  %q2 = quantize_per_tensor(%relu2) {scale=0.5}
  %d2 = dequantize_per_tensor(%q2) {scale=0.5}
  %pool = max_pool2d(%d2) {kernel_size=[2,2]}
  %q3 = quantize_per_tensor(%pool) {scale=0.5}
  %d3 = dequantize_per_tensor(%q3) {scale=0.5}
  %gap = mean(%d3) {dims=[2,3]}
  %q4 = quantize_per_tensor(%gap) {scale=0.2}
  %d4 = dequantize_per_tensor(%q4) {scale=0.2}
  %wf = dequantize_per_channel(@fc.weight, @fc.scale)
  %fc = linear(%d4, %wf, @fc.bias)  # fc: Linear(Gemm, 0)
  return logits=%fc, mask=%d3
}
"#;

#[test]
fn quantized_graphs_lower_bit_for_bit() {
    let before = graph(QDQ);
    let (after, report) = lower_quantized(&before, &rules()).expect("rewrites");
    insta::assert_snapshot!(after);
    insta::assert_snapshot!("qdq_report", report);
    same_bits(&before, &after);
}

#[test]
fn a_conv_with_two_users_is_not_computed_twice() {
    let before = graph(
        r#"graph shared(%x: f32[1,4,6,6]) {
  param @w: f32[4,4,3,3]
  param @bn.weight: f32[4]
  param @bn.bias: f32[4]
  param @bn.mean: f32[4]
  param @bn.var: f32[4]
  %conv = conv2d(%x, @w)
  %bn = batch_norm(%conv, @bn.weight, @bn.bias, @bn.mean, @bn.var)
  %sum = add(%conv, %bn)
  return y=%sum
}
"#,
    );
    let (after, _) = canonicalize(&before, &rules()).expect("rewrites");
    let convs = after.calls().filter(|id| after.node(*id).is_op("conv2d")).count();
    assert_eq!(convs, 1, "{after}");
}

#[test]
fn equal_calls_from_different_places_stay_apart_if_heavy() {
    let before = graph(
        r#"graph shared(%x: f32[2,4]) {
  param @w: f32[4,4]
  %a = linear(%x, @w)  # a: Linear(MatMul, 0)
  %b = linear(%x, @w)  # b: Linear(MatMul, 0)
  %ra = relu(%x)  # c: ReLU(Relu, 0)
  %rb = relu(%x)  # d: ReLU(Relu, 0)
  return a=%a, b=%b, c=%ra, d=%rb
}
"#,
    );
    let (after, report) = canonicalize(&before, &rules()).expect("rewrites");
    insta::assert_snapshot!(after);
    assert_eq!(report.merged, [("rb".into(), "ra".into())]);
}

#[test]
fn several_outputs_and_absent_inputs_survive() {
    let text = r#"graph parts(%x: f32[2,6], %a: f32[3,1,2]) {
  param @w: f32[1,12,2]
  param @r: f32[1,12,3]
  %split = split(%x) {dim=1, sizes=[2,4]} : f32[2,2], f32[2,4]
  %relu = relu(%split:1) : f32[2,4]
  %lstm = lstm(%a, @w, @r) {hidden_size=3} : f32[3,1,1,3], f32[1,1,3], f32[1,1,3]
  return first=%split, second=%relu, cell=%lstm:2
}
"#;
    let before = graph(text);
    let (after, _) = canonicalize(&before, &rules()).expect("rewrites");
    assert_eq!(after.to_string(), before.to_string());
}

#[test]
fn the_order_of_rules_does_not_matter() {
    for (text, lower) in [(RESIDUAL, false), (TRANSFORMER, false), (QDQ, true)] {
        let before = graph(text);
        let result = |rules: &RuleSet| {
            let (after, report) =
                if lower { lower_quantized(&before, rules) } else { canonicalize(&before, rules) }.expect("rewrites");
            format!("{after}{report}")
        };
        let mut shuffled = rules();
        let first = result(&shuffled);
        for step in [7, 13, 29] {
            shuffled.rules.reverse();
            let n = shuffled.rules.len();
            shuffled.rules.rotate_left(step % n);
            assert_eq!(result(&shuffled), first);
        }
    }
}

#[test]
fn a_budget_that_is_reached_is_reported_and_the_graph_still_valid() {
    let before = graph(RESIDUAL);
    let budget = Budget { iterations: 1, ..Budget::default() };
    let mut report = RewriteReport::default();
    let after = run_phase(&before, &rules(), Phase::Canonical, &budget, &mut report).expect("rewrites");
    assert_eq!(report.phases[0].stop, Stop::Iterations);
    close(&before, &after, 1e-4);
    let budget = Budget { nodes_per_node: 1, spare_nodes: 0, ..Budget::default() };
    let mut report = RewriteReport::default();
    let after = run_phase(&before, &rules(), Phase::Canonical, &budget, &mut report).expect("rewrites");
    assert_eq!(report.phases[0].stop, Stop::Nodes);
    close(&before, &after, 1e-4);
}

#[test]
fn large_graphs_are_rewritten() {
    let mut text = String::from("graph big(%x: f32[1,4,6,6]) {\n  param @w: f32[4,4,3,3]\n");
    for p in ["weight", "bias", "mean", "var"] {
        text.push_str(&format!("  param @bn.{p}: f32[4]\n"));
    }
    let blocks = 2000;
    let mut last = "x".to_owned();
    for i in 0..blocks {
        text.push_str(&format!("  %c{i} = conv2d(%{last}, @w) {{padding=[1,1]}}\n"));
        text.push_str(&format!("  %b{i} = batch_norm(%c{i}, @bn.weight, @bn.bias, @bn.mean, @bn.var)\n"));
        text.push_str(&format!("  %r{i} = clamp(%b{i}) {{min=0.0}}\n"));
        text.push_str(&format!("  %s{i} = add(%r{i}, %{last})\n  %i{i} = identity(%s{i})\n"));
        last = format!("i{i}");
    }
    text.push_str(&format!("  return y=%{last}\n}}\n"));
    let before = graph(&text);
    let start = std::time::Instant::now();
    let (after, report) = canonicalize(&before, &rules()).expect("rewrites");
    eprintln!("{} calls: {:?}\n{report}", before.calls().count(), start.elapsed());
    assert_eq!(after.calls().count(), 3 * blocks);
    assert!(report.phases.iter().all(|p| p.stop == Stop::Saturated));
}

/// A layer on the concatenation of values that are made far apart, as the outputs of a recurrent layer's steps are: once rewritten, the graph is small enough to
/// be seen whole, and the layer takes integers though each cut is far from one of them.
#[test]
fn what_is_made_far_apart_is_joined() {
    use std::fmt::Write;
    let (mut text, mut all) = (String::from("graph g(%x: u8[1,4]) {\n  param @w: i8[2,4]\n"), Vec::new());
    for i in 0..200 {
        let dequantize = format!("dequantize_per_tensor(%x) {{scale=0.5, zero_point={i}}}");
        let quantize = "{scale=0.25, zero_point=3, dtype=u8}";
        write!(text, "  %a{i} = {dequantize}\n  %b{i} = neg(%a{i})\n  %c{i} = relu(%b{i})\n").expect("written");
        writeln!(text, "  %q{i} = quantize_per_tensor(%c{i}) {quantize}").expect("written");
        writeln!(text, "  %d{i} = dequantize_per_tensor(%q{i}) {{scale=0.25, zero_point=3}}").expect("written");
        all.push(format!("%d{i}"));
    }
    write!(
        text,
        "  %rows = cat({}) {{dim=0}}\n  %v = dequantize_per_tensor(@w) {{scale=0.5}}\n  %y = linear(%rows, %v)\n  %q = quantize_per_tensor(%y) {{scale=1, zero_point=0, dtype=u8}}\n  return q=%q\n}}",
        all.join(", ")
    )
    .expect("written");
    let before = graph(&text);
    let lower = |region: usize| {
        let budget = Budget { region, ..Budget::default() };
        let mut report = RewriteReport::default();
        run_phase(&before, &rules(), Phase::Lower, &budget, &mut report).expect("rewrites")
    };
    let (whole, cut) = (lower(2000), lower(500));
    assert!(before.calls().count() > 500 && whole.calls().all(|id| !whole.node(id).is_op("linear")), "{whole}");
    assert_eq!(cut.to_string(), whole.to_string());
}
