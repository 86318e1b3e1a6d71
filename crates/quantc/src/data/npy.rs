//! NumPy's `.npy` format: a header, then the elements, of which any rows can be read on their own.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use half::f16;
use quantc_tensor::{Element, Tensor};

use crate::{Error, files};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Headers are a line of text; NumPy's longest for arrays of numbers is far below this.
const MAX_HEADER: usize = 1 << 16;

/// Element types of files. Those without a tensor type of their own are widened: float16 to f32, uint16 to i32, uint32 and uint64 to i64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl Kind {
    const NAMES: &[(&str, Kind, usize)] = &[
        ("f2", Kind::F16, 2),
        ("f4", Kind::F32, 4),
        ("f8", Kind::F64, 8),
        ("i1", Kind::I8, 1),
        ("i2", Kind::I16, 2),
        ("i4", Kind::I32, 4),
        ("i8", Kind::I64, 8),
        ("u1", Kind::U8, 1),
        ("u2", Kind::U16, 2),
        ("u4", Kind::U32, 4),
        ("u8", Kind::U64, 8),
        ("b1", Kind::Bool, 1),
    ];
}

/// What the header says, and where the elements start.
#[derive(Clone, Debug)]
pub(super) struct Header {
    kind: Kind,
    /// Bytes of an element.
    size: usize,
    big_endian: bool,
    /// Column-major.
    pub fortran: bool,
    pub shape: Vec<usize>,
    start: u64,
}

