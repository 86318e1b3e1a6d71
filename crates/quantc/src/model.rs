//! Model files of every kind.

use std::path::Path;

use quantc_frontend::trace::{Description, Weights};
use quantc_ir::Graph;
use quantc_quant::QuantReport;

use crate::{Error, qtc, text};

/// What a model file is.
#[derive(Clone, Debug)]
pub enum ModelKind {
    /// ONNX.
    Onnx,
    /// A JSON model description, traced.
    Description,
    /// A graph in the text form.
    Text,
    /// A compiled model, with its report.
    Qtc {
        /// What was decided when it was quantized.
        report: Box<QuantReport>,
        /// The version that wrote it.
        producer: String,
    },
}

/// A model: its graph and where it came from.
#[derive(Clone, Debug)]
pub struct Model {
    /// The graph.
    pub graph: Graph,
    /// What the file was.
    pub kind: ModelKind,
    /// Bytes of the file; of the parameters, if they are not in it.
    pub size: u64,
}

/// What says the kind of a file.
fn extension(path: &Path) -> String {
    path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase()
}

impl Model {
    /// Reads a model; the extension says what it is: `.onnx`, `.json` (description; weights from the `.safetensors` file of the
    /// same name, random ones from a fixed seed if there is none), `.qtc`, `.qg` (text form; values from the `.qg.safetensors`
    /// file of the same name).
    ///
    /// # Errors
    /// If the file can't be read, is not what its extension says, or uses something unsupported.
    pub fn load(path: &Path) -> Result<Model, Error> {
        let extension = extension(path);
        let file_size = std::fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?.len();
        let (graph, kind) = match extension.as_str() {
            "onnx" => (quantc_frontend::onnx::import_file(path)?, ModelKind::Onnx),
            "json" => {
                // Without weights beside it, a description has the architecture's seeded random ones.
                let stored = path.with_extension("safetensors");
                let weights = if stored.exists() { Weights::from_file(&stored)? } else { Weights::random(0) };
                (Description::from_file(path)?.trace(weights)?, ModelKind::Description)
            }
            "qtc" => {
                let file = qtc::read(path)?;
                let kind = ModelKind::Qtc { report: Box::new(file.report), producer: file.producer };
                (file.graph, kind)
            }
            "qg" => (text::read(path)?, ModelKind::Text),
            _ => {
                return Err(Error::file(
                    path,
                    "unknown kind of model (hint: the extension must be .onnx, .json, .qtc or .qg)",
                ));
            }
        };
        let size = match kind {
            ModelKind::Onnx | ModelKind::Qtc { .. } => file_size,
            ModelKind::Description | ModelKind::Text => {
                graph.params().values().filter_map(|p| p.value.as_ref()).map(|v| v.byte_len() as u64).sum()
            }
        };
        Ok(Model { graph, kind, size })
    }

    /// Whether a file of this name is a compiled model.
    pub(crate) fn is_compiled_file(path: &Path) -> bool {
        extension(path) == "qtc"
    }

    /// Whether it is a compiled model.
    pub fn is_compiled(&self) -> bool {
        matches!(self.kind, ModelKind::Qtc { .. })
    }
}
