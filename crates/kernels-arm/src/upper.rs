//! Products of the upper halves of vectors. Of the intrinsics the compiler makes two instructions wherever it can move the
//! one that brings the upper half down out of a loop, for which registers are then lacking.

use std::arch::aarch64::*;
use std::arch::asm;

/// The products of the upper eight bytes.
///
/// # Safety
/// The machine has NEON.
#[inline(always)]
pub(crate) unsafe fn smull_s8(a: int8x16_t, b: int8x16_t) -> int16x8_t {
    let product;
    // SAFETY: computes from registers alone.
    unsafe {
        asm!(
            "smull2 {product:v}.8h, {a:v}.16b, {b:v}.16b",
            product = lateout(vreg) product,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    product
}

/// Adds the products of the upper eight bytes.
///
/// # Safety
/// The machine has NEON.
#[inline(always)]
pub(crate) unsafe fn smlal_s8(mut acc: int16x8_t, a: int8x16_t, b: int8x16_t) -> int16x8_t {
    // SAFETY: computes from registers alone.
    unsafe {
        asm!(
            "smlal2 {acc:v}.8h, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Adds the products of the upper four words.
///
/// # Safety
/// The machine has NEON.
#[inline(always)]
pub(crate) unsafe fn smlal_s16(mut acc: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t {
    // SAFETY: computes from registers alone.
    unsafe {
        asm!(
            "smlal2 {acc:v}.4s, {a:v}.8h, {b:v}.8h",
            acc = inout(vreg) acc,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}