impl Header {
    /// Reads the header, where the reader is, and checks that the bytes from there to `end` hold the elements it promises.
    pub fn read(reader: &mut (impl Read + Seek), end: u64) -> Result<Header, String> {
        let truncated = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => "is a truncated .npy file".to_owned(),
            _ => e.to_string(),
        };
        let mut bytes = |n: usize| -> Result<Vec<u8>, String> {
            let mut buffer = vec![0; n];
            reader.read_exact(&mut buffer).map_err(truncated)?;
            Ok(buffer)
        };
        if bytes(MAGIC.len()).ok().as_deref() != Some(MAGIC) {
            return Err("is not a NumPy .npy file (hint: numpy.save writes one)".to_owned());
        }
        let version = bytes(2)?;
        let length = match version[0] {
            1 => bytes(2)?.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)),
            2 | 3 => bytes(4)?.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)),
            other => return Err(format!("is a .npy file of version {other}, which is not known")),
        };
        if length > MAX_HEADER {
            return Err(format!("is a damaged .npy file: a header of {length} bytes"));
        }
        let text = String::from_utf8_lossy(&bytes(length)?).into_owned();
        let mut header = Header::parse(&text)?;
        header.start = reader.stream_position().map_err(truncated)?;
        // Without its dimensions of size 0, too, the size must be a number.
        let full = header.shape.iter().try_fold(header.size, |n, d| n.checked_mul(*d.max(&1)));
        let wanted = if header.shape.contains(&0) { full.map(|_| 0) } else { full };
        match wanted {
            Some(n) if header.start.checked_add(n as u64).is_some_and(|all| all <= end) => Ok(header),
            _ => Err(format!(
                "is a truncated .npy file: {} bytes do not hold an array of shape {:?}",
                end.saturating_sub(header.start),
                header.shape
            )),
        }
    }

    /// The header is a Python dictionary: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Result<Header, String> {
        let damaged = |what: &str| format!("is a damaged .npy file: its header has no {what}");
        let after =
            |key: &str| text.split_once(&format!("'{key}'")).and_then(|(_, rest)| rest.trim_start().strip_prefix(':'));
        let descr = after("descr").ok_or_else(|| damaged("`descr`"))?.trim_start();
        let name = descr.strip_prefix('\'').and_then(|d| d.split('\'').next());
        let known = |name: &str| Kind::NAMES.iter().find(|k| k.0 == name.trim_start_matches(['<', '>', '|', '=']));
        let Some(&(_, kind, size)) = name.and_then(known) else {
            return Err(format!(
                "has the dtype `{}`, which is not one of float16, float32, float64, int8 to int64, uint8 to uint64, bool",
                name.unwrap_or(descr.split(']').next().unwrap_or(""))
            ));
        };
        let fortran = match after("fortran_order").map(str::trim_start) {
            Some(rest) if rest.starts_with("True") => true,
            Some(rest) if rest.starts_with("False") => false,
            _ => return Err(damaged("`fortran_order`")),
        };
        let shape = after("shape").and_then(|rest| rest.trim_start().strip_prefix('(')?.split_once(')'));
        let shape = shape.map(|(inside, _)| inside.split(',').map(str::trim).filter(|d| !d.is_empty()));
        let shape =
            shape.and_then(|dims| dims.map(|d| d.trim_end_matches('L').parse().ok()).collect::<Option<Vec<usize>>>());
        let shape = shape.ok_or_else(|| damaged("`shape`"))?;
        Ok(Header { kind, size, big_endian: name.is_some_and(|n| n.starts_with('>')), fortran, shape, start: 0 })
    }

    /// The rows `start..end` of axis 0 (the element itself of an array without axes), reading nothing else. Of a column-major array
    /// only all rows.
    pub fn rows(&self, reader: &mut (impl Read + Seek), start: usize, end: usize) -> Result<Tensor, String> {
        let row: usize = self.shape.iter().skip(1).product();
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = end - start;
        }
        let mut bytes = vec![0; shape.iter().product::<usize>() * self.size];
        reader.seek(SeekFrom::Start(self.start + (start * row * self.size) as u64)).map_err(|e| e.to_string())?;
        reader.read_exact(&mut bytes).map_err(|e| e.to_string())?;
        let tensor = self.decode(&shape, &bytes)?;
        if !self.fortran || shape.len() < 2 {
            return Ok(tensor);
        }
        let reversed: Vec<usize> = shape.iter().rev().copied().collect();
        let columns = tensor.reshape(&reversed).map_err(|e| e.to_string())?;
        Ok(quantc_tensor::with_data!(columns, |d| Tensor::from_array(d.reversed_axes().into_owned())))
    }

    fn decode(&self, shape: &[usize], bytes: &[u8]) -> Result<Tensor, String> {
        let big = self.big_endian;
        macro_rules! elements {
            ($t:ty, $convert:expr) => {{
                let read =
                    |c: &[u8; size_of::<$t>()]| if big { <$t>::from_be_bytes(*c) } else { <$t>::from_le_bytes(*c) };
                tensor(shape, bytes.as_chunks().0.iter().map(read).map($convert).collect())
            }};
        }
        match self.kind {
            Kind::F16 => elements!(f16, f32::from),
            Kind::F32 => elements!(f32, |v| v),
            Kind::F64 => elements!(f64, |v| v),
            Kind::I8 => elements!(i8, |v| v),
            Kind::I16 => elements!(i16, |v| v),
            Kind::I32 => elements!(i32, |v| v),
            Kind::I64 => elements!(i64, |v| v),
            Kind::U8 => elements!(u8, |v| v),
            Kind::U16 => elements!(u16, i32::from),
            Kind::U32 => elements!(u32, i64::from),
            Kind::Bool => elements!(u8, |v| v != 0),
            Kind::U64 => {
                let read = |c: &[u8; 8]| if big { u64::from_be_bytes(*c) } else { u64::from_le_bytes(*c) };
                let values = bytes.as_chunks().0.iter().map(read).map(|v| i64::try_from(v).map_err(|_| v));
                let values: Result<Vec<i64>, u64> = values.collect();
                tensor(shape, values.map_err(|v| format!("holds {v}, integers go up to {}", i64::MAX))?)
            }
        }
    }
}

fn tensor<T: Element>(shape: &[usize], values: Vec<T>) -> Result<Tensor, String> {
    Tensor::from_vec(shape, values).map_err(|e| e.to_string())
}

