//! Plans of layers beyond feed-forward convolution: pooling of every kind, recurrent layers, transposed convolution, single rows.
//! Every step has a kernel, every output the reference's bits.

use crate::common::tiers::tiers;
use crate::common::{Random, check, check_on, graph, no_reference, typed};

/// Holds the plans of a graph to the reference, and to have no reference step.
fn holds(seed: u64, sizes: &[usize], text: &str) {
    let mut random = Random(seed);
    let g = graph(text, &mut random);
    no_reference(&check(&g, sizes, &mut random));
}

#[test]
fn float_pools() {
    for (seed, channels) in [(1, 3), (2, 16), (3, 70)] {
        holds(
            seed,
            &[1, 3],
            &r#"graph g(%x: f32[N,CH,9,7], %l: f32[N,CH,11], %v: f32[N,CH,4,5,6]) {
  %m = max_pool2d(%x) {kernel_size=[3,2], stride=[2,1], padding=[1,1], dilation=[1,2], ceil_mode=true}
  %a = avg_pool2d(%x) {kernel_size=[3,3], stride=[2,2], padding=[1,1]}
  %ae = avg_pool2d(%x) {kernel_size=[3,2], padding=[1,0,0,1], count_include_pad=false, ceil_mode=true}
  %g = adaptive_avg_pool2d(%x) {output_size=[1,1]}
  %ad = adaptive_avg_pool2d(%x) {output_size=[4,3]}
  %m1 = max_pool1d(%l) {kernel_size=[3], stride=[2]}
  %a1 = avg_pool1d(%l) {kernel_size=[4], padding=[2], count_include_pad=false}
  %g1 = adaptive_avg_pool1d(%l) {output_size=[5]}
  %m3 = max_pool3d(%v) {kernel_size=[2,3,2], padding=[1,1,1]}
  %a3 = avg_pool3d(%v) {kernel_size=[3,2,2], stride=[1,2,2], padding=[1,0,1], count_include_pad=false}
  %g3 = adaptive_avg_pool3d(%v) {output_size=[2,3,1]}
  return m=%m, a=%a, ae=%ae, g=%g, ad=%ad, m1=%m1, a1=%a1, g1=%g1, m3=%m3, a3=%a3, g3=%g3
}"#
            .replace("CH", &channels.to_string()),
        );
    }
}

#[test]
fn quantized_pools_of_uneven_windows() {
    for (seed, dtype, zero) in [(4, "u8", 117), (5, "i8", -9)] {
        let text = r#"graph g(%x: DT[N,20,9,7], %s: DT[N,6,33]) {
  %a = quantized.avg_pool2d(%x) {kernel_size=[3,3], stride=[2,2], padding=[1,1], count_include_pad=false, x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %c = quantized.avg_pool2d(%x) {kernel_size=[2,2], stride=[2,2], ceil_mode=true, x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %ad = quantized.adaptive_avg_pool2d(%x) {output_size=[4,3], x_scale=0.03, x_zero_point=ZP, scale=0.017, zero_point=ZP, dtype=DT}
  %m = quantized.mean(%s) {dims=[1], x_scale=0.03, x_zero_point=ZP, scale=0.011, zero_point=ZP, dtype=DT}
  %ml = quantized.mean(%s) {dims=[-1], keepdim=true, x_scale=0.03, x_zero_point=ZP, scale=0.011, zero_point=ZP, dtype=DT}
  %mx = max_pool2d(%x) {kernel_size=[3,3], padding=[1,1]}
  return a=%a, c=%c, ad=%ad, m=%m, ml=%ml, mx=%mx
}"#;
        holds(seed, &[1, 3], &typed(text, dtype, zero));
    }
}

#[test]
fn reductions() {
    holds(
        6,
        &[1, 4],
        r#"graph g(%x: f32[N,5,6,37]) {
  %a = mean(%x) {dims=[2,3]}
  %b = mean(%x) {dims=[1], keepdim=true}
  %c = sum(%x) {dims=[-1]}
  %d = amax(%x) {dims=[1,2]}
  %e = amin(%x) {dims=[3,1], keepdim=true}
  %f = mean(%x)
  return a=%a, b=%b, c=%c, d=%d, e=%e, f=%f
}"#,
    );
    // There is no largest of an empty batch.
    let mut random = Random(16);
    let g = graph("graph g(%x: f32[N,5,6,37]) {\n  %y = amax(%x) {dims=[0,2]}\n  return y=%y\n}", &mut random);
    no_reference(&check_on(&g, &[1, 4], &mut random, &tiers()));
}

