//! What happens to exact sums before they are stored: the vector forms of the epilogues, for all kernels and tiers.

use std::arch::aarch64::*;

use quantc_kernels::Epilogue;
use quantc_kernels_simd::simd::PackU8;

use crate::simd::pack_eight;

/// Neighbouring channels of one row.
pub(crate) struct Place {
    /// The row in the epilogue.
    pub row: usize,
    /// The first channel: what indexes the epilogue's slices.
    pub channel: usize,
    /// Channels, of which the epilogue's slices hold all.
    pub count: usize,
    /// The first element of the output; `count` are writable, u8 or f32 as the epilogue has it.
    pub out: *mut u8,
}

/// The vector form of one kind of [`Epilogue`], which says what it computes.
pub(crate) trait Stage {
    /// Bytes of an output element.
    const ELEMENT: usize;

    /// Finishes and stores `place.count` elements, given `f32(acc) * scale`.
    ///
    /// # Safety
    /// The place keeps what its fields say; `count` is at most `4 * N`.
    unsafe fn store<const N: usize>(&self, place: &Place, real: [float32x4_t; N]);
}

/// Work that ends with a stage.
pub(crate) trait Job {
    /// Does the work; `scale` has a factor for each channel's sum.
    ///
    /// # Safety
    /// The machine has the tier, and the work keeps what its fields say.
    unsafe fn run<S: Stage>(&self, scale: &[f32], stage: &S);
}

/// Does a job with the stage that the epilogue asks for.
///
/// # Safety
/// As [`Job::run`], for this epilogue.
#[inline(always)]
pub(crate) unsafe fn run(job: &impl Job, epilogue: &Epilogue<'_>) {
    // SAFETY: the caller's promises; each stage is built from the epilogue it is for.
    unsafe {
        match *epilogue {
            Epilogue::Requantize { multiplier, zero_point, clamp } => {
                job.run(multiplier, &Requantize { pack: PackU8::new(zero_point, clamp) });
            }
            Epilogue::AddRequantize {
                scale,
                residual,
                residual_stride,
                residual_scale,
                residual_zero_point,
                inverse_scale,
                zero_point,
                clamp,
            } => {
                let stage = AddRequantize {
                    residual: residual.as_ptr(),
                    residual_stride,
                    residual_scale,
                    residual_zero_point,
                    inverse_scale,
                    pack: PackU8::new(zero_point, clamp),
                };
                job.run(scale, &stage);
            }
            Epilogue::Dequantize { scale, clamp } => job.run(scale, &Dequantize { clamp }),
        }
    }
}

/// The factors of `count` channels, in as many vectors as asked for; the rest is 0.
///
/// # Safety
/// The machine has the tier; `count` elements are readable, at most `4 * N`.
#[inline(always)]
pub(crate) unsafe fn load_f32<const N: usize>(from: *const f32, count: usize) -> [float32x4_t; N] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut buffer = [[0f32; 4]; N];
        copy_few(from.cast(), buffer.as_mut_ptr().cast(), count * size_of::<f32>());
        buffer.map(|four| vld1q_f32(four.as_ptr()))
    }
}

/// As [`load_f32`], of integers that need not be aligned.
///
/// # Safety
/// As [`load_f32`].
#[inline(always)]
pub(crate) unsafe fn load_i32<const N: usize>(from: *const i32, count: usize) -> [int32x4_t; N] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut buffer = [[0i32; 4]; N];
        copy_few(from.cast(), buffer.as_mut_ptr().cast(), count * size_of::<i32>());
        buffer.map(|four| vld1q_s32(four.as_ptr()))
    }
}

/// Copies up to 64 bytes without a call, around which every vector of a loop would have to be saved.
///
/// # Safety
/// `count` bytes can be accessed at both addresses.
#[inline(always)]
unsafe fn copy_few(from: *const u8, to: *mut u8, count: usize) {
    /// # Safety
    /// If `count` has the bit `N`, so many bytes can be accessed after those of the higher bits.
    #[inline(always)]
    unsafe fn piece<const N: usize>(from: *const u8, to: *mut u8, count: usize) {
        if count & N != 0 {
            let at = count & !(2 * N - 1);
            // SAFETY: the caller's promise.
            unsafe { to.add(at).cast::<[u8; N]>().write_unaligned(from.add(at).cast::<[u8; N]>().read_unaligned()) };
        }
    }
    // SAFETY: the pieces of the binary number `count`, from the highest bit on.
    unsafe {
        piece::<64>(from, to, count);
        piece::<32>(from, to, count);
        piece::<16>(from, to, count);
        piece::<8>(from, to, count);
        piece::<4>(from, to, count);
        piece::<2>(from, to, count);
        piece::<1>(from, to, count);
    }
}

