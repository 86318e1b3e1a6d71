//! Random convolutions and matrix products, and how to run them on a set of kernels. Shared with the tests of the
//! architectures' crates.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use quantc_kernels::{
    Blocking, ConvArgs, ConvGeometry, ConvPlan, Epilogue, Kernels, MatmulShape, Output, RightLayout, SLACK, ZeroPoints,
};

/// The same cases on every run.
pub fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(0x9e37_79b9), failure_persistence: None, ..Config::default() }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// In `lo..hi`.
    pub fn real(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// Which values a test's tensors hold.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// All values alike likely.
    Full,
    /// Weights of at most 64: no pair saturates 16 bits.
    Small,
    /// Only the ends of the range.
    Ends,
    /// 255 by -128 throughout.
    Worst,
}

impl Fill {
    pub fn u8s(self, random: &mut Random, len: usize) -> Vec<u8> {
        let mut value = || match self {
            Fill::Full | Fill::Small => random.next() as u8,
            Fill::Ends => 0u8.wrapping_sub((random.next() >> 63) as u8),
            Fill::Worst => 255,
        };
        (0..len).map(|_| value()).collect()
    }

    pub fn i8s(self, random: &mut Random, len: usize) -> Vec<i8> {
        let mut value = || match self {
            Fill::Full => random.next() as i8,
            Fill::Small => (random.below(129) as i32 - 64) as i8,
            Fill::Ends => [-128, 127, 0][random.below(3) as usize],
            Fill::Worst => -128,
        };
        (0..len).map(|_| value()).collect()
    }
}

pub fn fill() -> impl Strategy<Value = Fill> {
    prop_oneof![3 => Just(Fill::Full), 3 => Just(Fill::Small), 2 => Just(Fill::Ends), 1 => Just(Fill::Worst)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Requantize,
    AddRequantize,
    Dequantize,
}

pub fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![Just(Stage::Requantize), Just(Stage::AddRequantize), Just(Stage::Dequantize)]
}

/// The operands of an epilogue over `rows x channels`.
pub struct StageData {
    stage: Stage,
    pub scale: Vec<f32>,
    residual: Vec<u8>,
    residual_stride: usize,
    zero_points: [i32; 2],
    clamp: (i32, i32),
    real_clamp: (f32, f32),
}

impl StageData {
    pub fn new(stage: Stage, random: &mut Random, rows: usize, channels: usize, k: usize) -> Self {
        // So that the results of random operands cover the output's range, with some saturation.
        let spread = 100.0 * 100.0 * (k.max(1) as f32).sqrt();
        let scale = (0..channels).map(|_| random.real(20.0, 200.0) / spread).collect();
        let residual_stride = channels + random.below(3) as usize;
        let residual = Fill::Full.u8s(random, rows * residual_stride);
        let zero_points = [random.below(256) as i32, random.below(256) as i32];
        let clamp = match random.below(3) {
            0 => (0, 255),
            1 => (zero_points[0], 255),
            _ => {
                let lo = random.below(256) as i32;
                (lo, lo + random.below((256 - lo) as u64) as i32)
            }
        };
        let real_clamp =
            [(f32::NEG_INFINITY, f32::INFINITY), (0.0, 6.0), (0.0, f32::INFINITY)][random.below(3) as usize];
        StageData { stage, scale, residual, residual_stride, zero_points, clamp, real_clamp }
    }

    /// The epilogue for the rows from `first_row` on.
    pub fn epilogue(&self, first_row: usize) -> Epilogue<'_> {
        let [zero_point, residual_zero_point] = self.zero_points;
        match self.stage {
            Stage::Requantize => Epilogue::Requantize { multiplier: &self.scale, zero_point, clamp: self.clamp },
            Stage::AddRequantize => Epilogue::AddRequantize {
                scale: &self.scale,
                residual: &self.residual[first_row * self.residual_stride..],
                residual_stride: self.residual_stride,
                residual_scale: 0.73,
                residual_zero_point,
                inverse_scale: 1.37,
                zero_point,
                clamp: self.clamp,
            },
            Stage::Dequantize => Epilogue::Dequantize { scale: &self.scale, clamp: self.real_clamp },
        }
    }
}

