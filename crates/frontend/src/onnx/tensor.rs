//! Constants of an ONNX file as tensors.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use half::{bf16, f16};
use quantc_tensor::{DType, Element, Tensor};

use super::error::TensorProtoError;
use super::proto::{TensorProto, data_type};

/// Our element type for an ONNX one; half precision is widened to f32.
pub(crate) fn dtype(onnx: i32) -> Result<DType, TensorProtoError> {
    Ok(match onnx {
        data_type::FLOAT | data_type::FLOAT16 | data_type::BFLOAT16 => DType::F32,
        data_type::DOUBLE => DType::F64,
        data_type::INT8 => DType::I8,
        data_type::UINT8 => DType::U8,
        data_type::INT16 => DType::I16,
        data_type::INT32 => DType::I32,
        data_type::INT64 => DType::I64,
        data_type::BOOL => DType::Bool,
        other => return Err(TensorProtoError::DataType(type_name(other))),
    })
}

fn type_name(onnx: i32) -> String {
    let name = match onnx {
        4 => "uint16",
        8 => "string",
        12 => "uint32",
        13 => "uint64",
        14 => "complex64",
        15 => "complex128",
        17..=20 => "float8",
        21 => "uint4",
        22 => "int4",
        _ => return format!("number {onnx}"),
    };
    name.to_owned()
}

/// Decodes a constant. `base` is the folder of the model file, for data kept outside it.
pub(crate) fn decode(proto: &TensorProto, base: Option<&Path>) -> Result<Tensor, TensorProtoError> {
    let dtype = dtype(proto.data_type)?;
    let bad_dims = || TensorProtoError::Dims(proto.dims.clone());
    let shape: Vec<usize> =
        proto.dims.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>().map_err(|_| bad_dims())?;
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(bad_dims)?;
    // A size no file can hold must not be allocated.
    let bytes =
        len.checked_mul(8).filter(|&b| b < isize::MAX as usize).ok_or_else(bad_dims)? / 8 * width(proto.data_type);
    let external;
    let raw = if proto.data_location == 1 {
        external = read_external(proto, base, bytes)?;
        Some(external.as_slice())
    } else if !proto.raw_data.is_empty() {
        Some(proto.raw_data.as_slice())
    } else {
        None
    };
    let size = |got, unit, want| TensorProtoError::Size {
        got,
        unit,
        dims: proto.dims.clone(),
        dtype: dtype.to_string(),
        want,
    };
    if let Some(raw) = raw {
        if raw.len() != bytes {
            return Err(size(raw.len(), "bytes", bytes));
        }
        return Ok(from_raw(proto.data_type, &shape, raw));
    }
    let typed = from_typed(proto, &shape);
    typed.map_err(|got| size(got, "elements", len))
}

/// Bytes of an element in the file.
fn width(onnx: i32) -> usize {
    match onnx {
        data_type::DOUBLE | data_type::INT64 => 8,
        data_type::FLOAT | data_type::INT32 => 4,
        data_type::FLOAT16 | data_type::BFLOAT16 | data_type::INT16 => 2,
        _ => 1,
    }
}

fn chunks<T: Element, const N: usize>(shape: &[usize], raw: &[u8], f: impl Fn([u8; N]) -> T) -> Tensor {
    let data = raw.as_chunks::<N>().0.iter().map(|c| f(*c)).collect();
    // The caller has checked the length.
    Tensor::from_vec(shape, data).unwrap_or_else(|_| Tensor::full(shape, T::default()))
}

