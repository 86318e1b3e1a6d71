//! Custom configurations of convert and fuse.

use std::sync::Arc;

use quantc_ir::Graph;
use quantc_ops::names::nearest;

use super::custom_module::{QuantType, QuantizedCustomModule};
use super::error::CustomConfigError;

/// What convert does apart (PyTorch `ConvertCustomConfig`). Entries set twice have what was set last.
#[derive(Clone, Debug, Default)]
pub struct ConvertCustomConfig {
    pub(super) observed_to_quantized: Vec<(QuantType, String, Arc<dyn QuantizedCustomModule>)>,
    preserved_attributes: Vec<String>,
}

impl ConvertCustomConfig {
    /// Nothing is apart.
    pub fn new() -> ConvertCustomConfig {
        ConvertCustomConfig::default()
    }

    /// Swaps the observed modules of a class, by its name, for their quantized form.
    pub fn set_observed_to_quantized_mapping(
        mut self,
        observed_class: &str,
        quantized_class: Arc<dyn QuantizedCustomModule>,
        quant_type: QuantType,
    ) -> Self {
        let rows = &mut self.observed_to_quantized;
        match rows.iter_mut().find(|row| row.0 == quant_type && row.1 == observed_class) {
            Some(row) => row.2 = quantized_class,
            None => rows.push((quant_type, observed_class.to_owned(), quantized_class)),
        }
        self
    }

    /// Parameters of the prepared graph, by their names, that the converted one has though no call reads them. Those that
    /// [`super::PrepareCustomConfig::set_preserved_attributes`] names are among them.
    pub fn set_preserved_attributes(mut self, attributes: &[&str]) -> Self {
        self.preserved_attributes = attributes.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// The parameters that stay though nothing reads them.
    pub fn preserved_attributes(&self) -> &[String] {
        &self.preserved_attributes
    }
}

/// What fuse does apart (PyTorch `FuseCustomConfig`).
#[derive(Clone, Debug, Default)]
pub struct FuseCustomConfig {
    preserved_attributes: Vec<String>,
}

impl FuseCustomConfig {
    /// Nothing is apart.
    pub fn new() -> FuseCustomConfig {
        FuseCustomConfig::default()
    }

    /// Parameters of the model, by their names, that the fused graph has though no call reads them: those of folded batch norms, for instance.
    pub fn set_preserved_attributes(mut self, attributes: &[&str]) -> Self {
        self.preserved_attributes = attributes.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// The parameters that stay though nothing reads them.
    pub fn preserved_attributes(&self) -> &[String] {
        &self.preserved_attributes
    }
}

/// Gives a graph the parameters of another that it may have lost; what it has of the same name stays.
///
/// # Errors
/// If the other has no such parameter with a value.
pub fn preserve_attributes(from: &Graph, names: &[String], to: &mut Graph) -> Result<(), CustomConfigError> {
    for name in names {
        let Some(tensor) = from.params().get(name.as_str()).and_then(|param| param.value.as_ref()) else {
            let hint = nearest(name, from.params().keys().map(|n| &**n));
            return Err(CustomConfigError::NoAttribute { name: name.clone(), hint });
        };
        if !to.params().contains_key(name.as_str()) {
            to.param(name, tensor.clone());
        }
    }
    Ok(())
}
