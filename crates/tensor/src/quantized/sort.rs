//! Orders along a dimension.

use std::cmp::Reverse;

use super::{QuantizedError, QuantizedTensor, around, dimension};
use crate::Tensor;

impl QuantizedTensor {
    /// The elements along a dimension in order, and the indices, i64, they had; equal ones keep their order (`torch.Tensor.sort`).
    ///
    /// # Errors
    /// If the scheme is per-channel or the dimension is outside the tensor.
    pub fn sort(&self, dim: i64, descending: bool) -> Result<(QuantizedTensor, Tensor), QuantizedError> {
        self.per_tensor("sort")?;
        let dim = dimension(dim, self.shape.len())?;
        let size = around(&self.shape, dim).1;
        self.ordered(dim, size, descending)
    }

    /// The `k` greatest elements along a dimension, or the least, in order, and the indices, i64, they had; of equal ones the first
    /// (`torch.Tensor.topk` with `sorted=True`, where the indices of equal elements follow no rule).
    ///
    /// # Errors
    /// If the scheme is per-channel, the dimension is outside the tensor, or it has fewer than `k` elements.
    pub fn topk(&self, k: usize, dim: i64, largest: bool) -> Result<(QuantizedTensor, Tensor), QuantizedError> {
        self.per_tensor("topk")?;
        let dim = dimension(dim, self.shape.len())?;
        let size = around(&self.shape, dim).1;
        // A tensor of rank 0 has no dimension that could become one of no elements.
        if k > size || (self.shape.is_empty() && k == 0) {
            return Err(QuantizedError::TopK { k, size });
        }
        self.ordered(dim, k, largest)
    }

    /// The first `k` along a dimension after a stable sort.
    fn ordered(&self, dim: usize, k: usize, descending: bool) -> Result<(QuantizedTensor, Tensor), QuantizedError> {
        let (before, size, after) = around(&self.shape, dim);
        let ints = self.ints();
        let mut values = vec![0; before * k * after];
        let mut indices = vec![0i64; before * k * after];
        for outer in 0..before {
            for inner in 0..after {
                let at = |i: usize| ints[(outer * size + i) * after + inner];
                let mut order: Vec<usize> = (0..size).collect();
                if descending {
                    order.sort_by_key(|&i| Reverse(at(i)));
                } else {
                    order.sort_by_key(|&i| at(i));
                }
                for (place, &i) in order.iter().take(k).enumerate() {
                    let to = (outer * k + place) * after + inner;
                    (values[to], indices[to]) = (at(i), i as i64);
                }
            }
        }
        let mut shape = self.shape.clone();
        shape.iter_mut().skip(dim).take(1).for_each(|d| *d = k);
        let indices = Tensor::from_vec(&shape, indices)?;
        Ok((QuantizedTensor::from_ints(shape, values, self.quantizer.clone(), self.dtype)?, indices))
    }
}
