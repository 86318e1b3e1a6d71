//! Other shapes of the same elements.

use super::{QuantizedError, QuantizedTensor, Quantizer, around, dimension, numel};

impl QuantizedTensor {
    /// The same elements in another shape, one size of which may be -1: whatever is left (`torch.Tensor.view`). Per-channel parameters go
    /// along with their axis. PyTorch keeps the number of the axis, and so fails for shapes like `[1, C, ..]` of `[C, ..]`, or gives
    /// channels the parameters of others; here the axis keeps its elements.
    ///
    /// # Errors
    /// If the elements do not fill the shape, or the channels are no dimension of it.
    pub fn view(&self, shape: &[i64]) -> Result<QuantizedTensor, QuantizedError> {
        let refuse =
            |reason| QuantizedError::Shape { method: "view", from: self.shape.clone(), to: shape.to_vec(), reason };
        let shape = resolve(shape, self.numel()).map_err(refuse)?;
        numel(&shape)?;
        let quantizer = match self.quantizer.axis() {
            None => self.quantizer.clone(),
            Some(axis) => {
                let (before, channels, _) = around(&self.shape, axis);
                let is_it = |at: usize| around(&shape, at).0 == before && shape[at] == channels;
                let mut candidates = std::iter::once(axis).filter(|a| *a < shape.len()).chain(0..shape.len());
                let axis = candidates.find(|&at| is_it(at));
                self.quantizer.clone().with_axis(axis.ok_or_else(|| refuse("it has no dimension of the channels"))?)
            }
        };
        let data = if self.dtype.is_packed() { self.data.clone() } else { self.data.reshape(&shape)? };
        Ok(QuantizedTensor { shape, dtype: self.dtype, quantizer, data })
    }

    /// The dimensions from `start` to `end`, both included, as one (`torch.Tensor.flatten`).
    ///
    /// # Errors
    /// If a dimension is outside the tensor, `end` is before `start`, or channels would be joined with others.
    pub fn flatten(&self, start: i64, end: i64) -> Result<QuantizedTensor, QuantizedError> {
        let rank = self.shape.len();
        let (first, last) = (dimension(start, rank)?, dimension(end, rank)?);
        if first > last {
            let (from, to) = (self.shape.clone(), vec![start, end]);
            return Err(QuantizedError::Shape { method: "flatten", from, to, reason: "the end is before the start" });
        }
        let sizes = |range: &[usize]| range.iter().map(|&d| d as i64).collect::<Vec<_>>();
        let mut shape = sizes(&self.shape[..first.min(rank)]);
        shape.push(self.shape.iter().take(last + 1).skip(first).product::<usize>() as i64);
        shape.extend(sizes(self.shape.get(last + 1..).unwrap_or(&[])));
        self.view(&shape)
    }

    /// Index `index` of dimension `dim`, which goes (`torch.Tensor.select`). A channel has a per-tensor scheme; with float parameters
    /// PyTorch rounds its zero point and so changes its values, here it must be an integer of the type. PyTorch also refuses a dimension
    /// behind the channels of axis 0, and all but the channels with float parameters.
    ///
    /// # Errors
    /// If there is no such dimension or index, or a channel's zero point is no integer of the type.
    pub fn select(&self, dim: i64, index: i64) -> Result<QuantizedTensor, QuantizedError> {
        let rank = self.shape.len();
        if rank == 0 {
            return Err(QuantizedError::Dimension { dim, rank });
        }
        let dim = dimension(dim, rank)?;
        let size = self.shape[dim];
        let signed = size as i64;
        if index < -signed || index >= signed {
            return Err(QuantizedError::Index { index, dim, size });
        }
        let index = index.rem_euclid(signed) as usize;
        let quantizer = match self.quantizer.axis() {
            Some(axis) if axis == dim => self.channel(index)?,
            Some(axis) if axis > dim => self.quantizer.clone().with_axis(axis - 1),
            _ => self.quantizer.clone(),
        };
        let ints = self.ints();
        let (before, _, after) = around(&self.shape, dim);
        let mut out = Vec::with_capacity(before * after);
        for outer in 0..before {
            let start = (outer * size + index) * after;
            out.extend_from_slice(&ints[start..start + after]);
        }
        let mut shape = self.shape.clone();
        shape.remove(dim);
        QuantizedTensor::from_ints(shape, out, quantizer, self.dtype)
    }

    /// The parameters of one channel as those of a tensor.
    fn channel(&self, index: usize) -> Result<Quantizer, QuantizedError> {
        let (scale, zero_point) = match &self.quantizer {
            Quantizer::PerTensorAffine { scale, zero_point } => (*scale, *zero_point),
            Quantizer::PerChannelAffine { scales, zero_points, .. } => (scales[index], zero_points[index]),
            Quantizer::PerChannelAffineFloatQParams { scales, zero_points, .. } => {
                let (real, (lo, hi)) = (zero_points[index], self.dtype.range());
                if real.fract() != 0.0 || real < lo as f32 || real > hi as f32 {
                    return Err(QuantizedError::RealZeroPoint(
                        real,
                        "is no integer of the type, as one channel needs it",
                    ));
                }
                (f64::from(scales[index]), real as i32)
            }
        };
        Ok(Quantizer::PerTensorAffine { scale, zero_point })
    }

