//! The `.qtc` file: a compiled model.
//!
//! ```text
//! offset  size  field (little endian)
//!      0     4  magic "QTC\x1a"
//!      4     4  format version
//!      8     8  length of the metadata in bytes
//!     16     8  length of the data in bytes
//!     24     4  CRC-32 of the metadata
//!     28     4  CRC-32 of the data
//!     32     4  CRC-32 of bytes 0..32
//!     36    28  zero
//!     64     -  metadata: JSON (graph in the text form, table of parameters, report)
//!      -     -  data: the parameters' elements, each at a multiple of 64 bytes
//! ```
//!
//! The graph is kept with symbolic dimensions; a plan is made for each set of input shapes when they are seen.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use quantc_ir::{Graph, text};
use quantc_quant::QuantReport;
use quantc_tensor::{DType, Element, Tensor, TensorType};
use serde::{Deserialize, Serialize};

use crate::{Error, files};

const MAGIC: [u8; 4] = *b"QTC\x1a";
/// Version this program writes, and the only one it reads.
pub const VERSION: u32 = 1;
const HEADER: usize = 64;
const ALIGN: usize = 64;

#[derive(Serialize, Deserialize)]
struct Meta {
    producer: String,
    graph: String,
    params: Vec<ParamEntry>,
    report: QuantReport,
}

#[derive(Serialize, Deserialize)]
struct ParamEntry {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    offset: usize,
}

/// A compiled model as it is stored.
#[derive(Clone, Debug)]
pub struct QtcFile {
    /// Version of quantc that wrote it.
    pub producer: String,
    /// The lowered graph with its parameters.
    pub graph: Graph,
    /// What was decided for each node, and why.
    pub report: QuantReport,
}

