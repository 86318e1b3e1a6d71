//! Elementary functions on f32, the same bits on every machine.
//!
//! Each (but for those that say otherwise: logarithm, sine, cosine, general power and what is built on them) is a fixed sequence of
//! IEEE f32 operations (`+ - * /`, comparison, bit moves and the exact square root), with no call into a math library and nothing fused, so that the reference evaluation, the portable kernels and every SIMD
//! tier agree bit for bit. They are branch-free, so a loop over any of them vectorises. The polynomials are our own
//! minimax fits (iteratively reweighted least squares on Chebyshev nodes); the stated errors are over the whole range
//! and are held by the tests. A NaN argument gives a NaN of no particular payload.

/// `x` limited to `lo..=hi`, keeping NaN and the sign of zero: `hi < t ? hi : t` where `t = lo > x ? lo : x`, which is
/// what `minps(hi, maxps(lo, x))` computes.
#[inline(always)]
pub fn clamp_f32(x: f32, lo: f32, hi: f32) -> f32 {
    let t = if lo > x { lo } else { x };
    if hi < t { hi } else { t }
}

/// `max(x, 0)`; NaN stays NaN and -0 stays -0.
#[inline(always)]
pub fn relu_f32(x: f32) -> f32 {
    if 0.0 > x { 0.0 } else { x }
}

#[inline(always)]
fn horner<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut p = coefficients[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        p = p * x + coefficients[i];
    }
    p
}

/// 2^k for `k` in -126..=127; zero for -127.
#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits((k.wrapping_add(127) << 23) as u32)
}

/// `e^x` within 1.1 ulp, subnormal results included; above 88.73 infinity, below -103.98 zero.
///
/// `x = n ln 2 + r` with ln 2 in two parts (Cody and Waite), `e^r` by a polynomial of degree 6, then two exact
/// multiplications by powers of two of which only the last can round.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the significand.
    const MAGIC: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    const P: [f32; 5] = [0.5, 0.166_665_17, 0.041_666_202, 0.008_369_073, 0.001_395_080_8];
    let x = clamp_f32(x, -104.0, 89.0);
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    let p = (horner(r, P) * (r * r) + r) + 1.0;
    let n = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `e^x` for `x` not above 0, within 2.3 ulp of results above 1.2e-38; zero below -87.7. What softmax needs, at less cost than
/// [`exp_f32`]: a polynomial of degree 5 and one power of two.
#[inline(always)]
pub fn exp_nonpositive_f32(x: f32) -> f32 {
    exp_nonpositive_block([x])[0]
}

/// [`exp_nonpositive_f32`] of each element. One step for all elements comes before the next step: each of the twenty waits for the one before, and
/// a processor does not look far enough ahead to find another element's.
#[inline(always)]
pub fn exp_nonpositive_block<const N: usize>(x: [f32; N]) -> [f32; N] {
    // 1.5 * 2^23 rounds to an integer; the bias of the exponent besides.
    const MAGIC: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    const P: [f32; 4] = [0.499_992_3, 0.166_671_14, 0.041_890_156, 0.008_312_521];
    // At the bound the power of two is 2^-127, whose bits are those of zero.
    let x = x.map(|x| if -88.0 > x { -88.0 } else { x });
    let shifted = x.map(|x| x * std::f32::consts::LOG2_E + MAGIC);
    let n = shifted.map(|shifted| shifted - MAGIC);
    let r = zip_block(x, n, |x, n| x - n * LN2_HI);
    let r = zip_block(r, n, |r, n| r - n * LN2_LO);
    let p = r.map(|r| r * P[3] + P[2]);
    let p = zip_block(p, r, |p, r| p * r + P[1]);
    let p = zip_block(p, r, |p, r| p * r + P[0]);
    let p = zip_block(p, r, |p, r| p * (r * r) + r);
    let p = p.map(|p| p + 1.0);
    zip_block(p, shifted, |p, shifted| {
        p * power_of_two((shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32))
    })
}

#[inline(always)]
fn zip_block<const N: usize>(mut a: [f32; N], b: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; N] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    a
}

/// `1 / (1 + e^-x)` within 2.6 ulp for `x > -87`; below -88.73 zero.
#[inline(always)]
pub fn sigmoid_f32(x: f32) -> f32 {
    1.0 / (1.0 + exp_f32(-x))
}

