//! 128-bit vectors.

use std::arch::aarch64::*;

use quantc_kernels_simd::simd::{PackU8, Simd};

/// NEON.
pub(crate) struct Neon;

impl Simd for Neon {
    const BYTES: usize = 16;
    type Bytes = uint8x16_t;
    type Reals = float32x4_t;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> uint8x16_t {
        // SAFETY: the trait's.
        unsafe { vld1q_u8(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u8, v: uint8x16_t) {
        // SAFETY: the trait's.
        unsafe { vst1q_u8(to, v) }
    }

    #[inline(always)]
    unsafe fn splat(v: u8) -> uint8x16_t {
        // SAFETY: the trait's.
        unsafe { vdupq_n_u8(v) }
    }

    #[inline(always)]
    unsafe fn load_reals(from: *const f32) -> float32x4_t {
        // SAFETY: the trait's.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn splat_real(v: f32) -> float32x4_t {
        // SAFETY: the trait's.
        unsafe { vdupq_n_f32(v) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> float32x4_t {
        // SAFETY: the trait's.
        unsafe {
            let four = from.cast::<u32>().read_unaligned();
            let words = vmovl_u8(vcreate_u8(four.into()));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(words)))
        }
    }

    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the trait's.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the trait's.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the trait's.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn expand(q: uint8x16_t) -> [float32x4_t; 4] {
        // SAFETY: the trait's.
        unsafe {
            // The bytes of 2^23 are 00 00 00 4b.
            let (zero, high) = (vdupq_n_u8(0), vdupq_n_u16(0x4b00));
            let (lo, hi) = (vreinterpretq_u16_u8(vzip1q_u8(q, zero)), vreinterpretq_u16_u8(vzip2q_u8(q, zero)));
            [
                vreinterpretq_f32_u16(vzip1q_u16(lo, high)),
                vreinterpretq_f32_u16(vzip2q_u16(lo, high)),
                vreinterpretq_f32_u16(vzip1q_u16(hi, high)),
                vreinterpretq_f32_u16(vzip2q_u16(hi, high)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn pack(to: &PackU8, [a, b, c, d]: [float32x4_t; 4]) -> uint8x16_t {
        // SAFETY: the trait's.
        unsafe {
            let bytes = vcombine_u8(pack_eight(to, a, b), pack_eight(to, c, d));
            vminq_u8(bytes, vdupq_n_u8(to.hi()))
        }
    }

    #[inline(always)]
    unsafe fn in_order(v: uint8x16_t) -> uint8x16_t {
        v
    }
}

/// `max(rne(v) + zero_point, lo)` for 8 reals; what exceeds 255 is 255. The conversion and both narrowings saturate, and
/// the maximum of numbers takes `lo` where a real is NaN.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub(crate) unsafe fn pack_eight(to: &PackU8, a: float32x4_t, b: float32x4_t) -> uint8x8_t {
    // SAFETY: the caller's promise.
    unsafe {
        let least = vdupq_n_f32(to.least());
        let (a, b) = (vcvtnq_s32_f32(vmaxnmq_f32(a, least)), vcvtnq_s32_f32(vmaxnmq_f32(b, least)));
        let words = vqmovn_high_s32(vqmovn_s32(a), b);
        vqmovun_s16(vqaddq_s16(words, vdupq_n_s16(to.zero_point)))
    }
}
