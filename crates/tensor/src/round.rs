//! The rounding and saturation contract (`docs/numerics.md`): every conversion from a real number to an integer
//! in quantc is one of these functions, or a kernel proven bit-identical to one of them.

/// `clamp(rne(v) + zero_point, lo, hi)` with round half to even; `lo`, `hi` and `zero_point` are integers of at most
/// 24 bits. The clamp is done on the float side first, so any finite or infinite `v` has a defined result;
/// NaN gives `lo` (the value `max(NaN, lo)` has on every ISA's max instruction when NaN is the first operand).
#[inline(always)]
pub fn round_saturate(v: f32, zero_point: i32, lo: i32, hi: i32) -> i32 {
    // f32::max and f32::min return the non-NaN operand, hence NaN -> lo.
    let clamped = v.max((lo - zero_point) as f32).min((hi - zero_point) as f32);
    clamped.round_ties_even() as i32 + zero_point
}

/// Quantizes one real number: `clamp(rne(x * inverse_scale) + zero_point, qmin, qmax)`, where `inverse_scale` is
/// `1.0 / scale` computed in f32 (PyTorch `quantize_per_tensor`).
#[inline(always)]
pub fn quantize(x: f32, inverse_scale: f32, zero_point: i32, qmin: i32, qmax: i32) -> i32 {
    round_saturate(x * inverse_scale, zero_point, qmin, qmax)
}

/// `(q - zero_point) * scale` (PyTorch `dequantize`).
#[inline(always)]
pub fn dequantize(q: i32, scale: f32, zero_point: i32) -> f32 {
    (q - zero_point) as f32 * scale
}

/// Requantizes an exact i32 accumulator: `clamp(rne(f32(acc) * multiplier) + zero_point, qmin, qmax)`, one f32
/// multiplication, no fused multiply-add.
#[inline(always)]
pub fn requantize(acc: i32, multiplier: f32, zero_point: i32, qmin: i32, qmax: i32) -> i32 {
    round_saturate(acc as f32 * multiplier, zero_point, qmin, qmax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_even() {
        let got: Vec<i32> = [0.5, 1.5, 2.5, -0.5, -1.5].iter().map(|&v| round_saturate(v, 0, -128, 127)).collect();
        assert_eq!(got, [0, 2, 2, 0, -2]);
    }

    #[test]
    fn saturates_and_defines_nan() {
        assert_eq!(round_saturate(f32::INFINITY, 3, 0, 255), 255);
        assert_eq!(round_saturate(f32::NEG_INFINITY, 3, 0, 255), 0);
        assert_eq!(round_saturate(1e30, 3, 0, 255), 255);
        assert_eq!(round_saturate(f32::NAN, 3, 0, 255), 0);
    }
}
