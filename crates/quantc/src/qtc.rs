//! The `.qtc` file: a compiled model.
//!
//! ```text
//! offset  size  field (little endian)
//!      0     4  magic "QTC\x1a"
//!      4     4  format version
//!      8     8  length of the metadata in bytes, a multiple of 64
//!     16     8  length of the data in bytes
//!     24     4  CRC-32 of the metadata
//!     28     4  CRC-32 of the data
//!     32     4  CRC-32 of bytes 0..32
//!     36    28  zero
//!     64     -  metadata: JSON (graph in the text form, table of parameters, report, optional blockings), blanks
//!      -     -  data: each parameter's elements or packed weights, at a multiple of 64 bytes
//! ```
//!
//! Weights of integer layers are stored as the kernel of the tier that the file was written on packs them, if that gives them back:
//! its panels, and the sum of each output channel's weights. The same kernel uses them where they lie in the mapped file; any other
//! gets them unpacked.
//!
//! The graph is kept with symbolic dimensions; a plan is made for each set of input shapes when they are seen.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use quantc_ir::{Graph, text};
use quantc_kernels::conv::AlignedBytes;
use quantc_kernels::{Isa, Kernels, MappedFile, Panels, SharedBytes, isa};
use quantc_lower::{StoredForm, StoredWeights};
use quantc_quant::QuantReport;
use quantc_tensor::{DType, Element, Tensor, TensorType, f16};
use serde::{Deserialize, Serialize};

use crate::tuning::Tuning;
use crate::{Error, files};

const MAGIC: [u8; 4] = *b"QTC\x1a";
/// Version this program writes, and the only one it reads.
pub const VERSION: u32 = 2;
const HEADER: usize = 64;
const ALIGN: usize = 64;

#[derive(Serialize, Deserialize)]
struct Meta {
    producer: String,
    graph: String,
    params: Vec<ParamEntry>,
    report: QuantReport,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tuning: Option<Tuning>,
}

#[derive(Serialize, Deserialize)]
struct ParamEntry {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    offset: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packed: Option<PackedEntry>,
}

/// How a parameter is packed.
#[derive(Serialize, Deserialize)]
struct PackedEntry {
    kernel: String,
    lanes: usize,
    vectors: usize,
    depth: usize,
    lot: usize,
    form: String,
    groups: usize,
    /// Bytes of the panels.
    len: usize,
    /// Where the sums are, an i32 for each output channel.
    sums: usize,
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
    /// How its layers are blocked, if that was measured.
    pub tuning: Option<Tuning>,
}