/// Hyperbolic tangent within 1.5 ulp: an odd polynomial below 0.625, `1 - 2 / (e^2x + 1)` above.
#[inline(always)]
pub fn tanh_f32(x: f32) -> f32 {
    const P: [f32; 5] = [-0.333_332_78, 0.133_313_31, -0.053_730_007, 0.020_606_179, -0.005_666_979];
    let a = x.abs();
    let t = x * x;
    let small = horner(t, P) * t * a + a;
    let large = 1.0 - 2.0 / (exp_f32(a + a) + 1.0);
    (if a < 0.625 { small } else { large }).copysign(x)
}

/// The error function within 1.5 ulp: an odd polynomial below 0.875, `1 - e^p(x)` with a polynomial `p` fitted to
/// `ln erfc` above.
#[inline(always)]
pub fn erf_f32(x: f32) -> f32 {
    const SMALL: [f32; 6] = [0.128_379_15, -0.376_125_5, 0.112_824_56, -0.026_791_478, 0.005_032_199, -0.000_620_333_9];
    const LARGE: [f32; 7] =
        [-0.000_144_207_7, -1.127_889_4, -0.636_820_6, -0.104_250_23, 0.022_381_045, -0.003_082, 0.000_199_901_83];
    let a = x.abs();
    let small = horner(x * x, SMALL) * x + x;
    // erf(4) is 1 in f32, and the fit ends there.
    let large = (1.0 - exp_f32(horner(clamp_f32(a, 0.0, 4.0), LARGE))).copysign(x);
    if a < 0.875 { small } else { large }
}

/// GELU in its exact form, `x * Phi(x)`, within `2.5e-7 * |x|`: the normal distribution function `Phi` as 1/2 plus an odd rational
/// function, which reaches 1/2 at 5.5 and is kept there.
#[inline(always)]
pub fn gelu_f32(x: f32) -> f32 {
    const END: f32 = 5.5;
    const P: [f32; 6] = [0.398_942_23, 0.033_849_9, 0.004_677_162, 0.000_168_803_79, 6.352_687_3e-6, 2.275_761_1e-8];
    const Q: [f32; 6] = [1.0, 0.251_515_03, 0.028_644_474, 0.001_884_330_6, 7.364_371e-5, 1.197_772_7e-6];
    let t = clamp_f32(x, -END, END);
    let u = t * t;
    let odd = horner(u, P) * t / horner(u, Q);
    x * (0.5 + clamp_f32(odd, -0.5, 0.5))
}

/// GELU in its tanh form: `(0.5 * x) * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
#[inline(always)]
pub fn gelu_tanh_f32(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let inner = x + 0.044_715 * (x * x * x);
    (0.5 * x) * (1.0 + tanh_f32(SQRT_2_OVER_PI * inner))
}

/// SiLU (swish): `x * sigmoid(x)`; -infinity gives NaN, as in PyTorch.
#[inline(always)]
pub fn silu_f32(x: f32) -> f32 {
    x * sigmoid_f32(x)
}

/// Hard-swish: `x * clamp(x + 3, 0, 6) / 6`.
#[inline(always)]
pub fn hardswish_f32(x: f32) -> f32 {
    x * clamp_f32(x + 3.0, 0.0, 6.0) / 6.0
}

/// Hard-sigmoid: `clamp(x + 3, 0, 6) / 6` (PyTorch; ONNX's form with its `alpha` and `beta` is another function).
#[inline(always)]
pub fn hardsigmoid_f32(x: f32) -> f32 {
    clamp_f32(x + 3.0, 0.0, 6.0) / 6.0
}

/// `1 / sqrt(x)`, the two roundings of an exact square root and a division.
#[inline(always)]
pub fn rsqrt_f32(x: f32) -> f32 {
    1.0 / x.sqrt()
}

/// `x`, or `slope * x` below 0.
#[inline(always)]
pub fn leaky_relu_f32(x: f32, slope: f32) -> f32 {
    if x < 0.0 { slope * x } else { x }
}

/// `x`, or `alpha * (e^x - 1)` where `x` is not above 0.
#[inline(always)]
pub fn elu_f32(x: f32, alpha: f32) -> f32 {
    if x > 0.0 { x } else { alpha * (exp_f32(x) - 1.0) }
}

/// `x`, or `alpha * (e^(x / alpha) - 1)` where `x` is not above 0.
#[inline(always)]
pub fn celu_f32(x: f32, alpha: f32) -> f32 {
    if x > 0.0 { x } else { alpha * (exp_f32(x / alpha) - 1.0) }
}

