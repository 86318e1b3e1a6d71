//! Plans of fused quantized graphs: every step has a kernel, every output the reference's bits.

use crate::common::{Random, check, graph, no_reference, typed};
use quantc_tensor::Tensor;

#[test]
fn residual_network() {
    let mut random = Random(10);
    for (dtype, zero) in [("u8", 3), ("i8", -125)] {
        let text = r#"graph g(%x: f32[N,3,13,11]) {
  param @w1: i8[20,3,3,3]
  param @w1.scale: f32[20]
  param @b1: f32[20]
  param @w2: i8[20,20,3,3]
  param @w2.scale: f32[20]
  param @w3: i8[20,1,3,3]
  param @w3.scale: f32[1]
  param @b3: f32[20]
  param @w4: i8[20,5,1,1]
  param @w4.scale: f32[20]
  param @fc: i8[10,20]
  param @fc.scale: f32[10]
  param @fcb: f32[10]
  %q = quantize_per_tensor(%x) {scale=0.023, zero_point=ZP, dtype=DT}
  %c1 = quantized.conv2d(%q, @w1, @w1.scale, @b1) {stride=[2,2], padding=[1,1], x_scale=0.023, x_zero_point=ZP, scale=0.2, zero_point=ZP, dtype=DT, activation_min=0.0, activation_max=6.0}
  %m = max_pool2d(%c1) {kernel_size=[3,3], stride=[1,1], padding=[1,1]}
  %c2 = quantized.conv2d(%m, @w2, @w2.scale, none, %c1) {padding=[1,1], x_scale=0.2, x_zero_point=ZP, residual_scale=0.2, residual_zero_point=ZP, scale=0.31, zero_point=ZP, dtype=DT, activation_min=0.0}
  %c3 = quantized.conv2d(%c2, @w3, @w3.scale, @b3) {padding=[1,1], groups=20, x_scale=0.31, x_zero_point=ZP, scale=0.25, zero_point=ZP, dtype=DT}
  %l = quantized.lookup(%c3) {function="hardswish", x_scale=0.25, x_zero_point=ZP, scale=0.11, zero_point=ZP, dtype=DT}
  %c4 = quantized.conv2d(%l, @w4, @w4.scale) {groups=4, x_scale=0.11, x_zero_point=ZP, scale=0.17, zero_point=ZP, dtype=DT}
  %a = quantized.add(%c4, %c3) {a_scale=0.17, a_zero_point=ZP, b_scale=0.25, b_zero_point=ZP, scale=0.3, zero_point=ZP, dtype=DT, activation_min=0.0}
  %s = quantized.sub(%a, %c3) {a_scale=0.3, a_zero_point=ZP, b_scale=0.25, b_zero_point=ZP, scale=0.3, zero_point=ZP, dtype=DT}
  %p = quantized.adaptive_avg_pool2d(%s) {output_size=[1,1], x_scale=0.3, x_zero_point=ZP, scale=0.05, zero_point=ZP, dtype=DT}
  %g = quantized.mul(%a, %p) {a_scale=0.3, a_zero_point=ZP, b_scale=0.05, b_zero_point=ZP, scale=0.07, zero_point=ZP, dtype=DT}
  %ap = quantized.avg_pool2d(%g) {kernel_size=[2,2], x_scale=0.07, x_zero_point=ZP, scale=0.05, zero_point=ZP, dtype=DT}
  %mean = quantized.mean(%ap) {dims=[2,3], x_scale=0.05, x_zero_point=ZP, scale=0.04, zero_point=ZP, dtype=DT}
  %y = quantized.linear(%mean, @fc, @fc.scale, @fcb) {x_scale=0.04, x_zero_point=ZP, dtype=f32}
  %d = dequantize_per_tensor(%ap) {scale=0.05, zero_point=ZP}
  return y=%y, d=%d, a=%a
}"#;
        let g = graph(&typed(text, dtype, zero), &mut random);
        let steps = check(&g, &[1, 2, 5], &mut random);
        no_reference(&steps);
        let permutes = steps.iter().filter(|s| s.op == "permute").count();
        assert_eq!(permutes, 1, "only the output `a` changes its order");
    }
}

