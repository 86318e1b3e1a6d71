//! Kernel traits, packed-weight formats, portable kernels and CPU feature detection.
//!
//! Every kernel of every ISA tier gives the same bits as the portable one, and the portable one the same bits as the
//! reference evaluation in `quantc-ops` (`docs/numerics.md`).

pub mod conv;
pub mod depthwise;
pub mod elementwise;
pub mod epilogue;
pub mod float;
pub mod isa;
pub mod layout;
pub mod mapped;
pub mod matmul;
pub mod pool;
pub mod quantize;
pub mod recurrent;
pub mod registry;
pub mod rows;

pub use conv::{
    Blocking, Caches, ConvArgs, ConvGeometry, ConvPlan, ConvWeightShape, Output, OutputData, PackedWeights, Panels,
    QConv, SLACK,
};
pub use depthwise::is_depthwise;
pub use elementwise::{AddParams, AffineParams, Elementwise, MulParams};
pub use epilogue::Epilogue;
pub use float::{BinaryOp, Float, LayerNormParams, ReduceOp, UnaryOp};
pub use isa::Isa;
pub use layout::Layout;
pub use mapped::{MappedFile, SharedBytes};
pub use matmul::{MatmulShape, QMatmul, RightLayout, ZeroPoints};
pub use pool::{AvgPoolParams, FloatPool, PoolGeometry, PoolWindow, QPool};
pub use quantize::{DequantizeParams, Quantize, QuantizeParams};
pub use recurrent::{GruGates, LstmGates, Nonlinearity, Recurrent, RnnGates};
pub use registry::Kernels;
pub use rows::{Operand, RowsMut};