/// The stored elements of an output as bits, gaps between rows included: a kernel must leave those alone.
pub fn collect(stage: Stage, rows: usize, stride: usize, channels: usize, mut run: impl FnMut(Output<'_>)) -> Vec<u32> {
    let len = if rows == 0 { 0 } else { (rows - 1) * stride + channels };
    if stage == Stage::Dequantize {
        let mut data = vec![-12345.0f32; len];
        run(Output::f32(&mut data, stride));
        data.iter().map(|v| v.to_bits()).collect()
    } else {
        let mut data = vec![0xa5u8; len];
        run(Output::u8(&mut data, stride));
        data.iter().map(|&v| v.into()).collect()
    }
}

/// Ways to cut `0..rows`: the whole, or pieces as threads would get them.
fn pieces(rows: usize, cuts: &[usize]) -> Vec<Range<usize>> {
    let mut at: Vec<usize> = cuts.iter().map(|&cut| cut % (rows + 1)).collect();
    at.extend([0, rows]);
    at.sort_unstable();
    at.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

#[derive(Clone, Debug)]
pub struct ConvCase {
    pub geometry: ConvGeometry,
    pub fill: Fill,
    pub stage: Stage,
    pub x_zero_point: u8,
    pub gap: usize,
    pub cuts: Vec<usize>,
    pub seed: u64,
}

pub struct ConvData {
    pub x: Vec<u8>,
    pub weights: Vec<i8>,
    pub bias: Vec<i32>,
    pub stage: StageData,
}

impl ConvCase {
    pub fn data(&self) -> ConvData {
        let g = &self.geometry;
        let random = &mut Random(self.seed);
        let mut x = self.fill.u8s(random, g.x_len());
        // What lies in the slack must not matter.
        x.extend(Fill::Full.u8s(random, SLACK));
        let weights = self.fill.i8s(random, g.weight_shape().len());
        let bias = (0..g.oc).map(|_| random.next() as i32 >> 12).collect();
        let stage = StageData::new(self.stage, random, g.rows(), g.oc, g.weight_shape().k());
        ConvData { x, weights, bias, stage }
    }

    /// The output's bits, computed in the case's pieces.
    pub fn run(&self, kernels: &Kernels, data: &ConvData) -> Vec<u32> {
        self.run_blocked(kernels, data, Blocking::default())
    }

    /// As [`ConvCase::run`], with a blocking.
    pub fn run_blocked(&self, kernels: &Kernels, data: &ConvData, blocking: Blocking) -> Vec<u32> {
        let g = &self.geometry;
        let plan = ConvPlan::new(*g).expect("a valid geometry").with_blocking(blocking);
        let weights = kernels.qconv.pack(&g.weight_shape(), &data.weights);
        let mut offsets = vec![0; g.oc];
        weights.offsets(Some(&data.bias), self.x_zero_point, &mut offsets);
        // Not aligned, and not clean: neither may matter.
        let mut scratch = vec![0x5a; kernels.qconv.scratch_len(&plan) + 1];
        let stride = g.oc + self.gap;
        let mut all = Vec::new();
        for rows in pieces(g.rows(), &self.cuts) {
            let epilogue = data.stage.epilogue(rows.start);
            let args = ConvArgs {
                plan: &plan,
                weights: &weights,
                x: &data.x,
                x_zero_point: self.x_zero_point,
                offsets: &offsets,
                epilogue: &epilogue,
            };
            all.extend(collect(self.stage, rows.len(), stride, g.oc, |out| {
                kernels.qconv.run(&args, rows.clone(), out, &mut scratch[1..]);
            }));
        }
        all
    }
}

/// Sizes that meet every tail: below, at and above the widths of vectors and blocks.
fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..20usize, 3 => 20..70usize, 1 => Just(64usize), 1 => Just(128usize), 1 => 70..200usize]
}

