//! Tensors of f16.

use quantc_tensor::{DType, Tensor, f16};

fn halves(values: &[f32]) -> Vec<f32> {
    Tensor::vector(values.to_vec()).cast(DType::F16).to_f32_vec()
}

#[test]
fn every_half_survives_the_way_through_f32() {
    let all = Tensor::vector((0..=u16::MAX).map(f16::from_bits).collect());
    let back = all.cast(DType::F32).cast(DType::F16);
    for (a, b) in all.slice::<f16>().expect("f16").iter().zip(back.slice::<f16>().expect("f16")) {
        assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{a} became {b}");
    }
    assert!(all.bits_eq(&all.clone()) && !all.bits_eq(&all.cast(DType::F32)));
    assert_eq!((all.dtype().size(), all.byte_len()), (2, 2 << 16));
}

/// Ties go to even; the last bits of an f32 still break a tie.
#[test]
fn conversions_round_to_nearest() {
    let (step, unit) = (2f32.powi(-10), 1.0f32);
    let tie = unit + step / 2.0;
    assert_eq!(halves(&[tie, tie.next_up(), tie.next_down()]), [1.0, 1.0 + step, 1.0]);
    assert_eq!(halves(&[tie + step, (tie + step).next_down()]), [1.0 + 2.0 * step, 1.0 + step]);
    assert_eq!(halves(&[65504.0, 65519.996, 65520.0, -1e9]), [65504.0, 65504.0, f32::INFINITY, f32::NEG_INFINITY]);
    let least = 2f32.powi(-24);
    assert_eq!(halves(&[least, least * 0.5, least * 0.75, -least * 1.5]), [least, 0.0, least, -2.0 * least]);
    assert!(halves(&[f32::NAN])[0].is_nan());
}

#[test]
fn conversions_of_other_types() {
    let to = |t: Tensor, dtype| t.cast(dtype);
    assert_eq!(to(Tensor::vector(vec![-3i64, 2049, 70000]), DType::F16).to_f32_vec(), [-3.0, 2048.0, f32::INFINITY]);
    assert_eq!(to(Tensor::vector(vec![true, false]), DType::F16).to_f32_vec(), [1.0, 0.0]);
    let reals = halves(&[-1.9, 300.5, f32::NAN, f32::INFINITY]);
    let reals = Tensor::vector(reals).cast(DType::F16);
    assert_eq!(to(reals.clone(), DType::I64).to_i64_vec(), [-1, 300, 0, i64::MAX]);
    assert_eq!(to(reals, DType::F64).dtype(), DType::F64);
    assert_eq!(Tensor::zeros(DType::F16, &[2]).to_f32_vec(), [0.0, 0.0]);
    assert_eq!("f16".parse(), Ok(DType::F16));
    assert!(DType::F16.is_float() && DType::F16.quantized_range().is_none());
}
