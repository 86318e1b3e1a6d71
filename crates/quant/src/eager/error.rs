//! Errors of the eager workflow.

use quantc_ir::IrError;

use super::EagerModel;
use crate::error::QuantError;

/// Why a model cannot be fused, prepared or converted.
#[derive(Debug, thiserror::Error)]
pub enum EagerError {
    /// The graph or its calibration.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// No module has that path.
    #[error("there is no module `{path}` (hint: {hint})")]
    UnknownModule {
        /// The path.
        path: String,
        /// The nearest one, or those there are.
        hint: String,
    },
    /// No module has that path or is of that type.
    #[error("there is no module `{name}`, and none of that type (hint: {hint})")]
    UnknownModuleOrType {
        /// What was named.
        name: String,
        /// The nearest path or type, or those there are.
        hint: String,
    },
    /// An entry of a QConfigMapping that eager mode has no equivalent of.
    #[error("QConfigMapping: `{entry}`: eager mode gives QConfigs to modules, {detail}")]
    MappingEntry {
        /// The entry, as reports print it.
        entry: String,
        /// What it cannot do.
        detail: String,
    },
    /// PyTorch has no fused module for these types.
    #[error("({types}) is no sequence that can be fused (hint: the sequences are: {known})")]
    NoFuser {
        /// Types of the modules.
        types: String,
        /// Sequences that can be fused.
        known: String,
    },
    /// Modules that do not follow each other in the graph: fusing them would change what the model computes. PyTorch fuses them all the same.
    #[error("`{first}` and `{second}` can't be fused: {detail}")]
    NotASequence {
        /// The module before.
        first: String,
        /// The module that should follow it.
        second: String,
        /// What is between them.
        detail: String,
    },
    /// A batch norm folded while the model trains.
    #[error("`{path}` is in training mode: batch norms are folded in eval mode only (hint: EagerModel::eval)")]
    Training {
        /// The module.
        path: String,
    },
    /// A QConfig that eager mode cannot use there.
    #[error("the qconfig of `{path}` ({module_type}): {detail}")]
    QConfig {
        /// The module.
        path: String,
        /// Its type.
        module_type: String,
        /// What is wrong.
        detail: String,
    },
    /// A module type without a quantized counterpart here.
    #[error("`{path}` ({module_type}) has a qconfig, but {detail}")]
    Unsupported {
        /// The module.
        path: String,
        /// Its type.
        module_type: String,
        /// Why.
        detail: String,
    },
    /// A float tensor before a quantized module.
    #[error(
        "`{reader}` ({reader_module}) is quantized, but `{value}` ({value_module}), which it reads, is float: a QuantStub is missing between them"
    )]
    MissingQuantStub {
        /// The node with the float value.
        value: String,
        /// Its module.
        value_module: String,
        /// The node that reads it.
        reader: String,
        /// Its module.
        reader_module: String,
    },
    /// A quantized tensor before a float operator.
    #[error(
        "`{reader}` ({reader_module}) {why}, but `{value}` ({value_module}), which it reads, is quantized: a DeQuantStub is missing between them{}",
        functional.map_or(String::new(), |op| format!(" (hint: or FloatFunctional.{op})"))
    )]
    MissingDeQuantStub {
        /// The node with the quantized value.
        value: String,
        /// Its module.
        value_module: String,
        /// The node that reads it.
        reader: String,
        /// Its module.
        reader_module: String,
        /// Why the reader is float.
        why: WhyFloat,
        /// The method of `FloatFunctional` that would help, too.
        functional: Option<&'static str>,
    },
    /// A QuantStub behind what is quantized.
    #[error("`{reader}` ({reader_module}) quantizes `{value}` ({value_module}), which is quantized already")]
    QuantizedTwice {
        /// The node with the quantized value.
        value: String,
        /// Its module.
        value_module: String,
        /// The QuantStub.
        reader: String,
        /// Its module.
        reader_module: String,
    },
    /// Quantization-aware training.
    #[error(
        "{function}: quantization-aware training is not there in eager mode (hint: prepare, calibrate and convert)"
    )]
    Qat {
        /// PyTorch's function.
        function: &'static str,
    },
    /// A class in a mapping that a type of modules cannot become.
    #[error("mapping: `{module_type}` can't become `{class}` here: {detail}")]
    Mapping {
        /// The type.
        module_type: String,
        /// The class.
        class: String,
        /// What it can.
        detail: String,
    },
}

/// Why a module reads floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyFloat {
    /// Its QConfig is `None`.
    QConfigNone,
    /// There is no kernel for it.
    NoKernel,
}

impl std::fmt::Display for WhyFloat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WhyFloat::QConfigNone => "is float, since its qconfig is None",
            WhyFloat::NoKernel => "has no quantized kernel",
        })
    }
}

impl EagerError {
    /// About the QConfig of a module.
    pub(super) fn qconfig(model: &EagerModel, path: &str, detail: String) -> EagerError {
        EagerError::QConfig { path: path.to_owned(), module_type: model.module_type(path).to_owned(), detail }
    }
}

impl From<IrError> for EagerError {
    fn from(e: IrError) -> EagerError {
        EagerError::Quant(QuantError::Ir(e))
    }
}
