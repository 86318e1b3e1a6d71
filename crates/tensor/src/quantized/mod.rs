//! Quantized tensors as PyTorch has them: integers together with the scale and zero point that give them a meaning.
//!
//! The graph knows integer tensors and quantize / dequantize operators only. These types are for what is outside the graph: weights
//! as they are kept, values compared with PyTorch's. Where a method's result is not PyTorch's, its documentation says so; the
//! arithmetic is that of `docs/numerics.md`.

mod compare;
mod copy;
mod error;
mod packing;
mod qdtype;
mod quantized_tensor;
mod quantizer;
mod reduce;
mod sort;
mod views;

pub use compare::Operand;
pub use error::QuantizedError;
pub use packing::{pack, unpack};
pub use qdtype::{QDType, UnknownQDType};
pub use quantized_tensor::QuantizedTensor;
pub use quantizer::Quantizer;

/// Largest number of elements a method makes: beyond it a size is taken for a mistake.
const MAX_ELEMENTS: usize = 1 << 29;

/// The number of elements of a shape about to be allocated.
fn numel(shape: &[usize]) -> Result<usize, QuantizedError> {
    let full = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1))).filter(|&n| n <= MAX_ELEMENTS);
    let full = full.ok_or_else(|| QuantizedError::TooLarge(shape.to_vec()))?;
    Ok(if shape.contains(&0) { 0 } else { full })
}

/// A dimension of a tensor of `rank` dimensions, negative ones from the end; of a tensor of rank 0, as in PyTorch, 0 or -1.
fn dimension(dim: i64, rank: usize) -> Result<usize, QuantizedError> {
    let count = rank.max(1) as i64;
    let at = if dim < 0 { dim.checked_add(count) } else { Some(dim) };
    at.filter(|at| (0..count).contains(at)).map(|at| at as usize).ok_or(QuantizedError::Dimension { dim, rank })
}

/// A shape around a dimension: elements before it, its size, elements after it. A tensor of rank 0 counts as one of a single element.
fn around(shape: &[usize], dim: usize) -> (usize, usize, usize) {
    let before = shape.iter().take(dim).product();
    let after = shape.iter().skip(dim + 1).product();
    (before, shape.get(dim).copied().unwrap_or(1), after)
}