/// `x`, or `value` where `x` is not above `threshold`; NaN stays.
#[inline(always)]
pub fn threshold_f32(x: f32, (threshold, value): (f32, f32)) -> f32 {
    if x <= threshold { value } else { x }
}

/// `x` rounded to IEEE binary16, half to even; from 65520 on infinite, or with `saturate` never beyond 65504. NaN stays.
#[inline(always)]
pub fn round_to_half_f32(x: f32, saturate: bool) -> f32 {
    let magnitude = x.abs();
    // Below 2^-14 steps are 2^-24: those of f32 from 0.5 on.
    let small = (magnitude + 0.5) - 0.5;
    // Else the mantissa loses 13 bits.
    let bits = magnitude.to_bits();
    let normal = f32::from_bits(bits.wrapping_add(0x0fff + ((bits >> 13) & 1)) & !0x1fff);
    let rounded = if magnitude < 6.103_515_6e-5 { small } else { normal };
    let largest = if saturate { 65504.0 } else { f32::INFINITY };
    let rounded = if rounded > 65504.0 { largest } else { rounded };
    if x.is_nan() { x } else { rounded.copysign(x) }
}

/// `clamp(alpha * x + beta, 0, 1)`; with PyTorch's 1/6 and 0.5 its `clamp(x + 3, 0, 6) / 6`.
#[inline(always)]
pub fn hardsigmoid_with_f32(x: f32, (alpha, beta): (f32, f32)) -> f32 {
    if (alpha, beta) == (1.0 / 6.0, 0.5) { hardsigmoid_f32(x) } else { clamp_f32(alpha * x + beta, 0.0, 1.0) }
}

/// -1, 0 or 1; zeros and NaN stay.
#[inline(always)]
pub fn sign_f32(x: f32) -> f32 {
    if x == 0.0 || x.is_nan() { x } else { 1.0f32.copysign(x) }
}

