//! Speed of the kernels that are not matrix products, one thread, every tier: the depthwise layers of mobilenet_v2, and
//! the others in bytes read and written per second.
//!
//! `cargo bench -p quantc-kernels-x86 --bench elementwise [-- PART_OF_A_NAME]`

mod timing;

use std::hint::black_box;

use quantc_kernels::{
    AddParams, AvgPoolParams, BinaryOp, ConvArgs, ConvGeometry, ConvPlan, DequantizeParams, Epilogue, Kernels,
    LayerNormParams, MulParams, Operand, Output, PoolGeometry, PoolWindow, QuantizeParams, RowsMut, SLACK, UnaryOp,
};

/// Values that look random and are the same each time.
fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_769) >> 17) as u8).collect()
}

fn reals(len: usize) -> Vec<f32> {
    noise(len).into_iter().map(|q| (f32::from(q) - 128.0) * 0.04).collect()
}

fn depthwise(size: usize, c: usize, kernel: usize, stride: usize) -> ConvGeometry {
    ConvGeometry {
        n: 1,
        h: size,
        w: size,
        c,
        oh: 0,
        ow: 0,
        oc: c,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pad: [kernel / 2; 4],
        groups: c,
    }
    .with_output_size()
    .expect("the layers below are valid")
}

fn time_depthwise(tiers: &[Kernels], g: &ConvGeometry) -> Vec<[f64; 2]> {
    let x = noise(g.x_len() + SLACK);
    let weights: Vec<i8> = noise(g.weight_shape().len()).into_iter().map(|w| w as i8).collect();
    let scale = vec![1e-3; g.oc];
    let epilogue = Epilogue::Requantize { multiplier: &scale, zero_point: 3, clamp: (3, 255) };
    let plan = ConvPlan::new(*g).expect("a valid geometry");
    let mut runs: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    for kernels in tiers {
        let weights = kernels.qdepthwise.pack(&g.weight_shape(), &weights);
        let mut offsets = vec![0; g.oc];
        weights.offsets(None, 128, &mut offsets);
        let mut scratch = vec![0; kernels.qdepthwise.scratch_len(&plan)];
        let mut out = vec![0; g.rows() * g.oc];
        let (x, plan, epilogue, rows, oc) = (&x, &plan, &epilogue, g.rows(), g.oc);
        runs.push(Box::new(move || {
            let args = ConvArgs { plan, weights: &weights, x, x_zero_point: 128, offsets: &offsets, epilogue };
            kernels.qdepthwise.run(&args, 0..rows, Output::u8(&mut out, oc), &mut scratch);
            black_box(&out);
        }));
    }
    timing::measure(&mut runs)
}

fn bench_depthwise(tiers: &[Kernels], filter: &str) {
    let layers = [
        (112, 32, 3, 1, 1),
        (112, 96, 3, 2, 1),
        (112, 24, 3, 1, 0),
        (56, 144, 3, 1, 1),
        (56, 144, 3, 2, 1),
        (28, 192, 3, 1, 2),
        (28, 192, 3, 2, 1),
        (14, 384, 3, 1, 4),
        (14, 576, 3, 1, 2),
        (14, 576, 3, 2, 1),
        (7, 960, 3, 1, 3),
        // Not in mobilenet_v2.
        (28, 240, 5, 1, 0),
        (14, 672, 5, 2, 0),
    ];
    let (mut macs, mut total) = (0, vec![[0.0; 2]; tiers.len()]);
    for (size, c, kernel, stride, count) in layers {
        let g = depthwise(size, c, kernel, stride);
        let name = format!("depthwise {size}x{size}x{c} {kernel}x{kernel} s{stride} (x{count})");
        if !name.contains(filter) {
            continue;
        }
        let times = time_depthwise(tiers, &g);
        report(&name, g.macs() as f64, "GMAC/s", &times);
        macs += g.macs() * count;
        for (total, time) in total.iter_mut().flatten().zip(times.iter().flatten()) {
            *total += time * count as f64;
        }
    }
    if macs > 0 {
        report("  sum for mobilenet_v2", macs as f64, "GMAC/s", &total);
    }
}

