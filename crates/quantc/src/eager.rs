//! The whole of PyTorch's eager workflow, from a traced model with its modules to a graph that is compiled.

use std::time::{Duration, Instant};

use quantc_pattern::RuleSet;
use quantc_quant::eager::{
    DEFAULT_DYNAMIC_TYPES, DynamicDType, DynamicSpec, EagerModel, QConfigDict, convert_with, fuse_modules,
    get_default_dynamic_quant_module_mappings, get_default_static_quant_module_mappings, prepare, propagate_qconfig,
    quantize_dynamic_with,
};
use quantc_quant::{Calibrator, QConfigMapping};

use crate::data::Batches;
use crate::pipeline::{observe, qconfig_for};
use crate::{Error, Mode, Quantized, Stages, Timings};

/// Which modules get QConfigs.
#[derive(Clone, Debug)]
pub enum EagerQConfigs {
    /// Those of the mode's default, or of a preset. Dynamic quantization is of the modules named, of types or at paths, else of PyTorch's default types.
    Preset {
        /// Static or dynamic.
        mode: Mode,
        /// The preset.
        name: Option<String>,
        /// The modules (`qconfig_spec`); empty: the default ones.
        spec: Vec<String>,
        /// The type of weights where there is no preset.
        dtype: DynamicDType,
    },
    /// Those of a mapping; static if any of its QConfigs is.
    Mapping(QConfigMapping),
}

/// What to quantize and how.
#[derive(Clone, Debug)]
pub struct EagerOptions {
    /// Lists of modules that become one (`modules_to_fuse`).
    pub fuse: Vec<Vec<String>>,
    /// Which modules get QConfigs.
    pub qconfigs: EagerQConfigs,
    /// The types of modules that are swapped, and for which class (`mapping`); empty: PyTorch's default.
    pub mapping: Vec<(String, String)>,
    /// The backend, which chooses the default QConfig.
    pub backend: String,
    /// The rewrite rules.
    pub rules: RuleSet,
}

/// Fuses, gives modules their QConfigs, prepares, calibrates, converts and lowers: torch.ao.quantization.fuse_modules, then `quantize` or
/// `quantize_dynamic`. `progress` is called with the number of samples done after each batch.
///
/// # Errors
/// Whatever a step reports: a module that is not there, a missing stub, static quantization without samples.
pub fn quantize_eager(
    model: &EagerModel,
    options: &EagerOptions,
    calibration: Option<&Batches>,
    mut progress: impl FnMut(usize),
) -> Result<Quantized, Error> {
    let mut timings = Timings::default();
    let mut clock = Instant::now();
    let mut lap = |slot: &mut Duration| *slot = std::mem::replace(&mut clock, Instant::now()).elapsed();
    let lists: Vec<Vec<&str>> = options.fuse.iter().map(|list| list.iter().map(String::as_str).collect()).collect();
    let mut fused = fuse_modules(model, &lists)?;
    lap(&mut timings.canonicalize);
    let rows: Vec<(&str, &str)> = options.mapping.iter().map(|(ty, class)| (ty.as_str(), class.as_str())).collect();
    let (prepared, converted) = match qconfigs(&fused, options)? {
        How::Dynamic(spec, dtype) => {
            let mapping = if rows.is_empty() { get_default_dynamic_quant_module_mappings() } else { &rows };
            (fused.graph().clone(), quantize_dynamic_with(&fused, &spec, dtype, mapping)?)
        }
        How::Static(dict) => {
            propagate_qconfig(&mut fused, &dict);
            let prepared = prepare(&fused)?;
            lap(&mut timings.prepare);
            let mut calibrator = Calibrator::new(prepared.prepared())?;
            if let Some(batches) = calibration.filter(|_| prepared.prepared().needs_calibration()) {
                observe(&mut calibrator, batches, &mut progress)?;
            }
            lap(&mut timings.calibrate);
            let mapping = if rows.is_empty() { get_default_static_quant_module_mappings() } else { &rows };
            let converted = convert_with(&prepared, &calibrator.finish()?, mapping)?;
            (prepared.prepared().graph.clone(), converted)
        }
    };
    lap(&mut timings.convert);
    let (quantized, _) = quantc_rewrite::lower_quantized(&converted.graph, &options.rules)?;
    lap(&mut timings.lower);
    let canonical = fused.graph().clone();
    Ok(Quantized {
        unused: Vec::new(),
        stages: Stages { canonical, prepared, converted: converted.graph, quantized },
        report: converted.report,
        timings,
    })
}

/// The two ways.
enum How {
    Static(QConfigDict),
    Dynamic(DynamicSpec, DynamicDType),
}

fn qconfigs(model: &EagerModel, options: &EagerOptions) -> Result<How, Error> {
    match &options.qconfigs {
        EagerQConfigs::Mapping(mapping) => {
            let dict = mapping.to_qconfig_dict(model)?;
            Ok(if mapping.needs_calibration() {
                How::Static(dict)
            } else {
                How::Dynamic(DynamicSpec::QConfigs(dict), DynamicDType::Qint8)
            })
        }
        EagerQConfigs::Preset { mode: Mode::Static, name, .. } => {
            let qconfig = qconfig_for(Mode::Static, &options.backend, name.as_deref())?;
            Ok(How::Static(QConfigDict::default().set_name("", Some(qconfig))))
        }
        EagerQConfigs::Preset { mode: Mode::Dynamic, name, spec, dtype } => {
            for key in spec {
                model.check_module_or_type(key)?;
            }
            let spec = match name {
                None if spec.is_empty() => DynamicSpec::Default,
                None => DynamicSpec::Modules(spec.clone()),
                Some(name) => {
                    let qconfig = qconfig_for(Mode::Dynamic, &options.backend, Some(name))?;
                    let default: Vec<String> = DEFAULT_DYNAMIC_TYPES.iter().map(|t| (*t).to_owned()).collect();
                    let keys = if spec.is_empty() { &default } else { spec };
                    let entry = |dict: QConfigDict, key: &String| {
                        dict.set_type(key, Some(qconfig.clone())).set_name(key, Some(qconfig.clone()))
                    };
                    DynamicSpec::QConfigs(keys.iter().fold(QConfigDict::default(), entry))
                }
            };
            Ok(How::Dynamic(spec, *dtype))
        }
    }
}