#[test]
fn functions_of_one_and_two() {
    holds(
        7,
        &[1, 3],
        r#"graph g(%x: f32[N,5,33], %z: f32[N,5,33]) {
  param @two: f32[] = [2.0]
  param @three: f32[] = [3.0]
  param @half: f32[] = [0.5]
  param @odd: f32[1] = [1.7]
  param @slope: f32[5,1]
  %p2 = pow(%x, @two)
  %p3 = pow(%x, @three)
  %ph = pow(%p2, @half)
  %po = pow(%p2, @odd)
  %pp = pow(%p2, %z)
  %max = maximum(%x, %z)
  %min = minimum(%x, %z)
  %pr = prelu(%x, @slope)
  %le = leaky_relu(%x) {negative_slope=0.2}
  %el = elu(%x) {alpha=0.7}
  %ce2 = celu(%x) {alpha=0.7}
  %th = threshold(%x) {threshold=0.3, value=-2.0}
  %mi = mish(%x)
  %sp = softplus(%x)
  %lo = log(%p2)
  %re = reciprocal(%x)
  %fl = floor(%x)
  %ce = ceil(%x)
  %ro = round(%x)
  %si = sin(%x)
  %co = cos(%x)
  %sg = sign(%x)
  %hs = hardsigmoid(%x) {alpha=0.2, beta=0.4}
  return p2=%p2, p3=%p3, ph=%ph, po=%po, pp=%pp, max=%max, min=%min, pr=%pr, le=%le, el=%el, ce2=%ce2, th=%th, mi=%mi, sp=%sp, lo=%lo, re=%re, fl=%fl, ce=%ce, ro=%ro, si=%si, co=%co, sg=%sg, hs=%hs
}"#,
    );
}

#[test]
fn padding_by_its_own_elements() {
    holds(
        8,
        &[1, 3],
        r#"graph g(%x: f32[N,4,9], %u: u8[N,5,6]) {
  %a = pad(%x) {pads=[0,0,3,0,0,2], mode="reflect"}
  %b = pad(%x) {pads=[0,2,0,0,1,0], mode="edge"}
  %c = pad(%u) {pads=[0,4,0,0,0,0], mode="reflect"}
  %d = pad(%u) {pads=[0,0,0,0,0,5], mode="edge"}
  return a=%a, b=%b, c=%c, d=%d
}"#,
    );
}

#[test]
fn lstms() {
    for (seed, direction, dirs, hidden) in [(9, "forward", 1, 7), (10, "reverse", 1, 70), (11, "bidirectional", 2, 16)]
    {
        let text =
            r#"graph g(%x: f32[6,N,5], %h0: f32[DD,N,HH], %c0: f32[DD,N,HH], %f: f32[N,6,5], %fh: f32[N,DD,HH]) {
  param @w: f32[DD,GG,5]
  param @r: f32[DD,GG,HH]
  param @b: f32[DD,BB]
  param @p: f32[DD,PP]
  %a = lstm(%x, @w, @r, @b, none, %h0, %c0, @p) {hidden_size=HH, direction="DIR"}
  %b = lstm(%x, @w, @r) {hidden_size=HH, direction="DIR"}
  %c = lstm(%f, @w, @r, @b, none, %fh) {hidden_size=HH, direction="DIR", layout=1}
  return ay=%a, ah=%a:1, ac=%a:2, bc=%b:2, cy=%c, ch=%c:1, cc=%c:2
}"#
            .replace("DIR", direction)
            .replace("DD", &dirs.to_string())
            .replace("HH", &hidden.to_string())
            .replace("GG", &(4 * hidden).to_string())
            .replace("BB", &(8 * hidden).to_string())
            .replace("PP", &(3 * hidden).to_string());
        holds(seed, &[1, 3], &text);
    }
}

