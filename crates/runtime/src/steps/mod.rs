//! The steps: one kernel call each, with its operands' places.

mod dynamic;
mod float;
mod gather;
mod layout;
mod pool;
mod qconv;
mod qmatmul;
mod reference;
mod rows;

pub use dynamic::{DYNAMIC_PARAMS, DynamicLinearStep, DynamicQuantizeStep, dynamic_codes_len};
pub use float::{FloatConvStep, MatrixOperand, SgemmStep};
pub use gather::GatherStep;
pub use layout::{CopyStep, DequantizeToNchwStep, Loop, PermuteStep, QuantizeToNhwcStep};
pub use pool::{PoolOp, QPoolStep};
pub use qconv::{QConvStep, QEpilogue};
pub use qmatmul::QMatmulStep;
pub use reference::{Argument, Produced, RealizeStep, ReferenceStep};
pub use rows::{Pattern, RowOp, RowOperand, RowsStep};
