//! Graphs in the text form as files. The text has small parameters only; all values are beside it, in `NAME.qg.safetensors`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use quantc_ir::Graph;
use quantc_tensor::DType;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::qtc::{bytes_of, tensor_of};
use crate::{Error, files};

/// Element types by their name in a safetensors file.
const DTYPES: &[(DType, Dtype)] = &[
    (DType::F32, Dtype::F32),
    (DType::F64, Dtype::F64),
    (DType::F16, Dtype::F16),
    (DType::I8, Dtype::I8),
    (DType::U8, Dtype::U8),
    (DType::I16, Dtype::I16),
    (DType::I32, Dtype::I32),
    (DType::I64, Dtype::I64),
    (DType::Bool, Dtype::BOOL),
];

/// Where the values of a graph file's parameters are.
pub fn values_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".safetensors");
    name.into()
}

/// Writes a graph, and the values of its parameters beside it if it has any.
///
/// # Errors
/// If a file can't be written.
pub fn write(path: &Path, graph: &Graph) -> Result<(), Error> {
    let mut values = Vec::new();
    for (name, param) in graph.params() {
        let Some(value) = &param.value else { continue };
        let found = DTYPES.iter().find(|d| d.0 == value.dtype());
        let dtype = found.ok_or_else(|| Error::file(path, format!("can't hold the dtype of `{name}`")))?.1;
        values.push((name.to_string(), dtype, value.shape().to_vec(), bytes_of(value)));
    }
    if !values.is_empty() && !files::is_special(path) {
        let views: Result<Vec<_>, _> = values
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect();
        let beside = values_path(path);
        let bytes = views.and_then(|views| safetensors::serialize(views, None));
        let bytes = bytes.map_err(|e: safetensors::SafeTensorError| Error::file(&beside, e.to_string()))?;
        files::write(&beside, |sink| sink.write_all(&bytes))?;
    }
    files::write(path, |sink| sink.write_all(graph.to_string().as_bytes()))
}

/// Reads a graph, and the values of its parameters if they are beside it.
///
/// # Errors
/// If a file can't be read, is no graph, or has a value of another type than the parameter.
pub fn read(path: &Path) -> Result<Graph, Error> {
    let mut graph = quantc_ir::text::parse(&files::read_text(path)?).map_err(|e| Error::file(path, e.to_string()))?;
    let beside = values_path(path);
    if !beside.exists() {
        return Ok(graph);
    }
    let bytes = files::read(&beside)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::file(&beside, format!("is no safetensors file: {e} (hint: is it truncated?)")))?;
    let views: HashMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
    let wanted: Vec<_> = graph.params().iter().map(|(name, param)| (name.clone(), param.ty.clone())).collect();
    for (name, ty) in wanted {
        let Some(view) = views.get(&*name) else { continue };
        let dtype = DTYPES.iter().find(|d| d.1 == view.dtype()).map(|d| d.0);
        let value = dtype.and_then(|dtype| tensor_of(dtype, view.shape(), view.data()));
        match value.filter(|value| value.dtype() == ty.dtype && value.ty().shape.compatible(&ty.shape)) {
            Some(value) => graph.set_param(&name, value),
            None => {
                let has = format!("{:?} {:?}", view.dtype(), view.shape());
                return Err(Error::file(&beside, format!("`{name}` is {has}, the graph wants {ty}")));
            }
        }
    }
    Ok(graph)
}