#[test]
fn grus() {
    for (seed, direction, dirs, hidden) in [(12, "forward", 1, 9), (13, "bidirectional", 2, 65)] {
        let text = r#"graph g(%x: f32[4,N,6], %h0: f32[DD,N,HH], %f: f32[N,4,6]) {
  param @w: f32[DD,GG,6]
  param @r: f32[DD,GG,HH]
  param @b: f32[DD,BB]
  %a = gru(%x, @w, @r, @b, none, %h0) {hidden_size=HH, direction="DIR"}
  %b = gru(%x, @w, @r, @b) {hidden_size=HH, direction="DIR", linear_before_reset=true}
  %c = gru(%f, @w, @r) {hidden_size=HH, direction="DIR", layout=1}
  return ay=%a, ah=%a:1, by=%b, bh=%b:1, cy=%c, ch=%c:1
}"#
        .replace("DIR", direction)
        .replace("DD", &dirs.to_string())
        .replace("HH", &hidden.to_string())
        .replace("GG", &(3 * hidden).to_string())
        .replace("BB", &(6 * hidden).to_string());
        holds(seed, &[1, 3], &text);
    }
}

#[test]
fn sequences_of_several_lengths() {
    holds(
        14,
        &[3],
        r#"graph g(%x: f32[5,3,4]) {
  param @w: f32[2,24,4]
  param @r: f32[2,24,6]
  param @gw: f32[2,18,4]
  param @gr: f32[2,18,6]
  param @lens: i64[3] = [5, 2, 0]
  %a = lstm(%x, @w, @r, none, @lens) {hidden_size=6, direction="bidirectional"}
  %b = gru(%x, @gw, @gr, none, @lens) {hidden_size=6, direction="bidirectional"}
  return ay=%a, ah=%a:1, ac=%a:2, by=%b, bh=%b:1
}"#,
    );
}

#[test]
fn transposed_convolutions() {
    holds(
        15,
        &[1, 3],
        r#"graph g(%x: f32[N,6,5,4], %l: f32[N,4,7], %v: f32[N,4,3,4,2]) {
  param @w: f32[6,10,3,2]
  param @b: f32[10]
  param @wg: f32[6,5,2,3]
  param @w1: f32[4,3,4]
  param @w3: f32[4,1,2,2,3]
  %a = conv_transpose2d(%x, @w, @b) {stride=[2,1], padding=[1,0], output_padding=[1,0]}
  %g = conv_transpose2d(%x, @wg) {stride=[2,3], dilation=[2,1], groups=3}
  %c = conv_transpose1d(%l, @w1) {stride=[2], padding=[1]}
  %d = conv_transpose3d(%v, @w3) {stride=[1,2,2], padding=[0,1,0], groups=2}
  return a=%a, g=%g, c=%c, d=%d
}"#,
    );
}

#[test]
fn volumes() {
    holds(
        16,
        &[1, 2],
        r#"graph g(%v: f32[N,4,5,6,4]) {
  param @w: f32[6,4,3,3,2]
  param @b: f32[6]
  param @wd: f32[4,1,2,3,3]
  %a = conv3d(%v, @w, @b) {stride=[2,1,1], padding=[1,1,0]}
  %d = conv3d(%v, @wd) {padding=[0,1,1], groups=4}
  return a=%a, d=%d
}"#,
    );
}