pub(crate) fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    match tensor {
        Tensor::F32(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::F64(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::F16(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Tensor::I8(d) => d.iter().map(|&v| v as u8).collect(),
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
        DType::F16 => go(shape, bytes, f16::from_le_bytes),
        DType::I8 => Tensor::from_vec(shape, bytes.iter().map(|&b| b as i8).collect()).ok(),
        DType::U8 => go(shape, bytes, u8::from_le_bytes),
        DType::I16 => go(shape, bytes, i16::from_le_bytes),
        DType::I32 => go(shape, bytes, i32::from_le_bytes),
        DType::I64 => go(shape, bytes, i64::from_le_bytes),
        DType::Bool => go(shape, bytes, |[b]: [u8; 1]| b != 0),
    }
}

/// Writes a compiled model, atomically, its weights packed for the tier that runs here. Returns its size in bytes.
///
/// # Errors
/// If a parameter has no value, `QUANTC_ISA` cannot be satisfied, or the file cannot be written.
pub fn write(path: &Path, graph: &Graph, report: &QuantReport) -> Result<usize, Error> {
    write_tuned(path, graph, report, None)
}

/// As [`write()`], with blockings.
///
/// # Errors
/// As [`write()`].
pub fn write_tuned(path: &Path, graph: &Graph, report: &QuantReport, tuning: Option<&Tuning>) -> Result<usize, Error> {
    let bytes = encode_tuned(graph, report, tuning, isa::select()?)?;
    files::write(path, |sink| sink.write_all(&bytes))?;
    Ok(bytes.len())
}

/// Appends bytes at a multiple of [`ALIGN`]; gives where they are.
fn append(data: &mut Vec<u8>, bytes: &[u8]) -> usize {
    data.resize(data.len().next_multiple_of(ALIGN), 0);
    let offset = data.len();
    data.extend_from_slice(bytes);
    offset
}

/// The bytes of a compiled model, its weights packed for a tier.
///
/// # Errors
/// If a parameter has no value.
pub fn encode(graph: &Graph, report: &QuantReport, isa: Isa) -> Result<Vec<u8>, Error> {
    encode_tuned(graph, report, None, isa)
}

fn encode_tuned(graph: &Graph, report: &QuantReport, tuning: Option<&Tuning>, isa: Isa) -> Result<Vec<u8>, Error> {
    let kernels: Kernels = quantc_runtime::kernels(isa);
    let mut data: Vec<u8> = Vec::new();
    let mut params = Vec::new();
    for (name, param) in graph.params() {
        let value = param.value.as_ref().ok_or_else(|| Error::Data(format!("the parameter `{name}` has no value")))?;
        let (offset, packed) = match StoredWeights::pack(graph, name, &kernels) {
            None => (append(&mut data, &bytes_of(value)), None),
            Some(stored) => {
                let bytes = stored.data.as_slice();
                let offset = append(&mut data, bytes);
                let sums: Vec<u8> = stored.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
                let entry = PackedEntry {
                    kernel: stored.kernel,
                    lanes: stored.panels.lanes,
                    vectors: stored.panels.vectors,
                    depth: stored.panels.depth,
                    lot: stored.panels.lot,
                    form: stored.form.name().to_owned(),
                    groups: stored.groups,
                    len: bytes.len(),
                    sums: append(&mut data, &sums),
                };
                (offset, Some(entry))
            }
        };
        params.push(ParamEntry {
            name: name.to_string(),
            dtype: value.dtype().name().to_owned(),
            shape: value.shape().to_vec(),
            offset,
            packed,
        });
    }
    let meta = Meta {
        producer: format!("quantc {}", env!("CARGO_PKG_VERSION")),
        graph: graph.to_string(),
        params,
        report: report.clone(),
        tuning: tuning.cloned(),
    };
    let mut meta = serde_json::to_vec(&meta).map_err(|e| Error::Data(e.to_string()))?;
    // The data follow at a multiple of the alignment; JSON may end with blanks.
    meta.resize(meta.len().next_multiple_of(ALIGN), b' ');
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
    let Packed { mut file, weights } = open(path)?;
    unpack(&mut file.graph, weights).map_err(|message| Error::file(path, message))?;
    Ok(file)
}

/// A compiled model whose packed weights are left where they are.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The model; the parameters in `weights` have no value in its graph.
    pub file: QtcFile,
    /// Packed weights by parameter.
    pub weights: HashMap<String, StoredWeights>,
}

/// As [`read`], but leaves packed weights in the file, which is mapped into memory as long as they are used.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path) -> Result<Packed, Error> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    // What cannot be mapped (a pipe, an empty file) is read.
    let bytes = match MappedFile::new(&file) {
        Ok(mapped) if file.metadata().is_ok_and(|m| m.is_file()) => SharedBytes::new(mapped),
        _ => aligned(&files::read(path)?),
    };
    decode_shared(&bytes).map_err(|message| Error::file(path, message))
}

/// The bytes in memory of the alignment that packed weights want.
fn aligned(bytes: &[u8]) -> SharedBytes {
    let mut copy = AlignedBytes::zeroed(bytes.len());
    copy.as_mut_slice().copy_from_slice(bytes);
    SharedBytes::new(copy)
}

/// Reads and validates the bytes of a compiled model.
///
/// # Errors
/// What is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<QtcFile, String> {
    let Packed { mut file, weights } = decode_shared(&aligned(bytes))?;
    unpack(&mut file.graph, weights)?;
    Ok(file)
}

/// Gives the parameters that are packed their values.
fn unpack(graph: &mut Graph, weights: HashMap<String, StoredWeights>) -> Result<(), String> {
    for (name, stored) in weights {
        let value = stored.unpack().ok_or_else(|| format!("holds an invalid parameter `{name}`: its packing"))?;
        graph.set_param(&name, value);
    }
    Ok(())
}

/// A message about a file that is not what was written.
fn damaged(what: &str) -> String {
    format!("the file is damaged, {what} (hint: copy it again, or `quantc quantize` the model again)")
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    bytes.get(at..at + N).and_then(|s| s.try_into().ok()).ok_or_else(|| damaged("its header is not complete"))
}

