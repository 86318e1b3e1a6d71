//! The AVX-512 VNNI tier.

mod elem;
mod gemm;

use quantc_kernels::Kernels;

/// The kernels of this tier. Only for machines that have it.
pub(crate) fn register(kernels: &mut Kernels) {
    elem::register(kernels);
    gemm::register(kernels);
}