#[test]
fn one_row() {
    holds(
        17,
        &[1, 2],
        r#"graph g(%x: f32[N,1100], %k: f32[7,300]) {
  param @w: f32[700,1100]
  param @b: f32[700]
  param @m: f32[1100,130]
  param @narrow: f32[3,1100]
  %y = linear(%x, @w, @b)
  %m = matmul(%x, @m)
  %n = linear(%x, @narrow)
  %s = slice(%k) {starts=[0], ends=[1], axes=[0]}
  %t = permute(%k) {dims=[1,0]}
  %p = matmul(%s, %t)
  %q = matmul(%k, %t)
  return y=%y, m=%m, n=%n, p=%p, q=%q
}"#,
    );
}

#[test]
fn quantized_transposed_convolutions_and_volumes() {
    for (seed, dtype, zero) in [(18, "u8", 117), (19, "i8", -9)] {
        let text = r#"graph g(%x: DT[N,6,5,4], %l: DT[N,4,7], %v: DT[N,4,5,6,4], %res: DT[N,6,3,6,5]) {
  param @w: i8[6,10,3,2]
  param @w.scale: f32[10]
  param @b: f32[10]
  param @wg: i8[6,5,2,3]
  param @wg.scale: f32[5]
  param @bg: f32[15]
  param @w1: i8[4,3,4]
  param @one.scale: f32[1]
  param @v3: i8[6,4,3,3,2]
  param @v3.scale: f32[6]
  param @vb: f32[6]
  param @vd: i8[4,1,2,3,3]
  param @t3: i8[4,3,3,2,2]
  param @t3.scale: f32[3]
  param @tb: f32[6]
  param @td: i8[4,1,2,3,3]
  param @tf: i8[4,5,1,1,2]
  %a = quantized.conv_transpose2d(%x, @w, @w.scale, @b) {stride=[2,1], padding=[1,0], output_padding=[1,0], x_scale=0.02, x_zero_point=ZP, scale=0.2, zero_point=ZP, dtype=DT, activation_min=0.0}
  %g = quantized.conv_transpose2d(%x, @wg, @wg.scale, @bg) {stride=[2,3], dilation=[2,1], groups=3, x_scale=0.02, x_zero_point=ZP, dtype=f32}
  %c = quantized.conv_transpose1d(%l, @w1, @one.scale) {stride=[1], padding=[1], x_scale=0.02, x_zero_point=ZP, scale=0.1, zero_point=ZP, dtype=DT}
  %d = quantized.conv3d(%v, @v3, @v3.scale, @vb, %res) {stride=[2,1,1], padding=[1,1,1], x_scale=0.02, x_zero_point=ZP, residual_scale=0.1, residual_zero_point=ZP, scale=0.2, zero_point=ZP, dtype=DT}
  %e = quantized.conv3d(%v, @vd, @one.scale) {padding=[0,1,1], groups=4, x_scale=0.02, x_zero_point=ZP, scale=0.2, zero_point=ZP, dtype=DT}
  %t = quantized.conv_transpose3d(%v, @t3, @t3.scale, @tb) {stride=[2,1,3], padding=[1,0,1], output_padding=[1,0,2], dilation=[2,1,1], groups=2, x_scale=0.02, x_zero_point=ZP, scale=0.2, zero_point=ZP, dtype=DT, activation_min=0.0}
  %td = quantized.conv_transpose3d(%v, @td, @one.scale) {padding=[2,1,0], groups=4, x_scale=0.02, x_zero_point=ZP, dtype=f32}
  %tf = quantized.conv_transpose3d(%v, @tf, @one.scale) {stride=[3,2,1], padding=[2,0,0], x_scale=0.02, x_zero_point=ZP, scale=0.2, zero_point=ZP, dtype=DT}
  return a=%a, g=%g, c=%c, d=%d, e=%e, t=%t, td=%td, tf=%tf
}"#;
        holds(seed, &[1, 3], &typed(text, dtype, zero));
    }
}

