//! Axes, sizes and symbolic dimensions: what every operator checks alike.

use quantc_tensor::{Dim, Integers, Scale, ScaledInt, Shape, Tensor, TensorType, Value};

use crate::OpError;

/// Largest number of elements a tensor may have: beyond it a size is taken for a mistake in the model.
pub const MAX_ELEMENTS: usize = 1 << 29;

/// An axis of a tensor of `rank` dimensions; negative ones count from the end.
///
/// # Errors
/// If it is outside `-rank..rank`.
pub fn axis(dim: i64, rank: usize) -> Result<usize, OpError> {
    let signed = rank as i64;
    if dim < -signed || dim >= signed {
        return Err(OpError::new(format!("axis {dim} is outside a tensor of {rank} dimensions")));
    }
    Ok(if dim < 0 { (dim + signed) as usize } else { dim as usize })
}

/// Distinct axes in the order given.
///
/// # Errors
/// If one is out of range or given twice.
pub fn axes(dims: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut out = Vec::with_capacity(dims.len());
    for &d in dims {
        let a = axis(d, rank)?;
        if out.contains(&a) {
            return Err(OpError::new(format!("axis {d} is given twice")));
        }
        out.push(a);
    }
    Ok(out)
}

/// The number of elements of a shape about to be allocated.
///
/// # Errors
/// If it is more than [`MAX_ELEMENTS`], or would be without the dimensions of size 0.
pub fn numel(shape: &[usize]) -> Result<usize, OpError> {
    let full = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1))).filter(|&n| n <= MAX_ELEMENTS);
    match full {
        Some(n) => Ok(if shape.contains(&0) { 0 } else { n }),
        None => Err(OpError::new(format!("a tensor of shape {shape:?} is too large"))
            .with_hint("is a size of the model wrong?")),
    }
}

/// Fails if the known sizes of a type give more elements than [`numel`] allows.
///
/// # Errors
/// As [`numel`].
pub fn check_size(ty: &TensorType) -> Result<(), OpError> {
    let known: Vec<usize> = ty.shape.dims().iter().filter_map(Dim::known).collect();
    numel(&known).map(|_| ())
}

/// Non-negative sizes from integers.
///
/// # Errors
/// If one is negative.
pub fn sizes(dims: &[i64]) -> Result<Vec<usize>, OpError> {
    dims.iter()
        .map(|&d| usize::try_from(d).map_err(|_| OpError::new(format!("{d} in {dims:?} is not a size"))))
        .collect()
}

/// A shape of unknown sizes.
pub fn unknown(rank: usize) -> Shape {
    (0..rank).map(|_| Dim::Unknown).collect()
}

/// The broadcast of two concrete shapes (NumPy rules).
///
/// # Errors
/// If they can't be broadcast, or the result is too large.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let out = Shape::known(a)
        .broadcast(&Shape::known(b))
        .and_then(|s| s.to_known())
        .ok_or_else(|| OpError::new(format!("shapes {a:?} and {b:?} can't be broadcast together")))?;
    numel(&out)?;
    Ok(out)
}

/// The broadcast of two symbolic shapes.
///
/// # Errors
/// If known sizes contradict each other.
pub fn broadcast_shapes(a: &Shape, b: &Shape) -> Result<Shape, OpError> {
    a.broadcast(b).ok_or_else(|| OpError::new(format!("shapes {a} and {b} can't be broadcast together")))
}

/// Row-major strides.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i].max(1);
    }
    out
}

/// Strides that read a tensor of `shape` as if it had been broadcast to `target`.
pub fn broadcast_strides(shape: &[usize], target: &[usize]) -> Vec<usize> {
    let missing = target.len().saturating_sub(shape.len());
    let own = strides(shape);
    (0..target.len()).map(|i| if i < missing || shape[i - missing] == 1 { 0 } else { own[i - missing] }).collect()
}

/// Applies a movement of elements to a value: a scaled value keeps its integers, unless its scale depends on the channel.
///
/// # Errors
/// Those of `f`.
pub fn moved(x: &Value, f: impl FnOnce(&Tensor) -> Result<Tensor, OpError>) -> Result<Value, OpError> {
    Ok(match x {
        Value::Scaled(s) if matches!(s.scale, Scale::PerTensor(_)) && s.integers != Integers::Sums => {
            Value::Scaled(ScaledInt { ints: f(&s.ints)?, ..s.clone() })
        }
        other => Value::Dense(f(&other.to_tensor())?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_both_ends() {
        assert_eq!(axes(&[-1, 0], 3), Ok(vec![2, 0]));
        assert!(axes(&[1, -2], 3).is_err());
        assert!(axis(3, 3).is_err() && axis(i64::MIN, 3).is_err() && axis(0, 0).is_err());
    }

    #[test]
    fn absurd_sizes_are_refused() {
        assert!(numel(&[usize::MAX, 2]).is_err());
        assert!(numel(&[1 << 20, 1 << 12]).is_err());
        assert_eq!(numel(&[0, 5]), Ok(0));
    }

    #[test]
    fn broadcast_reads_repeat() {
        assert_eq!(broadcast(&[3, 1], &[4]), Ok(vec![3, 4]));
        assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 4]), [0, 1, 0]);
    }
}
