//! The kernels of this tier that are not matrix products.

use quantc_kernels::Kernels;
use quantc_kernels_simd::{
    bytes, compiled_elementwise, compiled_float, compiled_float_pool, compiled_layout, compiled_pool,
    compiled_quantize, compiled_recurrent, transpose,
};

use super::lookup;
use super::simd::Avx512;
use crate::transpose::Avx2Tiles;

struct Tier;
compiled_elementwise!(
    Tier,
    "elementwise.avx512vnni",
    "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni",
    add = bytes::add::<Avx512>,
    mul = bytes::mul::<Avx512>,
    affine = bytes::affine::<Avx512>,
    lookup = lookup::lookup
);
compiled_quantize!(
    Tier,
    "quantize.avx512vnni",
    "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni",
    quantize = bytes::quantize::<Avx512>,
    quantize_to_nhwc = bytes::quantize_to_nhwc::<Avx512, Avx2Tiles>,
    dequantize_to_nchw = bytes::dequantize_to_nchw::<Avx2Tiles>
);
compiled_pool!(Tier, "qpool.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
compiled_float_pool!(Tier, "pool.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
compiled_layout!(
    Tier,
    "layout.avx512vnni",
    "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni",
    transpose_u8 = transpose::layout_u8::<Avx2Tiles>,
    transpose_f32 = transpose::layout_f32::<Avx2Tiles>
);
compiled_float!(Tier, "float.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
compiled_recurrent!(Tier, "recurrent.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");

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