prop_compose! {
    pub fn conv_case()(
        (n, h, w) in (1..3usize, 1..12usize, 1..12usize),
        (kernel, stride, dilation) in ([1..6usize, 1..6usize], [1..4usize, 1..4usize], [1..4usize, 1..4usize]),
        pointwise in prop::bool::weighted(0.25),
        pad in [0..5usize, 0..5usize, 0..5usize, 0..5usize],
        (groups, c, oc) in prop_oneof![
            3 => (Just(1usize), channels(), channels()),
            1 => (2..6usize, 1..20usize, 1..20usize),
            1 => (2..20usize, 1..5usize, 1..5usize),
        ],
        fill in fill(),
        stage in stage(),
        x_zero_point in any::<u8>(),
        gap in 0..3usize,
        cuts in prop::collection::vec(any::<usize>(), 0..3),
        seed in any::<u64>(),
    ) -> ConvCase {
        let (c, oc) = (c * groups, oc * groups);
        let mut geometry = ConvGeometry { n, h, w, c, oh: 0, ow: 0, oc, kernel, stride, dilation, pad, groups };
        if pointwise {
            geometry = ConvGeometry { kernel: [1, 1], stride: [1, 1], pad: [0; 4], ..geometry };
        }
        let geometry = geometry.with_output_size().expect("small positive sizes");
        ConvCase { geometry, fill, stage, x_zero_point, gap, cuts, seed }
    }
}

prop_compose! {
    /// Linear layers: few rows, and K and N over many blocks.
    pub fn linear_case()(
        (rows, k, n) in (0..40usize, 0..700usize, 0..300usize),
        fill in fill(),
        stage in stage(),
        x_zero_point in any::<u8>(),
        gap in 0..3usize,
        cuts in prop::collection::vec(any::<usize>(), 0..3),
        seed in any::<u64>(),
    ) -> ConvCase {
        ConvCase { geometry: ConvGeometry::linear(rows, k, n), fill, stage, x_zero_point, gap, cuts, seed }
    }
}

#[derive(Clone, Debug)]
pub struct MatmulCase {
    pub shape: MatmulShape,
    pub zero_points: ZeroPoints,
    pub fill: Fill,
    pub stage: Stage,
    pub gap: usize,
    pub cuts: Vec<usize>,
    pub seed: u64,
}

pub struct MatmulData {
    pub a: Vec<u8>,
    pub b: Vec<u8>,
    pub stage: StageData,
}

impl MatmulCase {
    pub fn data(&self) -> MatmulData {
        let random = &mut Random(self.seed);
        let a = self.fill.u8s(random, self.shape.a_len());
        let b = self.fill.u8s(random, self.shape.b_len());
        let stage = StageData::new(self.stage, random, self.shape.m, self.shape.n, self.shape.k);
        MatmulData { a, b, stage }
    }

    /// The output's bits, computed in the case's pieces.
    pub fn run(&self, kernels: &Kernels, data: &MatmulData) -> Vec<u32> {
        let MatmulShape { m, k, n, .. } = self.shape;
        let mut packed = vec![0x5a; kernels.qmatmul.packed_len(k, n) + 1];
        kernels.qmatmul.pack(&self.shape, &data.b, self.zero_points, &mut packed[1..]);
        let mut all = Vec::new();
        for rows in pieces(m, &self.cuts) {
            let epilogue = data.stage.epilogue(rows.start);
            all.extend(collect(self.stage, rows.len(), n + self.gap, n, |out| {
                let run = |out| {
                    kernels.qmatmul.run(
                        &self.shape,
                        &data.a,
                        &packed[1..],
                        self.zero_points,
                        rows.clone(),
                        &epilogue,
                        out,
                    );
                };
                run(out);
            }));
        }
        all
    }
}

prop_compose! {
    pub fn matmul_case()(
        (m, k, n) in (0..30usize, 0..200usize, 0..100usize),
        (a_gap, b_gap, transposed) in (0..9usize, 0..9usize, any::<bool>()),
        (za, zb) in any::<(u8, u8)>(),
        fill in fill(),
        stage in stage(),
        gap in 0..3usize,
        cuts in prop::collection::vec(any::<usize>(), 0..3),
        seed in any::<u64>(),
    ) -> MatmulCase {
        let b = if transposed {
            RightLayout::Transposed { stride: k + b_gap }
        } else {
            RightLayout::RowMajor { stride: n + b_gap }
        };
        let shape = MatmulShape { m, k, n, a_stride: k + a_gap, b };
        MatmulCase { shape, zero_points: ZeroPoints { a: za, b: zb }, fill, stage, gap, cuts, seed }
    }
}

