//! SIMD kernels for AArch64, one module per ISA tier.

use quantc_kernels::{Isa, Kernels};

/// Puts the kernels of the AArch64 tiers up to `isa` into the set. There is none yet: the portable kernels run.
pub fn register(_isa: Isa, _kernels: &mut Kernels) {}
