//! `quantc quantize --workflow eager`: its options.

use std::path::Path;

use quantc::eager::{EagerOptions, EagerQConfigs};
use quantc::{Error, Mode, Model, ModelKind, QuantizeOptions};
use quantc_frontend::trace::Description;
use quantc_quant::eager::{DynamicDType, EagerModel};

/// Which of PyTorch's workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Workflow {
    /// The graph is quantized wherever the backend has a pattern (prepare_fx, convert_fx)
    Fx,
    /// Stubs say where integers begin and end, QConfigs are of modules (prepare, convert, quantize_dynamic)
    Eager,
}

/// The type of weights of `quantize_dynamic`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DTypeArg {
    Qint8,
    Float16,
    Quint8,
    Quint4x2,
}

/// Modules that become one.
#[derive(Clone, Debug)]
struct Fuse(Vec<String>);

impl std::str::FromStr for Fuse {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let names: Vec<String> = s.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            Err("must be paths of modules: conv,bn,relu".to_owned())
        } else {
            Ok(Fuse(names))
        }
    }
}

/// What modules of a type become.
#[derive(Clone, Debug)]
struct Row(String, String);

impl std::str::FromStr for Row {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once('=').map(|(ty, class)| (ty.trim(), class.trim())) {
            Some((ty, class)) if !ty.is_empty() && !class.is_empty() => Ok(Row(ty.to_owned(), class.to_owned())),
            _ => Err("must be a type and a class: Conv2d=torch.ao.nn.quantized.dynamic.Conv2d".to_owned()),
        }
    }
}

/// Options that only the eager workflow has.
#[derive(Debug, clap::Args)]
pub(super) struct EagerArgs {
    /// Eager: modules that run as one, in order of execution; several lists are several words
    #[arg(long, value_name = "MODULE,MODULE,...", num_args = 1..)]
    fuse: Vec<Fuse>,
    /// Eager, dynamic: types or paths of the modules that are quantized [default: Linear and the recurrent layers; with quint8 and quint4x2 embeddings]
    #[arg(long, value_name = "MODULE", num_args = 1..)]
    qconfig_spec: Vec<String>,
    /// Eager, dynamic: the type of weights [default: qint8]
    #[arg(long, value_enum)]
    dtype: Option<DTypeArg>,
    /// Eager: what modules of a type become, in place of PyTorch's default mapping; dynamic convolutions are in none by default
    #[arg(long, value_name = "TYPE=CLASS", num_args = 1..)]
    mapping: Vec<Row>,
}

impl EagerArgs {
    /// Fails if any was given, for another workflow.
    pub(super) fn none(&self) -> Result<(), Error> {
        let given = [
            ("--fuse", !self.fuse.is_empty()),
            ("--qconfig-spec", !self.qconfig_spec.is_empty()),
            ("--dtype", self.dtype.is_some()),
            ("--mapping", !self.mapping.is_empty()),
        ];
        match given.iter().find(|g| g.1) {
            Some((option, _)) => Err(Error::Data(format!("{option} is of --workflow eager"))),
            None => Ok(()),
        }
    }

    /// The options of the pipeline; `preset`: `--qconfig`, `mapping`: whether a mapping was given.
    pub(super) fn options(
        &self,
        options: &QuantizeOptions,
        mode: Mode,
        preset: Option<&str>,
        mapping: bool,
    ) -> Result<EagerOptions, Error> {
        let dynamic = mode == Mode::Dynamic && !mapping;
        let spec = !self.qconfig_spec.is_empty();
        if !dynamic && (spec || self.dtype.is_some()) {
            let (option, instead) =
                if spec { ("--qconfig-spec", "--qconfig-mapping") } else { ("--dtype", "--qconfig") };
            return Err(Error::Data(format!("{option} is of --mode dynamic (hint: {instead} chooses here)")));
        }
        if let (Some(name), Some(_)) = (preset, self.dtype) {
            return Err(Error::Data(format!("--dtype: the QConfig `{name}` has the type of weights")));
        }
        let dtype = match self.dtype {
            None | Some(DTypeArg::Qint8) => DynamicDType::Qint8,
            Some(DTypeArg::Float16) => DynamicDType::Float16,
            Some(DTypeArg::Quint8) => DynamicDType::Quint8,
            Some(DTypeArg::Quint4x2) => DynamicDType::Quint4x2,
        };
        let qconfigs = if mapping {
            EagerQConfigs::Mapping(options.mapping.clone())
        } else {
            let (name, spec) = (preset.map(str::to_owned), self.qconfig_spec.clone());
            EagerQConfigs::Preset { mode, name, spec, dtype }
        };
        Ok(EagerOptions {
            fuse: self.fuse.iter().map(|list| list.0.clone()).collect(),
            qconfigs,
            mapping: self.mapping.iter().map(|Row(ty, class)| (ty.clone(), class.clone())).collect(),
            backend: options.backend.name.to_string(),
            rules: options.rules.clone(),
        })
    }
}

/// The model with its modules, which only a description lists.
pub(super) fn eager_model(path: &Path, model: &Model) -> Result<EagerModel, Error> {
    if !matches!(model.kind, ModelKind::Description) {
        let message = "has no modules to quantize one by one: --workflow eager takes model descriptions (hint: a .json file; --workflow fx takes any model)";
        return Err(Error::file(path, message));
    }
    Ok(EagerModel::new(model.graph.clone(), Description::from_file(path)?.modules()))
}
