//! Kernel traits, packed-weight formats, portable kernels and CPU feature detection.
//!
//! Every kernel of every ISA tier gives the same bits as the portable one, and the portable one the same bits as the
//! reference evaluation in `quantc-ops` (`docs/numerics.md`).

pub mod conv;
pub mod epilogue;
pub mod isa;
pub mod matmul;
pub mod registry;

pub use conv::{ConvArgs, ConvGeometry, ConvPlan, ConvWeightShape, Output, OutputData, PackedWeights, QConv, SLACK};
pub use epilogue::Epilogue;
pub use isa::Isa;
pub use matmul::{MatmulShape, QMatmul, RightLayout, ZeroPoints};
pub use registry::Kernels;
