//! Every tier of this machine gives the bits of the portable kernels.
#![cfg(target_arch = "aarch64")]

#[path = "../../kernels/tests/suites/mod.rs"]
mod suites;

use quantc_kernels::{Isa, Kernels};
use quantc_kernels_arm::register;

/// Each tier brings its own products and keeps the rest of the tier below.
#[test]
fn tiers_add_their_products() {
    for isa in [Isa::Neon, Isa::Dotprod, Isa::I8mm].into_iter().filter(|isa| isa.is_available()) {
        let mut kernels = Kernels::PORTABLE;
        register(isa, &mut kernels);
        assert_eq!(kernels.qconv.name(), format!("qconv.{isa}"));
        assert_eq!(kernels.qmatmul.name(), format!("qmatmul.{isa}"));
        assert_eq!(kernels.qdepthwise.name(), "qdepthwise.neon");
        assert_eq!(kernels.elementwise.name(), "elementwise.neon");
    }
}
