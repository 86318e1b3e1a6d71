//! Every tier of this machine gives the bits of the portable kernels: depthwise, elementwise, conversions, pooling, layout,
//! float and recurrent.

use proptest::prelude::*;
use quantc_kernels::Kernels;

use super::{elem, layout, pool, recurrent, refusals, support, tiers};

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
    fn layout_kernels_agree(case in layout::layout_case()) {
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

#[test]
fn sizes_that_wrap_around_are_refused() {
    for kernels in tiers() {
        refusals::every_kernel(&kernels);
    }
}

/// No rows and no columns, whatever the operands.
#[test]
fn empty_sizes() {
    use elem::Kind;
    for (rows, columns) in [(0..0, 5), (2..2, 70), (0..3, 0), (1..1, 0)] {
        for a in
            [Kind::Rows { gap: 0 }, Kind::Rows { gap: 2 }, Kind::Vector, Kind::Repeated { repeat: 2 }, Kind::SplatRows]
        {
            let (rows, fill) = (rows.clone(), support::Fill::Full);
            let case = elem::RowsCase { rows, columns, a, b: Kind::Scalar, gap: 1, fill, seed: 1 };
            agree(|kernels| case.run(kernels)).expect("equal results");
            agree(|kernels| case.run_row_functions(kernels)).expect("equal results");
        }
    }
}
