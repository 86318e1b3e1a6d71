//! Random work for the kernels that are not matrix products: how to run it on a set of kernels, and what it must give
//! by definition. Shared with the tests of the architectures' crates. Results are bits; gaps between rows included,
//! which a kernel must leave alone.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::ops::Range;

use proptest::prelude::*;
use quantc_kernels::{
    AddParams, AffineParams, BinaryOp, ConvGeometry, DequantizeParams, Kernels, LayerNormParams, MulParams, Operand,
    QuantizeParams, ReduceOp, RowsMut, UnaryOp,
};
use quantc_tensor::{math, reduce, round};

use super::support::{ConvCase, Fill, Random, fill, stage};

/// f32 values of all magnitudes; some infinite, NaN, zero or exactly between two integers.
pub fn f32s(random: &mut Random, len: usize, specials: bool) -> Vec<f32> {
    let mut value = || match random.below(if specials { 12 } else { 6 }) {
        0..3 => random.real(-8.0, 8.0),
        3 => random.real(-400.0, 400.0),
        4 => random.real(-1e-3, 1e-3),
        5 => (random.below(1024) as f32 - 512.0) * 0.5,
        6 => f32::from_bits(random.next() as u32),
        7 => [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0, 0.0, f32::MIN, f32::MAX][random.below(7) as usize],
        _ => random.real(-100.0, 100.0),
    };
    (0..len).map(|_| value()).collect()
}

/// The bits of a result; NaN has no defined payload.
pub fn bits(v: f32) -> u32 {
    if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }
}

pub fn clamp(random: &mut Random) -> (i32, i32) {
    if random.below(2) == 0 {
        return (0, 255);
    }
    let lo = random.below(256) as i32;
    (lo, lo + random.below((256 - lo) as u64) as i32)
}

/// How an operand lies in memory.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Rows { gap: usize },
    Vector,
    Repeated { repeat: usize },
    SplatRows,
    Scalar,
}

pub fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Rows { gap: 0 }),
        1 => (1..5usize).prop_map(|gap| Kind::Rows { gap }),
        1 => Just(Kind::Vector),
        1 => (1..5usize).prop_map(|repeat| Kind::Repeated { repeat }),
        1 => Just(Kind::SplatRows),
        1 => Just(Kind::Scalar),
    ]
}

impl Kind {
    /// Elements for `rows` rows, none to spare.
    fn len(self, rows: usize, columns: usize) -> usize {
        let strided = |rows: usize, stride: usize| if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        match self {
            Kind::Rows { gap } => strided(rows, columns + gap),
            Kind::Vector => columns,
            Kind::Repeated { repeat } => strided(rows.div_ceil(repeat), columns + 1),
            Kind::SplatRows => rows,
            Kind::Scalar => 1,
        }
    }

    fn operand<T>(self, data: &[T], columns: usize) -> Operand<'_, T> {
        match self {
            Kind::Rows { gap } => Operand::rows(data, columns + gap),
            Kind::Vector => Operand::vector(data),
            Kind::Repeated { repeat } => Operand::repeated(data, columns + 1, repeat),
            Kind::SplatRows => Operand::rows(data, 1).splat(),
            Kind::Scalar => Operand::scalar(data),
        }
    }

    fn at<T: Copy>(self, data: &[T], columns: usize, row: usize, column: usize) -> T {
        match self {
            Kind::Rows { gap } => data[row * (columns + gap) + column],
            Kind::Vector => data[column],
            Kind::Repeated { repeat } => data[row / repeat * (columns + 1) + column],
            Kind::SplatRows => data[row],
            Kind::Scalar => data[0],
        }
    }
}

/// Row-wise work on `rows` of `columns` elements.
#[derive(Clone, Debug)]
pub struct RowsCase {
    pub rows: Range<usize>,
    pub columns: usize,
    pub a: Kind,
    pub b: Kind,
    pub gap: usize,
    pub fill: Fill,
    pub seed: u64,
}

prop_compose! {
    pub fn rows_case()(
        (first, rows) in (0..4usize, 0..9usize),
        columns in prop_oneof![0..20usize, 20..300usize],
        a in kind(),
        b in kind(),
        gap in prop_oneof![Just(0usize), 1..4usize],
        fill in fill(),
        seed in any::<u64>(),
    ) -> RowsCase {
        RowsCase { rows: first..first + rows, columns, a, b, gap, fill, seed }
    }
}

