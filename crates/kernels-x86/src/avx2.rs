//! The AVX2 tier.

mod elem;

use quantc_kernels::Kernels;

/// One row per kernel of this tier. Only for machines that have it.
pub(crate) fn register(kernels: &mut Kernels) {
    elem::register(kernels);
}
