//! The kernels of this tier that are not matrix products.

use quantc_kernels::Kernels;
use quantc_kernels_simd::{
    bytes, compiled_elementwise, compiled_float, compiled_float_pool, compiled_layout, compiled_pool,
    compiled_quantize, compiled_recurrent, transpose,
};

use super::lookup;
use crate::simd::Neon;
use crate::transpose::NeonTiles;

struct Tier;
compiled_elementwise!(
    Tier,
    "elementwise.neon",
    "neon",
    add = bytes::add::<Neon>,
    mul = bytes::mul::<Neon>,
    affine = bytes::affine::<Neon>,
    lookup = lookup::lookup
);
compiled_quantize!(
    Tier,
    "quantize.neon",
    "neon",
    quantize = bytes::quantize::<Neon>,
    quantize_to_nhwc = bytes::quantize_to_nhwc::<Neon, NeonTiles>,
    dequantize_to_nchw = bytes::dequantize_to_nchw::<NeonTiles>
);
compiled_pool!(Tier, "qpool.neon", "neon");
compiled_float_pool!(Tier, "pool.neon", "neon");
compiled_layout!(
    Tier,
    "layout.neon",
    "neon",
    transpose_u8 = transpose::layout_u8::<NeonTiles>,
    transpose_f32 = transpose::layout_f32::<NeonTiles>
);
compiled_float!(Tier, "float.neon", "neon");
compiled_recurrent!(Tier, "recurrent.neon", "neon");

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
