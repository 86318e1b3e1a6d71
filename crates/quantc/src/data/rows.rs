//! Samples where they are: in memory, or in a file of which only the rows asked for are read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use quantc_tensor::Tensor;

use super::npy::decode_npy;
use crate::Error;

/// Samples along axis 0.
#[derive(Clone, Debug)]
pub enum Rows {
    /// In memory.
    Tensor(Tensor),
    /// In a file.
    File(NpyRows),
}

impl From<Tensor> for Rows {
    fn from(tensor: Tensor) -> Rows {
        Rows::Tensor(tensor)
    }
}

impl Rows {
    /// The shape of all samples together.
    pub fn shape(&self) -> &[usize] {
        match self {
            Rows::Tensor(tensor) => tensor.shape(),
            Rows::File(file) => &file.shape,
        }
    }

    /// Rows `start..end` of axis 0.
    ///
    /// # Errors
    /// If there are fewer, or the file can't be read any more.
    pub fn get(&self, start: usize, end: usize) -> Result<Tensor, Error> {
        match self {
            Rows::Tensor(tensor) => tensor.rows(start, end).map_err(|e| Error::Data(e.to_string())),
            Rows::File(file) => file.get(start, end),
        }
    }

    /// All of them.
    ///
    /// # Errors
    /// As [`Rows::get`].
    pub fn all(&self) -> Result<Tensor, Error> {
        match self {
            Rows::Tensor(tensor) => Ok(tensor.clone()),
            Rows::File(file) => file.get(0, file.shape[0]),
        }
    }
}

/// A `.npy` file in row-major order, read row by row (the format: numpy.lib.format).
#[derive(Clone, Debug)]
pub struct NpyRows {
    path: PathBuf,
    /// The element type, as the header has it.
    descr: String,
    shape: Vec<usize>,
    /// Where the elements begin.
    start: u64,
    row_bytes: usize,
}

impl NpyRows {
    /// The rows of a file; `None` if it is no such file, or must be read as a whole.
    ///
    /// # Errors
    /// If it can't be read, or ends before its last element.
    pub fn open(path: &Path) -> Result<Option<NpyRows>, Error> {
        let fail = |source| Error::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let Some((header, start)) = header(&mut file) else { return Ok(None) };
        let (Some(descr), Some(shape)) = (text(&header, "descr"), shape(&header)) else { return Ok(None) };
        let size = descr.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().ok();
        let row = shape.iter().skip(1).try_fold(size.unwrap_or(0), |n, d| n.checked_mul(*d));
        let (Some(row_bytes), Some(rows)) = (row.filter(|n| *n > 0), shape.first()) else { return Ok(None) };
        if !header.contains("'fortran_order': False") {
            return Ok(None);
        }
        let end = (row_bytes as u64).checked_mul(*rows as u64).and_then(|n| n.checked_add(start));
        if end.is_none_or(|end| end > metadata.len()) {
            return Err(Error::file(path, format!("is a truncated .npy file: its header says {shape:?} of {descr}")));
        }
        let rows = NpyRows { path: path.to_owned(), descr, shape, start, row_bytes };
        // An element type that is not supported is found out at once.
        rows.get(0, 0)?;
        Ok(Some(rows))
    }

    fn get(&self, start: usize, end: usize) -> Result<Tensor, Error> {
        let fail = |source| Error::Read { path: self.path.clone(), source };
        if start > end || end > self.shape[0] {
            return Err(Error::Data(format!("rows {start}..{end} of {}", self.shape[0])));
        }
        let dims: String =
            std::iter::once(end - start).chain(self.shape[1..].iter().copied()).map(|d| format!("{d}, ")).collect();
        let header = format!(
            "{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
            self.descr,
            dims.trim_end_matches(' ')
        );
        // The header of version 2 has a length of 4 bytes; everything before the elements is a multiple of 64.
        let length = (12 + header.len() + 1).next_multiple_of(64) - 12;
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend(format!("{header:<0$}\n", length - 1).bytes());
        let head = bytes.len();
        bytes.resize(head + (end - start) * self.row_bytes, 0);
        let mut file = File::open(&self.path).map_err(fail)?;
        file.seek(SeekFrom::Start(self.start + (start * self.row_bytes) as u64)).map_err(fail)?;
        file.read_exact(&mut bytes[head..]).map_err(fail)?;
        decode_npy(&self.path, &bytes)
    }
}

/// The header's text and where it ends.
fn header(file: &mut File) -> Option<(String, u64)> {
    let mut magic = [0; 8];
    file.read_exact(&mut magic).ok()?;
    if !magic.starts_with(b"\x93NUMPY") {
        return None;
    }
    let (length, before) = if magic[6] == 1 {
        let mut bytes = [0; 2];
        file.read_exact(&mut bytes).ok()?;
        (u32::from(u16::from_le_bytes(bytes)), 10)
    } else {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).ok()?;
        (u32::from_le_bytes(bytes), 12)
    };
    let mut text = String::new();
    file.take(u64::from(length)).read_to_string(&mut text).ok()?;
    (text.len() == length as usize).then_some((text, before + u64::from(length)))
}

/// A string of the header.
fn text(header: &str, key: &str) -> Option<String> {
    let after = header.split_once(&format!("'{key}': '"))?.1;
    Some(after.split_once('\'')?.0.to_owned())
}

/// The shape in the header.
fn shape(header: &str) -> Option<Vec<usize>> {
    let after = header.split_once("'shape': (")?.1;
    let inside = after.split_once(')')?.0;
    inside.split(',').map(str::trim).filter(|d| !d.is_empty()).map(|d| d.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::read_npy;

    #[test]
    fn rows_are_those_of_the_whole() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
        for file in ["digits_calib_x.npy", "digits_test_y.npy"] {
            let path = demo.join(file);
            let whole = read_npy(&path).expect("read");
            let rows = NpyRows::open(&path).expect("read").expect("row-major");
            assert_eq!(rows.shape, whole.shape());
            for (start, end) in [(0, 1), (3, 20), (whole.shape()[0] - 1, whole.shape()[0]), (2, 2)] {
                let part = rows.get(start, end).expect("there");
                assert!(part.bits_eq(&whole.rows(start, end).expect("there")), "{file} {start}..{end}");
            }
            assert!(rows.get(0, whole.shape()[0] + 1).is_err());
        }
    }

    #[test]
    fn a_truncated_file_is_an_error_before_anything_runs() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/digits_calib_x.npy");
        let bytes = std::fs::read(demo).expect("there");
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("short.npy");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
        let message = NpyRows::open(&path).expect_err("truncated").to_string();
        assert!(message.contains("short.npy: is a truncated .npy file"), "{message}");
    }
}
