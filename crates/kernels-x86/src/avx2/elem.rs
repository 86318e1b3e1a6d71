//! The kernels of this tier that are not matrix products.

use quantc_kernels::Kernels;

use crate::compiled::{compiled_elementwise, compiled_float, compiled_layout, compiled_pool, compiled_quantize};

struct Tier;
compiled_elementwise!(Tier, "elementwise.avx2", "avx2,fma");
compiled_quantize!(Tier, "quantize.avx2", "avx2,fma");
compiled_pool!(Tier, "qpool.avx2", "avx2,fma");
compiled_layout!(Tier, "layout.avx2", "avx2,fma");
compiled_float!(Tier, "float.avx2", "avx2,fma");

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    kernels.elementwise = &Tier;
    kernels.quantize = &Tier;
    kernels.qpool = &Tier;
    kernels.layout = &Tier;
    kernels.float = &Tier;
}