pub(crate) fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    match tensor {
        Tensor::F32(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::F64(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::I8(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::U8(d) => d.iter().copied().collect(),
        Tensor::I16(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::I32(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::I64(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::Bool(d) => d.iter().map(|v| u8::from(*v)).collect(),
    }
}

pub(crate) fn tensor_of(dtype: DType, shape: &[usize], bytes: &[u8]) -> Option<Tensor> {
    fn go<T: Element, const N: usize>(shape: &[usize], bytes: &[u8], read: fn([u8; N]) -> T) -> Option<Tensor> {
        let items = bytes.chunks_exact(N).map(|c| <[u8; N]>::try_from(c).map(read)).collect::<Result<Vec<T>, _>>();
        Tensor::from_vec(shape, items.ok()?).ok()
    }
    match dtype {
        DType::F32 => go(shape, bytes, f32::from_le_bytes),
        DType::F64 => go(shape, bytes, f64::from_le_bytes),
        DType::I8 => go(shape, bytes, i8::from_le_bytes),
        DType::U8 => go(shape, bytes, u8::from_le_bytes),
        DType::I16 => go(shape, bytes, i16::from_le_bytes),
        DType::I32 => go(shape, bytes, i32::from_le_bytes),
        DType::I64 => go(shape, bytes, i64::from_le_bytes),
        DType::Bool => go(shape, bytes, |[b]: [u8; 1]| b != 0),
    }
}

/// Writes a compiled model, atomically. Returns its size in bytes.
///
/// # Errors
/// If a parameter has no value or the file cannot be written.
pub fn write(path: &Path, graph: &Graph, report: &QuantReport) -> Result<usize, Error> {
    let bytes = encode(graph, report)?;
    files::write(path, |sink| sink.write_all(&bytes))?;
    Ok(bytes.len())
}

/// The bytes of a compiled model.
///
/// # Errors
/// If a parameter has no value.
pub fn encode(graph: &Graph, report: &QuantReport) -> Result<Vec<u8>, Error> {
    let mut data: Vec<u8> = Vec::new();
    let mut params = Vec::new();
    for (name, param) in graph.params() {
        let value = param.value.as_ref().ok_or_else(|| Error::Data(format!("the parameter `{name}` has no value")))?;
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        params.push(ParamEntry {
            name: name.to_string(),
            dtype: value.dtype().name().to_owned(),
            shape: value.shape().to_vec(),
            offset: data.len(),
        });
        data.extend(bytes_of(value));
    }
    let meta = Meta {
        producer: format!("quantc {}", env!("CARGO_PKG_VERSION")),
        graph: graph.to_string(),
        params,
        report: report.clone(),
    };
    let meta = serde_json::to_vec(&meta).map_err(|e| Error::Data(e.to_string()))?;
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend((meta.len() as u64).to_le_bytes());
    header.extend((data.len() as u64).to_le_bytes());
    header.extend(crc32fast::hash(&meta).to_le_bytes());
    header.extend(crc32fast::hash(&data).to_le_bytes());
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header.resize(HEADER, 0);
    header.extend(meta);
    header.extend(data);
    Ok(header)
}

/// Reads and validates a compiled model.
///
/// # Errors
/// If the file is no `.qtc`, of another version, truncated, or damaged in any byte.
pub fn read(path: &Path) -> Result<QtcFile, Error> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    let decoded = if metadata.is_file() {
        // Values are read to where they stay.
        decode_from(file, metadata.len().try_into().unwrap_or(usize::MAX))
    } else {
        decode(&files::read(path)?)
    };
    decoded.map_err(|e| match e {
        ReadError::Io(source) => fail(source),
        ReadError::Invalid(message) => Error::file(path, message),
    })
}

/// Reads and validates the bytes of a compiled model.
///
/// # Errors
/// What is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<QtcFile, ReadError> {
    decode_from(bytes, bytes.len())
}

/// Why a compiled model could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What it holds is no compiled model.
    #[error("{0}")]
    Invalid(String),
}

impl From<String> for ReadError {
    fn from(message: String) -> ReadError {
        ReadError::Invalid(message)
    }
}

/// The header.
struct Header {
    meta_len: usize,
    data_len: usize,
    meta_crc: u32,
    data_crc: u32,
}

/// A number in the header.
fn field<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

impl Header {
    /// Reads and validates it; `len` is the length of the whole file.
    fn read(source: &mut impl Read, len: usize) -> Result<Header, ReadError> {
        let mut bytes = [0; HEADER];
        let there = len.min(HEADER);
        source.read_exact(&mut bytes[..there])?;
        let magic = there.min(MAGIC.len());
        if there == 0 || bytes[..magic] != MAGIC[..magic] {
            return Err("is not a .qtc file (hint: `quantc quantize` writes one)".to_owned().into());
        }
        if there < HEADER {
            return Err("is truncated: its header is not complete".to_owned().into());
        }
        if u32::from_le_bytes(field(&bytes, 32)) != crc32fast::hash(&bytes[..32]) || bytes[36..] != [0; 28] {
            return Err("is damaged: the header's checksum does not match".to_owned().into());
        }
        let version = u32::from_le_bytes(field(&bytes, 4));
        if version != VERSION {
            let message =
                format!("has the format version {version}, this quantc reads {VERSION} (hint: quantize again)");
            return Err(message.into());
        }
        let length = |at| {
            usize::try_from(u64::from_le_bytes(field(&bytes, at)))
                .map_err(|_| "is damaged: impossible section length".to_owned())
        };
        let (meta_len, data_len) = (length(8)?, length(16)?);
        let expected = HEADER.checked_add(meta_len).and_then(|n| n.checked_add(data_len));
        if expected != Some(len) {
            let expected = expected.map_or("more than any file has".to_owned(), |n| n.to_string());
            let message = format!("is truncated or has been appended to: {len} bytes, the header says {expected}");
            return Err(message.into());
        }
        let crc = |at| u32::from_le_bytes(field(&bytes, at));
        Ok(Header { meta_len, data_len, meta_crc: crc(24), data_crc: crc(28) })
    }
}

/// Bytes hashed at a time: they are still in the cache then.
const CHUNK: usize = 128 * 1024;

/// The data section, hashed as it is read.
struct Data<R> {
    source: R,
    hash: crc32fast::Hasher,
    at: usize,
    len: usize,
}

impl<R: Read> Data<R> {
    fn read_exact(&mut self, to: &mut [u8]) -> Result<(), std::io::Error> {
        for chunk in to.chunks_mut(CHUNK) {
            self.source.read_exact(chunk)?;
            self.hash.update(chunk);
            self.at += chunk.len();
        }
        Ok(())
    }

    /// Reads up to an offset that is not behind it.
    fn skip_to(&mut self, offset: usize) -> Result<(), std::io::Error> {
        let mut between = [0; ALIGN];
        while self.at < offset {
            let count = (offset - self.at).min(ALIGN);
            self.read_exact(&mut between[..count])?;
        }
        Ok(())
    }

    /// The elements of a tensor.
    fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Result<Tensor, ReadError> {
        macro_rules! read {
            ($($v:ident: $t:ty),*) => {
                match dtype {
                    DType::Bool => {
                        let mut bytes = vec![0; shape.iter().product()];
                        self.read_exact(&mut bytes)?;
                        tensor_of(dtype, shape, &bytes).ok_or_else(|| "wrong size".to_owned())?
                    }
                    $(DType::$v => {
                        let mut tensor = Tensor::zeros(dtype, shape);
                        let values = tensor.slice_mut::<$t>().map_err(|e| e.to_string())?;
                        self.read_exact(bytemuck::cast_slice_mut(values))?;
                        values.iter_mut().for_each(|v| *v = <$t>::from_le_bytes(v.to_ne_bytes()));
                        tensor
                    })*
                }
            };
        }
        Ok(read!(F32: f32, F64: f64, I8: i8, U8: u8, I16: i16, I32: i32, I64: i64))
    }
}

/// Reads and validates a compiled model of `len` bytes.
fn decode_from(mut source: impl Read, len: usize) -> Result<QtcFile, ReadError> {
    let header = Header::read(&mut source, len)?;
    let mut meta = vec![0; header.meta_len];
    source.read_exact(&mut meta)?;
    if header.meta_crc != crc32fast::hash(&meta) {
        return Err("is damaged: the metadata's checksum does not match".to_owned().into());
    }
    let meta: Meta = serde_json::from_slice(&meta).map_err(|e| format!("has malformed metadata: {e}"))?;
    let mut graph = text::parse(&meta.graph).map_err(|e| format!("holds an invalid graph: {e}"))?;
    let mut data = Data { source, hash: crc32fast::Hasher::new(), at: 0, len: header.data_len };
    for entry in &meta.params {
        let bad = |why: &str| format!("holds an invalid parameter `{}`: {why}", entry.name);
        let dtype: DType = entry.dtype.parse().map_err(|_| bad("unknown dtype"))?;
        // Also with a size of 0 the others must be possible.
        let most = entry.shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d.max(1)));
        let len = most.map(|most| if entry.shape.contains(&0) { 0 } else { most });
        let end = len
            .and_then(|len| entry.offset.checked_add(len))
            .filter(|&end| end <= data.len && most <= Some(isize::MAX as usize));
        if end.is_none() || entry.offset < data.at {
            return Err(bad("outside the file, or not in its place").into());
        }
        let declared = graph.params().get(entry.name.as_str()).ok_or_else(|| bad("not in the graph"))?;
        if declared.ty != TensorType::new(dtype, entry.shape.as_slice()) {
            return Err(bad("another type than the graph declares").into());
        }
        data.skip_to(entry.offset)?;
        let value = data.tensor(dtype, &entry.shape)?;
        graph.set_param(&entry.name, value);
    }
    data.skip_to(data.len)?;
    if header.data_crc != data.hash.finalize() {
        return Err("is damaged: the data's checksum does not match".to_owned().into());
    }
    if let Some((name, _)) = graph.params().iter().find(|(_, p)| p.value.is_none()) {
        return Err(format!("has no value for the parameter `{name}`").into());
    }
    graph.verify().map_err(|e| format!("holds an invalid graph: {e}"))?;
    Ok(QtcFile { producer: meta.producer, graph, report: meta.report })
}
