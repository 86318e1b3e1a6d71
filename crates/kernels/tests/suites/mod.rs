//! The tests of the architectures' crates, which bring `register`: every tier of this machine against the portable kernels,
//! bit for bit.

#[path = "../support/elem.rs"]
mod elem;
mod elementwise;
#[path = "../support/fuzz.rs"]
mod fuzz;
mod integer;
#[path = "../support/layout.rs"]
mod layout;
#[path = "../support/pool.rs"]
mod pool;
#[path = "../support/recurrent.rs"]
mod recurrent;
#[path = "../support/refusals.rs"]
mod refusals;
#[path = "../support/mod.rs"]
mod support;

use quantc_kernels::{Isa, Kernels};

/// The sets of the tiers above the portable one that this machine can run; says which it cannot.
fn tiers() -> Vec<Kernels> {
    let mut sets = Vec::new();
    for &isa in Isa::ALL.iter().filter(|&&isa| isa != Isa::Portable) {
        if let Some(reason) = isa.refusal() {
            eprintln!("SKIPPED: {isa} ({reason})");
        } else {
            let mut kernels = Kernels::PORTABLE;
            crate::register(isa, &mut kernels);
            assert_eq!(kernels.isa, isa);
            sets.push(kernels);
        }
    }
    assert!(!sets.is_empty() || !cfg!(target_arch = "aarch64"), "every AArch64 machine has NEON");
    sets
}
