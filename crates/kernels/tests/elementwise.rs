//! The portable depthwise, elementwise, conversion, pooling, layout, float and recurrent kernels against the definitions written
//! out.

#[path = "support/elem.rs"]
mod elem;
#[path = "support/layout.rs"]
mod layout;
#[path = "support/pool.rs"]
mod pool;
#[path = "support/recurrent.rs"]
mod recurrent;
#[path = "support/refusals.rs"]
mod refusals;
mod support;

use proptest::prelude::*;
use quantc_kernels::Kernels;

proptest! {
    #![proptest_config(support::config(300))]

    #[test]
    fn row_kernels_are_their_definitions(case in elem::rows_case()) {
        prop_assert_eq!(case.run(&Kernels::PORTABLE), case.expected());
    }

    #[test]
    fn row_functions_are_their_definitions(case in elem::rows_case()) {
        prop_assert_eq!(case.run_row_functions(&Kernels::PORTABLE), case.expected_row_functions());
    }

    #[test]
    fn layout_kernels_are_their_definitions(case in layout::layout_case()) {
        prop_assert_eq!(case.run(Some(&Kernels::PORTABLE)), case.run(None));
    }

    #[test]
    fn poolings_are_their_definitions(case in pool::pool_case()) {
        prop_assert_eq!(case.run(Some(&Kernels::PORTABLE)), case.run(None));
    }

    #[test]
    fn gates_are_their_definitions(case in recurrent::recurrent_case()) {
        prop_assert_eq!(case.run(Some(&Kernels::PORTABLE)), case.run(None));
    }

    /// The dense kernels are tested against the direct sum.
    #[test]
    fn depthwise_is_grouped_convolution(case in elem::depthwise_case()) {
        let data = case.data();
        let want = case.run(&Kernels::PORTABLE, &data);
        prop_assert_eq!(case.run(&elem::depthwise_as_conv(&Kernels::PORTABLE), &data), want);
    }
}

#[test]
fn sizes_that_wrap_around_are_refused() {
    refusals::every_kernel(&Kernels::PORTABLE);
}

#[test]
fn sign_flips_both_ways() {
    let x: Vec<u8> = (0..=255).collect();
    let (mut signed, mut back) = (vec![0; 256], vec![0; 256]);
    quantc_kernels::quantize::flip_sign(&x, &mut signed);
    assert!(signed.iter().zip(&x).all(|(&s, &x)| i32::from(s as i8) == i32::from(x) - 128));
    quantc_kernels::quantize::flip_sign(&signed, &mut back);
    assert_eq!(back, x);
}

#[test]
#[should_panic(expected = "not a depthwise convolution")]
fn grouped_weights_are_refused() {
    let shape = quantc_kernels::ConvWeightShape { oc: 4, kernel: [1, 1], c: 4, groups: 2 };
    Kernels::PORTABLE.qdepthwise.pack(&shape, &[0; 8]);
}
