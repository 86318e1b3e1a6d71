//! `EmbeddingQuantizer`: tables of embeddings as codes (torch.ao.quantization.quantizer.embedding_quantizer).

use quantc_ir::NodeId;
use quantc_ops::Attr;
use quantc_tensor::QScheme;

use super::error::Pt2eError;
use super::quantizer::{AnnotatedGraph, Quantizer};
use super::spec::{QuantizationAnnotation, QuantizationSpec};
use super::xnnpack::QuantizationConfig;
use crate::qconfig::{ObserverDType, ObserverKind, ObserverSpec};

/// How a table of embeddings is quantized: u8 codes with a float scale and a float zero point for each row, nothing else
/// (PyTorch `get_embedding_operators_config`).
pub fn get_embedding_operators_config() -> QuantizationConfig {
    let spec = ObserverSpec {
        eps: 1.0 / 4096.0,
        ..ObserverSpec::new(ObserverKind::MinMax, ObserverDType::Quint8, QScheme::PerChannelAffineFloatQParams)
    };
    QuantizationConfig { input_activation: None, output_activation: None, weight: Some(QuantizationSpec::new(spec)) }
}

/// Quantizes the table of every embedding that is a parameter. A table of more than rows and columns, and rows that are looked up in
/// something computed, are no embeddings. The zero point is added before rounding, as by `torch.quantize_per_channel`. PyTorch's conversion
/// adds it after rounding and truncates the sum: half the codes are one too low, the error is up to 1.5 steps instead of 0.5 (normal
/// table of 200 rows and 64 columns, torch 2.8.0).
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbeddingQuantizer;

impl EmbeddingQuantizer {
    /// The quantizer; it has no settings.
    pub fn new() -> EmbeddingQuantizer {
        EmbeddingQuantizer
    }
}

/// Whether a call looks up rows of a table that is a parameter.
fn is_embedding(model: &AnnotatedGraph, id: NodeId) -> bool {
    let node = model.graph.node(id);
    let Some((op, attrs)) = node.call().filter(|(op, _)| op.name() == "gather") else { return false };
    let table = node.inputs().first().copied().flatten();
    let is_param = |v| model.graph.node(v).param().is_some();
    op.signature().attr(attrs, "dim") == Some(Attr::Int(0))
        && table.is_some_and(|v| is_param(v.node) && model.graph.ty(v).shape.dims().len() == 2)
}

impl Quantizer for EmbeddingQuantizer {
    fn name(&self) -> String {
        "EmbeddingQuantizer".to_owned()
    }

    fn annotate(&self, model: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
        let weight = get_embedding_operators_config().weight;
        let calls: Vec<NodeId> = model.graph.calls().filter(|id| is_embedding(model, *id)).collect();
        for id in calls {
            if model.annotation(id).is_some() {
                continue;
            }
            let table = model.graph.node(id).inputs().first().copied().flatten();
            if let (Some(table), Some(weight)) = (table, weight.clone()) {
                model.annotate(id, QuantizationAnnotation::decided().input(table, weight));
            }
        }
        Ok(())
    }

    fn validate(&self, _model: &AnnotatedGraph) -> Result<(), Pt2eError> {
        // What it annotates is what it supports.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quantc_interp::Interpreter;
    use quantc_ir::Graph;
    use quantc_pattern::Library;
    use quantc_rewrite::lower_quantized;
    use quantc_tensor::Tensor;

    use super::*;
    use crate::pt2e::{ConvertOptions, Pt2eCalibrator, convert_pt2e, prepare_pt2e};
    use crate::{Calibrator, QConfigMapping, convert_to_reference_fx, prepare_fx, qconfig};

    const NET: &str = "graph g(%ids: i64[2,3], %x: f32[2,2]) {
  param @words.weight: f32[3,2] = [0.5, -0.25, 1.5, 0.875, -2, -0.3]
  %found = gather(@words.weight, %ids) {dim=0} : f32[2,3,2]  # words: Embedding(embedding, 0)
  %tied = linear(%x, @words.weight, none) : f32[2,3]
  return y=%found, z=%tied
}";
    const IDS: [usize; 6] = [0, 2, 1, 1, 2, 0];