/// Rounds, clamps and stores.
///
/// # Safety
/// As [`Stage::store`].
#[inline(always)]
unsafe fn store_bytes<const N: usize>(pack: &PackU8, place: &Place, real: [float32x4_t; N]) {
    const { assert!(N >= 1 && N <= 4) };
    // SAFETY: no more than `count` bytes are stored.
    unsafe {
        // Vectors that are not there are copies of the last.
        let [a, b, c, d] = [real[0], real[1 % N], real[2 % N], real[3 % N]];
        let low = pack_eight(pack, a, b);
        let high = if N > 2 { pack_eight(pack, c, d) } else { low };
        let bytes = vminq_u8(vcombine_u8(low, high), vdupq_n_u8(pack.hi()));
        match place.count {
            16 => vst1q_u8(place.out, bytes),
            8 => vst1_u8(place.out, vget_low_u8(bytes)),
            4 => place.out.cast::<u32>().write_unaligned(vgetq_lane_u32::<0>(vreinterpretq_u32_u8(bytes))),
            count => {
                let mut buffer = [0u8; 16];
                vst1q_u8(buffer.as_mut_ptr(), bytes);
                copy_few(buffer.as_ptr(), place.out, count);
            }
        }
    }
}

struct Requantize {
    pack: PackU8,
}

impl Stage for Requantize {
    const ELEMENT: usize = 1;

    #[inline(always)]
    unsafe fn store<const N: usize>(&self, place: &Place, real: [float32x4_t; N]) {
        // SAFETY: the caller's promises.
        unsafe { store_bytes(&self.pack, place, real) }
    }
}

struct AddRequantize {
    residual: *const u8,
    residual_stride: usize,
    residual_scale: f32,
    residual_zero_point: i32,
    inverse_scale: f32,
    pack: PackU8,
}

impl Stage for AddRequantize {
    const ELEMENT: usize = 1;

    #[inline(always)]
    unsafe fn store<const N: usize>(&self, place: &Place, mut real: [float32x4_t; N]) {
        // SAFETY: the residual holds the place's channels in its row; no more than those are read.
        unsafe {
            let residual = self.residual.add(place.row * self.residual_stride + place.channel);
            let mut buffer = [0u8; 16];
            let bytes = match place.count {
                16 => vld1q_u8(residual),
                8 => vcombine_u8(vld1_u8(residual), vdup_n_u8(0)),
                count => {
                    copy_few(residual, buffer.as_mut_ptr(), count);
                    vld1q_u8(buffer.as_ptr())
                }
            };
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
            let words = [vget_low_u16(low), vget_high_u16(low), vget_low_u16(high), vget_high_u16(high)];
            let zero_point = vdupq_n_s32(self.residual_zero_point);
            for (real, words) in real.iter_mut().zip(words) {
                let r = vsubq_s32(vreinterpretq_s32_u32(vmovl_u16(words)), zero_point);
                let addend = vmulq_f32(vcvtq_f32_s32(r), vdupq_n_f32(self.residual_scale));
                *real = vmulq_f32(vaddq_f32(*real, addend), vdupq_n_f32(self.inverse_scale));
            }
            store_bytes(&self.pack, place, real);
        }
    }
}

struct Dequantize {
    clamp: (f32, f32),
}

impl Stage for Dequantize {
    const ELEMENT: usize = 4;

    #[inline(always)]
    unsafe fn store<const N: usize>(&self, place: &Place, real: [float32x4_t; N]) {
        // SAFETY: no more than `count` elements are stored.
        unsafe {
            let mut buffer = [[0f32; 4]; N];
            let whole = place.count == 4 * N;
            let to = if whole { place.out.cast::<f32>() } else { buffer.as_mut_ptr().cast() };
            for (j, real) in real.into_iter().enumerate() {
                // The maximum of numbers: where a real is NaN it takes the bound, as `f32::max` does.
                let v = vmaxnmq_f32(real, vdupq_n_f32(self.clamp.0));
                vst1q_f32(to.add(4 * j), vminnmq_f32(v, vdupq_n_f32(self.clamp.1)));
            }
            if !whole {
                copy_few(to.cast(), place.out, place.count * size_of::<f32>());
            }
        }
    }
}
