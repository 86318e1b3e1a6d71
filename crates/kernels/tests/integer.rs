//! The portable integer kernels against the definitions written out.

mod support;

use proptest::prelude::*;
use quantc_kernels::conv::GeometryError;
use quantc_kernels::{ConvGeometry, ConvPlan, Kernels, MatmulShape, OutputData, PackedWeights, RightLayout, SLACK};
use support::{ConvCase, ConvData, Fill, MatmulCase, MatmulData, Stage, collect};

/// The sum of products for one output, tap by tap.
fn direct(case: &ConvCase, data: &ConvData, row: usize, o: usize) -> i32 {
    let g = &case.geometry;
    let (cg, og) = (g.c / g.groups, g.oc / g.groups);
    let (image, y, x) = (row / (g.oh * g.ow), row / g.ow % g.oh, row % g.ow);
    let mut sum = data.bias[o];
    for ky in 0..g.kernel[0] {
        for kx in 0..g.kernel[1] {
            let iy = (y * g.stride[0] + ky * g.dilation[0]).checked_sub(g.pad[0]).filter(|&iy| iy < g.h);
            let ix = (x * g.stride[1] + kx * g.dilation[1]).checked_sub(g.pad[1]).filter(|&ix| ix < g.w);
            let (Some(iy), Some(ix)) = (iy, ix) else { continue };
            for i in 0..cg {
                let q = data.x[((image * g.h + iy) * g.w + ix) * g.c + o / og * cg + i];
                let w = data.weights[((o * g.kernel[0] + ky) * g.kernel[1] + kx) * cg + i];
                sum += (i32::from(q) - i32::from(case.x_zero_point)) * i32::from(w);
            }
        }
    }
    sum
}

fn expected(
    stage: Stage,
    rows: usize,
    channels: usize,
    gap: usize,
    data: &support::StageData,
    cuts: &[usize],
    sum: impl Fn(usize, usize) -> i32,
) -> Vec<u32> {
    // Between two pieces there is no gap after the last row.
    let mut ends: Vec<usize> = cuts.iter().map(|&cut| cut % (rows + 1)).collect();
    ends.push(rows);
    let epilogue = data.epilogue(0);
    let mut all = Vec::new();
    for row in 0..rows {
        let last = ends.contains(&(row + 1));
        all.extend(
            collect(stage, 1 + usize::from(!last), channels + gap, channels, |mut out| match &mut out.data {
                OutputData::U8(to) => (0..channels).for_each(|o| to[o] = epilogue.u8_at(sum(row, o), row, o)),
                OutputData::F32(to) => (0..channels).for_each(|o| to[o] = epilogue.f32_at(sum(row, o), o)),
            })
            .iter()
            .take(if last { channels } else { channels + gap }),
        );
    }
    all
}

fn check_conv(case: &ConvCase) {
    let data = case.data();
    let g = &case.geometry;
    let want =
        expected(case.stage, g.rows(), g.oc, case.gap, &data.stage, &case.cuts, |row, o| direct(case, &data, row, o));
    assert_eq!(case.run(&Kernels::PORTABLE, &data), want);
}

fn check_matmul(case: &MatmulCase) {
    let data: MatmulData = case.data();
    let MatmulShape { m, k, n, a_stride, b } = case.shape;
    let (za, zb) = (i32::from(case.zero_points.a), i32::from(case.zero_points.b));
    let sum = |row: usize, column: usize| {
        let product = |i: usize| {
            let right = match b {
                RightLayout::RowMajor { stride } => data.b[i * stride + column],
                RightLayout::Transposed { stride } => data.b[column * stride + i],
            };
            (i32::from(data.a[row * a_stride + i]) - za) * (i32::from(right) - zb)
        };
        (0..k).map(product).sum()
    };
    let want = expected(case.stage, m, n, case.gap, &data.stage, &case.cuts, sum);
    assert_eq!(case.run(&Kernels::PORTABLE, &data), want);
}

