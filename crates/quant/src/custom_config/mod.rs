//! Custom configurations of prepare (torch.ao.quantization.fx.custom_config): parts of a model that are left alone or prepared on their own,
//! custom modules (docs/custom-modules.md), and inputs and outputs that are quantized.

mod convert;
mod custom_module;
#[cfg(test)]
mod custom_module_tests;
mod error;
mod fence;
mod json;
mod level;
mod part;
mod ports;
mod scope;
mod standalone;
mod swap;
#[cfg(test)]
mod tests;

/// The example of the page is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/custom-modules.md")]
struct Page;

use quantc_pattern::{BackendConfig, torch_names};

pub use convert::{ConvertCustomConfig, FuseCustomConfig, preserve_attributes};
pub use custom_module::{CustomModuleQParams, ObservedClass, ObservedCustomModule, QuantType, QuantizedCustomModule};
pub use error::CustomConfigError;
pub use fence::{fence, unfence};
pub(crate) use level::levels;
pub(crate) use ports::{QuantizedPorts, observe_outputs, quantize_ports};
pub(crate) use scope::Edges;
pub(crate) use standalone::place;
pub(crate) use swap::{CustomModule, number_observers, observe_custom_modules};

use crate::eager::get_default_custom_config_dict;
use crate::qconfig_mapping::QConfigMapping;

/// How a standalone module is prepared (PyTorch `StandaloneModuleConfigEntry`, without the example inputs, which a graph does not need).
#[derive(Clone, Debug, Default)]
pub struct StandaloneModuleConfigEntry {
    /// QConfigs by names relative to the module; `None`: the module's own QConfig for all of it.
    pub qconfig_mapping: Option<QConfigMapping>,
    /// Which of the module's inputs and outputs are quantized, and what is apart inside.
    pub prepare_custom_config: PrepareCustomConfig,
    /// What runs it; `None`: the backend of what is around.
    pub backend_config: Option<BackendConfig>,
}

/// What prepare leaves alone or treats apart (PyTorch `PrepareCustomConfig`). Entries set twice have what was set last.
#[derive(Clone, Debug, Default)]
pub struct PrepareCustomConfig {
    standalone_module_names: Vec<(String, StandaloneModuleConfigEntry)>,
    standalone_module_classes: Vec<(String, StandaloneModuleConfigEntry)>,
    non_traceable_module_names: Vec<String>,
    non_traceable_module_classes: Vec<String>,
    input_quantized_indexes: Vec<usize>,
    output_quantized_indexes: Vec<usize>,
    float_to_observed: Vec<(QuantType, String, ObservedClass)>,
    preserved_attributes: Vec<String>,
    modules: Vec<(String, String)>,
}

impl PrepareCustomConfig {
    /// Nothing is apart.
    pub fn new() -> PrepareCustomConfig {
        PrepareCustomConfig::default()
    }

    /// Prepares a module on its own: no pattern reaches across its edge, and its edge is float but for the inputs and outputs that its own
    /// configuration names. A name comes before a class.
    pub fn set_standalone_module_name(mut self, module_name: &str, entry: StandaloneModuleConfigEntry) -> Self {
        set(&mut self.standalone_module_names, module_name, entry);
        self
    }

    /// The same for every module of a class.
    pub fn set_standalone_module_class(mut self, module_class: &str, entry: StandaloneModuleConfigEntry) -> Self {
        set(&mut self.standalone_module_classes, module_class, entry);
        self
    }

    /// Modules that stay float as a whole, by their paths.
    pub fn set_non_traceable_module_names(mut self, names: &[&str]) -> Self {
        self.non_traceable_module_names = names.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// Modules that stay float as a whole, by their classes.
    pub fn set_non_traceable_module_classes(mut self, classes: &[&str]) -> Self {
        self.non_traceable_module_classes = classes.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// Inputs that arrive as integers. Calibration takes them as reals and finds their parameters, which the report gives.
    pub fn set_input_quantized_indexes(mut self, indexes: &[usize]) -> Self {
        self.input_quantized_indexes = indexes.to_vec();
        self
    }

    /// Outputs that leave as integers; the report gives their parameters.
    pub fn set_output_quantized_indexes(mut self, indexes: &[usize]) -> Self {
        self.output_quantized_indexes = indexes.to_vec();
        self
    }

    /// Swaps every module of a class (`SiLU`, `torch.nn.SiLU`) that has a QConfig of that type for its observed form, which [`crate::convert_to_reference_fx_custom`] swaps for the
    /// quantized one. No pattern of the backend looks into it. Modules inside non-traceable ones stay as they are, those inside standalone ones are for the configuration there.
    pub fn set_float_to_observed_mapping(
        mut self,
        float_class: &str,
        observed_class: ObservedClass,
        quant_type: QuantType,
    ) -> Self {
        // Calls and QConfigMappings know a class of PyTorch's by its short name.
        let class = torch_names::find(float_class).and_then(|row| row.module_type()).unwrap_or(float_class);
        match self.float_to_observed.iter_mut().find(|row| row.0 == quant_type && row.1 == class) {
            Some(row) => row.2 = observed_class,
            None => self.float_to_observed.push((quant_type, class.to_owned(), observed_class)),
        }
        self
    }

    /// Parameters of the model, by their names, that the prepared and the converted graph have though no call reads them.
    pub fn set_preserved_attributes(mut self, attributes: &[&str]) -> Self {
        self.preserved_attributes = attributes.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// Paths and classes of the model's modules (PyTorch `named_modules`). Without them, the class of a module that makes no call itself is not known.
    pub fn set_modules(mut self, modules: Vec<(String, String)>) -> Self {
        self.modules = modules;
        self
    }

    /// The parameters that stay though nothing reads them.
    pub fn preserved_attributes(&self) -> &[String] {
        &self.preserved_attributes
    }

    /// Whether layers of a class are written out to be observed step by step.
    pub(crate) fn is_quantizable(&self, class: &str) -> bool {
        let of_class = |row: &(QuantType, String, ObservedClass)| row.0 == QuantType::Static && row.1 == class;
        self.float_to_observed.iter().any(|row| of_class(row) && matches!(row.2, ObservedClass::Quantizable))
    }

    /// The inputs that arrive as integers.
    pub fn input_quantized_indexes(&self) -> &[usize] {
        &self.input_quantized_indexes
    }

    /// The outputs that leave as integers.
    pub fn output_quantized_indexes(&self) -> &[usize] {
        &self.output_quantized_indexes
    }
}

/// The observed class of a class that has a quantizable form.
fn quantizable(class: &str) -> Option<&'static str> {
    let rows = get_default_custom_config_dict().float_to_observed_custom_module_class;
    rows.iter().find(|row| row.0 == class).map(|row| row.1)
}

fn set<T>(entries: &mut Vec<(String, T)>, key: &str, value: T) {
    match entries.iter_mut().find(|e| e.0 == key) {
        Some(entry) => entry.1 = value,
        None => entries.push((key.to_owned(), value)),
    }
}