    /// Dimensions of size 1 repeated to the sizes given, -1 for as it is; new dimensions in front (`torch.Tensor.expand`). The elements
    /// are copied.
    ///
    /// # Errors
    /// If the scheme is per-channel, or a dimension of another size would change.
    pub fn expand(&self, sizes: &[i64]) -> Result<QuantizedTensor, QuantizedError> {
        self.per_tensor("expand")?;
        let refuse =
            |reason| QuantizedError::Shape { method: "expand", from: self.shape.clone(), to: sizes.to_vec(), reason };
        let new = sizes.len().checked_sub(self.shape.len()).ok_or_else(|| refuse("it has fewer dimensions"))?;
        let mut shape = Vec::with_capacity(sizes.len());
        let mut strides = Vec::with_capacity(sizes.len());
        for (i, &wanted) in sizes.iter().enumerate() {
            let have = i.checked_sub(new).map(|at| (self.shape[at], around(&self.shape, at).2));
            let (size, stride) = match (have, usize::try_from(wanted)) {
                (Some((size, stride)), Err(_)) if wanted == -1 => (size, stride),
                (Some((size, stride)), Ok(wanted)) if size == wanted => (size, stride),
                (Some((1, _)) | None, Ok(wanted)) => (wanted, 0),
                (None, Err(_)) => return Err(refuse("a new dimension has no size of its own")),
                _ => return Err(refuse("only dimensions of size 1 are repeated")),
            };
            shape.push(size);
            strides.push(stride);
        }
        self.gather(shape, &strides, 0)
    }

    /// The elements at `offset` plus any multiples of the strides (`torch.Tensor.as_strided`). Strides and offset count this tensor's
    /// elements in row-major order; the elements are copied.
    ///
    /// # Errors
    /// If the scheme is per-channel, there are not as many strides as sizes, or an element would be outside the tensor.
    pub fn as_strided(
        &self,
        sizes: &[usize],
        strides: &[usize],
        offset: usize,
    ) -> Result<QuantizedTensor, QuantizedError> {
        self.per_tensor("as_strided")?;
        let refuse = |reason| {
            let to = sizes.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
            QuantizedError::Shape { method: "as_strided", from: self.shape.clone(), to, reason }
        };
        if sizes.len() != strides.len() {
            return Err(refuse("it needs a stride for each size"));
        }
        let last = sizes
            .iter()
            .zip(strides)
            .try_fold(offset, |at, (&size, &stride)| at.checked_add(size.saturating_sub(1).checked_mul(stride)?));
        if !sizes.contains(&0) && last.is_none_or(|last| last >= self.numel()) {
            return Err(refuse("it reaches beyond the last element"));
        }
        self.gather(sizes.to_vec(), strides, offset)
    }

    /// The elements at those strides, all of which exist.
    fn gather(&self, shape: Vec<usize>, strides: &[usize], offset: usize) -> Result<QuantizedTensor, QuantizedError> {
        let count = numel(&shape)?;
        let ints = self.ints();
        let at = |mut i: usize| {
            shape.iter().zip(strides).rev().fold(offset, |at, (&size, &stride)| {
                let index = i % size;
                i /= size;
                at + index * stride
            })
        };
        let out = (0..count).map(|i| ints[at(i)]).collect();
        QuantizedTensor::from_ints(shape, out, self.quantizer.clone(), self.dtype)
    }

    /// Another shape in place, of more or fewer elements (`torch.Tensor.resize_`). New elements are 0 in real numbers; in PyTorch they
    /// are whatever the memory holds.
    ///
    /// # Errors
    /// If the scheme is per-channel.
    pub fn resize_(&mut self, shape: &[usize]) -> Result<(), QuantizedError> {
        let (_, zero_point) = self.per_tensor("resize_")?;
        let mut ints = self.ints();
        ints.resize(numel(shape)?, zero_point);
        *self = QuantizedTensor::from_ints(shape.to_vec(), ints, self.quantizer.clone(), self.dtype)?;
        Ok(())
    }
}

/// Sizes of `len` elements, of which one may be -1; the error says what is wrong.
fn resolve(shape: &[i64], len: usize) -> Result<Vec<usize>, &'static str> {
    let open = shape.iter().filter(|&&d| d == -1).count();
    if open > 1 {
        return Err("only one size can be -1");
    }
    let given = shape.iter().filter(|&&d| d != -1).map(|&d| usize::try_from(d));
    let given: Vec<usize> = given.collect::<Result<_, _>>().map_err(|_| "a size is negative")?;
    let product = given.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or("it is too large")?;
    if open == 1 && product == 0 {
        return Err("-1 could be any size");
    }
    if (open == 0 && product != len) || (open == 1 && !len.is_multiple_of(product)) {
        return Err("it has another number of elements");
    }
    Ok(shape.iter().map(|&d| if d == -1 { len / product } else { d as usize }).collect())
}