#[test]
fn one_row_of_codes() {
    let mut random = Random(20);
    let g = graph(
        r#"graph g(%x: u8[N,1100], %f: f32[N,1100], %r: u8[N,1010]) {
  param @w: i8[1010,1100]
  param @w.scale: f32[1010]
  param @b: f32[1010]
  param @m: u8[1100,70]
  %q = quantized.linear(%x, @w, @w.scale, @b, %r) {x_scale=0.02, x_zero_point=128, residual_scale=0.1, residual_zero_point=7, scale=0.5, zero_point=100}
  %y = quantized.linear(%x, @w, @w.scale, @b) {x_scale=0.02, x_zero_point=128, dtype=f32}
  %d = quantized.linear_dynamic(%f, @w, @w.scale, @b)
  %p = quantized.matmul(%x, @m) {a_scale=0.02, a_zero_point=128, b_scale=0.01, b_zero_point=131, scale=0.3, zero_point=9}
  return q=%q, y=%y, d=%d, p=%p
}"#,
        &mut random,
    );
    no_reference(&check(&g, &[1, 2], &mut random));
}

/// A q/dq graph that moves dequantized values: what the rewrite rules leave where a value has other users, or a call other results.
#[test]
fn dequantized_values_that_move() {
    let mut random = Random(21);
    let g = graph(
        r#"graph g(%x: u8[N,6,8]) {
  param @w: i8[5,16]
  param @w.scale: f32[5]
  param @b: f32[5]
  param @k: i8[7,6,1]
  %dx = dequantize_per_tensor(%x) {scale=0.02, zero_point=120}
  %sp = split(%dx) {sizes=[2,6], dim=2}
  %q0 = quantize_per_tensor(%sp) {scale=0.03, zero_point=3}
  %q1 = quantize_per_tensor(%sp:1) {scale=0.02, zero_point=120}
  %pd = pad(%dx) {pads=[0,0,1,0,0,2]}
  %qp = quantize_per_tensor(%pd) {scale=0.05, zero_point=-7, dtype=i8}
  %pr = pad(%dx) {pads=[0,0,2,0,0,3], mode="reflect"}
  %qr = quantize_per_tensor(%pr) {scale=0.02, zero_point=120}
  %u = unsqueeze(%dx) {dims=[1]}
  %c = cat(%u, %u) {dim=1}
  %t = permute(%c) {dims=[0,2,1,3]}
  %f = reshape(%t) {shape=[0,6,16]}
  %wd = dequantize_per_channel(@w, @w.scale) {axis=0}
  %l = linear(%f, %wd, @b)
  %s = sigmoid(%l)
  %kd = dequantize_per_tensor(@k) {scale=0.01}
  %cv = conv1d(%dx, %kd)
  %cp = permute(%cv) {dims=[0,2,1]}
  %e = add(%u, %u)
  return q0=%q0, q1=%q1, qp=%qp, qr=%qr, f=%f, s=%s, cp=%cp, e=%e
}"#,
        &mut random,
    );
    no_reference(&check(&g, &[1, 3], &mut random));
}

/// Values of different parameters joined: no codes stand for the result.
#[test]
fn dequantized_values_of_two_kinds() {
    let mut random = Random(22);
    let g = graph(
        r#"graph g(%x: u8[N,6,8], %z: i8[N,6,8]) {
  %dx = dequantize_per_tensor(%x) {scale=0.02, zero_point=120}
  %dz = dequantize_per_tensor(%z) {scale=0.02, zero_point=120}
  %m = cat(%dx, %dz) {dim=1}
  %q = quantize_per_tensor(%m) {scale=0.03, zero_point=9}
  return m=%m, q=%q
}"#,
        &mut random,
    );
    check(&g, &[1, 3], &mut random);
}

#[test]
fn conversions() {
    holds(
        23,
        &[1, 3],
        r#"graph g(%i: i64[N,5], %j: i32[N,5], %b: bool[N,5], %u: u8[N,5], %h: f16[N,5], %w: f32[N,5]) {
  param @half: f16[5]
  %a = to(%i) {dtype=f32}
  %c = to(%j) {dtype=f32}
  %d = to(%b) {dtype=f32}
  %e = to(%u) {dtype=f32}
  %f = to(%i) {dtype=i32}
  %g = to(%j) {dtype=i64}
  %k = to(%h) {dtype=f32}
  %l = to(%w) {dtype=f16}
  %wide = to(@half) {dtype=f32}
  %m = mul(%w, %wide)
  return a=%a, c=%c, d=%d, e=%e, f=%f, g=%g, k=%k, l=%l, m=%m
}"#,
    );
}

