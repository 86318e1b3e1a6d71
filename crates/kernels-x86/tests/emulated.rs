//! The tiers that few machines have, AVX-VNNI and AMX, give the bits of the portable kernels: on the CPU where it has them, else with
//! their instructions emulated.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "../../kernels/tests/support/elem.rs"]
mod elem;
mod emulator;
#[path = "../../kernels/tests/support/fuzz.rs"]
mod fuzz;
#[path = "../../kernels/tests/support/pool.rs"]
mod pool;
#[path = "../../kernels/tests/support/refusals.rs"]
mod refusals;
#[path = "../../kernels/tests/support/mod.rs"]
mod support;

use proptest::prelude::*;
use quantc_kernels::{ConvGeometry, Isa, Kernels};
use support::{ConvCase, Fill, Stage};

/// The kernels of both tiers.
fn tiers() -> Vec<Kernels> {
    [Isa::AvxVnni, Isa::Amx].into_iter().filter_map(emulator::kernels).collect()
}

fn check_conv(case: &ConvCase) {
    support::check_conv(&tiers(), case, &case.data());
}

proptest! {
    #![proptest_config(support::config(60))]

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
        support::check_matmul(&tiers(), &case);
    }
}

#[test]
fn sizes_that_wrap_around_are_refused() {
    for kernels in tiers() {
        refusals::every_kernel(&kernels);
    }
}

/// Numbers of rows, columns and weights around the sizes of tiles.
#[test]
fn tails() {
    for rows in [1, 2, 5, 6, 7, 15, 16, 17, 31, 32, 33, 49, 63, 64, 65, 81] {
        for (i, columns) in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 65].into_iter().enumerate() {
            let k = [1, 3, 4, 5, 31, 60, 63, 64, 65, 127, 129, 200, 261][(rows + i) % 13];
            for stage in [Stage::Requantize, Stage::AddRequantize, Stage::Dequantize] {
                check_conv(&ConvCase {
                    geometry: ConvGeometry::linear(rows, k, columns),
                    fill: [Fill::Full, Fill::Worst][i % 2],
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

#[test]
fn empty_sizes() {
    support::check_empty_sizes(&tiers());
}

/// Random products until both tiers have computed 2 * 10^5 outputs: a small part of what the tiers of the machine compute, since each
/// emulated instruction takes a signal. Their other kernels are those of the tiers below.
#[test]
#[ignore = "2 * 10^5 outputs of each tier; CI runs it"]
fn two_hundred_thousand_outputs() {
    fuzz::run(&tiers(), fuzz::products(), 200_000);
}