#[test]
fn concatenations_are_written_in_place() {
    let mut random = Random(11);
    let g = graph(
        r#"graph g(%x: f32[N,16,6,6]) {
  param @w1: i8[8,16,1,1]
  param @w2: i8[12,16,3,3]
  param @w3: i8[4,28,1,1]
  param @scale: f32[1]
  %q = quantize_per_tensor(%x) {scale=0.02, zero_point=128}
  %e1 = quantized.conv2d(%q, @w1, @scale) {x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100}
  %e3 = quantized.conv2d(%q, @w2, @scale) {padding=[1,1], x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100}
  %e4 = quantized.conv2d(%q, @w1, @scale) {x_scale=0.02, x_zero_point=128, scale=0.1, zero_point=90}
  %cat = quantized.cat(%e1, %e3, %e4) {dim=1, scales=[0.2,0.2,0.1], zero_points=[100,100,90], scale=0.2, zero_point=100}
  %y = quantized.conv2d(%cat, @w3, @scale) {x_scale=0.2, x_zero_point=100, scale=0.4, zero_point=7}
  %plain = cat(%e4, %e4) {dim=0}
  return y=%y, plain=%plain
}"#,
        &mut random,
    );
    let steps = check(&g, &[1, 3], &mut random);
    no_reference(&steps);
    let of_cat = steps.iter().filter(|s| s.node == "cat").count();
    assert_eq!(of_cat, 1, "only the input of another scale is moved: {steps:#?}");
}

/// Pieces that a convolution, a pooling, an elementwise operator and a linear layer compute are nowhere but in the concatenation.
#[test]
fn concatenations_of_a_network_take_no_step() {
    let mut random = Random(20);
    let qparams = "scale=0.2, zero_point=100";
    let text = r#"graph g(%x: u8[N,16,7,6], %u: u8[N,9], %s: u8[N,5,9], %f: f32[N,3,4]) {
  param @squeeze: i8[6,16,1,1]
  param @e1: i8[8,6,1,1]
  param @e3: i8[8,6,3,3]
  param @dw: i8[16,1,3,3]
  param @fc: i8[4,9]
  param @scale: f32[1]
  %s1 = quantized.conv2d(%x, @squeeze, @scale) {x_scale=0.02, x_zero_point=128, QP, activation_min=0.0}
  %e1 = quantized.conv2d(%s1, @e1, @scale) {x_scale=0.2, x_zero_point=100, QP, activation_min=0.0}
  %e3 = quantized.conv2d(%s1, @e3, @scale) {padding=[1,1], x_scale=0.2, x_zero_point=100, QP, activation_min=0.0}
  %fire = quantized.cat(%e1, %e3) {dim=1, scales=[0.2,0.2], zero_points=[100,100], QP}
  %pool = max_pool2d(%fire) {kernel_size=[3,3], stride=[1,1], padding=[1,1]}
  %dw = quantized.conv2d(%fire, @dw, @scale) {padding=[1,1], groups=16, x_scale=0.2, x_zero_point=100, QP}
  %sum = quantized.add(%x, %fire) {a_scale=0.02, a_zero_point=128, b_scale=0.2, b_zero_point=100, QP}
  %table = quantized.lookup(%x) {function="hardswish", x_scale=0.02, x_zero_point=128, QP}
  %wide = quantized.cat(%pool, %sum, %dw, %table) {dim=1, scales=[0.2,0.2,0.2,0.2], zero_points=[100,100,100,100], QP}
  %y = max_pool2d(%wide) {kernel_size=[2,2], stride=[2,2]}
  %l1 = quantized.linear(%u, @fc, @scale) {x_scale=0.02, x_zero_point=128, QP}
  %l2 = quantized.lookup(%u) {function="tanh", x_scale=0.02, x_zero_point=128, QP}
  %flat = quantized.cat(%l1, %l2) {dim=1, scales=[0.2,0.2], zero_points=[100,100], QP}
  %l3 = quantized.linear(%s, @fc, @scale) {x_scale=0.02, x_zero_point=128, QP}
  %l4 = quantized.linear(%s, @fc, @scale) {x_scale=0.02, x_zero_point=128, QP, activation_min=0.0}
  %rows = quantized.cat(%l3, %l4) {dim=-1, scales=[0.2,0.2], zero_points=[100,100], QP}
  %f1 = tanh(%f)
  %f2 = add(%f, %f)
  %real = cat(%f1, %f2) {dim=2}
  return y=%y, flat=%flat, rows=%rows, real=%real
}"#;
    let g = graph(&text.replace("QP", qparams), &mut random);
    let steps = check(&g, &[1, 3], &mut random);
    no_reference(&steps);
    let moved: Vec<&str> = steps.iter().filter(|s| s.op.ends_with("cat")).map(|s| s.node.as_str()).collect();
    assert!(moved.is_empty(), "{moved:?} take a step: {steps:#?}");
}

