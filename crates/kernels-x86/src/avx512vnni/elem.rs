//! The kernels of this tier that are not matrix products.

use quantc_kernels::Kernels;

use crate::compiled::{compiled_elementwise, compiled_float, compiled_layout, compiled_pool, compiled_quantize};

struct Tier;
compiled_elementwise!(Tier, "elementwise.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
compiled_quantize!(Tier, "quantize.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
compiled_pool!(Tier, "qpool.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
compiled_layout!(Tier, "layout.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");
compiled_float!(Tier, "float.avx512vnni", "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    kernels.elementwise = &Tier;
    kernels.quantize = &Tier;
    kernels.qpool = &Tier;
    kernels.layout = &Tier;
    kernels.float = &Tier;
}