/// The metadata and the data of a file whose checksums are right.
fn sections(file: &SharedBytes) -> Result<(SharedBytes, SharedBytes), String> {
    let bytes = file.as_slice();
    if !bytes.starts_with(&MAGIC[..MAGIC.len().min(bytes.len())]) || bytes.is_empty() {
        return Err("is not a .qtc file (hint: `quantc quantize` writes one)".to_owned());
    }
    let stored = u32::from_le_bytes(field(bytes, 32)?);
    if stored != crc32fast::hash(&bytes[..32]) || field::<28>(bytes, 36)? != [0; 28] {
        return Err(damaged("the header's checksum does not match"));
    }
    let version = u32::from_le_bytes(field(bytes, 4)?);
    if version != VERSION {
        return Err(format!("has the format version {version}, this quantc reads {VERSION} (hint: quantize again)"));
    }
    let length = |at| field(bytes, at).map(u64::from_le_bytes).map(usize::try_from);
    let too_large = |_| damaged("a section's length is impossible");
    let (meta_len, data_len) = (length(8)?.map_err(too_large)?, length(16)?.map_err(too_large)?);
    let expected = HEADER.checked_add(meta_len).and_then(|n| n.checked_add(data_len));
    let sections = file.part(HEADER, meta_len).zip(file.part(HEADER.saturating_add(meta_len), data_len));
    let Some((meta, data)) = sections.filter(|_| expected == Some(bytes.len())) else {
        let expected = expected.map_or("more than any file has".to_owned(), |n| n.to_string());
        return Err(damaged(&format!("it has {} bytes, its header says {expected}", bytes.len())));
    };
    if u32::from_le_bytes(field(bytes, 24)?) != crc32fast::hash(meta.as_slice()) {
        return Err(damaged("the metadata's checksum does not match"));
    }
    if u32::from_le_bytes(field(bytes, 28)?) != crc32fast::hash(data.as_slice()) {
        return Err(damaged("the data's checksum does not match"));
    }
    Ok((meta, data))
}

impl PackedEntry {
    /// The weights, given the parameter's sizes; `None` if the file does not hold them or the fields contradict each other.
    fn weights(&self, sizes: &[usize], offset: usize, data: &SharedBytes) -> Option<StoredWeights> {
        let sums = data.part(self.sums, sizes.first()?.checked_mul(size_of::<i32>())?)?;
        let stored = StoredWeights {
            kernel: self.kernel.clone(),
            panels: Panels { lanes: self.lanes, vectors: self.vectors, depth: self.depth, lot: self.lot },
            form: StoredForm::named(&self.form)?,
            groups: self.groups,
            sizes: sizes.to_vec(),
            data: data.part(offset, self.len)?,
            sums: sums.as_slice().as_chunks().0.iter().map(|sum| i32::from_le_bytes(*sum)).collect(),
        };
        stored.shape().is_some().then_some(stored)
    }
}

/// Reads and validates the bytes of a compiled model, and leaves packed weights where they are.
fn decode_shared(bytes: &SharedBytes) -> Result<Packed, String> {
    let (meta, data) = sections(bytes)?;
    let meta: Meta = serde_json::from_slice(meta.as_slice()).map_err(|e| format!("has malformed metadata: {e}"))?;
    let mut graph = text::parse(&meta.graph).map_err(|e| format!("holds an invalid graph: {e}"))?;
    let mut weights = HashMap::new();
    for entry in &meta.params {
        let bad = |why: &str| format!("holds an invalid parameter `{}`: {why}", entry.name);
        let dtype: DType = entry.dtype.parse().map_err(|_| bad("unknown dtype"))?;
        let declared = graph.params().get(entry.name.as_str()).ok_or_else(|| bad("not in the graph"))?;
        if declared.ty != TensorType::new(dtype, entry.shape.as_slice()) {
            return Err(bad("another type than the graph declares"));
        }
        if let Some(packed) = &entry.packed {
            let stored = packed.weights(&entry.shape, entry.offset, &data).filter(|_| dtype == DType::I8);
            weights.insert(entry.name.clone(), stored.ok_or_else(|| bad("its packing"))?);
            continue;
        }
        let len = entry.shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
        let slice = len.and_then(|len| data.part(entry.offset, len)).ok_or_else(|| bad("outside the file"))?;
        let value = tensor_of(dtype, &entry.shape, slice.as_slice()).ok_or_else(|| bad("wrong size"))?;
        graph.set_param(&entry.name, value);
    }
    if let Some((name, _)) = graph.params().iter().find(|(n, p)| p.value.is_none() && !weights.contains_key(&***n)) {
        return Err(format!("has no value for the parameter `{name}`"));
    }
    graph.verify().map_err(|e| format!("holds an invalid graph: {e}"))?;
    if let Some(tuning) = &meta.tuning {
        tuning.check().map_err(|e| format!("holds an invalid blocking: {e} (hint: `quantc tune` chooses again)"))?;
    }
    let Meta { producer, report, tuning, .. } = meta;
    Ok(Packed { file: QtcFile { producer, graph, report, tuning }, weights })
}
