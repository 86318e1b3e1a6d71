//! Copies into a tensor.

use super::{QuantizedError, QuantizedTensor};
use crate::Tensor;

impl QuantizedTensor {
    /// Elements and parameters of another tensor of the same type and scheme, broadcast to this one's shape (`torch.Tensor.copy_` of a
    /// quantized source): the parameters become those of the source.
    ///
    /// # Errors
    /// If the type or the scheme is another, or the shape does not broadcast to this one's (per-channel: is another).
    pub fn copy_(&mut self, source: &QuantizedTensor) -> Result<(), QuantizedError> {
        if source.dtype != self.dtype {
            return Err(QuantizedError::CopyDType { from: source.dtype, into: self.dtype });
        }
        if source.qscheme() != self.qscheme() {
            return Err(QuantizedError::CopyScheme { from: source.qscheme(), into: self.qscheme() });
        }
        if source.shape == self.shape {
            *self = source.clone();
            return Ok(());
        }
        let shape: Vec<i64> = self.shape.iter().map(|&d| d as i64).collect();
        *self = source.expand(&shape)?;
        Ok(())
    }

    /// The values of a plain tensor, quantized with this tensor's parameters (`torch.Tensor.copy_` of a float source).
    ///
    /// # Errors
    /// If the source is not f32 or has another shape.
    pub fn copy_from_float_(&mut self, source: &Tensor) -> Result<(), QuantizedError> {
        if source.shape() != self.shape {
            return Err(QuantizedError::Shape {
                method: "copy_",
                from: source.shape().to_vec(),
                to: self.shape.iter().map(|&d| d as i64).collect(),
                reason: "the shapes must be the same",
            });
        }
        *self = QuantizedTensor::quantize(source, self.quantizer.clone(), self.dtype)?;
        Ok(())
    }
}
