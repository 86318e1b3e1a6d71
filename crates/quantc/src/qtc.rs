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
    decode(&files::read(path)?).map_err(|message| Error::file(path, message))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    bytes
        .get(at..at + N)
        .and_then(|s| s.try_into().ok())
        .ok_or_else(|| "is truncated: its header is not complete".to_owned())
}

/// Reads and validates the bytes of a compiled model.
///
/// # Errors
/// What is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<QtcFile, String> {
    if !bytes.starts_with(&MAGIC[..MAGIC.len().min(bytes.len())]) || bytes.is_empty() {
        return Err("is not a .qtc file (hint: `quantc quantize` writes one)".to_owned());
    }
    let stored = u32::from_le_bytes(field(bytes, 32)?);
    if stored != crc32fast::hash(&bytes[..32]) || field::<28>(bytes, 36)? != [0; 28] {
        return Err("is damaged: the header's checksum does not match".to_owned());
    }
    let version = u32::from_le_bytes(field(bytes, 4)?);
    if version != VERSION {
        return Err(format!("has the format version {version}, this quantc reads {VERSION} (hint: quantize again)"));
    }
    let length = |at| field(bytes, at).map(u64::from_le_bytes).map(usize::try_from);
    let too_large = |_| "is damaged: impossible section length".to_owned();
    let (meta_len, data_len) = (length(8)?.map_err(too_large)?, length(16)?.map_err(too_large)?);
    let expected = HEADER.checked_add(meta_len).and_then(|n| n.checked_add(data_len));
    if expected != Some(bytes.len()) {
        return Err(format!(
            "is truncated or has been appended to: {} bytes, the header says {}",
            bytes.len(),
            expected.map_or("more than any file has".to_owned(), |n| n.to_string())
        ));
    }
    let (meta, data) = bytes[HEADER..].split_at(meta_len);
    if u32::from_le_bytes(field(bytes, 24)?) != crc32fast::hash(meta) {
        return Err("is damaged: the metadata's checksum does not match".to_owned());
    }
    if u32::from_le_bytes(field(bytes, 28)?) != crc32fast::hash(data) {
        return Err("is damaged: the data's checksum does not match".to_owned());
    }
    let meta: Meta = serde_json::from_slice(meta).map_err(|e| format!("has malformed metadata: {e}"))?;
    let mut graph = text::parse(&meta.graph).map_err(|e| format!("holds an invalid graph: {e}"))?;
    for entry in &meta.params {
        let bad = |why: &str| format!("holds an invalid parameter `{}`: {why}", entry.name);
        let dtype: DType = entry.dtype.parse().map_err(|_| bad("unknown dtype"))?;
        let len = entry.shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
        let slice = len
            .and_then(|len| entry.offset.checked_add(len))
            .and_then(|end| data.get(entry.offset..end))
            .ok_or_else(|| bad("outside the file"))?;
        let declared = graph.params().get(entry.name.as_str()).ok_or_else(|| bad("not in the graph"))?;
        if declared.ty != TensorType::new(dtype, entry.shape.as_slice()) {
            return Err(bad("another type than the graph declares"));
        }
        let value = tensor_of(dtype, &entry.shape, slice).ok_or_else(|| bad("wrong size"))?;
        graph.set_param(&entry.name, value);
    }
    if let Some((name, _)) = graph.params().iter().find(|(_, p)| p.value.is_none()) {
        return Err(format!("has no value for the parameter `{name}`"));
    }
    graph.verify().map_err(|e| format!("holds an invalid graph: {e}"))?;
    Ok(QtcFile { producer: meta.producer, graph, report: meta.report })
}
