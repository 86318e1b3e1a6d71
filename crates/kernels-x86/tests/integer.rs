//! Every tier of this machine gives the bits of the portable kernels.

#[path = "../../kernels/tests/support/mod.rs"]
mod support;

use proptest::prelude::*;
use quantc_kernels::{ConvGeometry, Isa, Kernels};
use support::{ConvCase, Fill, MatmulCase, Stage};

/// The kernels of each tier above portable that this machine has; what it lacks is said, not hidden.
fn tiers() -> Vec<Kernels> {
    let tier = |&isa: &Isa| {
        let mut kernels = Kernels::PORTABLE;
        quantc_kernels_x86::register(isa, &mut kernels);
        (kernels.isa == isa).then_some(kernels)
    };
    let wanted = [Isa::Avx2, Isa::Avx512Vnni];
    let tiers: Vec<_> = wanted.iter().filter_map(tier).collect();
    if tiers.len() < wanted.len() {
        eprintln!("SKIPPED: this machine lacks some of {wanted:?}");
    }
    tiers
}

fn check_conv(case: &ConvCase) {
    let data = case.data();
    let want = case.run(&Kernels::PORTABLE, &data);
    for kernels in tiers() {
        let got = case.run(&kernels, &data);
        let wrong = got.iter().zip(&want).position(|(got, want)| got != want);
        assert_eq!(wrong, None, "{}: first wrong element of {}", kernels.qconv.name(), want.len());
    }
}

fn check_matmul(case: &MatmulCase) {
    let data = case.data();
    let want = case.run(&Kernels::PORTABLE, &data);
    for kernels in tiers() {
        let got = case.run(&kernels, &data);
        let wrong = got.iter().zip(&want).position(|(got, want)| got != want);
        assert_eq!(wrong, None, "{}: first wrong element of {}", kernels.qmatmul.name(), want.len());
    }
}

proptest! {
    #![proptest_config(support::config(1000))]

    #[test]
    fn convolution(case in support::conv_case()) {
        check_conv(&case);
    }

    #[test]
    fn linear(case in support::linear_case()) {
        check_conv(&case);
    }

    #[test]
    fn matmul(case in support::matmul_case()) {
        check_matmul(&case);
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
