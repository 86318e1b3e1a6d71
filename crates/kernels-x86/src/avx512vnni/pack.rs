//! From reals to u8.

use std::arch::x86_64::*;

/// `clamp(rne(v) + zero_point, lo, hi)`.
#[derive(Clone, Copy)]
pub(super) struct PackU8 {
    /// `hi - zero_point`.
    most: f32,
    zero_point: i16,
    lo: u8,
}

impl PackU8 {
    /// The bounds lie within 0..=255.
    pub fn new(zero_point: i32, (lo, hi): (i32, i32)) -> Self {
        PackU8 { most: (hi - zero_point) as f32, zero_point: zero_point as i16, lo: lo as u8 }
    }

    /// The same bits as `round_saturate`: the upper clamp before rounding keeps what is too large for an i32 in range;
    /// what is too small, and NaN, converts to `i32::MIN`, which saturates downwards through both narrowings. Clamping to
    /// `lo` after rounding is as good as before, since rounding is monotonic and `lo` an integer.
    ///
    /// Lane `l` of the result is made of lane `l` of each vector, in turn.
    ///
    /// # Safety
    /// The machine has AVX-512 F and BW.
    #[inline(always)]
    pub unsafe fn lanes(&self, v: [__m512; 4]) -> __m512i {
        // SAFETY: as the caller promises.
        unsafe {
            let most = _mm512_set1_ps(self.most);
            // `min` gives its second operand where one is NaN.
            let [a, b, c, d] = v.map(|v| _mm512_cvtps_epi32(_mm512_min_ps(most, v)));
            let zero_point = _mm512_set1_epi16(self.zero_point);
            let ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero_point);
            let cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero_point);
            _mm512_max_epu8(_mm512_packus_epi16(ab, cd), _mm512_set1_epi8(self.lo as i8))
        }
    }
}