#[test]
fn quantized_averages_of_one_and_three_dimensions() {
    for (seed, dtype, zero) in [(24, "u8", 117), (25, "i8", -9)] {
        let text = r#"graph g(%l: DT[N,5,11], %v: DT[N,5,4,6,5]) {
  %a1 = quantized.avg_pool1d(%l) {kernel_size=[3], stride=[2], padding=[1], x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %g1 = quantized.adaptive_avg_pool1d(%l) {output_size=[4], x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %a3 = quantized.avg_pool3d(%v) {kernel_size=[2,3,2], stride=[1,2,2], padding=[1,1,0], count_include_pad=false, x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %g3 = quantized.adaptive_avg_pool3d(%v) {output_size=[2,4,1], x_scale=0.03, x_zero_point=ZP, scale=0.017, zero_point=ZP, dtype=DT}
  return a1=%a1, g1=%g1, a3=%a3, g3=%g3
}"#;
        holds(seed, &[1, 3], &typed(text, dtype, zero));
    }
}

#[test]
fn quantized_norms_of_own_statistics() {
    for (seed, dtype, zero) in [(26, "u8", 117), (27, "i8", -9)] {
        let text = r#"graph g(%x: DT[N,6,5,7], %r: DT[N,3,70]) {
  param @g: f32[6]
  param @b: f32[6]
  param @lg: f32[70]
  param @lb: f32[70]
  param @pg: f32[3,70]
  %i = quantized.instance_norm(%x, @g, @b) {x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %j = quantized.instance_norm(%x) {eps=0.01, x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %p = quantized.group_norm(%x, @g, @b) {num_groups=2, x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %q = quantized.group_norm(%x, @g) {num_groups=6, x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %l = quantized.layer_norm(%r, @lg, @lb) {x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT, quant_max=120}
  %m = quantized.layer_norm(%r, @pg) {axis=-2, x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  return i=%i, j=%j, p=%p, q=%q, l=%l, m=%m
}"#;
        holds(seed, &[1, 3], &typed(text, dtype, zero));
    }
}

#[test]
fn resampled_codes() {
    for (seed, dtype, zero) in [(28, "u8", 117), (29, "i8", -9)] {
        let text = r#"graph g(%l: DT[N,3,7], %x: DT[N,70,5,4], %v: DT[N,3,3,4,5], %f: f32[N,3,5,4]) {
  %a = quantized.interpolate(%l) {size=[11], mode="linear", x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %b = quantized.interpolate(%x) {scale_factor=[2.0,1.5], mode="bilinear", x_scale=0.03, x_zero_point=ZP, scale=0.03, zero_point=ZP, dtype=DT}
  %c = quantized.interpolate(%x) {size=[3,9], mode="bilinear", coordinates="align_corners", x_scale=0.03, x_zero_point=ZP, scale=0.03, zero_point=ZP, dtype=DT}
  %d = quantized.interpolate(%v) {size=[5,4,7], mode="trilinear", x_scale=0.03, x_zero_point=ZP, scale=0.021, zero_point=ZP, dtype=DT}
  %na = interpolate(%l) {size=[11]}
  %nb = interpolate(%x) {scale_factor=[2.0,3.0]}
  %nc = interpolate(%v) {size=[5,2,7], coordinates="half_pixel", rounding="round_prefer_floor"}
  %nf = interpolate(%f) {size=[7,7]}
  return a=%a, b=%b, c=%c, d=%d, na=%na, nb=%nb, nc=%nc, nf=%nf
}"#;
        holds(seed, &[1, 3], &typed(text, dtype, zero));
    }
}
