//! NumPy files.

use std::io::Cursor;
use std::path::Path;

use ndarray::ArrayD;
use ndarray_npy::{NpzReader, NpzWriter, ReadNpyExt, ReadableElement};
use quantc_tensor::{Element, Tensor};

use crate::{Error, files};

fn decode<T: ReadableElement + Element>(bytes: &[u8]) -> Option<Tensor> {
    ArrayD::<T>::read_npy(Cursor::new(bytes)).ok().map(Tensor::from_array)
}

/// A tensor from the bytes of a `.npy` file, in row-major or column-major order; `path` is for messages. float16, unsigned 16,
/// 32 and 64-bit integers are refused.
///
/// # Errors
/// If the bytes are no array of a supported type.
pub fn decode_npy(path: &Path, bytes: &[u8]) -> Result<Tensor, Error> {
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(Error::file(path, "is not a NumPy .npy file (hint: numpy.save writes one)"));
    }
    decode::<f32>(bytes)
        .or_else(|| decode::<u8>(bytes))
        .or_else(|| decode::<i64>(bytes))
        .or_else(|| decode::<f64>(bytes))
        .or_else(|| decode::<i32>(bytes))
        .or_else(|| decode::<i8>(bytes))
        .or_else(|| decode::<i16>(bytes))
        .or_else(|| decode::<bool>(bytes))
        .ok_or_else(|| {
            let header = String::from_utf8_lossy(&bytes[..bytes.len().min(128)]);
            let dtype = header.split("'descr':").nth(1).and_then(|s| s.split('\'').nth(1)).unwrap_or("?");
            Error::file(
                path,
                format!(
                    "is a truncated .npy file, or its dtype `{dtype}` is not one of float32, float64, int8, uint8, int16, \
                     int32, int64, bool"
                ),
            )
        })
}

/// Reads one `.npy` file.
///
/// # Errors
/// If it cannot be read or is no array of a supported type.
pub fn read_npy(path: &Path) -> Result<Tensor, Error> {
    decode_npy(path, &files::read(path)?)
}

/// Reads a `.npy` file (one array without a name) or a `.npz` file (arrays with names).
///
/// # Errors
/// As [`read_npy`]; also if the archive is damaged or empty.
pub fn read_arrays(path: &Path) -> Result<Vec<(Option<String>, Tensor)>, Error> {
    let bytes = files::read(path)?;
    if !bytes.starts_with(b"PK") {
        return Ok(vec![(None, decode_npy(path, &bytes)?)]);
    }
    let bad = |e: &dyn std::fmt::Display| Error::file(path, format!("is a damaged .npz file: {e}"));
    let mut npz = NpzReader::new(Cursor::new(bytes)).map_err(|e| bad(&e))?;
    let names = npz.names().map_err(|e| bad(&e))?;
    let mut out = Vec::new();
    for name in names {
        let short = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        macro_rules! attempt {
            ($($t:ty),*) => {
                None$(.or_else(|| npz.by_name::<ndarray::OwnedRepr<$t>, ndarray::IxDyn>(&name).ok().map(Tensor::from_array)))*
            };
        }
        let array: Option<Tensor> = attempt!(f32, u8, i64, f64, i32, i8, i16, bool);
        let array = array.ok_or_else(|| bad(&format!("array `{short}` cannot be read (dtype not supported?)")))?;
        out.push((Some(short), array));
    }
    if out.is_empty() {
        return Err(Error::file(path, "holds no arrays"));
    }
    Ok(out)
}

/// Writes named arrays to a `.npz` file, atomically.
///
/// # Errors
/// If it cannot be written.
pub fn write_npz(path: &Path, arrays: &[(String, Tensor)]) -> Result<(), Error> {
    files::write(path, |sink| {
        let mut npz = NpzWriter::new(sink);
        for (name, array) in arrays {
            quantc_tensor::with_data!(array, |d| npz.add_array(name.as_str(), d)).map_err(std::io::Error::other)?;
        }
        npz.finish().map_err(std::io::Error::other)?;
        Ok(())
    })
}