#[test]
fn one_dimensional() {
    let mut random = Random(12);
    let g = graph(
        r#"graph g(%x: u8[N,3,20]) {
  param @w1: i8[8,3,5]
  param @w2: i8[8,1,3]
  param @scale: f32[1]
  %c1 = quantized.conv1d(%x, @w1, @scale) {stride=[2], padding=[2], x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100, activation_min=-3.0}
  %c2 = quantized.conv1d(%c1, @w2, @scale) {padding=[2,0], groups=8, x_scale=0.2, x_zero_point=100, scale=0.2, zero_point=100}
  %m = max_pool1d(%c2) {kernel_size=[2]}
  %f = flatten(%m)
  return f=%f
}"#,
        &mut random,
    );
    no_reference(&check(&g, &[1, 3], &mut random));
}

#[test]
fn functions_of_layers() {
    let mut random = Random(19);
    for (dtype, zero) in [("u8", 3), ("i8", -125)] {
        let text = r#"graph g(%x: f32[N,3,13,11]) {
  param @w1: i8[20,3,3,3]
  param @w1.scale: f32[20]
  param @b1: f32[20]
  param @w2: i8[20,1,3,3]
  param @w3: i8[20,5,2,2]
  param @w4: i8[7,20,1,1]
  param @one: f32[1]
  param @fc: i8[4,7]
  %q = quantize_per_tensor(%x) {scale=0.023, zero_point=ZP, dtype=DT}
  %c1 = quantized.conv2d(%q, @w1, @w1.scale, @b1) {stride=[2,2], padding=[1,1], x_scale=0.023, x_zero_point=ZP, scale=0.2, zero_point=ZP, dtype=DT, function="hardswish"}
  %c2 = quantized.conv2d(%c1, @w2, @w1.scale) {padding=[1,1], groups=20, x_scale=0.2, x_zero_point=ZP, scale=0.25, zero_point=ZP, dtype=DT, activation_max=1.5, function="leaky_relu", negative_slope=0.2}
  %c3 = quantized.conv_transpose2d(%c2, @w3, @one) {groups=4, x_scale=0.25, x_zero_point=ZP, scale=0.17, zero_point=ZP, dtype=DT, function="elu", alpha=0.7}
  %c4 = quantized.conv2d(%c3, @w4, @one) {x_scale=0.17, x_zero_point=ZP, scale=0.03, zero_point=ZP, dtype=DT, function="mish"}
  %mean = quantized.mean(%c4) {dims=[2,3], x_scale=0.03, x_zero_point=ZP, scale=0.04, zero_point=ZP, dtype=DT}
  %y = quantized.linear(%mean, @fc, @one) {x_scale=0.04, x_zero_point=ZP, scale=0.01, zero_point=ZP, dtype=DT, quant_max=100, function="gelu", approximate="tanh"}
  return y=%y, c=%c3
}"#;
        let g = graph(&typed(text, dtype, zero), &mut random);
        no_reference(&check(&g, &[1, 2, 5], &mut random));
    }
    // A layer of one row that is large enough to be cut for threads.
    let text = r#"graph g(%x: u8[1,300]) {
  param @w: i8[4000,300]
  param @scale: f32[1]
  %y = quantized.linear(%x, @w, @scale) {x_scale=0.04, x_zero_point=9, scale=0.01, zero_point=128, function="tanh"}
  return y=%y
}"#;
    no_reference(&check(&graph(text, &mut random), &[1], &mut random));
}

