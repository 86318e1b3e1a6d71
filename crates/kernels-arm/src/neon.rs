//! The NEON tier, which every AArch64 machine has.

mod depthwise;
mod elem;
mod gemm;
mod lookup;

use quantc_kernels::Kernels;

/// The kernels of this tier.
pub(crate) fn register(kernels: &mut Kernels) {
    depthwise::register(kernels);
    elem::register(kernels);
    gemm::register(kernels);
}
