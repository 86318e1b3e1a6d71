//! Import of ONNX models (opset 7 to 21).
//!
//! Constants become attributes where our operators have one for them; calls on constants alone are evaluated; every call gets
//! an origin from the scoped node names that PyTorch's exporter writes. The graph's inputs and outputs keep their names.

mod error;
mod importer;
mod node;
mod ops;
pub mod proto;
mod scope;
mod symbolic;
mod tensor;

use std::ops::RangeInclusive;
use std::path::Path;

use prost::Message;
use quantc_ir::Graph;

pub use error::{NodeError, OnnxError, OnnxErrorKind, TensorProtoError};

/// The versions of the standard operators that can be imported.
pub const OPSETS: RangeInclusive<i64> = 7..=21;

/// The operators that can be imported, by their ONNX names.
pub fn operators() -> impl Iterator<Item = &'static str> {
    ops::names()
}

/// Imports a model file; the graph is named after it.
///
/// # Errors
/// If the file can't be read, is no ONNX model, or uses something that is not supported: see [`OnnxErrorKind`].
pub fn import_file(path: &Path) -> Result<Graph, OnnxError> {
    let located = |kind| OnnxError { path: Some(path.display().to_string()), kind: Box::new(kind) };
    let bytes = std::fs::read(path).map_err(|e| located(OnnxErrorKind::Io(e.to_string())))?;
    let model = decode(&bytes).map_err(located)?;
    drop(bytes);
    let name: Option<String> = path.file_stem().map(|s| {
        s.to_string_lossy().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect()
    });
    // `parent` of a bare file name is the empty path.
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    importer::import(model, name.as_deref(), folder).map_err(located)
}

/// Imports a model from memory. Data outside the file can't be read then.
///
/// # Errors
/// As [`import_file`].
pub fn import_bytes(bytes: &[u8]) -> Result<Graph, OnnxError> {
    let unlocated = |kind| OnnxError { path: None, kind: Box::new(kind) };
    let model = decode(bytes).map_err(unlocated)?;
    importer::import(model, None, None).map_err(unlocated)
}

fn decode(bytes: &[u8]) -> Result<proto::ModelProto, OnnxErrorKind> {
    let fail =
        |reason: &str, hint: &str| Err(OnnxErrorKind::NotOnnx { reason: reason.to_owned(), hint: hint.to_owned() });
    if bytes.is_empty() {
        return fail("the file is empty", "was its download or export interrupted?");
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return fail("it is a Git LFS pointer", "fetch the file itself with `git lfs pull`");
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return fail("it is a zip archive", "a PyTorch checkpoint? export the model with torch.onnx.export");
    }
    match proto::ModelProto::decode(bytes) {
        Ok(model) if model.graph.is_some() => Ok(model),
        Ok(_) => fail("it has no graph", "is it another kind of file?"),
        Err(_) if bytes.iter().take(256).all(|b| matches!(b, 9 | 10 | 13 | 32..=126)) => {
            fail("it is a text file", "give the .onnx file")
        }
        Err(e) => fail(&format!("{e}"), "it is truncated, damaged, or another kind of file"),
    }
}
