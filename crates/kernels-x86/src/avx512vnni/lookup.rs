//! Lookup tables with AVX-512 VBMI, whose permutations index 128 bytes at once.

use std::arch::x86_64::*;
use std::ops::Range;

use quantc_kernels::rows::for_each_row;
use quantc_kernels::{Operand, RowsMut};

/// `Elementwise::lookup` on machines that have VBMI, the portable definition on others.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn lookup(table: &[u8; 256], rows: Range<usize>, columns: usize, x: Operand<'_, u8>, out: RowsMut<'_, u8>) {
    if std::is_x86_feature_detected!("avx512vbmi") && !x.is_splat() {
        // SAFETY: just detected.
        for_each_row(rows, columns, x, out, |x, out| unsafe { lookup_row(table, x, out) });
    } else {
        quantc_kernels::elementwise::body::lookup(table, rows, columns, x, out);
    }
}

/// # Safety
/// The machine has the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn lookup_row(table: &[u8; 256], x: &[u8], out: &mut [u8]) {
    let n = out.len();
    assert!(x.len() >= n, "operand too short");
    // SAFETY: the table's four vectors; 64 elements from `i` on, or the rest of them under a mask.
    unsafe {
        let part = |i: usize| _mm512_loadu_si512(table.as_ptr().add(64 * i).cast());
        let (t0, t1, t2, t3) = (part(0), part(1), part(2), part(3));
        let pick = |x: __m512i| {
            let (low, high) = (_mm512_permutex2var_epi8(t0, x, t1), _mm512_permutex2var_epi8(t2, x, t3));
            _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high)
        };
        let mut i = 0;
        while i + 64 <= n {
            let v = pick(_mm512_loadu_si512(x.as_ptr().add(i).cast()));
            _mm512_storeu_si512(out.as_mut_ptr().add(i).cast(), v);
            i += 64;
        }
        if i < n {
            let mask = u64::MAX >> (64 - (n - i));
            let v = pick(_mm512_maskz_loadu_epi8(mask, x.as_ptr().add(i).cast()));
            _mm512_mask_storeu_epi8(out.as_mut_ptr().add(i).cast(), mask, v);
        }
    }
}
