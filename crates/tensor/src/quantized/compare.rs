//! Comparisons.

use ndarray::IxDyn;

use super::{QuantizedError, QuantizedTensor};
use crate::{DType, Shape, Tensor};

/// The other side of a comparison.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// A number, taken as f32.
    Scalar(f64),
    /// A plain tensor: f64 as it is, every other type as f32.
    Dense(&'a Tensor),
    /// A quantized tensor of any type and scheme: its real values.
    Quantized(&'a QuantizedTensor),
}

impl From<f64> for Operand<'_> {
    fn from(value: f64) -> Self {
        Operand::Scalar(value)
    }
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    fn from(value: &'a Tensor) -> Self {
        Operand::Dense(value)
    }
}

impl<'a> From<&'a QuantizedTensor> for Operand<'a> {
    fn from(value: &'a QuantizedTensor) -> Self {
        Operand::Quantized(value)
    }
}

macro_rules! comparisons {
    ($($name:ident, $op:tt, $doc:literal;)*) => {$(
        #[doc = concat!("Where the real values are ", $doc, ", broadcast: a tensor of bool (`torch.Tensor.", stringify!($name), "`).")]
        ///
        /// # Errors
        /// If the shapes do not broadcast.
        pub fn $name<'a>(&self, other: impl Into<Operand<'a>>) -> Result<Tensor, QuantizedError> {
            self.compare(other.into(), |a, b| a $op b)
        }
    )*};
}

impl QuantizedTensor {
    comparisons! {
        eq, ==, "those of the other";
        ne, !=, "not those of the other";
        ge, >=, "at least those of the other";
        le, <=, "at most those of the other";
        gt, >, "greater than those of the other";
        lt, <, "less than those of the other";
    }

    fn compare(&self, other: Operand<'_>, accept: fn(f64, f64) -> bool) -> Result<Tensor, QuantizedError> {
        let other = match other {
            Operand::Scalar(value) => Tensor::scalar(value as f32),
            Operand::Dense(tensor) if tensor.dtype() == DType::F64 => tensor.clone(),
            Operand::Dense(tensor) => tensor.cast(DType::F32),
            Operand::Quantized(tensor) => tensor.dequantize(),
        };
        let refuse = || QuantizedError::Broadcast(self.shape.clone(), other.shape().to_vec());
        let shape = Shape::known(&self.shape).broadcast(&Shape::known(other.shape()));
        let shape = shape.and_then(|s| s.to_known()).ok_or_else(refuse)?;
        super::numel(&shape)?;
        // f64 holds every f32, so that comparing there is comparing in f32.
        let (a, b) = (self.dequantize().cast(DType::F64), other.cast(DType::F64));
        let (a, b) = (a.view::<f64>()?, b.view::<f64>()?);
        let (Some(a), Some(b)) = (a.broadcast(IxDyn(&shape)), b.broadcast(IxDyn(&shape))) else { return Err(refuse()) };
        Ok(Tensor::from_vec(&shape, a.iter().zip(&b).map(|(a, b)| accept(*a, *b)).collect())?)
    }

    /// Whether type, shape, parameters and integers are the same (`torch.Tensor.equal`).
    pub fn equal(&self, other: &QuantizedTensor) -> bool {
        self.dtype == other.dtype
            && self.shape == other.shape
            && self.quantizer == other.quantizer
            && self.data.bits_eq(&other.data)
    }
}
