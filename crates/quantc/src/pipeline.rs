//! The whole of post-training quantization, stage by stage.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use quantc_frontend::onnx;
use quantc_ir::{COMPOSED, Graph};
use quantc_pattern::{BackendConfig, Library, RuleSet};
use quantc_quant::custom_config::{fence, preserve_attributes, unfence};
use quantc_quant::{
    ActivationQParams, Calibrator, ConvertCustomConfig, ConvertedModel, Placement, PrepareCustomConfig, PreparedModel,
    QConfig, QConfigMapping, QuantError, QuantReport, convert_to_reference_fx, convert_to_reference_fx_custom,
    correct_biases, prepare_fx_custom, qconfig, stored_half,
};

use crate::Error;
use crate::data::Batches;

/// Static (calibrated) or dynamic quantization of activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Ranges from calibration data.
    #[default]
    Static,
    /// Ranges of each input when the model runs.
    Dynamic,
}

/// What to quantize and how.
#[derive(Clone, Debug)]
pub struct QuantizeOptions {
    /// Which QConfig each call gets.
    pub mapping: QConfigMapping,
    /// What the target supports.
    pub backend: BackendConfig,
    /// The rewrite rules.
    pub rules: RuleSet,
    /// Where observers go.
    pub placement: Placement,
    /// What is apart, and which inputs and outputs are integers.
    pub prepare_custom_config: PrepareCustomConfig,
    /// Quantized forms of custom modules, and parameters that stay (PyTorch `ConvertCustomConfig`).
    pub convert_custom_config: ConvertCustomConfig,
    /// Whether biases make up for what rounding the weights does to the mean of each layer's outputs.
    pub bias_correction: bool,
}

impl QuantizeOptions {
    /// Default mapping of a mode (or of a named QConfig) for a backend that quantc embeds.
    ///
    /// # Errors
    /// If the QConfig or the backend is unknown.
    pub fn new(mode: Mode, backend: &str, qconfig_name: Option<&str>) -> Result<QuantizeOptions, Error> {
        QuantizeOptions::with_library(Library::builtin()?, mode, backend, qconfig_name)
    }

    /// The same for a backend of a library, with its rules.
    ///
    /// # Errors
    /// If the QConfig or the backend is unknown.
    pub fn with_library(
        library: &Library,
        mode: Mode,
        backend: &str,
        qconfig_name: Option<&str>,
    ) -> Result<QuantizeOptions, Error> {
        let qconfig = qconfig_for(mode, backend, qconfig_name)?;
        let backend = library.backend(backend)?.clone();
        let rules = library.rules_for(&backend);
        let mapping = QConfigMapping::default_for(qconfig);
        Ok(QuantizeOptions {
            mapping,
            backend,
            rules,
            placement: Placement::default(),
            prepare_custom_config: PrepareCustomConfig::default(),
            convert_custom_config: ConvertCustomConfig::default(),
            bias_correction: true,
        })
    }
}

/// The QConfig of a name, or the default of a mode and a backend.
pub(crate) fn qconfig_for(mode: Mode, backend: &str, name: Option<&str>) -> Result<QConfig, Error> {
    let name = name.unwrap_or(match (mode, backend) {
        (Mode::Dynamic, _) => "dynamic",
        (Mode::Static, "qnnpack" | "onednn" | "fbgemm") => backend,
        (Mode::Static, "native") => "fbgemm",
        (Mode::Static, _) => "x86",
    });
    qconfig::preset(name).map_err(|e| Error::Data(e.to_string()))
}

/// The graph after each stage.
#[derive(Clone, Debug)]
pub struct Stages {
    /// After canonicalization: the float model as quantization sees it.
    pub canonical: Graph,
    /// With observers.
    pub prepared: Graph,
    /// The reference q/dq graph.
    pub converted: Graph,
    /// With integer operators: what is compiled.
    pub quantized: Graph,
}

/// Wall time of each stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Canonicalization.
    pub canonicalize: Duration,
    /// prepare_fx.
    pub prepare: Duration,
    /// Calibration: forward passes and observers.
    pub calibrate: Duration,
    /// convert_to_reference_fx (observers' searches included).
    pub convert: Duration,
    /// Lowering to integer operators.
    pub lower: Duration,
}

impl Timings {
    /// Everything but the calibration passes.
    pub fn without_calibration(&self) -> Duration {
        self.canonicalize + self.prepare + self.convert + self.lower
    }
}

/// A quantized model.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The graph after each stage.
    pub stages: Stages,
    /// What was decided, and why.
    pub report: QuantReport,
    /// Entries without effect in the mappings of standalone modules, as text.
    pub unused: Vec<String>,
    /// How long each stage took.
    pub timings: Timings,
}