const UNARY: [UnaryOp; 35] = [
    UnaryOp::Copy,
    UnaryOp::Neg,
    UnaryOp::Abs,
    UnaryOp::Relu,
    UnaryOp::Clamp { lo: -1.5, hi: 6.0 },
    UnaryOp::Sqrt,
    UnaryOp::Rsqrt,
    UnaryOp::Exp,
    UnaryOp::Tanh,
    UnaryOp::Sigmoid,
    UnaryOp::Erf,
    UnaryOp::Gelu,
    UnaryOp::GeluTanh,
    UnaryOp::Silu,
    UnaryOp::Hardswish,
    UnaryOp::Hardsigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
    UnaryOp::Hardsigmoid { alpha: 0.2, beta: 0.4 },
    UnaryOp::Square,
    UnaryOp::Cube,
    UnaryOp::Reciprocal,
    UnaryOp::Floor,
    UnaryOp::Ceil,
    UnaryOp::Round,
    UnaryOp::Sign,
    UnaryOp::LeakyRelu { slope: 0.1 },
    UnaryOp::Elu { alpha: 1.5 },
    UnaryOp::Celu { alpha: 0.7 },
    UnaryOp::RoundToHalf { saturate: false },
    UnaryOp::RoundToHalf { saturate: true },
    UnaryOp::Threshold { threshold: 0.25, value: -3.0 },
    UnaryOp::Log,
    UnaryOp::Softplus,
    UnaryOp::Mish,
    UnaryOp::Sin,
    UnaryOp::Cos,
];

fn unary(op: UnaryOp, x: f32) -> f32 {
    match op {
        UnaryOp::Copy => x,
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Relu => math::relu_f32(x),
        UnaryOp::Clamp { lo, hi } => math::clamp_f32(x, lo, hi),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Rsqrt => 1.0 / x.sqrt(),
        UnaryOp::Exp => math::exp_f32(x),
        UnaryOp::Tanh => math::tanh_f32(x),
        UnaryOp::Sigmoid => math::sigmoid_f32(x),
        UnaryOp::Erf => math::erf_f32(x),
        UnaryOp::Gelu => math::gelu_f32(x),
        UnaryOp::GeluTanh => math::gelu_tanh_f32(x),
        UnaryOp::Silu => math::silu_f32(x),
        UnaryOp::Hardswish => math::hardswish_f32(x),
        UnaryOp::Hardsigmoid { alpha, beta } => math::hardsigmoid_with_f32(x, (alpha, beta)),
        UnaryOp::Square => x * x,
        UnaryOp::Cube => x * x * x,
        UnaryOp::Reciprocal => 1.0 / x,
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Sign => math::sign_f32(x),
        UnaryOp::LeakyRelu { slope } => math::leaky_relu_f32(x, slope),
        UnaryOp::Elu { alpha } => math::elu_f32(x, alpha),
        UnaryOp::RoundToHalf { saturate } => math::round_to_half_f32(x, saturate),
        UnaryOp::Celu { alpha } => math::celu_f32(x, alpha),
        UnaryOp::Threshold { threshold, value } => math::threshold_f32(x, (threshold, value)),
        UnaryOp::Log => math::log_f32(x),
        UnaryOp::Softplus => math::softplus_f32(x),
        UnaryOp::Mish => math::mish_f32(x),
        UnaryOp::Sin => math::sin_f32(x),
        UnaryOp::Cos => math::cos_f32(x),
    }
}

type Binary = fn(f32, f32) -> f32;
const BINARY: [(BinaryOp, Binary); 8] = [
    (BinaryOp::Add, |a, b| a + b),
    (BinaryOp::Sub, |a, b| a - b),
    (BinaryOp::Mul, |a, b| a * b),
    (BinaryOp::Div, |a, b| a / b),
    (BinaryOp::Pow, math::pow_f32),
    (BinaryOp::Maximum, math::maximum_f32),
    (BinaryOp::Minimum, math::minimum_f32),
    (BinaryOp::Prelu, math::leaky_relu_f32),
];

type Reduce = fn(&[f32]) -> f32;
const REDUCE: [(ReduceOp, Reduce); 4] = [
    (ReduceOp::Sum, reduce::sum),
    (ReduceOp::Mean, reduce::mean),
    (ReduceOp::Max, reduce::max),
    (ReduceOp::Min, reduce::min),
];

/// Named results, so that a failure says which kernel.
pub type Results = Vec<(String, Vec<u32>)>;

