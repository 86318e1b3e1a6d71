//! The set of kernels that a program runs: the portable one, overridden by the crates of the architectures.

use crate::conv::QConv;
use crate::conv::portable::PortableConv;
use crate::isa::Isa;
use crate::matmul::{PortableMatmul, QMatmul};

/// One kernel for each job. A tier's crate replaces the fields it has something better for, one row each
/// (`quantc_kernels_x86::register`).
#[derive(Clone, Copy)]
pub struct Kernels {
    /// The highest tier registered.
    pub isa: Isa,
    /// u8 x s8 convolution and linear, dense and grouped.
    pub qconv: &'static dyn QConv,
    /// u8 x u8 matrix multiplication of activations.
    pub qmatmul: &'static dyn QMatmul,
}

impl Kernels {
    /// The kernels in plain Rust, which run anywhere.
    pub const PORTABLE: Kernels = Kernels { isa: Isa::Portable, qconv: &PortableConv, qmatmul: &PortableMatmul };
}
