//! Plans compute what the reference evaluation computes, bit for bit.

use crate::common::{Random, check, graph, inputs, no_reference, plan};
use quantc_kernels::Isa;
use quantc_lower::WeightCache;

#[test]
fn quantize_and_dequantize_images() {
    let mut random = Random(1);
    let g = graph(
        r#"graph g(%x: f32[N,3,6,5]) {
  %q = quantize_per_tensor(%x) {scale=0.02, zero_point=-4, dtype=i8}
  %m = max_pool2d(%q) {kernel_size=[3,3], stride=[2,2], padding=[1,1]}
  %y = dequantize_per_tensor(%m) {scale=0.02, zero_point=-4}
  return y=%y, m=%m
}"#,
        &mut random,
    );
    no_reference(&check(&g, &[1, 3], &mut random));
}

#[test]
fn a_qdq_graph_that_is_not_fused_keeps_its_integers() {
    let mut random = Random(2);
    let g = graph(
        r#"graph g(%x: f32[N,4,6,6]) {
  param @w: i8[8,4,3,3]
  param @scales: f32[8]
  param @b: f32[8]
  %q = quantize_per_tensor(%x) {scale=0.02, zero_point=120}
  %d = dequantize_per_tensor(%q) {scale=0.02, zero_point=120}
  %dw = dequantize_per_channel(@w, @scales)
  %c = conv2d(%d, %dw, @b) {padding=[1,1]}
  %r = relu(%c)
  %y = quantize_per_tensor(%r) {scale=0.1, zero_point=3}
  %z = dequantize_per_tensor(%y) {scale=0.1, zero_point=3}
  %s = sigmoid(%z)
  return y=%y, z=%z, s=%s
}"#,
        &mut random,
    );
    check(&g, &[1, 2], &mut random);
}

#[test]
fn float_network() {
    let mut random = Random(3);
    let g = graph(
        r#"graph g(%x: f32[N,3,9,7]) {
  param @w1: f32[8,3,3,3]
  param @b1: f32[8]
  param @w2: f32[8,1,3,3]
  param @w3: f32[12,8,1,1]
  param @gate: f32[1,12,1,1]
  param @fc: f32[5,12]
  param @fcb: f32[5]
  %c1 = conv2d(%x, @w1, @b1) {stride=[2,2], padding=[1,1]}
  %r1 = relu6(%c1)
  %c2 = conv2d(%r1, @w2) {padding=[1,1], groups=8}
  %a = add(%c2, %r1)
  %c3 = conv2d(%a, @w3)
  %s = sigmoid(%c3)
  %m = mul(%c3, %s)
  %g = mul(%m, @gate)
  %cat = cat(%g, %m) {dim=1}
  %h = slice(%cat) {starts=[6], ends=[18], axes=[1]}
  %p = adaptive_avg_pool2d(%h) {output_size=[1,1]}
  %f = flatten(%p)
  %y = linear(%f, @fc, @fcb)
  return y=%y, cat=%cat
}"#,
        &mut random,
    );
    check(&g, &[1, 3], &mut random);
}

/// Long chains of elementwise operators, softmax and layer norm, of many copied blocks, and with the operand that ends first and second.
#[test]
fn results_take_the_place_of_their_operands() {
    let mut random = Random(23);
    let g = graph(
        r#"graph g(%x: f32[N,37,700]) {
  param @w: f32[700]
  param @b: f32[700]
  %n = neg(%x)
  %e = sigmoid(%n)
  %m = mul(%e, @w)
  %s = softmax(%m) {dim=2}
  %l = layer_norm(%s, @w, @b)
  %t = tanh(%l)
  %a = sub(%x, %t)
  %d = div(%t, %a)
  %r = relu(%d)
  %y = add(%a, %r)
  return y=%y
}"#,
        &mut random,
    );
    no_reference(&check(&g, &[1, 2], &mut random));
    let buffer = 2 * 37 * 700 * 4;
    let report = plan(&g, &inputs(&g, 2, &mut random), Isa::available()[0], &WeightCache::new()).memory();
    // The input, what becomes of it, and its difference to that.
    assert!(report.arena < 3 * buffer + 4096 && report.total > 10 * buffer, "{report:?}");

    let g = graph(
        r#"graph g(%x: u8[N,33,1000], %z: u8[N,33,1000]) {
  %a = quantized.add(%x, %z) {a_scale=0.1, a_zero_point=3, b_scale=0.2, b_zero_point=200, scale=0.25, zero_point=100}
  %b = quantized.mul(%x, %a) {a_scale=0.1, a_zero_point=3, b_scale=0.25, b_zero_point=100, scale=2.0, zero_point=128}
  %d = dequantize_per_tensor(%b) {scale=2.0, zero_point=128}
  %h = hardswish(%d)
  %q = quantize_per_tensor(%h) {scale=1.5, zero_point=7}
  %c = quantized.add(%q, %q) {a_scale=1.5, a_zero_point=7, b_scale=0.3, b_zero_point=9, scale=1.9, zero_point=3}
  return c=%c
}"#,
        &mut random,
    );
    no_reference(&check(&g, &[1, 2], &mut random));
}

#[test]
fn movement() {
    let mut random = Random(5);
    let g = graph(
        r#"graph g(%x: f32[N,4,6], %u: u8[N,4,5,6]) {
  %p = permute(%x) {dims=[2,0,1]}
  %s = slice(%p) {starts=[5,1], ends=[-7,4], axes=[0,2], steps=[-2,2]}
  %t = slice(%x) {starts=[1], ends=[3], axes=[1]}
  %pad = pad(%u) {pads=[0,0,1,2,0,0,1,0], value=7.0}
  %us = unsqueeze(%t) {dims=[1]}
  %ex = expand(%us) {shape=[1,3,2,6]}
  %sp = split(%u) {sizes=[1,3], dim=1}
  return s=%s, t=%t, pad=%pad, ex=%ex, a=%sp, b=%sp:1
}"#,
        &mut random,
    );
    no_reference(&check(&g, &[1, 2], &mut random));
}

#[test]
fn attention_is_written_out_in_operators_with_kernels() {
    let mut random = Random(17);
    let g = graph(
        r#"graph g(%q: f32[N,2,5,8], %k: f32[N,2,6,8], %v: f32[N,2,6,4], %m: f32[N,1,5,6]) {
  param @limit: f32[] = [0.3]
  %plain = scaled_dot_product_attention(%q, %k, %v) {scale=1.0}
  %masked = scaled_dot_product_attention(%q, %k, %v, %m) {scale=0.25}
  return plain=%plain, masked=%masked
}"#,
        &mut random,
    );
    no_reference(&check(&g, &[1, 3], &mut random));
    let g = graph(
        r#"graph g(%q: f32[N,2,5,8], %k: f32[N,2,6,8], %v: f32[N,2,6,4], %m: f32[N,1,5,6]) {
  param @limit: f32[] = [0.3]
  param @lowest: f32[] = [-100.0]
  %allowed = greater(%m, @limit)
  %none = less(%m, @lowest)
  %masked = scaled_dot_product_attention(%q, %k, %v, %allowed) {scale=0.25}
  %filled = scaled_dot_product_attention(%q, %k, %v, %allowed) {scale=0.25, fill=-5.0}
  %empty = scaled_dot_product_attention(%q, %k, %v, %none) {scale=0.25}
  return masked=%masked, filled=%filled, empty=%empty
}"#,
        &mut random,
    );
    check(&g, &[1, 3], &mut random);
}
