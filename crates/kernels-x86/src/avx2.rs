//! The AVX2 tier.

mod depthwise;
mod elem;
mod gemm;
mod simd;
pub(crate) mod stage;

use quantc_kernels::Kernels;

/// The kernels of this tier. Only for machines that have it.
pub(crate) fn register(kernels: &mut Kernels) {
    depthwise::register(kernels);
    elem::register(kernels);
    gemm::register(kernels);
}
