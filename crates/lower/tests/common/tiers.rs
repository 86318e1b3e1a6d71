//! The tiers that plans are tested on.

use quantc_kernels::{Isa, Kernels};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../../../kernels-x86/tests/emulator/mod.rs"]
mod emulator;

/// Those of this machine, the best last, behind AVX-VNNI and AMX where the machine lacks them: their instructions are emulated then.
pub fn tiers() -> Vec<Kernels> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    let emulated = [Isa::AvxVnni, Isa::Amx].into_iter().filter(|isa| !isa.is_available()).filter_map(emulator::kernels);
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    let emulated = std::iter::empty();
    emulated.chain(Isa::available().into_iter().map(quantc_runtime::kernels)).collect()
}
