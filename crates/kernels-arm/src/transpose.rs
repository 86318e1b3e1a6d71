//! Tiles of transposes.

use std::arch::aarch64::*;

use quantc_kernels_simd::transpose::Tiles;

/// Tiles of 128-bit registers.
pub(crate) struct NeonTiles;

impl Tiles for NeonTiles {
    #[inline(always)]
    unsafe fn tile_u8(x: *const u8, x_stride: usize, out: *mut u8, out_stride: usize) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut v = [vdupq_n_u8(0); 16];
            for (i, v) in v.iter_mut().enumerate() {
                *v = vld1q_u8(x.add(i * x_stride));
            }
            // Each round interleaves the first half of the rows with the second; four of them turn 4 + 4 bits of
            // position around.
            for _ in 0..4 {
                let mut next = v;
                for i in 0..8 {
                    next[2 * i] = vzip1q_u8(v[i], v[i + 8]);
                    next[2 * i + 1] = vzip2q_u8(v[i], v[i + 8]);
                }
                v = next;
            }
            for (i, v) in v.into_iter().enumerate() {
                vst1q_u8(out.add(i * out_stride), v);
            }
        }
    }

    #[inline(always)]
    unsafe fn tile_f32(x: *const f32, x_stride: usize, out: *mut f32, out_stride: usize) {
        for (r, c) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
            // SAFETY: a quarter of the caller's tile.
            unsafe {
                let row = |i: usize| vld1q_f32(x.add((r + i) * x_stride + c));
                let (v0, v1, v2, v3) = (row(0), row(1), row(2), row(3));
                let (lo02, hi02) = (vzip1q_f32(v0, v2), vzip2q_f32(v0, v2));
                let (lo13, hi13) = (vzip1q_f32(v1, v3), vzip2q_f32(v1, v3));
                let to = |i: usize| out.add((c + i) * out_stride + r);
                vst1q_f32(to(0), vzip1q_f32(lo02, lo13));
                vst1q_f32(to(1), vzip2q_f32(lo02, lo13));
                vst1q_f32(to(2), vzip1q_f32(hi02, hi13));
                vst1q_f32(to(3), vzip2q_f32(hi02, hi13));
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(rows: usize, columns: usize, x: *const u8, x_stride: usize, out: *mut u8) -> usize {
        let mut c = 0;
        while c + 16 <= columns {
            // SAFETY: 16 columns are left of `rows` rows.
            unsafe {
                let load = |r: usize| vld1q_u8(x.add(r * x_stride + c));
                if rows == 4 {
                    vst4q_u8(out.add(c * rows), uint8x16x4_t(load(0), load(1), load(2), load(3)));
                } else {
                    vst3q_u8(out.add(c * rows), uint8x16x3_t(load(0), load(1), load(2)));
                }
            }
            c += 16;
        }
        c
    }
}