#[test]
fn quantized_attention() {
    let mut random = Random(13);
    let g = graph(
        r#"graph g(%x: u8[B,6,8]) {
  param @wq: i8[8,8]
  param @wk: i8[8,8]
  param @wv: i8[8,8]
  param @scale: f32[8]
  param @b: f32[8]
  %q = quantized.linear(%x, @wq, @scale, @b) {x_scale=0.02, x_zero_point=128, scale=0.1, zero_point=128}
  %k = quantized.linear(%x, @wk, @scale) {x_scale=0.02, x_zero_point=128, scale=0.1, zero_point=-5, dtype=i8}
  %v = quantized.linear(%x, @wv, @scale) {x_scale=0.02, x_zero_point=128, scale=0.1, zero_point=128}
  %q4 = reshape(%q) {shape=[0,0,2,4]}
  %k4 = reshape(%k) {shape=[0,0,2,4]}
  %v4 = reshape(%v) {shape=[0,0,2,4]}
  %qh = permute(%q4) {dims=[0,2,1,3]}
  %kh = permute(%k4) {dims=[0,2,3,1]}
  %vh = permute(%v4) {dims=[0,2,1,3]}
  %s = quantized.matmul(%qh, %kh) {a_scale=0.1, a_zero_point=128, b_scale=0.1, b_zero_point=-5, dtype=f32}
  %p = sigmoid(%s)
  %pq = quantize_per_tensor(%p) {scale=0.004}
  %o = quantized.matmul(%pq, %vh) {a_scale=0.004, b_scale=0.1, b_zero_point=128, scale=0.1, zero_point=128}
  %t = permute(%o) {dims=[0,2,1,3]}
  %y = reshape(%t) {shape=[0,0,8]}
  return y=%y, p=%p
}"#,
        &mut random,
    );
    let steps = check(&g, &[1, 3], &mut random);
    no_reference(&steps);
    assert!(steps.iter().all(|s| s.op != "permute"), "every operand is read where it lies: {steps:#?}");
}

#[test]
fn dynamic_linear() {
    let mut random = Random(14);
    let g = graph(
        r#"graph g(%x: f32[B,7,24]) {
  param @w1: i8[24,24]
  param @w2: i8[10,24]
  param @scale: f32[24]
  param @one.scale: f32[1]
  param @b: f32[24]
  %a = quantized.linear_dynamic(%x, @w1, @scale, @b)
  %b = quantized.linear_dynamic(%x, @w2, @one.scale) {activation_min=0.0}
  %c = quantized.linear_dynamic(%x, @w1, @scale) {reduce_range=true}
  %d = add(%a, %c)
  return a=%a, b=%b, d=%d
}"#,
        &mut random,
    );
    let steps = check(&g, &[1, 3], &mut random);
    no_reference(&steps);
    assert_eq!(steps.iter().filter(|s| s.kernel.starts_with("quantize")).count(), 2, "two layers share a quantization");
}