proptest! {
    #![proptest_config(support::config(300))]

    #[test]
    fn convolution_is_the_direct_sum(case in support::conv_case()) {
        check_conv(&case);
    }

    #[test]
    fn linear_is_the_direct_sum(case in support::linear_case()) {
        check_conv(&case);
    }

    #[test]
    fn matmul_is_the_direct_sum(case in support::matmul_case()) {
        check_matmul(&case);
    }
}

/// A long sum of the largest products wraps instead of saturating or panicking.
#[test]
fn accumulation_wraps() {
    let k = 70_000;
    let geometry = ConvGeometry::linear(1, k, 1);
    let weights = Kernels::PORTABLE.qconv.pack(&geometry.weight_shape(), &vec![-128; k]);
    let plan = ConvPlan::new(geometry).expect("valid");
    let scale = [1.0];
    let epilogue = quantc_kernels::Epilogue::Dequantize { scale: &scale, clamp: (f32::NEG_INFINITY, f32::INFINITY) };
    let args = quantc_kernels::ConvArgs {
        plan: &plan,
        weights: &weights,
        x: &vec![255; k + SLACK],
        x_zero_point: 0,
        offsets: &[0],
        epilogue: &epilogue,
    };
    let mut out = [0.0];
    Kernels::PORTABLE.qconv.run(&args, 0..1, quantc_kernels::Output::f32(&mut out, 1), &mut []);
    assert_eq!(out[0], (-128i64 * 255 * k as i64) as i32 as f32);
}

#[test]
fn offsets_hold_bias_and_zero_point() {
    let shape = quantc_kernels::ConvWeightShape::linear(3, 2);
    let weights: PackedWeights = Kernels::PORTABLE.qconv.pack(&shape, &[1, 2, 3, -128, -128, -128]);
    assert_eq!(weights.sum_w(), [6, -384]);
    let mut offsets = [7; 2];
    weights.offsets(Some(&[100, i32::MIN]), 255, &mut offsets);
    assert_eq!(offsets, [100 - 6 * 255, i32::MIN.wrapping_add(384 * 255)]);
    weights.offsets(None, 1, &mut offsets);
    assert_eq!(offsets, [-6, 384]);
}

#[test]
fn geometry_errors_name_the_field() {
    let good = ConvGeometry {
        n: 1,
        h: 5,
        w: 5,
        c: 6,
        oh: 3,
        ow: 2,
        oc: 4,
        kernel: [3, 3],
        stride: [1, 2],
        dilation: [1, 1],
        pad: [0, 0, 0, 0],
        groups: 2,
    };
    assert_eq!(good.validate(), Ok(()));
    let message = |geometry: ConvGeometry| geometry.validate().expect_err("invalid").to_string();
    assert_eq!(message(ConvGeometry { groups: 4, ..good }), "input channels = 6 is not a multiple of groups = 4");
    assert_eq!(message(ConvGeometry { stride: [0, 1], ..good }), "stride must be at least 1");
    assert!(message(ConvGeometry { ow: 3, ..good }).starts_with("output width is 3, but"));
    let huge =
        ConvGeometry { h: usize::MAX / 4, w: usize::MAX / 4, oh: usize::MAX / 4 - 2, ow: usize::MAX / 8, ..good };
    assert_eq!(message(ConvGeometry { ow: (usize::MAX / 4 - 3) / 2 + 1, ..huge }), GeometryError::TooLarge.to_string());
    assert_eq!(good.weight_shape().k(), 27);
}

/// Nothing to compute is no error.
#[test]
fn empty_sizes() {
    support::empty_convs().iter().for_each(check_conv);
    support::empty_matmuls().iter().for_each(check_matmul);
}

#[test]
#[should_panic(expected = "x holds")]
fn missing_slack_is_refused() {
    let case = ConvCase {
        geometry: ConvGeometry::linear(2, 8, 8),
        fill: Fill::Full,
        stage: Stage::Requantize,
        x_zero_point: 0,
        gap: 0,
        cuts: vec![],
        seed: 1,
    };
    let mut data = case.data();
    data.x.pop();
    case.run(&Kernels::PORTABLE, &data);
}
