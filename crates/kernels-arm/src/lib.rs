//! SIMD kernels for AArch64, one module per ISA tier.

#[cfg(target_arch = "aarch64")]
mod dotprod;
#[cfg(target_arch = "aarch64")]
mod gemm;
#[cfg(target_arch = "aarch64")]
mod i8mm;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod simd;
#[cfg(target_arch = "aarch64")]
mod stage;
#[cfg(target_arch = "aarch64")]
mod transpose;
#[cfg(target_arch = "aarch64")]
mod upper;

use quantc_kernels::{Isa, Kernels};

/// Puts the kernels of the AArch64 tiers up to `isa` into the set. A tier that this machine cannot run is left out, so
/// whatever the set then holds is safe to call. On other architectures the set stays as it is.
pub fn register(isa: Isa, kernels: &mut Kernels) {
    #[cfg(target_arch = "aarch64")]
    {
        type Register = fn(&mut Kernels);
        let tiers: [(Isa, Register); 3] =
            [(Isa::Neon, neon::register), (Isa::Dotprod, dotprod::register), (Isa::I8mm, i8mm::register)];
        for (tier, register) in tiers {
            if tier <= isa && tier.is_available() {
                register(kernels);
                kernels.isa = tier;
            }
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    let _ = (isa, kernels);
}
