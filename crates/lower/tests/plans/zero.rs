//! Tensors without elements: plans give what the reference evaluation gives for a size of 0 anywhere, at every operator that has a
//! kernel. Every test of `check` also covers a batch of 0.

use std::sync::Arc;

use crate::common::{Random, check, graph, inputs, plan};
use quantc_interp::Interpreter;
use quantc_kernels::Isa;
use quantc_lower::WeightCache;
use quantc_runtime::{Executor, Threads};

/// Holds the plans of a graph to the reference for the size 0 of its symbolic dimension, and for others.
fn holds(text: &str) {
    let mut random = Random(31);
    let g = graph(text, &mut random);
    check(&g, &[0, 1, 5], &mut random);
}

#[test]
fn products() {
    holds(
        r#"graph g(%x: f32[2,S], %t: f32[3,S,4], %u: f32[3,4,S], %q: u8[3,S,4], %p: u8[3,4,S]) {
  param @w: f32[5,4]
  param @b: f32[5]
  param @wq: i8[5,4]
  param @scale: f32[5]
  param @none: f32[0,4]
  param @empty: f32[5,0]
  param @left: f32[2,0]
  %linear = linear(%t, @w, @b)
  %inner = matmul(%u, %t)
  %outer = matmul(%t, %u)
  %reduced = matmul(%x, %t)
  %narrow = linear(%t, @none)
  %hollow = slice(%x) {starts=[0], ends=[0], axes=[1]}
  %bias = linear(%hollow, @empty, @b)
  %sum = add(%bias, @b)
  %dynamic = quantized.linear_dynamic(%t, @wq, @scale, @b)
  %static = quantized.linear(%q, @wq, @scale, @b) {x_scale=0.02, x_zero_point=128, scale=0.1, zero_point=128}
  %iq = quantized.matmul(%p, %q) {a_scale=0.1, a_zero_point=128, b_scale=0.1, b_zero_point=100, scale=0.1, zero_point=7}
  %oq = quantized.matmul(%q, %p) {a_scale=0.1, a_zero_point=128, b_scale=0.1, b_zero_point=100, dtype=f32}
  return linear=%linear, inner=%inner, outer=%outer, reduced=%reduced, narrow=%narrow, sum=%sum, dynamic=%dynamic, static=%static, iq=%iq, oq=%oq
}"#,
    );
}

#[test]
fn convolutions_without_channels() {
    for (channels, outputs) in [(0, 4), (4, 0)] {
        holds(
            &r#"graph g(%x: f32[N,CC,6,5], %l: f32[N,CC,7], %v: f32[N,CC,3,4,3], %q: u8[N,CC,6,5], %ql: u8[N,CC,7]) {
  param @w1: f32[OO,CC,3]
  param @w2: f32[OO,CC,3,3]
  param @w3: f32[OO,CC,2,2,2]
  param @t1: f32[CC,OO,3]
  param @t2: f32[CC,OO,3,3]
  param @b: f32[OO]
  param @q1: i8[OO,CC,3]
  param @q2: i8[OO,CC,3,3]
  param @q3: i8[OO,CC,2,2,2]
  param @qt2: i8[CC,OO,3,3]
  param @scale: f32[1]
  %c1 = conv1d(%l, @w1, @b)
  %c2 = conv2d(%x, @w2, @b) {padding=[1,1], stride=[2,1]}
  %c3 = conv3d(%v, @w3)
  %ct1 = conv_transpose1d(%l, @t1, @b)
  %ct2 = conv_transpose2d(%x, @t2, @b) {stride=[2,2]}
  %d2 = quantized.conv2d_dynamic(%x, @q2, @scale, @b) {padding=[1,1]}
  %d3 = quantized.conv3d_dynamic(%v, @q3, @scale)
  %dt2 = quantized.conv_transpose2d_dynamic(%x, @qt2, @scale, @b) {stride=[2,2]}
  %qc1 = quantized.conv1d(%ql, @q1, @scale, @b) {x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100}
  %qc2 = quantized.conv2d(%q, @q2, @scale, @b) {x_scale=0.02, x_zero_point=128, dtype=f32}
  %r = quantize_per_tensor(%qc2) {scale=0.1}
  return c1=%c1, c2=%c2, c3=%c3, ct1=%ct1, ct2=%ct2, d2=%d2, d3=%d3, dt2=%dt2, qc1=%qc1, r=%r
}"#
            .replace("CC", &channels.to_string())
            .replace("OO", &outputs.to_string()),
        );
    }
}