/// A tensor from the bytes of a `.npy` file, in row-major or column-major order; `path` is for messages. float16 is widened to f32,
/// uint16 to i32, uint32 and uint64 to i64.
///
/// # Errors
/// If the bytes are no array of numbers, or a number is above i64's largest.
pub fn decode_npy(path: &Path, bytes: &[u8]) -> Result<Tensor, Error> {
    let mut reader = Cursor::new(bytes);
    let all = Header::read(&mut reader, bytes.len() as u64)
        .and_then(|h| h.rows(&mut reader, 0, h.shape.first().copied().unwrap_or(0)));
    all.map_err(|message| Error::file(path, message))
}

/// Reads one `.npy` file.
///
/// # Errors
/// If it cannot be read or is no array of a supported type.
pub fn read_npy(path: &Path) -> Result<Tensor, Error> {
    decode_npy(path, &files::read(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the bytes that are read.
    struct Counting<R>(R, usize);

    impl<R: Read> Read for Counting<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.0.read(buffer)?;
            self.1 += n;
            Ok(n)
        }
    }

    impl<R: Seek> Seek for Counting<R> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let dict = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        [MAGIC, &[1, 0], &(dict.len() as u16).to_le_bytes(), dict.as_bytes(), data].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Tensor, String> {
        decode_npy(Path::new("x.npy"), bytes).map_err(|e| e.to_string())
    }

    #[test]
    fn rows_are_read_on_their_own() {
        let data: Vec<u8> = (0..4000u32).flat_map(|v| (v as f32).to_le_bytes()).collect();
        let bytes = file("'<f4'", "False", "(1000, 4)", &data);
        let mut reader = Counting(Cursor::new(&bytes), 0);
        let header = Header::read(&mut reader, bytes.len() as u64).expect("a header");
        let rows = header.rows(&mut reader, 500, 502).expect("there are");
        assert_eq!(rows.slice::<f32>().expect("f32"), [2000., 2001., 2002., 2003., 2004., 2005., 2006., 2007.]);
        assert_eq!(reader.1, bytes.len() - data.len() + 2 * 16);
    }

    #[test]
    fn every_type_and_order() {
        let half = decode(&file("'<f2'", "False", "(2,)", &[0, 0x3c, 0, 0xc0])).expect("float16");
        assert_eq!(half.slice::<f32>().expect("f32"), [1.0, -2.0]);
        let big = decode(&file("'>i4'", "False", "(1,)", &[0, 0, 1, 2])).expect("big-endian");
        assert_eq!(big.slice::<i32>().expect("i32"), [258]);
        assert_eq!(decode(&file("'<u2'", "False", "()", &[255, 255])).expect("uint16").to_i64_vec(), [65535]);
        assert_eq!(decode(&file("'<u4'", "False", "()", &[255; 4])).expect("uint32").to_i64_vec(), [4294967295]);
        let columns = decode(&file("'|u1'", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6])).expect("column-major");
        assert_eq!((columns.shape(), columns.to_i64_vec()), (&[2, 3][..], vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn what_is_no_array_of_numbers() {
        let cases: &[(Vec<u8>, &str)] = &[
            (b"PK".to_vec(), "not a NumPy"),
            (file("'<f4'", "False", "(3,)", &[0; 11]), "truncated"),
            (file("'<f4'", "False", "(18446744073709551615, 9)", &[]), "truncated"),
            (file("'<c8'", "False", "(1,)", &[0; 8]), "`<c8`"),
            (file("[('a', '<f4')]", "False", "(1,)", &[0; 4]), "dtype"),
            (file("'<u8'", "False", "(1,)", &[255; 8]), "18446744073709551615"),
            (file("'<f4'", "Maybe", "(1,)", &[0; 4]), "fortran_order"),
            (file("'<f4'", "False", "(-1,)", &[0; 4]), "shape"),
        ];
        for (bytes, word) in cases {
            let message = decode(bytes).expect_err("must fail");
            assert!(message.contains(word), "{message}");
        }
    }
}
