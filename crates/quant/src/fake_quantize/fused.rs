//! The parameters that PyTorch's fused module and its kernels choose.

use quantc_tensor::QRange;

use crate::observer::Range;

/// The smallest scale: below it, half precision has subnormal numbers only.
const SMALLEST_SCALE: f32 = 6.1e-5;

/// Scale and zero point for the values of `range`, not empty, as PyTorch's C++ `ChooseQuantizationParams` computes them: in f64, the scale
/// at least 6.1e-5, the zero point from the end of the range where it has the smaller error. `symmetric` (`preserve_sparsity`) takes
/// values on both sides of 0 as a range around it, with the zero point in the middle.
///
/// It differs from what observers compute: from `eps`, from the symmetric scheme for values of one sign, and in the last bit.
pub(super) fn choose_quantization_params(range: Range, integers: QRange, symmetric: bool) -> (f32, i32) {
    let (qmin, qmax) = (i64::from(integers.qmin), i64::from(integers.qmax));
    let Range { mut min, mut max } = range;
    let around_zero = |min: f32, max: f32| symmetric && min < 0.0 && max > 0.0;
    if around_zero(min, max) {
        let half = (qmax - qmin) / 2;
        let (lowest, highest) = (-(half + 1), half);
        let scale = f64::from((min / lowest as f32).abs()).max(f64::from((max / highest as f32).abs()));
        (min, max) = ((scale * lowest as f64) as f32, (scale * highest as f64) as f32);
    }
    (min, max) = (min.min(0.0), max.max(0.0));
    let mut scale = (f64::from(max) - f64::from(min)) / (qmax - qmin) as f64;
    // No scale whose reciprocal is infinite.
    if scale as f32 == 0.0 || (1.0 / scale as f32).is_infinite() {
        scale = 0.1;
    }
    if scale < f64::from(SMALLEST_SCALE) {
        let before = scale as f32;
        scale = f64::from(SMALLEST_SCALE);
        let widest = SMALLEST_SCALE * (qmax - qmin) as f32;
        if min == 0.0 {
            max = widest;
        } else if max == 0.0 {
            min = -widest;
        } else {
            let factor = SMALLEST_SCALE / before;
            (min, max) = (min * factor, max * factor);
        }
    }
    let (low_steps, high_steps) = (f64::from(min) / scale, f64::from(max) / scale);
    let low_error = qmin.abs() as f64 - low_steps.abs();
    let high_error = qmax.abs() as f64 - high_steps.abs();
    let zero_point = if around_zero(min, max) {
        (qmin + qmax) as f64 / 2.0
    } else if low_error < high_error {
        qmin as f64 - low_steps
    } else {
        qmax as f64 - high_steps
    };
    (scale as f32, zero_point.round_ties_even().clamp(qmin as f64, qmax as f64) as i32)
}
