//! What the SIMD kernel crates share: everything around the inner kernels of their tiers.
//!
//! A tier brings inner kernels (the traits [`gemm::Tier`], [`depthwise::Tier`], [`simd::Simd`], [`transpose::Tiles`]) and
//! gets the kernels that `quantc-kernels` asks for. The macros implement kernel traits by functions compiled with the
//! tier's instructions.

pub mod bytes;
mod compiled;
pub mod conv;
pub mod depthwise;
pub mod gemm;
pub mod matmul;
pub mod simd;
pub mod transpose;
