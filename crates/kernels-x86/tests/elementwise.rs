//! Every tier of this machine against the portable kernels, bit for bit: depthwise, elementwise, conversions, pooling,
//! layout, float and recurrent.

#[path = "../../kernels/tests/support/elem.rs"]
mod elem;
#[path = "../../kernels/tests/support/pool.rs"]
mod pool;
#[path = "../../kernels/tests/support/recurrent.rs"]
mod recurrent;
#[path = "../../kernels/tests/support/mod.rs"]
mod support;

use proptest::prelude::*;
use quantc_kernels::{Isa, Kernels};

/// The sets of the tiers above the portable one that this machine can run; says which it cannot.
fn tiers() -> Vec<Kernels> {
    let mut sets = Vec::new();
    for &isa in Isa::ALL.iter().filter(|&&isa| isa != Isa::Portable) {
        if isa.is_available() {
            let mut kernels = Kernels::PORTABLE;
            quantc_kernels_x86::register(isa, &mut kernels);
            assert_eq!(kernels.isa, isa);
            sets.push(kernels);
        } else {
            eprintln!("skipped: this machine has no {isa}");
        }
    }
    sets
}

/// Fails unless every tier gives what the portable set gives.
fn agree<R: PartialEq + std::fmt::Debug>(run: impl Fn(&Kernels) -> R) -> Result<(), TestCaseError> {
    let want = run(&Kernels::PORTABLE);
    for kernels in tiers() {
        prop_assert_eq!(&run(&kernels), &want, "{}", kernels.isa);
    }
    Ok(())
}

proptest! {
    #![proptest_config(support::config(600))]

    #[test]
    fn row_kernels_agree(case in elem::rows_case()) {
        agree(|kernels| case.run(kernels))?;
    }

    #[test]
    fn row_functions_agree(case in elem::rows_case()) {
        agree(|kernels| case.run_row_functions(kernels))?;
    }

    #[test]
    fn layout_kernels_agree(case in elem::layout_case()) {
        agree(|kernels| case.run(Some(kernels)))?;
    }

    #[test]
    fn poolings_agree(case in pool::pool_case()) {
        agree(|kernels| case.run(Some(kernels)))?;
    }

    #[test]
    fn gates_agree(case in recurrent::recurrent_case()) {
        agree(|kernels| case.run(Some(kernels)))?;
    }

    #[test]
    fn depthwise_agrees(case in elem::depthwise_case()) {
        let data = case.data();
        agree(|kernels| case.run(&elem::depthwise_as_conv(kernels), &data))?;
    }
}
