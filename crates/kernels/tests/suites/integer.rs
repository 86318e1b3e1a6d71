//! Every tier of this machine gives the bits of the portable kernels: matrix products and convolutions.

use proptest::prelude::*;
use quantc_kernels::{Blocking, ConvGeometry, Kernels};

use super::support::{self, ConvCase, Fill, Stage};
use super::{fuzz, tiers};

fn check_conv(case: &ConvCase) -> usize {
    support::check_conv(&tiers(), case, &case.data())
}

proptest! {
    #![proptest_config(support::config(1000))]

    #[test]
    fn packed_weights_give_the_weights_back(case in support::conv_case()) {
        let (shape, weights) = (case.geometry.weight_shape(), case.data().weights);
        for kernels in tiers() {
            let packed = kernels.qconv.pack(&shape, &weights);
            let panels = kernels.qconv.panels().expect("packed in panels");
            prop_assert_eq!(panels.bytes(&shape), packed.data().len());
            prop_assert_eq!(&panels.unpack(&shape, packed.data()), &weights);
        }
    }

    #[test]
    fn convolution(case in support::conv_case()) {
        check_conv(&case);
    }

    #[test]
    fn blockings(
        case in prop_oneof![support::conv_case(), support::linear_case()],
        rows in prop_oneof![Just(0usize), Just(usize::MAX), 1..100usize],
        bytes in prop_oneof![Just(0usize), Just(usize::MAX), 1..100_000usize],
    ) {
        let data = case.data();
        let want = case.run(&Kernels::PORTABLE, &data);
        for kernels in tiers() {
            let got = case.run_blocked(&kernels, &data, Blocking { rows, bytes });
            prop_assert!(got == want, "{}, {rows} rows, {bytes} bytes", kernels.qconv.name());
        }
    }

    #[test]
    fn linear(case in support::linear_case()) {
        check_conv(&case);
    }

    #[test]
    fn matmul(case in support::matmul_case()) {
        support::check_matmul(&tiers(), &case);
    }
}

/// Every number of rows and columns around the sizes of tiles and vectors.
#[test]
fn every_tail() {
    for rows in 1..27 {
        for (i, columns) in (1..70).enumerate() {
            for stage in [Stage::Requantize, Stage::AddRequantize, Stage::Dequantize] {
                check_conv(&ConvCase {
                    geometry: ConvGeometry::linear(rows, 1 + i % 13, columns),
                    fill: Fill::Full,
                    stage,
                    x_zero_point: 77,
                    gap: rows % 2,
                    cuts: vec![],
                    seed: (rows * 100 + columns) as u64,
                });
            }
        }
    }
}

/// Results that no integer holds, and those at its limits.
#[test]
fn extreme_multipliers() {
    let positive = [f32::INFINITY, f32::NAN, 1e30, 3e4, 1.0, 0.5, 1e-3, 1e-30, 1e-45];
    for stage in [Stage::Requantize, Stage::AddRequantize, Stage::Dequantize] {
        // f32 results keep the sign of zero, which `f32::max` leaves open: scales are positive there, as they are in use.
        for sign in if stage == Stage::Dequantize { vec![1.0] } else { vec![1.0, -1.0] } {
            for seed in 0..20 {
                let geometry = ConvGeometry::linear(7, 3 + seed as usize, 70);
                let case = ConvCase { geometry, fill: Fill::Ends, stage, x_zero_point: 9, gap: 0, cuts: vec![], seed };
                let mut data = case.data();
                data.bias.iter_mut().step_by(3).for_each(|bias| *bias = i32::MAX);
                for (scale, i) in data.stage.scale.iter_mut().zip(seed as usize..) {
                    *scale = if sign < 0.0 && i % 10 == 9 { 0.0 } else { sign * positive[i % 9] };
                }
                support::check_conv(&tiers(), &case, &data);
            }
        }
    }
}

/// Pairs of weights whose products with 255, or with 0 seen as -128, just fit 16 bits, and just do not.
#[test]
fn brink_of_saturation() {
    let pairs: [[i8; 2]; 11] = [
        [64, 64],
        [64, 65],
        [127, 1],
        [127, 2],
        [127, 127],
        [-64, -64],
        [-64, -65],
        [-128, 0],
        [-128, -1],
        [-128, -128],
        [127, -128],
    ];
    for pair in pairs {
        for (shift, k, x) in [(0, 10, 255), (1, 10, 255), (0, 40, 0), (1, 40, 0)] {
            let geometry = ConvGeometry::linear(3, k, 9);
            let (stage, cuts) = (Stage::Dequantize, vec![]);
            let case = ConvCase { geometry, fill: Fill::Worst, stage, x_zero_point: 0, gap: 0, cuts, seed: 1 };
            let mut data = case.data();
            data.x[..geometry.x_len()].fill(x);
            data.weights.iter_mut().enumerate().for_each(|(i, w)| *w = pair[(i + shift) % 2]);
            support::check_conv(&tiers(), &case, &data);
        }
    }
}

/// More rows than a block holds, and first layers: 3 channels, large kernels.
#[test]
fn blocks_and_first_layers() {
    let base = ConvGeometry {
        n: 2,
        h: 31,
        w: 29,
        c: 3,
        oh: 0,
        ow: 0,
        oc: 40,
        kernel: [7, 7],
        stride: [2, 2],
        dilation: [1, 1],
        pad: [3, 3, 3, 3],
        groups: 1,
    };
    let shapes = [
        base,
        ConvGeometry { kernel: [3, 3], pad: [0, 0, 1, 1], ..base },
        ConvGeometry { kernel: [1, 1], pad: [0; 4], stride: [1, 1], c: 130, ..base },
        ConvGeometry { kernel: [3, 3], pad: [1; 4], stride: [1, 1], c: 256, oc: 20, n: 1, ..base },
        ConvGeometry { kernel: [3, 3], pad: [1; 4], stride: [1, 1], c: 64, oc: 64, groups: 32, ..base },
        // 1-d, one channel, a kernel as long as a window of sound.
        ConvGeometry { h: 1, w: 3000, c: 1, kernel: [1, 512], stride: [1, 128], pad: [0, 100, 0, 300], ..base },
    ];
    for (i, geometry) in shapes.into_iter().enumerate() {
        let geometry = geometry.with_output_size().expect("valid");
        for fill in [Fill::Full, Fill::Small, Fill::Worst] {
            let seed = i as u64;
            let cuts = vec![geometry.rows() / 3];
            check_conv(&ConvCase { geometry, fill, stage: Stage::Requantize, x_zero_point: 131, gap: 0, cuts, seed });
        }
    }
}

#[test]
fn empty_sizes() {
    support::check_empty_sizes(&tiers());
}

/// Random cases until every tier has computed 10^8 outputs, of every kind of integer kernel as many.
#[test]
#[ignore = "10^8 outputs of each tier; CI runs it"]
fn a_hundred_million_outputs() {
    fuzz::run(&tiers(), fuzz::all(), 100_000_000);
}
