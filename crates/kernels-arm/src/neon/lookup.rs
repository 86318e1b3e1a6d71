//! Lookup tables by `tbl`, which indexes 64 bytes at once.

use std::arch::aarch64::*;
use std::ops::Range;

use quantc_kernels::rows::for_each_row;
use quantc_kernels::{Operand, RowsMut};

/// Bytes of a vector.
const VECTOR: usize = 16;

/// `Elementwise::lookup`.
#[inline(always)]
pub(super) fn lookup(table: &[u8; 256], rows: Range<usize>, columns: usize, x: Operand<'_, u8>, out: RowsMut<'_, u8>) {
    if x.is_splat() {
        quantc_kernels::elementwise::body::lookup(table, rows, columns, x, out);
        return;
    }
    let part = |i: usize| {
        // SAFETY: 64 of the table's 256 bytes.
        unsafe { vld1q_u8_x4(table.as_ptr().add(64 * i)) }
    };
    let parts = [part(0), part(1), part(2), part(3)];
    for_each_row(rows, columns, x, out, |x, out| lookup_row(table, &parts, x, out));
}

/// A row. The last vector ends with it and overlaps the one before.
#[inline(always)]
fn lookup_row(table: &[u8; 256], parts: &[uint8x16x4_t; 4], x: &[u8], out: &mut [u8]) {
    let n = out.len();
    assert!(x.len() >= n, "operand too short");
    if n < VECTOR {
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = table[usize::from(x)]);
        return;
    }
    for start in (0..n).step_by(VECTOR).map(|start| start.min(n - VECTOR)) {
        // SAFETY: `start` leaves room for a vector in both.
        unsafe {
            let x = vld1q_u8(x.as_ptr().add(start));
            // An index past its part's 64 bytes keeps what the other parts gave.
            let mut v = vqtbl4q_u8(parts[0], x);
            v = vqtbx4q_u8(v, parts[1], vsubq_u8(x, vdupq_n_u8(64)));
            v = vqtbx4q_u8(v, parts[2], vsubq_u8(x, vdupq_n_u8(128)));
            v = vqtbx4q_u8(v, parts[3], vsubq_u8(x, vdupq_n_u8(192)));
            vst1q_u8(out.as_mut_ptr().add(start), v);
        }
    }
}
