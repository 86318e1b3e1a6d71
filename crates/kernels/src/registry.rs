//! The set of kernels that a program runs: the portable one, overridden by the crates of the architectures.

use crate::conv::QConv;
use crate::conv::portable::PortableConv;
use crate::depthwise::PortableDepthwise;
use crate::elementwise::{Elementwise, PortableElementwise};
use crate::float::{Float, PortableFloat};
use crate::isa::Isa;
use crate::layout::{Layout, PortableLayout};
use crate::matmul::{PortableMatmul, QMatmul};
use crate::pool::{FloatPool, PortablePool, QPool};
use crate::quantize::{PortableQuantize, Quantize};
use crate::recurrent::{PortableRecurrent, Recurrent};

/// One kernel for each job. A tier's crate replaces the fields it has something better for, one row each
/// (`quantc_kernels_x86::register`, `quantc_kernels_arm::register`).
#[derive(Clone, Copy)]
pub struct Kernels {
    /// The highest tier registered.
    pub isa: Isa,
    /// u8 x s8 convolution and linear, dense and grouped.
    pub qconv: &'static dyn QConv,
    /// u8 x u8 matrix multiplication of activations.
    pub qmatmul: &'static dyn QMatmul,
    /// u8 x s8 depthwise convolution.
    pub qdepthwise: &'static dyn QConv,
    /// Addition, multiplication and lookup tables on u8.
    pub elementwise: &'static dyn Elementwise,
    /// Conversions between f32 and u8.
    pub quantize: &'static dyn Quantize,
    /// Pooling of u8 images.
    pub qpool: &'static dyn QPool,
    /// Pooling of f32 images.
    pub pool: &'static dyn FloatPool,
    /// Transposes and permutations.
    pub layout: &'static dyn Layout,
    /// Float functions, softmax, layer normalisation.
    pub float: &'static dyn Float,
    /// Gates of recurrent layers.
    pub recurrent: &'static dyn Recurrent,
}

impl Kernels {
    /// The kernels in plain Rust, which run anywhere.
    pub const PORTABLE: Kernels = Kernels {
        isa: Isa::Portable,
        qconv: &PortableConv,
        qmatmul: &PortableMatmul,
        qdepthwise: &PortableDepthwise,
        elementwise: &PortableElementwise,
        quantize: &PortableQuantize,
        qpool: &PortablePool,
        pool: &PortablePool,
        layout: &PortableLayout,
        float: &PortableFloat,
        recurrent: &PortableRecurrent,
    };
}
