//! The kernels of this tier that are not matrix products.

use quantc_kernels::Kernels;
use quantc_kernels_simd::{
    bytes, compiled_elementwise, compiled_float, compiled_float_pool, compiled_layout, compiled_pool,
    compiled_quantize, compiled_recurrent, transpose,
};

use super::simd::Avx2;
use crate::transpose::Avx2Tiles;

struct Tier;
compiled_elementwise!(
    Tier,
    "elementwise.avx2",
    "avx2,fma",
    add = bytes::add::<Avx2>,
    mul = bytes::mul::<Avx2>,
    affine = bytes::affine::<Avx2>,
    lookup = quantc_kernels::elementwise::body::lookup
);
compiled_quantize!(
    Tier,
    "quantize.avx2",
    "avx2,fma",
    quantize = bytes::quantize::<Avx2>,
    quantize_to_nhwc = bytes::quantize_to_nhwc::<Avx2, Avx2Tiles>,
    dequantize_to_nchw = bytes::dequantize_to_nchw::<Avx2Tiles>
);
compiled_pool!(Tier, "qpool.avx2", "avx2,fma");
compiled_float_pool!(Tier, "pool.avx2", "avx2,fma");
compiled_layout!(
    Tier,
    "layout.avx2",
    "avx2,fma",
    transpose_u8 = transpose::layout_u8::<Avx2Tiles>,
    transpose_f32 = transpose::layout_f32::<Avx2Tiles>
);
compiled_float!(Tier, "float.avx2", "avx2,fma");
compiled_recurrent!(Tier, "recurrent.avx2", "avx2,fma");

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    kernels.elementwise = &Tier;
    kernels.quantize = &Tier;
    kernels.qpool = &Tier;
    kernels.pool = &Tier;
    kernels.layout = &Tier;
    kernels.float = &Tier;
    kernels.recurrent = &Tier;
}
