//! The steps: one kernel call each, with its operands' places.

mod cast;
mod conv_transpose;
mod dynamic;
mod embedding;
mod float;
mod gather;
mod layout;
mod pool;
mod product;
mod qconv;
mod qconv_function;
mod qmatmul;
mod qparts;
mod recurrent;
mod recurrent_weights;
mod reference;
mod rows;

pub use cast::CastStep;
pub use conv_transpose::ConvTransposeStep;
pub use dynamic::{DYNAMIC_PARAMS, DynamicLinearStep, DynamicQuantizeStep, dynamic_codes_len};
pub use embedding::{BagPlaces, EmbeddingStep, Indices, TableSource};
pub use float::{FloatConvStep, MatrixOperand, SgemmStep};
pub use gather::GatherStep;
pub use layout::{CopyStep, DequantizeToNchwStep, Loop, PermuteStep, QuantizeToNhwcStep};
pub use pool::{PoolOp, PoolStep};
pub use qconv::{QConvStep, QEpilogue};
pub use qconv_function::{QConvFunctionStep, QFunction};
pub use qmatmul::{Batches, PackedRight, QMatmulStep, packed_stride};
pub use qparts::{QPart, QWeights};
pub use recurrent::{Cell, RecurrentStep, recurrent_work_len};
pub use recurrent_weights::{GateWeights, Int8Direction, Int8Product};
pub use reference::{Argument, Produced, RealizeStep, ReferenceStep};
pub use rows::{Pattern, RowOp, RowOperand, RowsStep};
