//! Small networks that must be quantized whole: which operators are left, and that every stage has the bits of the reference graph on every
//! tier.

mod pipeline;

use pipeline::{Quantization, check_graph, inputs};
use quantc_ir::{Graph, text};
use quantc_pattern::Library;
use quantc_quant::qconfig::named;
use quantc_quant::{Placement, QConfigMapping, fuse_fx};
use quantc_tensor::DType;
use quantc_testkit::with_random_params;

/// A network quantized for each static preset with a different weight or activation type.
fn quantized(network: &str) -> Vec<Graph> {
    [("x86", "x86"), ("qnnpack", "arm"), ("qnnpack_symmetric", "arm")]
        .map(|target| quantized_for(network, target))
        .into()
}

/// A network quantized by a preset for a backend.
fn quantized_for(network: &str, (preset, backend): (&str, &str)) -> Graph {
    let library = Library::builtin().expect("built in");
    let graph = with_random_params(text::parse(network).unwrap_or_else(|e| panic!("{e}")), 3);
    let (canonical, _) = quantc_rewrite::canonicalize(&graph, &library.rules).unwrap_or_else(|e| panic!("{e}"));
    check_graph("canonical", &canonical).unwrap_or_else(|e| panic!("{e}"));
    let samples = [inputs(&canonical, 2, 1), inputs(&canonical, 3, 2)];
    let runs = [inputs(&canonical, 1, 3), inputs(&canonical, 3, 4)];
    let mapping = QConfigMapping::default_for(named(preset).expect("a preset"));
    let backend = library.backend(backend).expect("built in");
    let (rules, samples, runs) = (&library.rules, &samples[..], &runs[..]);
    let placement = Placement::Quantc;
    let quantization =
        Quantization { mapping: &mapping, backend, placement, rules, samples, runs, powers_of_two: false };
    quantization.check(&canonical).unwrap_or_else(|e| panic!("{preset}: {e}"))
}

fn operators(graph: &Graph) -> Vec<&'static str> {
    graph.calls().filter_map(|id| Some(graph.node(id).call()?.0.name())).collect()
}

/// The operators of a network between the quantization of its input and its last layer, which gives reals.
fn assert_operators(network: &str, expected: &[&str]) {
    for graph in quantized(network) {
        let all = operators(&graph);
        assert_eq!(all.first(), Some(&"quantize_per_tensor"), "{graph}");
        assert_eq!(&all[1..], expected, "{graph}");
    }
}

#[test]
fn batch_norm_before_an_activation() {
    assert_operators(
        "graph dense(%x: f32[N,3,6,7]) {
  param @w1: f32[5,3,3,3]
  param @g: f32[8]
  param @b: f32[8]
  param @m: f32[8]
  param @v: f32[8] = [0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7]
  param @w2: f32[4,8,1,1]
  %a = conv2d(%x, @w1) {padding=[1,1]}
  %c = cat(%a, %x) {dim=1}
  %n = batch_norm(%c, @g, @b, @m, @v)
  %r = relu(%n)
  %y = conv2d(%r, @w2)
  return y=%y
}",
        &["quantized.conv2d", "cat", "quantized.batch_norm", "quantized.conv2d"],
    );
}

#[test]
fn batch_norm_of_rows_and_volumes() {
    assert_operators(
        "graph rows(%x: f32[N,9]) {
  param @w1: f32[7,9]
  param @g: f32[7]
  param @b: f32[7]
  param @m: f32[7]
  param @v: f32[7] = [0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5]
  param @w2: f32[4,7]
  %a = linear(%x, @w1)
  %r = relu(%a)
  %n = batch_norm(%r, @g, @b, @m, @v)
  %t = clamp(%n) {min=-0.2, max=0.3}
  %y = linear(%t, @w2)
  return y=%y
}",
        &["quantized.linear", "quantized.batch_norm", "quantized.linear"],
    );
    assert_operators(
        "graph volumes(%x: f32[N,2,3,4,5]) {
  param @w1: f32[3,2,1,3,3]
  param @g: f32[3]
  param @b: f32[3]
  param @m: f32[3]
  param @v: f32[3] = [0.3, 0.5, 0.7]
  param @w2: f32[4,3,2,2,2]
  %a = conv3d(%x, @w1)
  %r = relu(%a)
  %n = batch_norm(%r, @g, @b, @m, @v)
  %y = conv3d(%n, @w2) {padding=[1,1,1]}
  return y=%y
}",
        &["quantized.conv3d", "quantized.batch_norm", "quantized.conv3d"],
    );
}