/// Canonicalizes, prepares, calibrates, converts and lowers a float graph. `progress` is called with the number of samples done
/// after each batch.
///
/// # Errors
/// Whatever a stage reports; an entry of the mapping that names nothing; static quantization without samples.
pub fn quantize(
    graph: &Graph,
    options: &QuantizeOptions,
    calibration: Option<&Batches>,
    mut progress: impl FnMut(usize),
) -> Result<Quantized, Error> {
    let mut timings = Timings::default();
    let mut clock = Instant::now();
    let mut lap = |slot: &mut Duration| {
        let now = Instant::now();
        *slot = now - clock;
        clock = now;
    };
    options.mapping.check(graph, onnx::operators()).map_err(QuantError::from)?;
    let unused = options.prepare_custom_config.check_mappings(graph, onnx::operators())?;
    let (source, wide) = (graph, stored_half::widen(graph)?);
    let (graph, widened) = wide.as_ref().map_or((graph, None), |(graph, widened)| (graph, Some(widened)));
    let mut graph = for_backend(graph, &options.backend)?;
    if let Some(fenced) = fence(&graph, &options.prepare_custom_config)? {
        graph = Cow::Owned(fenced);
    }
    // PyTorch places observers on the operators that it traced.
    let rules = match options.placement {
        Placement::Quantc => Cow::Borrowed(&options.rules),
        Placement::PyTorch => Cow::Owned(options.rules.clone().fusing_only()),
    };
    let (mut canonical, _) = quantc_rewrite::canonicalize(&graph, &rules)?;
    unfence(&mut canonical)?;
    lap(&mut timings.canonicalize);
    let QuantizeOptions { mapping, backend, placement, prepare_custom_config, convert_custom_config, .. } = options;
    // What is folded before prepare could not be found at the end.
    let preserved =
        [prepare_custom_config.preserved_attributes(), convert_custom_config.preserved_attributes()].concat();
    preserve_attributes(source, &preserved, &mut canonical).map_err(QuantError::from)?;
    let names: Vec<&str> = preserved.iter().map(String::as_str).collect();
    let prepare_custom_config = prepare_custom_config.clone().set_preserved_attributes(&names);
    let prepared = prepare_fx_custom(&canonical, mapping, backend, *placement, &prepare_custom_config)?;
    lap(&mut timings.prepare);
    let mut calibrator = Calibrator::new(&prepared)?;
    if prepared.needs_calibration()
        && let Some(batches) = calibration
    {
        observe(&mut calibrator, batches, &mut progress)?;
    }
    lap(&mut timings.calibrate);
    let means = calibrator.input_means().clone();
    let qparams = calibrator.finish()?;
    let mut converted = convert_to_reference_fx_custom(&prepared, &qparams, convert_custom_config)?;
    if options.bias_correction {
        correct_biases(&prepared, &mut converted, &means)?;
    }
    lap(&mut timings.convert);
    let (mut quantized, _) = quantc_rewrite::lower_quantized(&converted.graph, &options.rules)?;
    if let Some(widened) = widened {
        stored_half::narrow(&mut quantized, widened)?;
    }
    // Passes drop what no call reads.
    for graph in [&mut converted.graph, &mut quantized] {
        preserve_attributes(&prepared.graph, &preserved, graph).map_err(QuantError::from)?;
    }
    lap(&mut timings.lower);
    Ok(Quantized {
        unused,
        stages: Stages { canonical, prepared: prepared.graph, converted: converted.graph, quantized },
        report: converted.report,
        timings,
    })
}

/// Converts a calibrated model to integer operators: the reference graph, lowered (torch.ao.quantization.quantize_fx.convert_fx). Biases stay as they are:
/// [`correct_biases`] works on the reference graph.
///
/// # Errors
/// As [`quantc_quant::convert_to_reference_fx`] and [`quantc_rewrite::lower_quantized`].
pub fn convert_fx(
    prepared: &PreparedModel,
    qparams: &[ActivationQParams],
    rules: &RuleSet,
) -> Result<ConvertedModel, Error> {
    let ConvertedModel { graph, report } = convert_to_reference_fx(prepared, qparams)?;
    let (graph, _) = quantc_rewrite::lower_quantized(&graph, rules)?;
    Ok(ConvertedModel { graph, report })
}

/// Runs the samples through the observers.
pub(crate) fn observe(
    calibrator: &mut Calibrator<'_>,
    batches: &Batches,
    progress: &mut impl FnMut(usize),
) -> Result<(), Error> {
    for (start, count) in batches.ranges() {
        calibrator.observe(&batches.get(start, count)?)?;
        progress(start + count);
    }
    Ok(())
}

