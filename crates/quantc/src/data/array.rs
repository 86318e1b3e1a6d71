//! Arrays of samples: in memory, or in a file of which only the rows asked for are read.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ndarray_npy::NpzWriter;
use quantc_tensor::Tensor;
use zip::{CompressionMethod, ZipArchive};

use super::npy::Header;
use crate::{Error, files};

/// What archives start with.
const ZIP_START: &[u8] = b"PK";

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
    /// The `.npy` array from byte `start` to byte `end` of a file. `path` is for messages.
    fn in_file(path: &Path, file: File, start: u64, end: u64) -> Result<Array, String> {
        (&file).seek(SeekFrom::Start(start)).map_err(|e| e.to_string())?;
        let header = Header::read(&mut &file, end)?;
        let data = if header.fortran {
            let rows = header.shape.first().copied().unwrap_or(0);
            Data::Memory(header.rows(&mut &file, 0, rows)?)
        } else {
            Data::File(file, header)
        };
        Ok(Array { data, path: Some(path.to_owned()), limit: None })
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

/// The arrays of a `.npy` file (one without a name) or a `.npz` file (arrays with names). The elements of row-major arrays stay in the
/// file; what is compressed is inflated once, to a temporary file without a name.
///
/// # Errors
/// If it cannot be read, is damaged or empty, or an array has no supported type.
pub fn read_arrays(path: &Path) -> Result<Vec<(Option<String>, Array)>, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    // A pipe can only be read from its start to its end.
    if !file.metadata().map_err(unreadable)?.is_file() {
        file = spooled(&mut file).map_err(unreadable)?;
    }
    let mut start = Vec::new();
    (&file).take(ZIP_START.len() as u64).read_to_end(&mut start).map_err(unreadable)?;
    if start == ZIP_START {
        return members(path, &file);
    }
    let end = file.metadata().map_err(unreadable)?.len();
    let array = Array::in_file(path, file, 0, end).map_err(|message| Error::file(path, message))?;
    Ok(vec![(None, array)])
}

/// The arrays of an archive.
fn members(path: &Path, file: &File) -> Result<Vec<(Option<String>, Array)>, Error> {
    let bad = |e: &dyn std::fmt::Display| Error::file(path, format!("is a damaged .npz file: {e}"));
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| bad(&e))?;
    let mut out = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|e| bad(&e))?;
        let name = entry.name().strip_suffix(".npy").unwrap_or(entry.name()).to_owned();
        let (data, start, size) = if entry.compression() == CompressionMethod::Stored {
            // Read once for its checksum.
            std::io::copy(&mut entry, &mut std::io::sink()).map_err(|e| bad(&e))?;
            (file.try_clone().map_err(|e| bad(&e))?, entry.data_start(), entry.compressed_size())
        } else {
            (spooled(&mut entry).map_err(|e| bad(&e))?, 0, u64::MAX)
        };
        // A damaged directory may promise more than there is.
        let end = start.saturating_add(size).min(data.metadata().map_err(|e| bad(&e))?.len());
        drop(entry);
        let array =
            Array::in_file(path, data, start, end).map_err(|message| Error::file(&path.join(&name), message))?;
        out.push((Some(name), array));
    }
    if out.is_empty() {
        return Err(Error::file(path, "holds no arrays"));
    }
    Ok(out)
}

/// All that can be read, in a temporary file without a name, from its start.
fn spooled(from: &mut impl Read) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    std::io::copy(from, &mut file)?;
    file.rewind()?;
    Ok(file)
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

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ShapeBuilder};

    use super::*;

    #[test]
    fn members_of_archives_are_read_in_rows() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("x.npz");
        let x = Array2::from_shape_fn((1000, 4), |(i, j)| (i * 4 + j) as f32);
        let columns = Array2::from_shape_fn((5, 3).f(), |(i, j)| (i * 3 + j) as f32);
        for writer in [NpzWriter::new, NpzWriter::new_compressed] {
            let mut npz = writer(File::create(&path).expect("created"));
            npz.add_array("a", &x).expect("added");
            npz.add_array("b", &columns).expect("added");
            npz.add_array("c", &(&x + 1.0)).expect("added");
            npz.finish().expect("written");
            let arrays = read_arrays(&path).expect("reads");
            let [(Some(a), first), (Some(b), second), (Some(c), third)] = &arrays[..] else { panic!("{arrays:?}") };
            assert_eq!((&a[..], &b[..], &c[..]), ("a", "b", "c"));
            assert!(matches!((&first.data, &third.data), (Data::File(..), Data::File(..))), "read whole");
            for (array, first) in [(first, 2000.0), (third, 2001.0)] {
                assert_eq!(array.shape(), [1000, 4]);
                let rows = array.rows(500, 502).expect("there are").to_f32_vec();
                assert_eq!(rows, (0..8).map(|i| first + i as f32).collect::<Vec<_>>());
            }
            assert_eq!(second.rows(1, 3).expect("there are").to_f32_vec(), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
            // An element of the first array, whose checksum then is another.
            let mut bytes = std::fs::read(&path).expect("reads");
            bytes[1000] ^= 0xff;
            std::fs::write(&path, &bytes).expect("written");
            let message = read_arrays(&path).expect_err("damaged").to_string();
            assert!(message.contains("x.npz: is a damaged .npz file"), "{message}");
        }
    }
}
