//! SIMD kernels for x86-64, one module per ISA tier.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "x86_64")]
mod transpose;

use quantc_kernels::{Isa, Kernels};

/// Puts the kernels of the x86-64 tiers up to `isa` into the set. A tier that this machine cannot run is left out, so
/// whatever the set then holds is safe to call. On other architectures the set stays as it is.
pub fn register(isa: Isa, kernels: &mut Kernels) {
    #[cfg(target_arch = "x86_64")]
    for (tier, register) in TIERS {
        if tier <= isa && tier.is_available() {
            register(kernels);
            kernels.isa = tier;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (isa, kernels);
}

/// Puts the kernels of one tier into the set, whatever the machine.
///
/// # Safety
/// Before a kernel of the set is called, the machine must be known to run the tier's instructions, or something in the process to run
/// them in its place: tests emulate tiers that a machine lacks.
#[cfg(target_arch = "x86_64")]
pub unsafe fn register_unchecked(isa: Isa, kernels: &mut Kernels) {
    for (_, register) in TIERS.iter().filter(|(tier, _)| *tier == isa) {
        register(kernels);
        kernels.isa = isa;
    }
}

/// Puts the kernels of one tier into a set.
#[cfg(target_arch = "x86_64")]
type Register = fn(&mut Kernels);

/// The tiers, lowest first.
#[cfg(target_arch = "x86_64")]
const TIERS: [(Isa, Register); 4] = [
    (Isa::Avx2, avx2::register),
    (Isa::AvxVnni, avxvnni::register),
    (Isa::Avx512Vnni, avx512vnni::register),
    (Isa::Amx, amx::register),
];
