//! SIMD kernels for x86-64, one module per ISA tier.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod transpose;

use quantc_kernels::{Isa, Kernels};

/// Puts the kernels of the x86-64 tiers up to `isa` into the set. A tier that this machine cannot run is left out, so
/// whatever the set then holds is safe to call. On other architectures the set stays as it is.
pub fn register(isa: Isa, kernels: &mut Kernels) {
    #[cfg(target_arch = "x86_64")]
    {
        type Register = fn(&mut Kernels);
        let tiers: [(Isa, Register); 2] = [(Isa::Avx2, avx2::register), (Isa::Avx512Vnni, avx512vnni::register)];
        for (tier, register) in tiers {
            if tier <= isa && tier.is_available() {
                register(kernels);
                kernels.isa = tier;
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (isa, kernels);
}
