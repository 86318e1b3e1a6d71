//! The type of an input as text.

use quantc_tensor::{DType, Dim, Shape, TensorType};

use super::TraceError;

/// A tensor type read from text: `f32[N,3,224,224]`, where names are symbolic sizes and `?` an unknown one.
pub(crate) fn parse_type(text: &str) -> Result<TensorType, TraceError> {
    let fail =
        || TraceError::new(format!("`{text}` is no tensor type")).with_hint("write it like \"f32[N,3,224,224]\"");
    let (dtype, rest) = text.trim().split_once('[').ok_or_else(fail)?;
    let dims = rest.strip_suffix(']').ok_or_else(fail)?;
    let dtype: DType = dtype.trim().parse().map_err(|_| fail())?;
    let is_name = |d: &str| {
        d.starts_with(|c: char| c.is_ascii_alphabetic()) && d.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let dim = |d: &str| match d.trim() {
        "?" => Ok(Dim::Unknown),
        d if is_name(d) => Ok(Dim::symbol(d)),
        d => d.parse().map(Dim::Known).map_err(|_| fail()),
    };
    let dims =
        if dims.trim().is_empty() { Vec::new() } else { dims.split(',').map(dim).collect::<Result<Vec<_>, _>>()? };
    Ok(TensorType { dtype, shape: dims.into_iter().collect::<Shape>() })
}