#[test]
fn images_without_pixels() {
    holds(
        r#"graph g(%x: f32[2,3,4,W], %q: u8[2,3,4,W]) {
  param @w: f32[4,3,3,3]
  param @wq: i8[4,3,3,3]
  param @scale: f32[1]
  %c = conv2d(%x, @w) {padding=[1,3]}
  %qc = quantized.conv2d(%q, @wq, @scale) {padding=[1,3], x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100}
  %d = quantized.conv2d_dynamic(%x, @wq, @scale) {padding=[1,3]}
  %m = max_pool2d(%qc) {kernel_size=[2,2]}
  %a = avg_pool2d(%c) {kernel_size=[2,2], padding=[1,1]}
  return c=%c, qc=%qc, d=%d, m=%m, a=%a
}"#,
    );
}

#[test]
fn rows_and_reductions() {
    holds(
        r#"graph g(%x: f32[2,S,3], %y: f32[2,1,3], %q: u8[2,S,3]) {
  param @gamma: f32[3]
  param @two: f32[] = [2.0]
  %a = add(%x, %y)
  %d = div(%x, %y)
  %p = pow(%x, @two)
  %r = relu(%x)
  %e = exp(%x)
  %g = gelu(%x)
  %sm = softmax(%x) {dim=-1}
  %sn = softmax(%x) {dim=1}
  %ln = layer_norm(%x, @gamma)
  %mean = mean(%x) {dims=[1]}
  %all = sum(%x)
  %last = mean(%x) {dims=[2], keepdim=true}
  %part = sum(%x) {dims=[1,2]}
  %qm = quantized.mean(%q) {dims=[2], x_scale=0.03, x_zero_point=7, scale=0.011, zero_point=5}
  %qa = quantized.add(%q, %q) {a_scale=0.1, b_scale=0.2, scale=0.3}
  %qx = quantized.mul(%q, %q) {a_scale=0.1, b_scale=0.2, scale=0.3}
  %lu = quantized.lookup(%q) {function="hardswish", x_scale=0.1, scale=0.2}
  %rq = quantized.requantize(%q) {x_scale=0.1, scale=0.2}
  %qt = quantize_per_tensor(%x) {scale=0.02, zero_point=4}
  %dq = dequantize_per_tensor(%q) {scale=0.02, zero_point=4}
  %back = quantize_per_tensor(%dq) {scale=0.03, zero_point=4}
  %dyn = dynamic_quantize_dequantize(%x)
  %to = to(%q) {dtype=i64}
  return a=%a, d=%d, p=%p, r=%r, e=%e, g=%g, sm=%sm, sn=%sn, ln=%ln, mean=%mean, all=%all, last=%last, part=%part, qm=%qm, qa=%qa, qx=%qx, lu=%lu, rq=%rq, qt=%qt, back=%back, dyn=%dyn, to=%to
}"#,
    );
}

#[test]
fn movement() {
    holds(
        r#"graph g(%x: f32[2,S,3], %q: u8[2,S,3], %i: i64[S,2]) {
  param @table: f32[4,6]
  %c = cat(%x, %x) {dim=1}
  %full = pad(%x) {pads=[0,2,0,0,1,0]}
  %mixed = cat(%full, %x) {dim=1}
  %qf = pad(%q) {pads=[0,2,1,0,1,0], value=3.0}
  %qc = quantized.cat(%q, %q) {dim=1, scales=[0.1,0.2], zero_points=[0,1], scale=0.2, zero_point=1}
  %rows = gather(@table, %i) {dim=0}
  %p = permute(%x) {dims=[1,2,0]}
  %f = flatten(%x) {start_dim=1}
  %r = reshape(%x) {shape=[2,-1,3]}
  %u = unsqueeze(%x) {dims=[1]}
  %sq = squeeze(%u) {dims=[1]}
  %sl = slice(%full) {starts=[1], ends=[1], axes=[1]}
  %joined = cat(%sl, %full) {dim=1}
  %sp = split(%x) {sizes=[1,2], dim=2}
  %id = identity(%x)
  return c=%c, full=%full, mixed=%mixed, qf=%qf, qc=%qc, rows=%rows, p=%p, f=%f, r=%r, sq=%sq, joined=%joined, s0=%sp, s1=%sp:1, id=%id
}"#,
    );
}

#[test]
fn a_concatenation_of_convolutions_one_without_channels() {
    holds(
        r#"graph g(%x: u8[N,3,5,4]) {
  param @w1: i8[4,3,1,1]
  param @w0: i8[0,3,1,1]
  param @w2: i8[6,4,1,1]
  param @scale: f32[1]
  %a = quantized.conv2d(%x, @w1, @scale) {x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100}
  %b = quantized.conv2d(%x, @w0, @scale) {x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100}
  %cat = quantized.cat(%a, %b) {dim=1, scales=[0.2,0.2], zero_points=[100,100], scale=0.2, zero_point=100}
  %y = quantized.conv2d(%cat, @w2, @scale) {x_scale=0.2, x_zero_point=100, scale=0.4, zero_point=7}
  return y=%y
}"#,
    );
}