/// The larger; NaN if either is.
#[inline(always)]
pub fn maximum_f32(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// The smaller; NaN if either is.
#[inline(always)]
pub fn minimum_f32(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

/// Natural logarithm, computed in f64 (`libm`, the same on every platform) and rounded once.
pub fn log_f32(x: f32) -> f32 {
    libm::log(f64::from(x)) as f32
}

/// `ln(1 + e^x)`, computed in f64 (`libm`, the same on every platform) and rounded once.
pub fn softplus_f32(x: f32) -> f32 {
    let x = f64::from(x);
    (x.max(0.0) + libm::log1p(libm::exp(-x.abs()))) as f32
}

/// `x * tanh(softplus(x))`.
pub fn mish_f32(x: f32) -> f32 {
    x * tanh_f32(softplus_f32(x))
}

/// Sine, computed in f64 (`libm`, the same on every platform) and rounded once.
pub fn sin_f32(x: f32) -> f32 {
    libm::sin(f64::from(x)) as f32
}

/// Cosine, computed in f64 (`libm`, the same on every platform) and rounded once.
pub fn cos_f32(x: f32) -> f32 {
    libm::cos(f64::from(x)) as f32
}

/// `x^e`: products for the exponents 1, 2 and 3, the square root for 0.5, else computed in f64 (`libm`) and rounded once.
pub fn pow_f32(x: f32, e: f32) -> f32 {
    match e {
        1.0 => x,
        2.0 => x * x,
        3.0 => x * x * x,
        0.5 => x.sqrt(),
        _ => libm::pow(f64::from(x), f64::from(e)) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the correctly rounded result (of the smallest subnormal near zero).
    fn ulps(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        let ulp = f64::from(f32::from_bits((rounded.abs().to_bits() + 1).min(0x7f7f_ffff)))
            - f64::from(f32::from_bits((rounded.abs().to_bits()).min(0x7f7f_fffe)));
        (f64::from(got) - want).abs() / ulp
    }

    /// All positive terms, so no cancellation: `erf x = 2/sqrt(pi) e^-x^2 sum 2^k x^(2k+1) / (2k+1)!!`.
    fn erf_f64(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return x.signum();
        }
        let (mut term, mut sum, mut k) = (x, x, 0.0);
        while term.abs() > sum.abs() * 1e-18 {
            k += 1.0;
            term *= 2.0 * x * x / (2.0 * k + 1.0);
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
    }

    /// A dense linear sweep and every 997th bit pattern between, of both signs.
    fn worst(lo: f32, hi: f32, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
        const STEPS: usize = 1_000_000;
        let linear = (0..=STEPS).map(|i| lo + (hi - lo) * (i as f32 / STEPS as f32));
        let patterns = (0..0x7f80_0000u32).step_by(997).flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)]);
        let mut worst = (0.0, 0.0);
        for x in linear.chain(patterns.filter(|x| (lo..=hi).contains(x))) {
            let error = ulps(f(x), exact(f64::from(x)));
            if error > worst.0 || error.is_nan() {
                worst = (error, x);
            }
        }
        worst
    }

    #[test]
    fn errors_are_within_the_stated_bounds() {
        type Case = (&'static str, f32, f32, fn(f32) -> f32, fn(f64) -> f64, f64);
        let cases: [Case; 5] = [
            ("exp", -104.0, 88.72, exp_f32, f64::exp, 1.1),
            ("exp of what is not positive", -87.3, 0.0, exp_nonpositive_f32, f64::exp, 2.3),
            ("tanh", -12.0, 12.0, tanh_f32, f64::tanh, 1.5),
            ("sigmoid", -87.0, 90.0, sigmoid_f32, |x| 1.0 / (1.0 + (-x).exp()), 2.6),
            ("erf", -5.0, 5.0, erf_f32, erf_f64, 1.5),
        ];
        for (name, lo, hi, f, exact, bound) in cases {
            let (error, at) = worst(lo, hi, f, exact);
            eprintln!("{name}: {error:.3} ulp at {at:e}");
            assert!(error <= bound, "{name}: {error} ulp at {at:e}");
        }
    }

    #[test]
    fn gelu_errors_are_small_against_the_argument() {
        type Form = (fn(f32) -> f32, fn(f64) -> f64);
        let forms: [Form; 2] = [
            (gelu_f32, |x| 0.5 * x * (1.0 + erf_f64(x * std::f64::consts::FRAC_1_SQRT_2))),
            (gelu_tanh_f32, |x| {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
            }),
        ];
        for (f, exact) in forms {
            for i in -800_000..=800_000 {
                let x = i as f32 * 1e-5;
                let error = (f64::from(f(x)) - exact(f64::from(x))).abs();
                assert!(error <= 2.5e-7 * f64::from(x.abs()), "gelu({x}): {error:e}");
            }
        }
    }

    #[test]
    fn non_finite_arguments_are_defined() {
        let inf = f32::INFINITY;
        assert_eq!((exp_f32(inf), exp_f32(-inf), exp_f32(0.0)), (inf, 0.0, 1.0));
        assert_eq!((exp_f32(88.73), exp_f32(-103.99)), (inf, 0.0));
        assert_eq!((exp_nonpositive_f32(-inf), exp_nonpositive_f32(-87.7), exp_nonpositive_f32(0.0)), (0.0, 0.0, 1.0));
        assert_eq!((tanh_f32(inf), tanh_f32(-inf)), (1.0, -1.0));
        assert_eq!((erf_f32(inf), erf_f32(-inf)), (1.0, -1.0));
        assert_eq!((sigmoid_f32(inf), sigmoid_f32(-inf), sigmoid_f32(0.0)), (1.0, 0.0, 0.5));
        assert_eq!((relu_f32(-inf), relu_f32(inf), clamp_f32(inf, -1.0, 2.0)), (0.0, inf, 2.0));
        assert_eq!(tanh_f32(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(erf_f32(-0.0).to_bits(), (-0.0f32).to_bits());
        let functions = [
            exp_f32,
            exp_nonpositive_f32,
            tanh_f32,
            sigmoid_f32,
            erf_f32,
            gelu_f32,
            gelu_tanh_f32,
            silu_f32,
            hardswish_f32,
            relu_f32,
        ];
        for f in functions {
            assert!(f(f32::NAN).is_nan());
        }
    }

    #[test]
    fn bounded_functions_stay_in_their_range() {
        for bits in (0..0x7f80_0000u32).step_by(501) {
            let x = f32::from_bits(bits);
            for f in [tanh_f32, erf_f32] {
                assert!((0.0..=1.0).contains(&f(x)) && f(-x) == -f(x), "{x:e}");
            }
            assert!((0.0..=1.0).contains(&sigmoid_f32(x)) && (0.0..=1.0).contains(&sigmoid_f32(-x)), "{x:e}");
        }
    }
}
