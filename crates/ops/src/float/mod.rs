//! Float kernels over slices. The reference evaluation and the compiled plans call the same functions, or functions that
//! sum in the same order (see [`quantc_kernels_gemm`]), so a layer that stays float has the same bits in both.

pub mod conv;
pub mod conv_transpose;
pub mod depthwise;
pub mod embedding;
pub mod linear;
pub mod recurrent;
pub mod resize;

pub use quantc_kernels_gemm::{KC, Mat, sgemm};
