//! Calls whose sizes do not fit a `usize`: a kernel must refuse them by a check of its own. In release builds, which
//! wrap around, lengths computed from them would look short, and what goes on with pointers would leave its slices.

use std::panic::{AssertUnwindSafe, catch_unwind};

use quantc_kernels::{
    AddParams, AffineParams, AvgPoolParams, BinaryOp, Blocking, ConvArgs, ConvGeometry, ConvPlan, ConvWeightShape,
    DequantizeParams, Epilogue, Kernels, MatmulShape, MulParams, Operand, Output, PoolGeometry, PoolWindow,
    QuantizeParams, ReduceOp, RightLayout, RowsMut, SLACK, UnaryOp, ZeroPoints,
};

/// Fails unless the call panics by a check that every build has: not by an attempt to compute with overflow, which only
/// debug assertions refuse.
fn refused(name: &str, kernels: &Kernels, call: impl FnOnce()) {
    let payload = catch_unwind(AssertUnwindSafe(call)).expect_err(&format!("{name} of {} runs", kernels.isa));
    let message =
        payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied()).unwrap_or("");
    let own = ["overflows usize", "too short", "out of range for slice"].iter().any(|text| message.contains(text));
    assert!(own, "{name} of {}: {message:?}", kernels.isa);
}

/// Every kernel of the set that takes sizes.
pub fn every_kernel(kernels: &Kernels) {
    row_kernels(kernels);
    layout_kernels(kernels);
    poolings(kernels);
    products(kernels);
    endless_blocks(kernels);
}

/// Strides whose multiples wrap around to 0.
const WRAPS: usize = 1 << 62;
const WRAPS_F32: usize = 1 << 61;

/// Every row-wise kernel, with an operand and with an output of rows too far apart, and with rows too long.
fn row_kernels(k: &Kernels) {
    const COLUMNS: usize = 5;
    let (bytes, reals) = ([1u8; 64], [1.0f32; 64]);
    let add = AddParams {
        a_zero_point: 0,
        a_scale: 1.0,
        b_zero_point: 0,
        b_scale: 1.0,
        inverse_scale: 1.0,
        zero_point: 0,
        clamp: (0, 255),
    };
    let mul = MulParams { a_zero_point: 0, b_zero_point: 0, multiplier: 1.0, zero_point: 0, clamp: (0, 255) };
    let q = QuantizeParams { inverse_scale: 1.0, zero_point: 0, clamp: (0, 255) };
    let dq = DequantizeParams { scale: 1.0, zero_point: 0 };
    for (x, out, columns) in [(WRAPS, 5, COLUMNS), (5, WRAPS, COLUMNS), (WRAPS, WRAPS, WRAPS)] {
        let (a, fa) = (Operand::rows(&bytes, x), Operand::rows(&reals, x));
        let (mut to, mut real_to) = ([0u8; 64], [0.0f32; 64]);
        let rows = || 0..5;
        refused("add", k, || k.elementwise.add(&add, rows(), columns, a, a, RowsMut::new(&mut to, out)));
        refused("mul", k, || k.elementwise.mul(&mul, rows(), columns, a, a, RowsMut::new(&mut to, out)));
        refused("lookup", k, || k.elementwise.lookup(&[0; 256], rows(), columns, a, RowsMut::new(&mut to, out)));
        refused("quantize", k, || k.quantize.quantize(&q, rows(), columns, fa, RowsMut::new(&mut to, out)));
        refused("dequantize", k, || k.quantize.dequantize(&dq, rows(), columns, a, RowsMut::new(&mut real_to, out)));
        refused("unary", k, || k.float.unary(UnaryOp::Relu, rows(), columns, fa, RowsMut::new(&mut real_to, out)));
        refused("binary", k, || {
            k.float.binary(BinaryOp::Add, rows(), columns, fa, fa, RowsMut::new(&mut real_to, out));
        });
        if columns == COLUMNS {
            for n in [COLUMNS, 64] {
                let (factor, term) = (vec![1.0; n].into(), vec![0.0; n].into());
                let affine = AffineParams {
                    x_zero_point: 0,
                    x_scale: 1.0,
                    factor,
                    term,
                    inverse_scale: 1.0,
                    zero_point: 0,
                    clamp: (0, 255),
                };
                refused("affine", k, || k.elementwise.affine(&affine, rows(), &bytes, x, RowsMut::new(&mut to, out)));
            }
            refused("softmax", k, || k.float.softmax(rows(), columns, fa, RowsMut::new(&mut real_to, out)));
        }
    }
    let x = Operand::rows(&reals, WRAPS);
    refused("reduce", k, || k.float.reduce(ReduceOp::Sum, 0..5, COLUMNS, x, &mut [0.0; 5]));
}