/// The graph as far as the backend can use it: where it has no pattern for a composed operator, its parts are quantized one by one.
fn for_backend<'g>(graph: &'g Graph, backend: &BackendConfig) -> Result<Cow<'g, Graph>, Error> {
    let mut graph = Cow::Borrowed(graph);
    let known = backend.ops();
    if !known.iter().any(|op| op.name() == COMPOSED) && graph.calls().any(|id| graph.node(id).is_op(COMPOSED)) {
        graph.to_mut().compose()?;
    }
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use quantc_tensor::{DType, TensorType};
    use quantc_testkit::{random_tensor, rng};

    use super::*;

    #[test]
    fn convert_fx_gives_the_pipelines_operators() {
        let text = "graph g(%x: f32[1,2]) {
  param @w: f32[2,2] = [1, 0.5, -0.25, 1]
  %a = linear(%x, @w)
  %y = relu(%a)
  return y=%y
}";
        let graph = quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let x = random_tensor(&mut rng(2), &TensorType::new(DType::F32, &[1, 2][..]));
        let inputs = vec![("x".to_owned(), x)];
        let mut options = QuantizeOptions::new(Mode::Static, "x86", None).unwrap_or_else(|e| panic!("{e}"));
        options.bias_correction = false;
        let batches = Batches::new(&graph, inputs.clone(), None, 1, None).unwrap_or_else(|e| panic!("{e}"));
        let made = quantize(&graph, &options, Some(&batches), |_| {}).unwrap_or_else(|e| panic!("{e}"));
        let prepared = quantc_quant::prepare_fx(&made.stages.canonical, &options.mapping, &options.backend)
            .unwrap_or_else(|e| panic!("{e}"));
        let mut calibrator = Calibrator::new(&prepared).unwrap_or_else(|e| panic!("{e}"));
        calibrator.observe(&inputs).unwrap_or_else(|e| panic!("{e}"));
        let qparams = calibrator.finish().unwrap_or_else(|e| panic!("{e}"));
        let model = convert_fx(&prepared, &qparams, &options.rules).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(model.graph.to_string(), made.stages.quantized.to_string());
        assert!(model.graph.calls().any(|id| model.graph.node(id).is_op("quantized.linear")), "{}", model.graph);
    }

    /// Weights in half precision are quantized as others are; what stays float is stored in half precision.
    #[test]
    fn weights_in_half_precision_are_quantized() {
        let text = "graph g(%x: f32[1,2]) {
  param @w: f16[2,2] = [1, 0.5, -0.25, 1]
  %h = to(@w) {dtype=f32}
  %a = linear(%x, %h)
  %b = mul(%a, %h)
  return y=%b
}";
        let graph = quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let mut options = QuantizeOptions::new(Mode::Dynamic, "x86", None).unwrap_or_else(|e| panic!("{e}"));
        let quantized = |options: &QuantizeOptions| {
            quantize(&graph, options, None, |_| {}).unwrap_or_else(|e| panic!("{e}")).stages.quantized
        };
        options.prepare_custom_config = options.prepare_custom_config.clone().set_preserved_attributes(&["w"]);
        let preserved = quantized(&options);
        assert_eq!(preserved.params()["w"].ty.dtype, DType::F16, "{preserved}");
        options.prepare_custom_config = PrepareCustomConfig::new();
        let quantized = quantized(&options);
        assert!(quantized.calls().any(|id| quantized.node(id).is_op("quantized.linear_dynamic")), "{quantized}");
        let mut dtypes: Vec<DType> = quantized.params().values().map(|param| param.ty.dtype).collect();
        dtypes.sort_unstable();
        let mut expected = [DType::F16, DType::F32, DType::I8];
        expected.sort_unstable();
        assert_eq!(dtypes, expected, "{quantized}");
        quantized.verify().unwrap_or_else(|e| panic!("{e}"));
    }

    /// A batch norm's parameters are folded long before convert is asked to keep them.
    #[test]
    fn convert_preserves_what_canonicalizing_folds() {
        let text = "graph g(%x: f32[1,2,3,3]) {
  param @w: f32[2,2,1,1] = [1, 0.5, -0.25, 1]
  param @g: f32[2] = [2, 3]
  param @b: f32[2] = [0, 1]
  %a = conv2d(%x, @w)
  %y = batch_norm(%a, @g, @b, @b, @g)
  return y=%y
}";
        let graph = quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let x = random_tensor(&mut rng(2), &TensorType::new(DType::F32, &[1, 2, 3, 3][..]));
        let batches = Batches::new(&graph, vec![("x".to_owned(), x)], None, 1, None).unwrap_or_else(|e| panic!("{e}"));
        let mut options = QuantizeOptions::new(Mode::Static, "x86", None).unwrap_or_else(|e| panic!("{e}"));
        let mut quantized = || {
            let made = quantize(&graph, &options, Some(&batches), |_| {}).unwrap_or_else(|e| panic!("{e}"));
            let (kept, own) = (made.stages.quantized.params().get("g"), &graph.params()["g"]);
            let kept = kept.map(|p| p.value.as_ref().zip(own.value.as_ref()).is_some_and(|(a, b)| a.bits_eq(b)));
            options.convert_custom_config = options.convert_custom_config.clone().set_preserved_attributes(&["g"]);
            kept
        };
        assert_eq!((quantized(), quantized()), (None, Some(true)));
    }
}