fn from_raw(onnx: i32, shape: &[usize], raw: &[u8]) -> Tensor {
    match onnx {
        data_type::FLOAT16 => chunks(shape, raw, |b| f16::from_le_bytes(b).to_f32()),
        data_type::BFLOAT16 => chunks(shape, raw, |b| bf16::from_le_bytes(b).to_f32()),
        data_type::DOUBLE => chunks(shape, raw, f64::from_le_bytes),
        data_type::INT8 => chunks(shape, raw, i8::from_le_bytes),
        data_type::UINT8 => chunks(shape, raw, u8::from_le_bytes),
        data_type::INT16 => chunks(shape, raw, i16::from_le_bytes),
        data_type::INT32 => chunks(shape, raw, i32::from_le_bytes),
        data_type::INT64 => chunks(shape, raw, i64::from_le_bytes),
        data_type::BOOL => chunks(shape, raw, |[b]| b != 0),
        _ => chunks(shape, raw, f32::from_le_bytes),
    }
}

/// The typed fields; the error is the number of elements found.
fn from_typed(proto: &TensorProto, shape: &[usize]) -> Result<Tensor, usize> {
    fn make<T: Element, S: Copy>(shape: &[usize], source: &[S], f: impl Fn(S) -> T) -> Result<Tensor, usize> {
        // Before anything is allocated for a shape that the file can't fill.
        if shape.iter().product::<usize>() != source.len() {
            return Err(source.len());
        }
        Tensor::from_vec(shape, source.iter().map(|&v| f(v)).collect()).map_err(|_| source.len())
    }
    let ints = &proto.int32_data;
    match proto.data_type {
        data_type::FLOAT16 => make(shape, ints, |v| f16::from_bits(v as u16).to_f32()),
        data_type::BFLOAT16 => make(shape, ints, |v| bf16::from_bits(v as u16).to_f32()),
        data_type::DOUBLE => make(shape, &proto.double_data, |v| v),
        data_type::INT8 => make(shape, ints, |v| v as i8),
        data_type::UINT8 => make(shape, ints, |v| v as u8),
        data_type::INT16 => make(shape, ints, |v| v as i16),
        data_type::INT32 => make(shape, ints, |v| v),
        data_type::INT64 => make(shape, &proto.int64_data, |v| v),
        data_type::BOOL => make(shape, ints, |v| v != 0),
        _ => make(shape, &proto.float_data, |v| v),
    }
}

/// Reads data from a file beside the model; a path that leaves the model's folder is refused.
fn read_external(proto: &TensorProto, base: Option<&Path>, bytes: usize) -> Result<Vec<u8>, TensorProtoError> {
    let entry = |key: &str| proto.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let location = entry("location").unwrap_or_default();
    let fail = |message: String, hint: &str| TensorProtoError::External {
        location: location.to_owned(),
        message,
        hint: hint.to_owned(),
    };
    let Some(base) = base else {
        return Err(fail("the model was not read from a file".to_owned(), "import it from its file"));
    };
    let relative = Path::new(location);
    let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let escapes = || {
        fail("it is outside the model's folder".to_owned(), "such a path is refused; move the data beside the model")
    };
    if location.is_empty() || !inside {
        return Err(escapes());
    }
    let missing = |e: std::io::Error| fail(e.to_string(), "the data file must lie beside the model file");
    let root = base.canonicalize().map_err(missing)?;
    let path = root.join(relative).canonicalize().map_err(missing)?;
    if !path.starts_with(&root) {
        return Err(escapes());
    }
    let number = |key: &str, default: u64| match entry(key) {
        None => Ok(default),
        Some(text) => text.parse::<u64>().map_err(|_| fail(format!("{key}={text} is no size"), "the file is damaged")),
    };
    let (offset, length) = (number("offset", 0)?, number("length", bytes as u64)?);
    let mut file = File::open(&path).map_err(missing)?;
    let available = file.metadata().map_err(missing)?.len().saturating_sub(offset);
    if length > available || length != bytes as u64 {
        return Err(fail(
            format!("{} bytes at offset {offset} are there, {bytes} are needed", length.min(available)),
            "the data file is truncated, or belongs to another model",
        ));
    }
    let mut data = vec![0; bytes];
    file.seek(SeekFrom::Start(offset)).map_err(missing)?;
    file.read_exact(&mut data).map_err(missing)?;
    Ok(data)
}