/// The operands and parameters of a [`RowsCase`].
struct RowsData {
    a: Vec<u8>,
    b: Vec<u8>,
    fa: Vec<f32>,
    fb: Vec<f32>,
    table: [u8; 256],
    add: AddParams,
    mul: MulParams,
    affine: AffineParams,
    quantize: QuantizeParams,
    dequantize: DequantizeParams,
}

impl RowsCase {
    fn data(&self) -> RowsData {
        let random = &mut Random(self.seed);
        let (a_len, b_len) = (self.a.len(self.rows.end, self.columns), self.b.len(self.rows.end, self.columns));
        let z = |random: &mut Random| random.below(256) as i32;
        RowsData {
            a: self.fill.u8s(random, a_len),
            b: self.fill.u8s(random, b_len),
            fa: f32s(random, a_len, true),
            fb: f32s(random, b_len, true),
            table: std::array::from_fn(|_| random.next() as u8),
            add: AddParams {
                a_zero_point: z(random),
                a_scale: random.real(0.01, 0.1),
                b_zero_point: z(random),
                b_scale: random.real(-0.1, 0.1),
                inverse_scale: random.real(5.0, 20.0),
                zero_point: z(random),
                clamp: clamp(random),
            },
            mul: MulParams {
                a_zero_point: z(random),
                b_zero_point: z(random),
                multiplier: [random.real(0.001, 0.02), 0.5, 1.0][random.below(3) as usize],
                zero_point: z(random),
                clamp: clamp(random),
            },
            affine: AffineParams {
                x_zero_point: z(random),
                x_scale: random.real(0.01, 0.1),
                factor: f32s(random, self.columns, true).into(),
                term: f32s(random, self.columns, true).into(),
                inverse_scale: random.real(5.0, 20.0),
                zero_point: z(random),
                clamp: clamp(random),
            },
            quantize: QuantizeParams {
                inverse_scale: [random.real(0.5, 20.0), 1.0, 1e30][random.below(3) as usize],
                zero_point: z(random),
                clamp: clamp(random),
            },
            dequantize: DequantizeParams { scale: random.real(0.001, 1.0), zero_point: z(random) },
        }
    }

