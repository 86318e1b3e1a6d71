//! The rounding and saturation contract (`docs/numerics.md`): every conversion from a real number to an integer
//! in quantc is one of these functions, or a kernel proven bit-identical to one of them.

/// `clamp(rne(v) + zero_point, lo, hi)` with round half to even; `lo`, `hi` and `zero_point` are integers of at most
/// 24 bits. The clamp is done on the float side first, so any finite or infinite `v` has a defined result;
/// NaN gives `lo` (the value `max(NaN, lo)` has on every ISA's max instruction when NaN is the first operand).
///
/// No call and no branch that depends on `v`, so that loops over it vectorise on every ISA.
#[inline(always)]
pub fn round_saturate(v: f32, zero_point: i32, lo: i32, hi: i32) -> i32 {
    // Adding 1.5 * 2^23 to a number of at most 2^22 rounds it to an integer, which is then in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    const MOST: i32 = 1 << 22;
    let (lo, hi) = (lo - zero_point, hi - zero_point);
    let clamped = if v > lo as f32 { v } else { lo as f32 };
    let clamped = if clamped < hi as f32 { clamped } else { hi as f32 };
    let rounded = if -MOST <= lo && hi <= MOST {
        ((clamped + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32)
    } else {
        clamped.round_ties_even() as i32
    };
    rounded + zero_point
}

/// Quantizes one real number: `clamp(rne(x * inverse_scale) + zero_point, qmin, qmax)`, where `inverse_scale` is
/// `1.0 / scale` computed in f32 (PyTorch `quantize_per_tensor`).
#[inline(always)]
pub fn quantize(x: f32, inverse_scale: f32, zero_point: i32, qmin: i32, qmax: i32) -> i32 {
    round_saturate(x * inverse_scale, zero_point, qmin, qmax)
}

/// The same for integers of 32 bits, whose zero point may leave no room to shift the bounds by it: `clamp(f32(rne(x * inverse_scale) +
/// zero_point))`, the sum in f32 as PyTorch's `qint32` has it. NaN gives the lowest integer.
pub fn quantize_i32(x: f32, inverse_scale: f32, zero_point: i32) -> i32 {
    let shifted = (x * inverse_scale).round_ties_even() + zero_point as f32;
    round_saturate(shifted, 0, i32::MIN, i32::MAX)
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

    /// Around every integer and tie of the range, and for bounds on both sides of what the fast path takes.
    #[test]
    fn is_its_definition() {
        let check = |v: f32, z: i32, lo: i32, hi: i32| {
            let want = f64::from(v).round_ties_even().clamp(f64::from(lo - z), f64::from(hi - z)) as i32 + z;
            assert_eq!(round_saturate(v, z, lo, hi), want, "{v} {z} {lo} {hi}");
        };
        for twice in -1200..1200 {
            let v = twice as f32 * 0.5;
            for v in [v.next_down(), v, v.next_up()] {
                for (z, lo, hi) in [(0, -128, 127), (0, 0, 255), (255, 0, 255), (17, 17, 99), (-128, -128, 127)] {
                    check(v, z, lo, hi);
                }
            }
        }
        for exponent in 0..30 {
            let v = (1u32 << exponent) as f32;
            for v in [v.next_down(), v, v.next_up(), v + 0.5, v - 0.5, v + 1.5] {
                for bits in [15, 21, 22, 23, 24] {
                    check(v, 0, -(1 << bits), 1 << bits);
                    check(-v, 0, -(1 << bits), 1 << bits);
                }
            }
        }
    }

    #[test]
    fn saturates_and_defines_nan() {
        assert_eq!(round_saturate(f32::INFINITY, 3, 0, 255), 255);
        assert_eq!(round_saturate(f32::NEG_INFINITY, 3, 0, 255), 0);
        assert_eq!(round_saturate(1e30, 3, 0, 255), 255);
        assert_eq!(round_saturate(f32::NAN, 3, 0, 255), 0);
    }
}
