//! Dynamically quantized convolutions: plans give what the reference evaluation gives on every tier, without falling back to it.

use crate::common::{Random, check, graph, no_reference};

/// Holds the plans to the reference, for sizes of the batch, and to kernels; how often an input is quantized.
fn holds(seed: u64, text: &str) -> usize {
    let mut random = Random(seed);
    let g = graph(text, &mut random);
    let steps = check(&g, &[1, 3], &mut random);
    no_reference(&steps);
    steps.iter().filter(|s| s.op.ends_with("_dynamic") && s.kernel.starts_with("quantize")).count()
}

#[test]
fn convolutions() {
    let quantized = holds(
        41,
        r#"graph g(%x: f32[N,5,9,7], %l: f32[N,6,11], %v: f32[N,4,4,5,3]) {
  param @w: i8[7,5,3,3]
  param @w.scale: f32[7]
  param @b: f32[7]
  param @k: i8[70,5,1,1]
  param @one.scale: f32[1]
  param @b70: f32[70]
  param @l1: i8[4,3,3]
  param @l1.scale: f32[4]
  param @v1: i8[6,2,2,3,1]
  param @v1.scale: f32[6]
  param @b6: f32[6]
  %a = quantized.conv2d_dynamic(%x, @w, @w.scale, @b) {padding=[1,2], stride=[2,1]}
  %c = quantized.conv2d_dynamic(%x, @w, @one.scale) {padding=[0,1,2,3], dilation=[2,1], activation_min=0.0, activation_max=6.0}
  %k1 = quantized.conv2d_dynamic(%x, @k, @one.scale, @b70) {activation_min=0.0}
  %d = quantized.conv2d_dynamic(%x, @w, @w.scale, @b) {padding=[1,1], reduce_range=true}
  %e = quantized.conv1d_dynamic(%l, @l1, @l1.scale, @l1.scale) {groups=2, padding=[1], stride=[2]}
  %f = quantized.conv3d_dynamic(%v, @v1, @v1.scale, @b6) {groups=2, padding=[1,1,1], stride=[2,1,1]}
  return a=%a, c=%c, k=%k1, d=%d, e=%e, f=%f
}"#,
    );
    assert_eq!(quantized, 4, "three layers of one input share a quantization, one has half the range");
}

/// Padding is the zero point, which is 0, 255, 127 or something else as the input's signs are.
#[test]
fn padding_of_any_zero_point() {
    holds(
        42,
        r#"graph g(%x: f32[N,3,6,5]) {
  param @w: i8[4,3,3,3]
  param @w.scale: f32[4]
  param @t: i8[3,4,3,3]
  param @t3: i8[3,4,2,3,3]
  param @v: i8[4,3,3,3,3]
  param @three: f32[] = [3.0]
  %p = relu(%x)
  %n = neg(%p)
  %s = add(%x, @three)
  %a = quantized.conv2d_dynamic(%p, @w, @w.scale) {padding=[2,1]}
  %b = quantized.conv2d_dynamic(%n, @w, @w.scale) {padding=[2,1]}
  %c = quantized.conv2d_dynamic(%n, @w, @w.scale) {padding=[2,1], reduce_range=true}
  %d = quantized.conv_transpose2d_dynamic(%s, @t, @w.scale) {stride=[2,2]}
  %e = quantized.conv_transpose2d_dynamic(%n, @t, @w.scale) {stride=[3,2], reduce_range=true}
  %u = unsqueeze(%n) {dims=[2]}
  %f = quantized.conv_transpose3d_dynamic(%u, @t3, @w.scale) {stride=[2,1,2]}
  %g = quantized.conv3d_dynamic(%u, @v, @w.scale) {padding=[1,1,1]}
  return a=%a, b=%b, c=%c, d=%d, e=%e, f=%f, g=%g
}"#,
    );
}