fn report(name: &str, work: f64, unit: &str, times: &[[f64; 2]]) {
    print!("{name:46}");
    for [median, best] in times {
        print!(" {:9.4} ms {:7.1} (best {:7.1}) {unit}", median * 1e3, work / median / 1e9, work / best / 1e9);
    }
    println!();
}

/// What the other kernels work on: 56 x 56 x 128, more than the first-level cache and less than the last.
struct Tensors {
    a: Vec<u8>,
    b: Vec<u8>,
    fa: Vec<f32>,
    fb: Vec<f32>,
    out: Vec<u8>,
    fout: Vec<f32>,
}

const C: usize = 128;
const SIDE: usize = 56;
const PIXELS: usize = SIDE * SIDE;
const LEN: usize = PIXELS * C;

type Run = fn(&Kernels, &mut Tensors);

/// Name, bytes moved for each element, and what to run.
const CASES: &[(&str, usize, Run)] = &[
    ("add u8", 3, |k, t| {
        let params = AddParams {
            a_zero_point: 3,
            a_scale: 0.1,
            b_zero_point: 5,
            b_scale: 0.2,
            inverse_scale: 4.0,
            zero_point: 7,
            clamp: (7, 255),
        };
        let (a, b) = (Operand::rows(&t.a, C), Operand::rows(&t.b, C));
        k.elementwise.add(&params, 0..PIXELS, C, a, b, RowsMut::new(&mut t.out, C));
    }),
    ("mul u8 by [N, 1, C]", 2, |k, t| {
        let params = MulParams { a_zero_point: 3, b_zero_point: 5, multiplier: 0.01, zero_point: 7, clamp: (0, 255) };
        let (a, b) = (Operand::rows(&t.a, C), Operand::repeated(&t.b, C, PIXELS));
        k.elementwise.mul(&params, 0..PIXELS, C, a, b, RowsMut::new(&mut t.out, C));
    }),
    ("lookup", 2, |k, t| {
        let table = std::array::from_fn(|i| (i * 7) as u8);
        k.elementwise.lookup(&table, 0..PIXELS, C, Operand::rows(&t.a, C), RowsMut::new(&mut t.out, C));
    }),
    ("quantize", 5, |k, t| {
        let params = QuantizeParams { inverse_scale: 20.0, zero_point: 128, clamp: (0, 255) };
        k.quantize.quantize(&params, 0..PIXELS, C, Operand::rows(&t.fa, C), RowsMut::new(&mut t.out, C));
    }),
    ("quantize NCHW to NHWC, 128 channels", 5, |k, t| {
        let params = QuantizeParams { inverse_scale: 20.0, zero_point: 128, clamp: (0, 255) };
        k.quantize.quantize_to_nhwc(&params, &t.fa, C, 0..PIXELS, RowsMut::new(&mut t.out, C));
    }),
    ("quantize NCHW to NHWC, 4 channels", 5, |k, t| {
        let params = QuantizeParams { inverse_scale: 20.0, zero_point: 128, clamp: (0, 255) };
        k.quantize.quantize_to_nhwc(&params, &t.fa, 4, 0..LEN / 4, RowsMut::new(&mut t.out, 4));
    }),
    ("dequantize", 5, |k, t| {
        let params = DequantizeParams { scale: 0.1, zero_point: 3 };
        k.quantize.dequantize(&params, 0..PIXELS, C, Operand::rows(&t.a, C), RowsMut::new(&mut t.fout, C));
    }),
    ("dequantize NHWC to NCHW, 128 channels", 5, |k, t| {
        let params = DequantizeParams { scale: 0.1, zero_point: 3 };
        k.quantize.dequantize_to_nchw(&params, &t.a, C, 0..C, &mut t.fout);
    }),
    ("min_max", 4, |k, t| {
        black_box(k.quantize.min_max(&t.fa));
    }),
    ("transpose u8", 2, |k, t| k.layout.transpose_u8(PIXELS, C, &t.a, C, RowsMut::new(&mut t.out, PIXELS))),
    ("transpose f32", 8, |k, t| k.layout.transpose_f32(PIXELS, C, &t.fa, C, RowsMut::new(&mut t.fout, PIXELS))),
    ("max_pool 3x3 s2", 1, |k, t| {
        let g = pooling(3, 1);
        k.qpool.max_pool(&g, &t.a, 0..g.rows(), RowsMut::new(&mut t.out, C));
    }),
    ("avg_pool 2x2 s2", 1, |k, t| {
        let g = pooling(2, 0);
        k.qpool.avg_pool(&g, &average(), &t.a, 0..g.rows(), RowsMut::new(&mut t.out, C));
    }),
    ("global average of 7x7", 1, |k, t| {
        let g = PoolGeometry::global(64, C, [1, 7, 7]);
        k.qpool.avg_pool(&g, &average(), &t.a, 0..64, RowsMut::new(&mut t.out, C));
    }),
    ("gelu f32", 8, |k, t| unary(k, UnaryOp::Gelu, t)),
    ("tanh f32", 8, |k, t| unary(k, UnaryOp::Tanh, t)),
    ("sigmoid f32", 8, |k, t| unary(k, UnaryOp::Sigmoid, t)),
    ("relu f32", 8, |k, t| unary(k, UnaryOp::Relu, t)),
    ("add f32", 12, |k, t| {
        let (a, b) = (Operand::rows(&t.fa, C), Operand::rows(&t.fb, C));
        k.float.binary(BinaryOp::Add, 0..PIXELS, C, a, b, RowsMut::new(&mut t.fout, C));
    }),
    ("add f32 and a vector", 8, |k, t| {
        let (a, b) = (Operand::rows(&t.fa, C), Operand::vector(&t.fb));
        k.float.binary(BinaryOp::Add, 0..PIXELS, C, a, b, RowsMut::new(&mut t.fout, C));
    }),
    ("softmax of 128", 8, |k, t| {
        k.float.softmax(0..PIXELS, C, Operand::rows(&t.fa, C), RowsMut::new(&mut t.fout, C));
    }),
    ("layer_norm of 128", 8, |k, t| {
        let params = LayerNormParams { gamma: Some(&t.fb), beta: Some(&t.fb[C..]), eps: 1e-5 };
        k.float.layer_norm(&params, 0..PIXELS, C, Operand::rows(&t.fa, C), RowsMut::new(&mut t.fout, C));
    }),
];