#[test]
fn recurrent_layers_of_no_steps() {
    holds(
        r#"graph g(%x: f32[S,2,5], %h0: f32[1,2,7]) {
  param @w: f32[1,28,5]
  param @r: f32[1,28,7]
  param @gw: f32[1,21,5]
  param @gr: f32[1,21,7]
  %a = lstm(%x, @w, @r, none, none, %h0) {hidden_size=7}
  %b = gru(%x, @gw, @gr) {hidden_size=7}
  return y=%a, h=%a:1, c=%a:2, gy=%b, gh=%b:1
}"#,
    );
}

#[test]
fn images_without_channels() {
    holds(
        r#"graph g(%x: f32[2,C,4,6], %v: f32[2,C,4,3,2], %q: u8[2,C,4,6]) {
  %m = max_pool2d(%x) {kernel_size=[2,2]}
  %a = avg_pool2d(%x) {kernel_size=[2,2]}
  %ad = adaptive_avg_pool2d(%x) {output_size=[2,3]}
  %m3 = max_pool3d(%v) {kernel_size=[2,1,2]}
  %a3 = avg_pool3d(%v) {kernel_size=[2,1,2]}
  %qa = quantized.avg_pool2d(%q) {kernel_size=[2,2], x_scale=0.1, scale=0.1}
  %qad = quantized.adaptive_avg_pool2d(%q) {output_size=[1,1], x_scale=0.1, scale=0.1}
  %in = instance_norm(%x)
  %near = interpolate(%x) {scale_factor=[2.0,1.5]}
  %bi = interpolate(%x) {size=[5,7], mode="bilinear"}
  %rms = rms_norm(%x)
  return m=%m, a=%a, ad=%ad, m3=%m3, a3=%a3, qa=%qa, qad=%qad, in=%in, near=%near, bi=%bi, rms=%rms
}"#,
    );
}

#[test]
fn operators_without_kernels() {
    holds(
        r#"graph g(%x: f32[2,S,3], %w: f32[4,5,S], %i: i64[2,5,S], %p: f32[S,8,2,3], %k: f32[2,S,4], %v: f32[2,S,6], %t: f32[2,5,4]) {
  param @g: f32[5]
  param @scale: f32[5]
  %bn = batch_norm(%w, @g, @g, @g, @scale)
  %gn = group_norm(%w) {num_groups=5}
  %cs = cumsum(%x) {dim=1}
  %ls = log_softmax(%x) {dim=1}
  %pr = prod(%x) {dims=[1]}
  %rp = repeat(%x) {repeats=[2,1,3]}
  %ge = gather_elements(%w, %i) {dim=0}
  %gr = greater(%x, %x)
  %no = not(%gr)
  %wh = where(%no, %x, %x)
  %rm = remainder(%x, %x)
  %ps = pixel_shuffle(%p) {upscale_factor=2}
  %ds = depth_to_space(%p) {block_size=2}
  %sh = shape(%x)
  %am = argmax(%x) {dim=2}
  %qc = quantize_per_channel(%w, @scale) {axis=1}
  %dc = dequantize_per_channel(%qc, @scale) {axis=1}
  %at = scaled_dot_product_attention(%t, %k, %v) {scale=0.5}
  return bn=%bn, gn=%gn, cs=%cs, ls=%ls, pr=%pr, rp=%rp, ge=%ge, wh=%wh, rm=%rm, ps=%ps, ds=%ds, sh=%sh, am=%am, dc=%dc, at=%at
}"#,
    );
}

#[test]
fn the_largest_of_nothing_is_an_error() {
    let mut random = Random(31);
    let g = graph("graph g(%x: f32[2,S,3]) {\n  %y = amax(%x) {dims=[1]}\n  return y=%y\n}", &mut random);
    let inputs = inputs(&g, 0, &mut random);
    let want = Interpreter::new(&g).run(&inputs).expect_err("no elements").to_string();
    let plan = Arc::new(plan(&g, &inputs, Isa::Portable, &WeightCache::new()));
    let mut executor = Executor::new(plan, Threads::default());
    let got = executor.run(&[inputs[0].1.clone()]).expect_err("no elements").to_string();
    assert!(want.contains("of no elements") && got.contains("of no elements"), "{want}\n{got}");
}
