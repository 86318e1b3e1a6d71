//! Data in the element type a model wants.

use quantc_tensor::{DType, Tensor};

/// The tensor with another element type. To floats anything goes; integers and booleans must hold the very same numbers. The error names
/// the first that can't; `first_row` is the index of the first row in the whole array.
pub(super) fn convert(tensor: Tensor, dtype: DType, first_row: usize) -> Result<Tensor, String> {
    if dtype.is_float() || dtype == tensor.dtype() {
        return Ok(tensor.cast(dtype));
    }
    let (low, high) = match dtype {
        DType::Bool => (0, 1),
        DType::I64 => (i64::MIN, i64::MAX),
        _ => dtype.quantized_range().map_or((0, 0), |(low, high)| (i64::from(low), i64::from(high))),
    };
    let bad = if tensor.dtype().is_float() {
        let Tensor::F64(wide) = tensor.cast(DType::F64) else { return Ok(tensor) };
        // As floats: i64's own highest rounds up to a number that does not fit.
        let fits = |v: f64| v.fract() == 0.0 && v >= low as f64 && v < high as f64 + 1.0;
        wide.iter().position(|v| !fits(*v)).map(|i| (i, wide.as_slice().map_or(f64::NAN, |s| s[i]).to_string()))
    } else {
        let values = tensor.to_i64_vec();
        values.iter().position(|v| !(low..=high).contains(v)).map(|i| (i, values[i].to_string()))
    };
    let Some((mut at, value)) = bad else { return Ok(tensor.cast(dtype)) };
    let mut index = vec![0; tensor.rank()];
    for (i, size) in index.iter_mut().zip(tensor.shape()).rev() {
        (*i, at) = (at % size, at / size);
    }
    if let Some(row) = index.first_mut() {
        *row += first_row;
    }
    Err(format!("{value} at {index:?} is no {dtype} (those go from {low} to {high})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_values() {
        let wide = Tensor::from_vec(&[2, 2], vec![0i64, 255, 256, -1]).expect("fits");
        assert_eq!(convert(wide.clone(), DType::I16, 0).expect("in range").to_i64_vec(), [0, 255, 256, -1]);
        let message = convert(wide, DType::U8, 10).expect_err("too large");
        assert!(message.starts_with("256 at [11, 0] is no u8"), "{message}");
        let floats = |v: &[f32]| convert(Tensor::vector(v.to_vec()), DType::I64, 0);
        assert_eq!(floats(&[1.0, -2.0]).expect("whole").to_i64_vec(), [1, -2]);
        for bad in [0.5, f32::NAN, f32::INFINITY, 9.3e18, -9.3e18] {
            assert!(floats(&[0.0, bad]).expect_err("no i64").contains("at [1]"), "{bad}");
        }
        assert!(convert(Tensor::vector(vec![2i64]), DType::Bool, 0).is_err());
    }
}