#[test]
fn sums_are_quantized_and_used_as_reals() {
    let mut random = Random(15);
    // Half of the sums lie in the middle between two codes, where quantizing the real value goes astray.
    let (x, w) = (0.0171f32, 0.0133f32);
    let (layer, product) = (2.0 * (x * w), 2.0 * (x * x));
    let text = r#"graph g(%x: u8[N,5,6,7], %t: u8[N,4,6], %u: u8[N,3,9]) {
  param @w1: i8[7,5,3,3]
  param @w1.s: f32[7] = [W, W, W, W, W, W, W]
  param @b1: f32[7]
  param @w2: i8[3,6]
  param @w2.s: f32[1] = [W]
  param @w3: i8[3,1,2]
  param @w3.s: f32[3] = [W, W, W]
  %conv = quantized.conv2d(%x, @w1, @w1.s, @b1) {padding=[1,1], stride=[1,2], x_scale=X, x_zero_point=128, dtype=f32}
  %relu = relu(%conv)
  %low = clamp(%relu) {min=-1.0, max=2.5}
  %q1 = quantize_per_tensor(%relu) {scale=LAYER, zero_point=5}
  %q2 = quantize_per_tensor(%low) {scale=LAYER, zero_point=-100, dtype=i8}
  %q3 = quantize_per_tensor(%conv) {scale=LAYER, zero_point=128, quant_min=3, quant_max=200}
  %gate = sigmoid(%conv)
  %sum = add(%relu, %gate)
  %linear = quantized.linear(%t, @w2, @w2.s) {x_scale=X, x_zero_point=100, dtype=f32, activation_min=0.0, activation_max=6.0}
  %q4 = quantize_per_tensor(%linear) {scale=LAYER}
  %t4 = permute(%t) {dims=[0,2,1]}
  %product = quantized.matmul(%t, %t4) {a_scale=X, a_zero_point=100, b_scale=X, b_zero_point=100, dtype=f32}
  %q5 = quantize_per_tensor(%product) {scale=PRODUCT, zero_point=120}
  %depthwise = quantized.conv1d(%u, @w3, @w3.s) {groups=3, x_scale=X, x_zero_point=7, dtype=f32}
  %kept = identity(%depthwise)
  %q6 = quantize_per_tensor(%kept) {scale=LAYER, zero_point=40}
  %tanh = tanh(%depthwise)
  return q1=%q1, q2=%q2, q3=%q3, sum=%sum, low=%low, q4=%q4, linear=%linear, q5=%q5, product=%product, q6=%q6, tanh=%tanh
}"#;
    // Codes near the zero points and small weights, so that few results are beyond the range.
    let numbers = [("LAYER", layer), ("PRODUCT", product), ("W", w), ("X", x)];
    let text = numbers.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("={name}"), &format!("={value:?}"))
            .replace(&format!("{name},"), &format!("{value:?},"))
            .replace(&format!("{name}]"), &format!("{value:?}]"))
    });
    let mut g = graph(&text, &mut random);
    for name in ["w1", "w2", "w3"] {
        let value = g.params()[name].value.clone().expect("drawn");
        let small = value.slice::<i8>().expect("i8").iter().map(|v| v % 2).collect();
        g.set_param(name, Tensor::from_vec(value.shape(), small).expect("as many"));
    }
    no_reference(&check(&g, &[1, 3], &mut random));
}

