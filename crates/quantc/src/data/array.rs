//! Arrays of samples: in memory, or in a file of which only the rows asked for are read.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use ndarray_npy::NpzWriter;
use quantc_tensor::Tensor;
use zip::ZipArchive;

use super::npy::{Header, decode_npy};
use crate::{Error, files};

/// An array whose rows can be read.
#[derive(Debug)]
pub struct Array {
    data: Data,
    /// The file it is from.
    path: Option<PathBuf>,
    /// The rows there are for readers, if not all.
    limit: Option<usize>,
}

#[derive(Debug)]
enum Data {
    Memory(Tensor),
    File(File, Header),
}

impl From<Tensor> for Array {
    fn from(tensor: Tensor) -> Array {
        Array { data: Data::Memory(tensor), path: None, limit: None }
    }
}

impl Array {
    fn in_memory(path: &Path, tensor: Tensor) -> Array {
        Array { path: Some(path.to_owned()), ..tensor.into() }
    }

    /// The sizes.
    pub fn shape(&self) -> Vec<usize> {
        let mut shape = match &self.data {
            Data::Memory(tensor) => tensor.shape().to_vec(),
            Data::File(_, header) => header.shape.clone(),
        };
        if let (Some(first), Some(limit)) = (shape.first_mut(), self.limit) {
            *first = (*first).min(limit);
        }
        shape
    }

    /// Leaves out the rows from `limit` on.
    pub fn truncate(&mut self, limit: usize) {
        self.limit = Some(limit);
    }

    /// The rows `start..end` of axis 0.
    ///
    /// # Errors
    /// If there are none such, or the file can't be read.
    pub fn rows(&self, start: usize, end: usize) -> Result<Tensor, Error> {
        match &self.data {
            Data::Memory(tensor) => tensor.rows(start, end).map_err(|e| Error::Data(e.to_string())),
            Data::File(file, header) => {
                let rows = self.shape().first().copied().unwrap_or(0);
                if start > end || end > rows {
                    return Err(Error::Data(format!("rows {start} to {end} of an array of {rows}")));
                }
                header.rows(&mut &*file, start, end).map_err(|m| self.error(m))
            }
        }
    }

    /// The whole array.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn all(&self) -> Result<Tensor, Error> {
        match (&self.data, self.shape().first()) {
            (Data::Memory(tensor), None) => Ok(tensor.clone()),
            (Data::Memory(tensor), _) if self.limit.is_none() => Ok(tensor.clone()),
            (Data::File(file, header), None) => header.rows(&mut &*file, 0, 0).map_err(|m| self.error(m)),
            (_, Some(rows)) => self.rows(0, *rows),
        }
    }

    /// An error about what is in the array.
    pub fn error(&self, message: String) -> Error {
        match &self.path {
            Some(path) => Error::file(path, message),
            None => Error::Data(message),
        }
    }
}

/// The arrays of a `.npy` file (one without a name) or a `.npz` file (arrays with names). The elements of a row-major `.npy` file stay
/// in the file.
///
/// # Errors
/// If it cannot be read, is damaged or empty, or an array has no supported type.
pub fn read_arrays(path: &Path) -> Result<Vec<(Option<String>, Array)>, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // A pipe can only be read from its start to its end.
    if !file.metadata().map_err(unreadable)?.is_file() {
        return from_bytes(path, files::read(path)?);
    }
    match Header::read(&mut &file) {
        Ok(header) if !header.fortran => {
            Ok(vec![(None, Array { data: Data::File(file, header), path: Some(path.to_owned()), limit: None })])
        }
        _ => from_bytes(path, files::read(path)?),
    }
}

fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Vec<(Option<String>, Array)>, Error> {
    if !bytes.starts_with(b"PK") {
        return Ok(vec![(None, Array::in_memory(path, decode_npy(path, &bytes)?))]);
    }
    let bad = |e: &dyn std::fmt::Display| Error::file(path, format!("is a damaged .npz file: {e}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| bad(&e))?;
    let mut out = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|e| bad(&e))?;
        let name = entry.name().strip_suffix(".npy").unwrap_or(entry.name()).to_owned();
        let mut bytes = Vec::new();
        std::io::copy(&mut entry, &mut bytes).map_err(|e| bad(&e))?;
        let array = decode_npy(&path.join(&name), &bytes)?;
        out.push((Some(name), Array::in_memory(path, array)));
    }
    if out.is_empty() {
        return Err(Error::file(path, "holds no arrays"));
    }
    Ok(out)
}

/// Writes named arrays to a `.npz` file, atomically; those of f16 as f32, which holds the same numbers.
///
/// # Errors
/// If it cannot be written.
pub fn write_npz(path: &Path, arrays: &[(String, Tensor)]) -> Result<(), Error> {
    files::write(path, |sink| {
        let mut npz = NpzWriter::new(sink);
        for (name, array) in arrays {
            match array {
                Tensor::F32(d) => npz.add_array(name.as_str(), d),
                Tensor::F64(d) => npz.add_array(name.as_str(), d),
                Tensor::F16(d) => npz.add_array(name.as_str(), &d.mapv(f32::from)),
                Tensor::I8(d) => npz.add_array(name.as_str(), d),
                Tensor::U8(d) => npz.add_array(name.as_str(), d),
                Tensor::I16(d) => npz.add_array(name.as_str(), d),
                Tensor::I32(d) => npz.add_array(name.as_str(), d),
                Tensor::I64(d) => npz.add_array(name.as_str(), d),
                Tensor::Bool(d) => npz.add_array(name.as_str(), d),
            }
            .map_err(std::io::Error::other)?;
        }
        npz.finish().map_err(std::io::Error::other)?;
        Ok(())
    })
}