/// Every change of layout.
fn layout_kernels(k: &Kernels) {
    let (bytes, reals) = ([1u8; 64], [1.0f32; 64]);
    let (mut to, mut real_to) = ([0u8; 64], [0.0f32; 64]);
    let q = QuantizeParams { inverse_scale: 1.0, zero_point: 0, clamp: (0, 255) };
    let dq = DequantizeParams { scale: 1.0, zero_point: 0 };
    for columns in [1, 3, 20] {
        refused("transpose_u8, input", k, || {
            k.layout.transpose_u8(5, columns, &bytes, WRAPS, RowsMut::new(&mut to, 5));
        });
        refused("transpose_f32, input", k, || {
            k.layout.transpose_f32(9, columns, &reals, WRAPS_F32, RowsMut::new(&mut real_to, 9));
        });
        refused("transpose_u8, output", k, || {
            k.layout.transpose_u8(columns, 5, &[1; 128], 5, RowsMut::new(&mut to, WRAPS));
        });
        refused("transpose_f32, output", k, || {
            k.layout.transpose_f32(columns, 9, &[1.0; 256], 9, RowsMut::new(&mut real_to, WRAPS_F32));
        });
        refused("quantize_to_nhwc", k, || {
            k.quantize.quantize_to_nhwc(&q, &[1.0; 100], columns, 0..5, RowsMut::new(&mut to, WRAPS));
        });
        refused("dequantize_to_nchw", k, || {
            k.quantize.dequantize_to_nchw(&dq, &bytes, WRAPS, 0..columns, &mut real_to[..5 * columns.min(12)]);
        });
    }
    refused("permute_u8", k, || k.layout.permute_u8(&[1 << 32, 1 << 32], &[1, 0], &bytes, &mut to));
    refused("permute_f32", k, || k.layout.permute_f32(&[1 << 32, 1 << 32], &[1, 0], &reals, &mut real_to));
}

/// Poolings of images whose sizes wrap around.
fn poolings(k: &Kernels) {
    let whole = PoolGeometry::global(WRAPS, 4, [1, 2, 2]);
    let params = AvgPoolParams {
        x_zero_point: 0,
        count_include_pad: false,
        multiplier: &[1.0; 8],
        rescale: 1.0,
        zero_point: 0,
        clamp: (0, 255),
    };
    let (mut to, mut real_to) = ([0u8; 4], [0.0f32; 4]);
    refused("max_pool", k, || k.qpool.max_pool(&whole, &[], 0..1, RowsMut::new(&mut to, 4)));
    refused("avg_pool", k, || k.qpool.avg_pool(&whole, &params, &[], 0..1, RowsMut::new(&mut to, 4)));
    refused("max_pool_f32", k, || k.pool.max_pool_f32(&whole, &[], 0..1, RowsMut::new(&mut real_to, 4)));
    refused("avg_pool_f32", k, || k.pool.avg_pool_f32(&whole, false, &[], 0..1, RowsMut::new(&mut real_to, 4)));
    let small = PoolGeometry::global(5, 2, [1, 1, 1]);
    refused("max_pool, output", k, || k.qpool.max_pool(&small, &[0; 10], 0..5, RowsMut::new(&mut to, WRAPS)));
    let window =
        PoolWindow { kernel: [1; 3], stride: [1; 3], dilation: [1; 3], pad_begin: [0; 3], pad_end: [usize::MAX; 3] };
    refused("a padding", k, || drop(PoolGeometry::new(1, 1, [1; 3], [1; 3], &window)));
    let window = PoolWindow { stride: [WRAPS; 3], pad_end: [0; 3], ..window };
    refused("a stride", k, || drop(PoolGeometry::new(1, 1, [1; 3], [5; 3], &window)));
    refused("windows", k, || {
        PoolGeometry::adaptive(1, 1, [1, 1, WRAPS], [1, 1, 5]);
    });
}