#[test]
fn batch_norm_alone() {
    for (seed, dtype, zero) in [(16, "u8", 117), (17, "i8", -9)] {
        let mut random = Random(seed);
        let text = r#"graph g(%x: DT[N,70,5,3], %y: DT[N,3,7], %z: DT[N,9], %v: DT[N,2,3,4,5]) {
  param @g: f32[70]
  param @b: f32[70]
  param @m: f32[70]
  param @v: f32[70] = [VAR70]
  param @g3: f32[3]
  param @v3: f32[3] = [0.5, 2.0, 0.25]
  param @g9: f32[9]
  param @v9: f32[9] = [VAR9]
  param @g2: f32[2]
  param @v2: f32[2] = [1.5, 0.3]
  %a = quantized.batch_norm(%x, @g, @b, @m, @v) {eps=0.001, x_scale=0.05, x_zero_point=ZP, scale=0.031, zero_point=ZP, dtype=DT, quant_min=ZP}
  %p = max_pool2d(%a) {kernel_size=[2,2]}
  %c = quantized.batch_norm(%y, @g3, @g3, @v3, @v3) {x_scale=0.05, x_zero_point=ZP, scale=0.004, zero_point=3, dtype=u8}
  %d = quantized.batch_norm(%z, @g9, @g9, @g9, @v9) {x_scale=0.05, x_zero_point=ZP, scale=0.02, zero_point=3, dtype=i8}
  %e = quantized.batch_norm(%v, @g2, @g2, @g2, @v2) {x_scale=0.05, x_zero_point=ZP, scale=0.02, zero_point=ZP, dtype=DT}
  return p=%p, c=%c, d=%d, e=%e
}"#;
        let var = |n: usize| (0..n).map(|i| format!("{:?}", 0.2 + 0.1 * i as f32)).collect::<Vec<_>>().join(", ");
        let text = text.replace("VAR70", &var(70)).replace("VAR9", &var(9));
        let g = graph(&typed(&text, dtype, zero), &mut random);
        no_reference(&check(&g, &[1, 3, 64], &mut random));
    }
}

/// A residual that is broadcast is repeated; one that is larger than the layer's result leaves the layer to the reference.
#[test]
fn residuals_that_broadcast() {
    let mut random = Random(18);
    let text = r#"graph g(%x: u8[N,3,6,5], %v: u8[N,3,4,5,6], %l: u8[N,4,8], %r: u8[N,1,1,1], %s: u8[1,6,1,5], %t: i8[4,4], %u: i8[7]) {
  param @w: i8[6,3,3,3]
  param @w.scale: f32[6]
  param @w3: i8[6,3,1,2,3]
  param @fc: i8[7,8]
  param @fc.scale: f32[7]
  param @b7: f32[7]
  %a = quantized.conv2d(%x, @w, @w.scale, none, %r) {padding=[1,1], x_scale=0.02, x_zero_point=128, residual_scale=0.05, residual_zero_point=7, scale=0.2, zero_point=100}
  %c = quantized.conv2d(%x, @w, @w.scale, none, %s) {padding=[1,1], x_scale=0.02, x_zero_point=128, residual_scale=0.05, residual_zero_point=7, scale=0.2, zero_point=100}
  %d = quantized.conv3d(%v, @w3, @w.scale, none, %t) {x_scale=0.02, x_zero_point=128, residual_scale=0.05, residual_zero_point=-7, scale=0.2, zero_point=100}
  %e = quantized.linear(%l, @fc, @fc.scale, @b7, %u) {x_scale=0.02, x_zero_point=128, residual_scale=0.05, residual_zero_point=-7, scale=0.2, zero_point=100}
  return a=%a, c=%c, d=%d, e=%e
}"#;
    let g = graph(text, &mut random);
    no_reference(&check(&g, &[1, 3], &mut random));
    let larger = r#"graph g(%k: u8[1,3,6,5], %b: u8[N,5,6,5], %v: u8[N,3,4,5,1], %r: u8[N,2,4,5,6], %l: u8[1,8], %s: u8[N,7]) {
  param @k1: i8[5,3,1,1]
  param @w3: i8[2,3,1,1,1]
  param @fc: i8[7,8]
  param @one.scale: f32[1]
  %a = quantized.conv2d(%k, @k1, @one.scale, none, %b) {x_scale=0.02, x_zero_point=128, residual_scale=0.05, residual_zero_point=7, scale=0.2, zero_point=100}
  %c = quantized.conv3d(%v, @w3, @one.scale, none, %r) {x_scale=0.02, x_zero_point=128, residual_scale=0.05, residual_zero_point=7, scale=0.2, zero_point=100}
  %d = quantized.linear(%l, @fc, @one.scale, none, %s) {x_scale=0.02, x_zero_point=128, residual_scale=0.05, residual_zero_point=7, scale=0.2, zero_point=100}
  return a=%a, c=%c, d=%d
}"#;
    check(&graph(larger, &mut random), &[1, 3], &mut random);
}
