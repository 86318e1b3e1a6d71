//! Data types, shapes, tensors, quantization parameters and quantc's one rounding and saturation contract.
#![forbid(unsafe_code)]

pub mod compare;
pub mod dtype;
pub mod math;
pub mod qparams;
pub mod quantized;
pub mod reduce;
pub mod round;
pub mod scaled;
pub mod shape;
pub mod tensor;

pub use compare::Gap;
pub use dtype::DType;
pub use half::f16;
pub use qparams::{QParams, QRange, QScheme, choose_qparams, dynamic_qparams};
pub use quantized::{QDType, QuantizedTensor};
pub use scaled::{Integers, Scale, ScaledInt, Value};
pub use shape::{Dim, Shape, TensorType};
pub use tensor::{Element, Tensor, TensorError};
