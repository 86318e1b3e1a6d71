//! Tensors to and from the bytes of the arena: native elements row-major, booleans as 0 or 1, i8 as `q + 128`.

use bytemuck::Pod;
use quantc_tensor::{DType, Element, Tensor, TensorError, f16};

use crate::RunError;

/// Adds or takes away the offset of stored i8 values: `x ^ 0x80`.
pub(crate) const SIGN: u8 = 0x80;

/// Stores a tensor.
///
/// # Errors
/// If it is not row-major, which cannot happen for tensors made by the public functions.
///
/// # Panics
/// If `to` has another length.
pub fn store(tensor: &Tensor, to: &mut [u8]) -> Result<(), RunError> {
    fn plain<T: Element + Pod>(tensor: &Tensor, to: &mut [u8]) -> Result<(), RunError> {
        to.copy_from_slice(bytemuck::cast_slice(tensor.slice::<T>()?));
        Ok(())
    }
    match tensor.dtype() {
        DType::F32 => plain::<f32>(tensor, to),
        DType::F64 => plain::<f64>(tensor, to),
        DType::F16 => plain::<f16>(tensor, to),
        DType::U8 => plain::<u8>(tensor, to),
        DType::I16 => plain::<i16>(tensor, to),
        DType::I32 => plain::<i32>(tensor, to),
        DType::I64 => plain::<i64>(tensor, to),
        DType::I8 => {
            for (to, &v) in to.iter_mut().zip(tensor.slice::<i8>()?) {
                *to = v as u8 ^ SIGN;
            }
            Ok(())
        }
        DType::Bool => {
            for (to, &v) in to.iter_mut().zip(tensor.slice::<bool>()?) {
                *to = u8::from(v);
            }
            Ok(())
        }
    }
}

/// The tensor stored in some bytes.
///
/// # Errors
/// As [`load_into`].
pub fn load(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, RunError> {
    let mut tensor = Tensor::zeros(dtype, shape);
    load_into(bytes, &mut tensor)?;
    Ok(tensor)
}

/// Overwrites a tensor by what is stored in some bytes.
///
/// # Errors
/// If the number of bytes is not that of the tensor.
pub fn load_into(bytes: &[u8], tensor: &mut Tensor) -> Result<(), RunError> {
    fn plain<T: Element + Pod>(bytes: &[u8], tensor: &mut Tensor) -> Result<(), RunError> {
        tensor.slice_mut::<T>()?.copy_from_slice(bytemuck::cast_slice(bytes));
        Ok(())
    }
    if bytes.len() != tensor.byte_len() {
        let len = bytes.len() / tensor.dtype().size();
        return Err(TensorError::Length { len, shape: tensor.shape().to_vec() }.into());
    }
    match tensor.dtype() {
        DType::F32 => plain::<f32>(bytes, tensor),
        DType::F64 => plain::<f64>(bytes, tensor),
        DType::F16 => plain::<f16>(bytes, tensor),
        DType::U8 => plain::<u8>(bytes, tensor),
        DType::I16 => plain::<i16>(bytes, tensor),
        DType::I32 => plain::<i32>(bytes, tensor),
        DType::I64 => plain::<i64>(bytes, tensor),
        DType::I8 => {
            for (to, &v) in tensor.slice_mut::<i8>()?.iter_mut().zip(bytes) {
                *to = (v ^ SIGN) as i8;
            }
            Ok(())
        }
        DType::Bool => {
            for (to, &v) in tensor.slice_mut::<bool>()?.iter_mut().zip(bytes) {
                *to = v != 0;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_survives() {
        let source = Tensor::vector(vec![-128i64, -1, 0, 1, 127]);
        for &dtype in DType::ALL {
            let tensor = source.cast(dtype);
            let mut bytes = quantc_kernels::conv::AlignedBytes::zeroed(tensor.byte_len());
            store(&tensor, bytes.as_mut_slice()).expect("stores");
            assert!(load(dtype, tensor.shape(), bytes.as_slice()).expect("loads").bits_eq(&tensor), "{dtype}");
        }
    }
}
