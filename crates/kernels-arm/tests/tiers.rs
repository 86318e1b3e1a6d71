//! Every tier of this machine gives the bits of the portable kernels.
#![cfg(target_arch = "aarch64")]

#[path = "../../kernels/tests/suites/mod.rs"]
mod suites;

use quantc_kernels_arm::register;