    fn run(graph: &Graph) -> [Vec<f32>; 2] {
        let ids = Tensor::from_vec(&[2, 3], IDS.map(|i| i as i64).to_vec()).expect("fits");
        let x = Tensor::from_vec(&[2, 2], vec![0.5f32, -1.0, 2.0, 0.25]).expect("fits");
        let inputs = [("ids".to_owned(), ids), ("x".to_owned(), x)];
        let outputs = Interpreter::new(graph).run(&inputs).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        [outputs[0].1.to_f32_vec(), outputs[1].1.to_f32_vec()]
    }

    fn convert(graph: &Graph, quantizer: &dyn Quantizer) -> Result<Graph, Pt2eError> {
        let prepared = prepare_pt2e(graph, quantizer)?;
        let calibrator = Pt2eCalibrator::new(&prepared)?;
        assert!(!calibrator.needs_calibration());
        convert_pt2e(&prepared, &calibrator.finish()?, ConvertOptions::default())
    }

    /// A reader of the table that is no embedding still has the floats.
    #[test]
    fn embeddings_are_looked_up_in_codes() {
        let graph = quantc_ir::text::parse(NET).unwrap_or_else(|e| panic!("{e}"));
        let converted = convert(&graph, &EmbeddingQuantizer::new()).unwrap_or_else(|e| panic!("{e}"));
        let (got, float) = (run(&converted), run(&graph));
        assert_eq!(got[1], float[1]);
        assert_ne!(got[0], float[0]);
        // Each row has its own range, which need not include 0. Half a step at most (PyTorch's conversion: one and a half).
        let steps = [0.75, 0.625, 1.7].map(|range: f32| range / 255.0);
        for (i, (got, want)) in got[0].iter().zip(&float[0]).enumerate() {
            assert!((got - want).abs() <= 0.5001 * steps[IDS[i / 2]], "{i}: {got} for {want}");
        }
        let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
        let backend = library.backend("x86").unwrap_or_else(|e| panic!("{e}"));
        let mapping = QConfigMapping::new().set_global(qconfig::named("float_qparams_weight_only_qconfig"));
        let prepared = prepare_fx(&graph, &mapping, backend).unwrap_or_else(|e| panic!("{e}"));
        let qparams = Calibrator::new(&prepared).and_then(Calibrator::finish).unwrap_or_else(|e| panic!("{e}"));
        let fx = convert_to_reference_fx(&prepared, &qparams).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(run(&fx.graph), got, "as by a mapping");
        let (lowered, _) = lower_quantized(&converted, &library.rules_for(backend)).unwrap_or_else(|e| panic!("{e}"));
        assert!(lowered.calls().any(|id| lowered.node(id).is_op("quantized.embedding")), "{lowered}");
        assert_eq!(run(&lowered), got);
    }

    #[test]
    fn float_zero_points_are_for_tables() {
        struct Everything;
        impl Quantizer for Everything {
            fn name(&self) -> String {
                "Everything".to_owned()
            }
            fn annotate(&self, model: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
                let calls: Vec<NodeId> =
                    model.graph.calls().filter(|id| model.graph.node(*id).is_op("linear")).collect();
                let Some(spec) = get_embedding_operators_config().weight else { return Ok(()) };
                for id in calls {
                    let Some(Some(x)) = model.graph.node(id).inputs().first().copied() else { continue };
                    model.annotate(id, QuantizationAnnotation::decided().input(x, spec.clone()));
                }
                Ok(())
            }
            fn validate(&self, _: &AnnotatedGraph) -> Result<(), Pt2eError> {
                Ok(())
            }
        }
        let graph = quantc_ir::text::parse(NET).unwrap_or_else(|e| panic!("{e}"));
        let error = convert(&graph, &Everything).expect_err("x is computed");
        assert!(error.to_string().contains("only a table that is a parameter has float zero points"), "{error}");
        let declared = NET.replace(" = [0.5, -0.25, 1.5, 0.875, -2, -0.3]", "");
        let graph = quantc_ir::text::parse(&declared).unwrap_or_else(|e| panic!("{e}"));
        let error = convert(&graph, &EmbeddingQuantizer::new()).expect_err("no values");
        assert!(error.to_string().contains("the weight `words.weight`: it has no value"), "{error}");
    }
}