    fn u8_out(&self, run: impl FnOnce(RowsMut<'_, u8>)) -> Vec<u32> {
        let stride = self.columns + self.gap;
        let mut out = vec![0xa5; self.rows.len() * stride];
        run(RowsMut::new(&mut out, stride));
        out.into_iter().map(u32::from).collect()
    }

    fn f32_out(&self, run: impl FnOnce(RowsMut<'_, f32>)) -> Vec<u32> {
        let stride = self.columns + self.gap;
        let mut out = vec![-12345.0; self.rows.len() * stride];
        run(RowsMut::new(&mut out, stride));
        out.into_iter().map(bits).collect()
    }

    /// The operand of the kernel that broadcasts nothing.
    fn affine_rows(&self) -> Vec<u8> {
        self.fill.u8s(&mut Random(!self.seed), self.rows.end * (self.columns + self.gap))
    }

    /// Every row-wise kernel of the set.
    pub fn run(&self, kernels: &Kernels) -> Results {
        let d = self.data();
        let (rows, columns) = (|| self.rows.clone(), self.columns);
        let (fa, fb) = (self.a.operand(&d.fa, columns), self.b.operand(&d.fb, columns));
        let mut results = self.run_integer_on(&d, kernels);
        for op in UNARY {
            results.push((format!("{op:?}"), self.f32_out(|out| kernels.float.unary(op, rows(), columns, fa, out))));
        }
        for (op, _) in BINARY {
            let got = self.f32_out(|out| kernels.float.binary(op, rows(), columns, fa, fb, out));
            results.push((format!("{op:?}"), got));
        }
        results
    }

    /// The row-wise kernels of the set on u8, and to and from it.
    pub fn run_integer(&self, kernels: &Kernels) -> Results {
        self.run_integer_on(&self.data(), kernels)
    }

    fn run_integer_on(&self, d: &RowsData, kernels: &Kernels) -> Results {
        let (rows, columns) = (|| self.rows.clone(), self.columns);
        let (a, b) = (self.a.operand(&d.a, columns), self.b.operand(&d.b, columns));
        let fa = self.a.operand(&d.fa, columns);
        let affine = self.affine_rows();
        vec![
            ("add".into(), self.u8_out(|out| kernels.elementwise.add(&d.add, rows(), columns, a, b, out))),
            ("mul".into(), self.u8_out(|out| kernels.elementwise.mul(&d.mul, rows(), columns, a, b, out))),
            (
                "affine".into(),
                self.u8_out(|out| kernels.elementwise.affine(&d.affine, rows(), &affine, columns + self.gap, out)),
            ),
            ("lookup".into(), self.u8_out(|out| kernels.elementwise.lookup(&d.table, rows(), columns, a, out))),
            ("quantize".into(), self.u8_out(|out| kernels.quantize.quantize(&d.quantize, rows(), columns, fa, out))),
            (
                "dequantize".into(),
                self.f32_out(|out| kernels.quantize.dequantize(&d.dequantize, rows(), columns, a, out)),
            ),
        ]
    }

    /// What [`RowsCase::run`] must give.
    pub fn expected(&self) -> Results {
        let d = self.data();
        let stride = self.columns + self.gap;
        let each = |f: &dyn Fn(usize, usize) -> u32, gap: u32| -> Vec<u32> {
            let one = |(row, column)| if column < self.columns { f(row, column) } else { gap };
            self.rows.clone().flat_map(|row| (0..stride).map(move |column| (row, column))).map(one).collect()
        };
        let a = |row, column| i32::from(self.a.at(&d.a, self.columns, row, column));
        let b = |row, column| i32::from(self.b.at(&d.b, self.columns, row, column));
        let fa = |row, column| self.a.at(&d.fa, self.columns, row, column);
        let fb = |row, column| self.b.at(&d.fb, self.columns, row, column);
        let u8_each = |f: &dyn Fn(usize, usize) -> i32| each(&|r, c| f(r, c) as u32, 0xa5);
        let f32_each = |f: &dyn Fn(usize, usize) -> f32| each(&|r, c| bits(f(r, c)), (-12345.0f32).to_bits());
        let (add, mul, q) = (d.add, d.mul, d.quantize);
        let rows = self.affine_rows();
        let mut results: Results = vec![
            (
                "add".into(),
                u8_each(&|r, c| {
                    let a = (a(r, c) - add.a_zero_point) as f32 * add.a_scale;
                    let b = (b(r, c) - add.b_zero_point) as f32 * add.b_scale;
                    round::round_saturate((a + b) * add.inverse_scale, add.zero_point, add.clamp.0, add.clamp.1)
                }),
            ),
            (
                "mul".into(),
                u8_each(&|r, c| {
                    let product = (a(r, c) - mul.a_zero_point) * (b(r, c) - mul.b_zero_point);
                    round::requantize(product, mul.multiplier, mul.zero_point, mul.clamp.0, mul.clamp.1)
                }),
            ),
            (
                "affine".into(),
                u8_each(&|r, c| {
                    let x = (i32::from(rows[r * stride + c]) - d.affine.x_zero_point) as f32 * d.affine.x_scale;
                    let y = (x * d.affine.factor[c] + d.affine.term[c]) * d.affine.inverse_scale;
                    round::round_saturate(y, d.affine.zero_point, d.affine.clamp.0, d.affine.clamp.1)
                }),
            ),
            ("lookup".into(), u8_each(&|r, c| d.table[a(r, c) as usize].into())),
            (
                "quantize".into(),
                u8_each(&|r, c| round::quantize(fa(r, c), q.inverse_scale, q.zero_point, q.clamp.0, q.clamp.1)),
            ),
            (
                "dequantize".into(),
                f32_each(&|r, c| round::dequantize(a(r, c), d.dequantize.scale, d.dequantize.zero_point)),
            ),
        ];
        for op in UNARY {
            results.push((format!("{op:?}"), f32_each(&|r, c| unary(op, fa(r, c)))));
        }
        for (op, f) in BINARY {
            results.push((format!("{op:?}"), f32_each(&|r, c| f(fa(r, c), fb(r, c)))));
        }
        results
    }

    /// Softmax, layer normalisation and reductions of the rows (all rows are in memory: broadcasting is ignored).
    pub fn run_row_functions(&self, kernels: &Kernels) -> Results {
        let (columns, rows) = (self.columns, || self.rows.clone());
        let RowFunctionData { x, gamma, beta } = self.row_function_data();
        let operand = Operand::rows(&x, columns + 1);
        let mut results: Results =
            vec![("softmax".into(), self.f32_out(|out| kernels.float.softmax(rows(), columns, operand, out)))];
        for (gamma, beta) in
            [(None, None), (Some(&gamma[..]), None), (None, Some(&beta[..])), (Some(&gamma[..]), Some(&beta[..]))]
        {
            let params = LayerNormParams { gamma, beta, eps: 1e-5 };
            let got = self.f32_out(|out| kernels.float.layer_norm(&params, rows(), columns, operand, out));
            results.push((format!("layer_norm {} {}", gamma.is_some(), beta.is_some()), got));
        }
        for (op, _) in REDUCE {
            let mut out = vec![0.0; self.rows.len()];
            kernels.float.reduce(op, rows(), columns, operand, &mut out);
            results.push((format!("{op:?}"), out.into_iter().map(bits).collect()));
        }
        let range = kernels.quantize.min_max(&x);
        results.push(("min_max".into(), vec![bits(range.min), bits(range.max), range.has_nan.into()]));
        results
    }

    /// What [`RowsCase::run_row_functions`] must give.
    pub fn expected_row_functions(&self) -> Results {
        let columns = self.columns;
        let RowFunctionData { x, gamma, beta } = self.row_function_data();
        let row = |row: usize| &x[row * (columns + 1)..][..columns];
        let each = |f: &dyn Fn(&[f32], &mut [f32])| {
            self.f32_out(|mut out| {
                for (i, r) in self.rows.clone().enumerate() {
                    f(row(r), out.row(i, columns));
                }
            })
        };
        let mut results: Results = vec![(
            "softmax".into(),
            each(&|x, out| {
                out.copy_from_slice(x);
                reduce::softmax_row(out);
            }),
        )];
        for (gamma, beta) in
            [(None, None), (Some(&gamma[..]), None), (None, Some(&beta[..])), (Some(&gamma[..]), Some(&beta[..]))]
        {
            let got = each(&|x, out| reduce::layer_norm_row(x, gamma, beta, 1e-5, out));
            results.push((format!("layer_norm {} {}", gamma.is_some(), beta.is_some()), got));
        }
        for (op, f) in REDUCE {
            results.push((format!("{op:?}"), self.rows.clone().map(|r| bits(f(row(r)))).collect()));
        }
        let smallest = x.iter().copied().fold(f32::INFINITY, f32::min) + 0.0;
        let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max) + 0.0;
        let has_nan = x.iter().any(|v| v.is_nan());
        results.push(("min_max".into(), vec![bits(smallest), bits(largest), has_nan.into()]));
        results
    }

    fn row_function_data(&self) -> RowFunctionData {
        let random = &mut Random(self.seed);
        let specials = random.below(4) == 0;
        let x = f32s(random, self.rows.end * (self.columns + 1), specials);
        RowFunctionData { x, gamma: f32s(random, self.columns, false), beta: f32s(random, self.columns, false) }
    }
}

struct RowFunctionData {
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

prop_compose! {
    /// Depthwise convolutions, most of them of the usual kernels.
    pub fn depthwise_case()(
        (n, h, w) in (1..3usize, 1..20usize, 1..20usize),
        c in prop_oneof![
            2 => 1..20usize,
            2 => 20..70usize,
            2 => (0..8u32).prop_map(|bits| 1usize << bits),
            1 => 70..300usize,
        ],
        (kernel, stride, dilation, pad) in prop_oneof![
            2 => (1..3usize, [0..2usize, 0..2usize, 0..2usize, 0..2usize])
                .prop_map(|(s, pad)| ([3, 3], [s, s], [1, 1], pad)),
            1 => (1..3usize, [0..3usize, 0..3usize, 0..3usize, 0..3usize])
                .prop_map(|(s, pad)| ([5, 5], [s, s], [1, 1], pad)),
            2 => (
                [1..8usize, 1..8usize],
                [1..4usize, 1..4usize],
                [1..4usize, 1..4usize],
                [0..7usize, 0..7usize, 0..7usize, 0..7usize],
            ),
        ],
        fill in fill(),
        stage in stage(),
        x_zero_point in any::<u8>(),
        gap in 0..3usize,
        cuts in prop::collection::vec(any::<usize>(), 0..3),
        seed in any::<u64>(),
    ) -> ConvCase {
        let geometry = ConvGeometry { n, h, w, c, oh: 0, ow: 0, oc: c, kernel, stride, dilation, pad, groups: c };
        let geometry = geometry.with_output_size().expect("small positive sizes");
        ConvCase { geometry, fill, stage, x_zero_point, gap, cuts, seed }
    }
}

/// The set with its depthwise kernel in the place of the dense one, for [`ConvCase::run`].
pub fn depthwise_as_conv(kernels: &Kernels) -> Kernels {
    Kernels { qconv: kernels.qdepthwise, ..*kernels }
}
