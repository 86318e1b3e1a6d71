//! The few vector operations that the elementwise kernels are made of, so that they are written once for all tiers.

/// Vectors of one tier. Everything is inlined into functions that have the tier's features.
///
/// # Safety
/// All functions need a machine that has the tier. Those that take an address read or write one whole vector there.
#[allow(clippy::missing_safety_doc, reason = "one contract for all functions, above")]
pub trait Simd {
    /// Bytes of a vector; reals are a quarter of that.
    const BYTES: usize;
    /// A vector of u8.
    type Bytes: Copy;
    /// A vector of f32.
    type Reals: Copy;

    /// The bytes at an address.
    unsafe fn load(from: *const u8) -> Self::Bytes;
    /// Writes bytes to an address.
    unsafe fn store(to: *mut u8, v: Self::Bytes);
    /// A byte in every lane.
    unsafe fn splat(v: u8) -> Self::Bytes;
    /// The reals at an address.
    unsafe fn load_reals(from: *const f32) -> Self::Reals;
    /// A real in every lane.
    unsafe fn splat_real(v: f32) -> Self::Reals;
    /// A vector of reals from as many bytes, the only ones that are read.
    unsafe fn widen(from: *const u8) -> Self::Reals;
    /// `a + b`.
    unsafe fn add(a: Self::Reals, b: Self::Reals) -> Self::Reals;
    /// `a - b`.
    unsafe fn sub(a: Self::Reals, b: Self::Reals) -> Self::Reals;
    /// `a * b`.
    unsafe fn mul(a: Self::Reals, b: Self::Reals) -> Self::Reals;

    /// `2^23 + q`, exactly, for each byte. Number `k` of the vectors holds in its 128-bit lane `l` the bytes
    /// `16 l + 4 k ..`, which is the order that [`Simd::pack`] undoes.
    unsafe fn expand(q: Self::Bytes) -> [Self::Reals; 4];

    /// `clamp(rne(v) + zero_point, lo, hi)`, each 128-bit lane of the result made of the same lanes of the four vectors,
    /// in turn.
    unsafe fn pack(to: &PackU8, v: [Self::Reals; 4]) -> Self::Bytes;

    /// Puts what [`Simd::pack`] made of four successive vectors into their order.
    unsafe fn in_order(v: Self::Bytes) -> Self::Bytes;
}

/// How reals become u8, with the same bits as `round_saturate`: the upper clamp before rounding keeps what is too large
/// for an i32 in range; what is too small, and NaN, converts to `i32::MIN` on x86, which saturates downwards through both
/// narrowings. Clamping to `lo` after rounding is as good as before, since rounding is monotonic and `lo` an integer.
#[derive(Clone, Copy)]
pub struct PackU8 {
    /// `hi - zero_point`.
    pub most: f32,
    /// The zero point.
    pub zero_point: i16,
    /// The lower bound.
    pub lo: u8,
}

impl PackU8 {
    /// The bounds and the zero point lie within 0..=255.
    #[inline(always)]
    pub fn new(zero_point: i32, (lo, hi): (i32, i32)) -> Self {
        PackU8 { most: (hi - zero_point) as f32, zero_point: zero_point as i16, lo: lo as u8 }
    }

    /// `lo - zero_point`, for machines that convert NaN to 0: the maximum of numbers makes `lo` of it before rounding.
    #[inline(always)]
    pub fn least(&self) -> f32 {
        f32::from(i16::from(self.lo) - self.zero_point)
    }

    /// The upper bound, for machines whose conversion saturates.
    #[inline(always)]
    pub fn hi(&self) -> u8 {
        (self.most as i16 + self.zero_point) as u8
    }
}