/// Matrix products and convolutions.
fn products(k: &Kernels) {
    let scale = [1.0; 8];
    let epilogue = Epilogue::Requantize { multiplier: &scale, zero_point: 0, clamp: (0, 255) };
    let zero_points = ZeroPoints { a: 1, b: 1 };
    let (bytes, mut packed, mut to) = ([1u8; 4096], vec![0u8; 1 << 16], [0u8; 64]);
    let good = MatmulShape { m: 5, k: 4, n: 4, a_stride: 4, b: RightLayout::RowMajor { stride: 4 } };
    for b in [RightLayout::RowMajor { stride: WRAPS }, RightLayout::Transposed { stride: WRAPS }] {
        let shape = MatmulShape { k: 5, n: 5, b, ..good };
        refused("qmatmul.pack", k, || k.qmatmul.pack(&shape, &bytes, zero_points, &mut packed));
    }
    // A length that wraps around only with the slack, and packed matrices that wrap around.
    let long = usize::MAX - SLACK / 2;
    let sum = MatmulShape { m: 1, k: long, n: 1, a_stride: long, b: RightLayout::Transposed { stride: long } };
    refused("qmatmul.pack, long sum", k, || k.qmatmul.pack(&sum, &bytes, zero_points, &mut packed));
    let wide = MatmulShape { k: 0, n: WRAPS, b: RightLayout::RowMajor { stride: WRAPS }, ..good };
    refused("qmatmul.pack, wide", k, || k.qmatmul.pack(&wide, &bytes, zero_points, &mut packed));
    refused("qmatmul.packed_len", k, || {
        k.qmatmul.packed_len(1 << 32, 1 << 32);
    });
    for (shape, stride) in [(MatmulShape { a_stride: WRAPS, ..good }, 4), (good, WRAPS), (sum, 1)] {
        refused("qmatmul.run", k, || {
            let out = Output::u8(&mut to, stride);
            k.qmatmul.run(&shape, &bytes, &packed, zero_points, 0..shape.m, &epilogue, out);
        });
    }

    let shape = ConvWeightShape::linear(1 << 32, 1 << 32);
    refused("qconv.pack", k, || drop(k.qconv.pack(&shape, &[])));
    let taps = ConvWeightShape { oc: 4, kernel: [1 << 32, 1 << 32], c: 4, groups: 4 };
    refused("qdepthwise.pack", k, || drop(k.qdepthwise.pack(&taps, &[])));

    for depthwise in [false, true] {
        let kernel = if depthwise { k.qdepthwise } else { k.qconv };
        let groups = if depthwise { 4 } else { 1 };
        let geometry = ConvGeometry { c: 4, groups, ..ConvGeometry::linear(5, 4, 4) };
        let plan = ConvPlan::new(geometry).expect("valid");
        let shape = geometry.weight_shape();
        let weights = kernel.pack(&shape, &vec![1; shape.len()]);
        let residual = Epilogue::AddRequantize {
            scale: &scale,
            residual: &bytes,
            residual_stride: WRAPS,
            residual_scale: 1.0,
            residual_zero_point: 0,
            inverse_scale: 1.0,
            zero_point: 0,
            clamp: (0, 255),
        };
        let mut scratch = vec![0; kernel.scratch_len(&plan)];
        for (epilogue, stride) in [(&epilogue, WRAPS), (&residual, 4)] {
            let x = &bytes[..20 + SLACK];
            let args = ConvArgs { plan: &plan, weights: &weights, x, x_zero_point: 0, offsets: &[0; 4], epilogue };
            refused(kernel.name(), k, || kernel.run(&args, 0..5, Output::u8(&mut to, stride), &mut scratch));
        }
    }
}

/// A blocking may ask for more rows at once than there is memory for: a scratch of any size is then too short.
fn endless_blocks(k: &Kernels) {
    let geometry = ConvGeometry { h: 64, w: 64, kernel: [32, 32], ..ConvGeometry::linear(1 << 44, 1, 1) };
    let plan = ConvPlan::new(geometry.with_output_size().expect("valid")).expect("valid");
    let some = k.qconv.scratch_len(&plan);
    let all = k.qconv.scratch_len(&plan.with_blocking(Blocking { rows: usize::MAX, bytes: usize::MAX }));
    assert!(all >= some, "{}: {all} bytes, less than {some}", k.qconv.name());
}