const STAGES: [Stage; 3] = [Stage::Requantize, Stage::AddRequantize, Stage::Dequantize];

/// Convolutions and linear layers with nothing to compute, or nothing to compute it from.
pub fn empty_convs() -> Vec<ConvCase> {
    let image = ConvGeometry { h: 5, w: 4, kernel: [3, 3], pad: [1; 4], ..ConvGeometry::linear(2, 6, 7) };
    let mut shapes: Vec<_> =
        [(0, 5, 5), (3, 0, 5), (3, 5, 0), (0, 0, 0), (3, 0, 70)].map(|(m, k, n)| ConvGeometry::linear(m, k, n)).into();
    shapes.extend(
        [
            ConvGeometry { n: 0, ..image },
            ConvGeometry { c: 0, ..image },
            ConvGeometry { oc: 0, ..image },
            ConvGeometry { kernel: [9, 3], ..image },
            ConvGeometry { h: 0, ..image },
            ConvGeometry { c: 0, oc: 6, groups: 3, ..image },
        ]
        .map(|geometry| geometry.with_output_size().expect("valid")),
    );
    let case = |geometry, stage| ConvCase {
        geometry,
        fill: Fill::Full,
        stage,
        x_zero_point: 3,
        gap: 1,
        cuts: vec![1],
        seed: 1,
    };
    shapes.into_iter().flat_map(|geometry| STAGES.map(|stage| case(geometry, stage))).collect()
}

/// Products of activations with nothing to compute, or nothing to compute it from.
pub fn empty_matmuls() -> Vec<MatmulCase> {
    let mut cases = Vec::new();
    for (m, k, n) in [(0, 5, 5), (3, 0, 5), (3, 5, 0), (0, 0, 0), (3, 0, 70), (40, 0, 33)] {
        for b in [RightLayout::RowMajor { stride: n + 1 }, RightLayout::Transposed { stride: k + 1 }] {
            for stage in STAGES {
                let (shape, zero_points) = (MatmulShape { m, k, n, a_stride: k + 2, b }, ZeroPoints { a: 9, b: 200 });
                cases.push(MatmulCase { shape, zero_points, fill: Fill::Full, stage, gap: 1, cuts: vec![1], seed: 1 });
            }
        }
    }
    cases
}

/// Runs a case on all of the sets, which must give the bits of the portable kernels; returns the number of
/// outputs, gaps between rows not counted.
pub fn check_conv(tiers: &[Kernels], case: &ConvCase, data: &ConvData) -> usize {
    let want = case.run(&Kernels::PORTABLE, data);
    for kernels in tiers {
        let got = case.run(kernels, data);
        let wrong = got.iter().zip(&want).position(|(got, want)| got != want);
        let values = wrong.map(|i| (got[i], want[i]));
        assert_eq!(got.len(), want.len());
        assert_eq!(wrong.zip(values), None, "{}: first wrong element, got and wanted: {case:?}", kernels.qconv.name());
    }
    case.geometry.rows() * case.geometry.oc
}

/// As [`check_conv`].
pub fn check_matmul(tiers: &[Kernels], case: &MatmulCase) -> usize {
    let data = case.data();
    let want = case.run(&Kernels::PORTABLE, &data);
    for kernels in tiers {
        let got = case.run(kernels, &data);
        let wrong = got.iter().zip(&want).position(|(got, want)| got != want);
        assert_eq!(got.len(), want.len());
        assert_eq!(wrong, None, "{}: first wrong element of {}", kernels.qmatmul.name(), want.len());
    }
    case.shape.m * case.shape.n
}

/// Nothing to compute is no error, and no products leave the offsets.
pub fn check_empty_sizes(tiers: &[Kernels]) {
    for case in empty_convs() {
        check_conv(tiers, &case, &case.data());
    }
    for case in empty_matmuls() {
        check_matmul(tiers, &case);
    }
}