#[test]
fn depthwise_and_grouped() {
    holds(
        43,
        r#"graph g(%x: f32[N,70,6,5], %l: f32[N,6,9], %v: f32[N,4,3,4,3]) {
  param @w: i8[70,1,3,3]
  param @w.scale: f32[70]
  param @b: f32[70]
  param @g: i8[20,7,3,3]
  param @g.scale: f32[20]
  param @l1: i8[6,1,3]
  param @one.scale: f32[1]
  param @v1: i8[4,1,2,3,3]
  param @m: i8[140,1,3,3]
  %a = quantized.conv2d_dynamic(%x, @w, @w.scale, @b) {groups=70, padding=[1,1], activation_min=0.0}
  %c = quantized.conv2d_dynamic(%x, @g, @g.scale) {groups=10, padding=[1,1]}
  %d = quantized.conv1d_dynamic(%l, @l1, @one.scale) {groups=6, padding=[2], dilation=[2]}
  %e = quantized.conv3d_dynamic(%v, @v1, @one.scale) {groups=4, padding=[0,1,1]}
  %f = quantized.conv2d_dynamic(%x, @m, @one.scale) {groups=70, stride=[2,2], padding=[1,1]}
  return a=%a, c=%c, d=%d, e=%e, f=%f
}"#,
    );
}

#[test]
fn transposed_convolutions() {
    holds(
        44,
        r#"graph g(%x: f32[N,6,4,5], %l: f32[N,3,7], %v: f32[N,4,3,3,2]) {
  param @w: i8[6,5,3,2]
  param @w.scale: f32[5]
  param @b: f32[5]
  param @wg: i8[6,5,2,3]
  param @bg: f32[15]
  param @w1: i8[3,4,4]
  param @one.scale: f32[1]
  param @t3: i8[4,3,3,2,2]
  param @t3.scale: f32[3]
  param @tb: f32[6]
  param @td: i8[4,1,2,3,3]
  param @dw: i8[6,1,3,3]
  %a = quantized.conv_transpose2d_dynamic(%x, @w, @w.scale, @b) {stride=[2,1], padding=[1,0], output_padding=[1,0], activation_min=0.0}
  %g = quantized.conv_transpose2d_dynamic(%x, @wg, @w.scale, @bg) {stride=[2,3], dilation=[2,1], groups=3}
  %dw = quantized.conv_transpose2d_dynamic(%x, @dw, @one.scale) {stride=[2,2], padding=[1,1], groups=6}
  %c = quantized.conv_transpose1d_dynamic(%l, @w1, @one.scale) {stride=[1], padding=[1], reduce_range=true}
  %t = quantized.conv_transpose3d_dynamic(%v, @t3, @t3.scale, @tb) {stride=[2,1,3], padding=[1,0,1], output_padding=[1,0,2], dilation=[2,1,1], groups=2}
  %td = quantized.conv_transpose3d_dynamic(%v, @td, @one.scale) {padding=[1,1,0], groups=4}
  return a=%a, g=%g, dw=%dw, c=%c, t=%t, td=%td
}"#,
    );
}

/// A chain: results and inputs keep their channels last, and parts of a concatenation are written in place.
#[test]
fn layers_between_layers() {
    let mut random = Random(45);
    let g = graph(
        r#"graph g(%x: f32[N,3,8,8]) {
  param @w1: i8[16,3,3,3]
  param @w1.scale: f32[16]
  param @b: f32[16]
  param @w1x: i8[16,16,3,3]
  param @w2: i8[8,16,1,1]
  param @one.scale: f32[1]
  param @w3: i8[5,24,3,3]
  %a = quantized.conv2d_dynamic(%x, @w1, @w1.scale, @b) {padding=[1,1], stride=[2,2], activation_min=0.0}
  %c = quantized.conv2d_dynamic(%a, @w2, @one.scale)
  %d = quantized.conv2d_dynamic(%a, @w1x, @w1.scale) {padding=[1,1]}
  %e = cat(%c, %d) {dim=1}
  %f = quantized.conv2d_dynamic(%e, @w3, @one.scale)
  return f=%f
}"#,
        &mut random,
    );
    let steps = check(&g, &[1, 3], &mut random);
    no_reference(&steps);
    let copies = steps.iter().filter(|s| s.op == "cat").count();
    assert_eq!(copies, 0, "{steps:#?}");
}

/// Padding that cuts pixels off has no kernel: the plan says so and has the same bits.
#[test]
fn what_no_kernel_takes_is_evaluated() {
    let mut random = Random(46);
    let g = graph(
        r#"graph g(%x: f32[N,3,6,5]) {
  param @t: i8[3,4,2,2]
  param @one.scale: f32[1]
  %a = quantized.conv_transpose2d_dynamic(%x, @t, @one.scale) {padding=[2,2]}
  return a=%a
}"#,
        &mut random,
    );
    let steps = check(&g, &[1, 3], &mut random);
    assert!(steps.iter().any(|s| s.kernel == "reference"), "{steps:#?}");
}
