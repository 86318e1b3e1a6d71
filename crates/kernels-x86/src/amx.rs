//! The AMX-INT8 tier: matrix products on tiles, everything else from the AVX-512 VNNI tier.

mod gemm;
mod tiles;

use quantc_kernels::Kernels;

/// The kernels of this tier. Only for machines that have it.
pub(crate) fn register(kernels: &mut Kernels) {
    gemm::register(kernels);
}