/// Square windows of stride 2 over one image.
fn pooling(side: usize, pad: usize) -> PoolGeometry {
    let pad = [0, pad, pad];
    let window =
        PoolWindow { kernel: [1, side, side], stride: [1, 2, 2], dilation: [1; 3], pad_begin: pad, pad_end: pad };
    PoolGeometry::new(1, C, [1, SIDE, SIDE], [1, 28, 28], &window)
}

fn average() -> AvgPoolParams<'static> {
    const MULTIPLIER: [f32; 50] = [0.1; 50];
    AvgPoolParams {
        x_zero_point: 3,
        count_include_pad: false,
        multiplier: &MULTIPLIER,
        rescale: 1.0,
        zero_point: 3,
        clamp: (0, 255),
    }
}

fn unary(kernels: &Kernels, op: UnaryOp, t: &mut Tensors) {
    kernels.float.unary(op, 0..PIXELS, C, Operand::rows(&t.fa, C), RowsMut::new(&mut t.fout, C));
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let tiers = timing::tiers();
    println!("tiers: {}", tiers.iter().map(|kernels| kernels.isa.name()).collect::<Vec<_>>().join(", "));
    bench_depthwise(&tiers, &filter);
    let tensors = || Tensors {
        a: noise(LEN),
        b: noise(LEN),
        fa: reals(LEN),
        fb: reals(LEN),
        out: vec![0; LEN],
        fout: vec![0.0; LEN],
    };
    let mut tensors: Vec<Tensors> = tiers.iter().map(|_| tensors()).collect();
    for (name, bytes, run) in CASES.iter().filter(|(name, ..)| name.contains(&filter)) {
        let mut runs: Vec<Box<dyn FnMut() + '_>> = Vec::new();
        for (kernels, t) in tiers.iter().zip(&mut tensors) {
            runs.push(Box::new(move || {
                run(kernels, t);
                black_box((&t.out, &t.fout));
            }));
        }
        report(name, (LEN * bytes) as f64, "GB/s", &timing::measure(&mut runs));
    }
}
