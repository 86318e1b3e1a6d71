//! Reductions that stay quantized: the result has the tensor's own scale and zero point.

use super::{QuantizedError, QuantizedTensor, around, dimension};
use crate::{Tensor, round};

impl QuantizedTensor {
    /// The greatest element (`torch.Tensor.max`).
    ///
    /// # Errors
    /// If the scheme is per-channel or there are no elements.
    pub fn max(&self) -> Result<QuantizedTensor, QuantizedError> {
        self.extreme("max", |a, b| a > b)
    }

    /// The least element (`torch.Tensor.min`).
    ///
    /// # Errors
    /// If the scheme is per-channel or there are no elements.
    pub fn min(&self) -> Result<QuantizedTensor, QuantizedError> {
        self.extreme("min", |a, b| a < b)
    }

    /// The greatest element along a dimension and the index, i64, of the first that is (`torch.Tensor.max` with `dim`).
    ///
    /// # Errors
    /// If the scheme is per-channel, or the dimension is outside the tensor or has no elements.
    pub fn max_dim(&self, dim: i64, keepdim: bool) -> Result<(QuantizedTensor, Tensor), QuantizedError> {
        self.extreme_along("max", dim, keepdim, |a, b| a > b)
    }

    /// The least element along a dimension and the index, i64, of the first that is (`torch.Tensor.min` with `dim`).
    ///
    /// # Errors
    /// If the scheme is per-channel, or the dimension is outside the tensor or has no elements.
    pub fn min_dim(&self, dim: i64, keepdim: bool) -> Result<(QuantizedTensor, Tensor), QuantizedError> {
        self.extreme_along("min", dim, keepdim, |a, b| a < b)
    }

    fn extreme(&self, method: &'static str, better: fn(i32, i32) -> bool) -> Result<QuantizedTensor, QuantizedError> {
        self.per_tensor(method)?;
        let best = self.ints().into_iter().reduce(|a, b| if better(b, a) { b } else { a });
        let best = best.ok_or(QuantizedError::Empty(method))?;
        QuantizedTensor::from_ints(vec![], vec![best], self.quantizer.clone(), self.dtype)
    }

    fn extreme_along(
        &self,
        method: &'static str,
        dim: i64,
        keepdim: bool,
        better: fn(i32, i32) -> bool,
    ) -> Result<(QuantizedTensor, Tensor), QuantizedError> {
        self.per_tensor(method)?;
        let dim = dimension(dim, self.shape.len())?;
        let (before, size, after) = around(&self.shape, dim);
        if size == 0 {
            return Err(QuantizedError::Empty(method));
        }
        let ints = self.ints();
        let (mut values, mut indices) = (Vec::with_capacity(before * after), Vec::with_capacity(before * after));
        for line in 0..before * after {
            let at = |i: usize| ints[(line / after * size + i) * after + line % after];
            let best = (1..size).fold(0, |best, i| if better(at(i), at(best)) { i } else { best });
            values.push(at(best));
            indices.push(best as i64);
        }
        let mut shape = self.shape.clone();
        drop_dims(&mut shape, &[dim], keepdim);
        let indices = Tensor::from_vec(&shape, indices)?;
        Ok((QuantizedTensor::from_ints(shape, values, self.quantizer.clone(), self.dtype)?, indices))
    }

    /// The mean over the dimensions, all if none is given, quantized: `rne(f32(sum of q) / f32(n))` (`torch.Tensor.mean`). Over other
    /// than the innermost dimensions PyTorch computes in real numbers, which may give the neighbour where the mean is nearly a tie.
    ///
    /// # Errors
    /// If the scheme is per-channel, a dimension is outside the tensor or given twice, or there are no elements to a mean.
    pub fn mean(&self, dims: &[i64], keepdim: bool) -> Result<QuantizedTensor, QuantizedError> {
        self.per_tensor("mean")?;
        let rank = self.shape.len();
        let mut reduced = Vec::with_capacity(dims.len());
        for &dim in dims {
            let at = dimension(dim, rank)?;
            if reduced.contains(&at) {
                return Err(QuantizedError::Twice(dim));
            }
            reduced.push(at);
        }
        if dims.is_empty() {
            reduced = (0..rank).collect();
        }
        let mut kept = self.shape.clone();
        drop_dims(&mut kept, &reduced, true);
        let count: usize = reduced.iter().map(|&d| self.shape.get(d).copied().unwrap_or(1)).product();
        if count == 0 {
            return Err(QuantizedError::Empty("mean"));
        }
        let mut sums = vec![0i64; kept.iter().product()];
        for (i, q) in self.ints().into_iter().enumerate() {
            // The element's index without the reduced dimensions, as a place among the sums.
            let (mut rest, mut stride, mut place) = (i, 1, 0);
            for (&size, &kept) in self.shape.iter().zip(&kept).rev() {
                if kept == size {
                    place += rest % size * stride;
                    stride *= size;
                }
                rest /= size;
            }
            sums[place] += i64::from(q);
        }
        let (qmin, qmax) = self.dtype.range();
        let means = sums.iter().map(|&sum| round::round_saturate(sum as f32 / count as f32, 0, qmin, qmax)).collect();
        let mut shape = self.shape.clone();
        drop_dims(&mut shape, &reduced, keepdim);
        QuantizedTensor::from_ints(shape, means, self.quantizer.clone(), self.dtype)
    }
}

/// Sets the dimensions to 1, or removes them.
fn drop_dims(shape: &mut Vec<usize>, dims: &[usize], keep: bool) {
    let mut at = 0..;
    let mut reduced = || at.next().is_some_and(|at| dims.contains(&at));
    if keep {
        shape.iter_mut().filter(|_| reduced()).for_each(|d| *d = 1);
    } else {
        shape.retain(|_| !reduced());
    }
}