#[test]
fn transposed_convolution_over_three_dimensions() {
    assert_operators(
        "graph volumes(%x: f32[N,4,2,3,4]) {
  param @w1: f32[4,3,2,3,2]
  param @b: f32[6]
  param @g: f32[6]
  param @m: f32[6]
  param @v: f32[6] = [0.3, 0.5, 0.7, 0.9, 1.1, 1.3]
  param @w2: f32[4,6,2,2,2]
  %a = conv_transpose3d(%x, @w1, @b) {groups=2, stride=[2,1,2], padding=[1,0,1], output_padding=[1,0,1]}
  %n = batch_norm(%a, @g, @b, @m, @v)
  %r = relu6(%n)
  %y = conv3d(%r, @w2)
  return y=%y
}",
        &["quantized.conv_transpose3d", "quantized.conv3d"],
    );
}

#[test]
fn linear_with_a_residual() {
    let network = "graph residual(%x: f32[N,T,8]) {
  param @w1: f32[8,8]
  param @b1: f32[8]
  param @w2: f32[8,8]
  param @w3: f32[3,8]
  %a = linear(%x, @w1, @b1)
  %sum1 = add(%a, %x)
  %relu1 = relu(%sum1)
  %b = linear(%relu1, @w2)
  %sum2 = add(%relu1, %b)
  %y = linear(%sum2, @w3)
  return y=%y
}";
    assert_operators(network, &["quantized.linear", "quantized.linear", "quantized.linear"]);
    for graph in quantized(network) {
        let residuals = graph.calls().filter(|id| graph.node(*id).inputs().get(4).is_some_and(Option::is_some));
        assert_eq!(residuals.count(), 2, "{graph}");
    }
}

#[test]
fn every_nearest_resampling_copies_codes() {
    for coordinates in ["", "asymmetric", "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "align_corners"] {
        for rounding in ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil", "floor_or_ceil"] {
            let network = format!(
                "graph up(%x: f32[N,2,3,4]) {{
  param @w1: f32[3,2,1,1]
  param @w2: f32[4,3,3,3]
  %a = conv2d(%x, @w1)
  %u = interpolate(%a) {{scale_factor=[2.5,0.6], coordinates=\"{coordinates}\", rounding=\"{rounding}\"}}
  %y = conv2d(%u, @w2) {{padding=[1,1]}}
  return y=%y
}}"
            );
            for graph in quantized(&network) {
                let id = graph.calls().find(|id| graph.node(*id).is_op("interpolate")).expect("kept");
                assert!(matches!(graph.node(id).types()[0].dtype, DType::U8 | DType::I8), "{graph}");
            }
        }
    }
}

/// The fusions that PyTorch has for onednn alone are groups there, and one operator runs for each.
#[test]
fn onednn_fuses_additions_and_functions_into_layers() {
    let convolutions = |fused: &str| {
        format!(
            "graph convolutions(%x: f32[N,3,6,7]) {{
  param @w1: f32[5,3,3,3]
  param @w2: f32[5,3,3,3]
  param @w3: f32[4,5,1,1]
  %a = conv2d(%x, @w1) {{padding=[1,1]}}
  %c = conv2d(%x, @w2) {{padding=[1,1]}}
{fused}
  %y = conv2d(%fused, @w3)
  return y=%y
}}"
        )
    };
    let linear = |function: &str| {
        format!(
            "graph linear(%x: f32[N,8]) {{
  param @w1: f32[6,8]
  param @w2: f32[4,6]
  %a = linear(%x, @w1)
  %fused = {function}
  %y = linear(%fused, @w2)
  return y=%y
}}"
        )
    };
    let (three, two) = (&["quantized.conv2d"; 3][..], &["quantized.linear"; 2][..]);
    let library = Library::builtin().expect("built in");
    let backend = library.backend("onednn").expect("built in");
    for (pattern, network, expected) in [
        ("conv-add", convolutions("  %fused = add(%a, %c)"), three),
        ("conv-add-relu", convolutions("  %sum = add(%a, %c)\n  %fused = relu(%sum)"), three),
        ("linear-leaky-relu", linear("leaky_relu(%a) {negative_slope=0.1}"), two),
        ("linear-tanh", linear("tanh(%a)"), two),
    ] {
        let graph = with_random_params(text::parse(&network).unwrap_or_else(|e| panic!("{e}")), 3);
        let fused = fuse_fx(&graph, &library.rules_for(backend), backend).unwrap_or_else(|e| panic!("{e}"));
        let patterns: Vec<&str> = fused.groups.iter().map(|group| &*group.pattern).collect();
        assert!(patterns.contains(&pattern), "{pattern}: {patterns:?}");
        let lowered = quantized_for(&network, ("onednn", "onednn"));
        assert_eq!(&operators(&lowered)[1..], expected, "{lowered}");
    }
}
