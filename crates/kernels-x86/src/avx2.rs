//! The AVX2 tier.

use quantc_kernels::Kernels;

/// One row per kernel of this tier. Only for machines that have it.
pub(crate) fn register(_kernels: &mut Kernels) {}
