//! Tables of embeddings as codes with a scale and a float zero point for each row
//! (torch.ao.nn.quantized.Embedding, EmbeddingBag).

use quantc_tensor::{DType, Dim, Tensor, TensorType, Value};

use crate::embedding::{INCLUDE_LAST_OFFSET, MODE, PADDING_IDX, bag_mode, eval_bags, infer_bags};
use crate::float::embedding::{CodeBits, Table};
use crate::index::resolve;
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

const BITS: AttrSpec = attr("bits", AttrDefault::Int(8), "Bits of a code: 8, or 4 with two codes in a byte.");
const COLUMNS: AttrSpec =
    attr("columns", AttrDefault::OptionalInt, "Columns of the table, if not as many as its bytes hold.");

fn code_bits(bits: i64) -> Result<CodeBits, OpError> {
    CodeBits::of(bits).ok_or_else(|| OpError::new(format!("`bits` can't be {bits}")).with_hint("8 or 4"))
}

/// The columns of rows of `bytes`, which `columns` says if some bits of the last byte are not used.
fn columns(bits: CodeBits, bytes: usize, columns: Option<i64>) -> Result<usize, OpError> {
    let held = if bits == CodeBits::Four { bytes.saturating_mul(2) } else { bytes };
    let Some(given) = columns else { return Ok(held) };
    usize::try_from(given)
        .ok()
        .filter(|&n| n <= held && bits.row_bytes(n) == bytes)
        .ok_or_else(|| OpError::new(format!("rows of {bytes} bytes do not hold {given} codes")))
}

/// Checks the table, inputs 0 to 2, and gives its columns.
fn infer_table(cx: &InferCx<'_>) -> Result<Dim, OpError> {
    cx.expect_dtype(0, &[DType::U8])?;
    let bits = code_bits(cx.int("bits")?)?;
    let [rows, bytes] = cx.ty(0)?.shape.dims() else {
        return Err(OpError::new(format!("a table of codes {}, which must be [rows, bytes]", cx.ty(0)?)));
    };
    for i in [1, 2] {
        cx.expect_dtype(i, &[DType::F32])?;
        if !cx.ty(i)?.shape.compatible(&std::iter::once(rows.clone()).collect()) {
            return Err(OpError::new(format!("scales and zero points {} of {rows} rows", cx.ty(i)?)));
        }
    }
    let given = if cx.has("columns") { Some(cx.int("columns")?) } else { None };
    match bytes {
        Dim::Known(n) => Ok(Dim::Known(columns(bits, *n, given)?)),
        _ => Ok(Dim::Unknown),
    }
}

/// The table of a call, inputs 0 to 2.
struct Codes {
    bits: CodeBits,
    codes: Tensor,
    scales: Tensor,
    zero_points: Tensor,
    rows: usize,
    columns: usize,
}

impl Codes {
    fn new(cx: &EvalCx<'_>) -> Result<Codes, OpError> {
        let bits = code_bits(cx.int("bits")?)?;
        let (codes, scales, zero_points) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let [rows, bytes] = *codes.shape() else {
            return Err(OpError::new(format!("a table of codes {}, which must be [rows, bytes]", codes.ty())));
        };
        if scales.shape() != [rows] || zero_points.shape() != [rows] {
            let (s, z) = (scales.ty(), zero_points.ty());
            return Err(OpError::new(format!("scales {s} and zero points {z} of {rows} rows")));
        }
        let given = if cx.has("columns") { Some(cx.int("columns")?) } else { None };
        Ok(Codes { bits, rows, columns: columns(bits, bytes, given)?, codes, scales, zero_points })
    }

    fn table(&self) -> Result<Table<'_>, OpError> {
        Ok(Table::Codes {
            bits: self.bits,
            codes: self.codes.slice()?,
            scales: self.scales.slice()?,
            zero_points: self.zero_points.slice()?,
        })
    }

    /// Some of the rows, `shape` before the columns.
    fn gather(&self, picked: &[usize], shape: &[usize]) -> Result<Vec<Value>, OpError> {
        let shape: Vec<usize> = shape.iter().copied().chain([self.columns]).collect();
        let mut out = vec![0.0; crate::dims::numel(&shape)?];
        let table = self.table()?;
        for (row, out) in picked.iter().zip(out.chunks_exact_mut(self.columns.max(1))) {
            table.copy(*row, out);
        }
        Ok(vec![Tensor::from_vec(&shape, out)?.into()])
    }
}

/// `dequantize_float_qparams`.
pub struct DequantizeFloatQParams;

impl Operator for DequantizeFloatQParams {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "dequantize_float_qparams",
                doc: "(q - zero_point[row]) * scale[row] with float zero points (torch.dequantize of a per_channel_affine_float_qparams tensor, quint8 or quint4x2).",
                inputs: &[required("input"), required("scales"), required("zero_points")],
                attrs: &[BITS, COLUMNS],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let columns = infer_table(cx)?;
        let rows = cx.ty(0)?.shape.dims()[0].clone();
        Ok(vec![TensorType { dtype: DType::F32, shape: [rows, columns].into_iter().collect() }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Unseen
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let codes = Codes::new(cx)?;
        let all: Vec<usize> = (0..codes.rows).collect();
        codes.gather(&all, &[codes.rows])
    }
}

/// `quantized.embedding`.
pub struct QEmbedding;

impl Operator for QEmbedding {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.embedding",
                doc: "gather(dequantize_float_qparams(weight), indices): only the rows picked are read (torch.ao.nn.quantized.Embedding).",
                inputs: &[required("weight"), required("scales"), required("zero_points"), required("indices")],
                attrs: &[BITS, COLUMNS],
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let columns = infer_table(cx)?;
        cx.expect_dtype(3, &[DType::I64, DType::I32])?;
        let shape = cx.ty(3)?.shape.dims().iter().cloned().chain([columns]).collect();
        Ok(vec![TensorType { dtype: DType::F32, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Unseen
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (codes, indices) = (Codes::new(cx)?, cx.tensor(3)?);
        codes.gather(&resolve(&indices, codes.rows)?, indices.shape())
    }
}

/// `quantized.embedding_bag`.
pub struct QEmbeddingBag;

impl Operator for QEmbeddingBag {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.embedding_bag",
                doc: "embedding_bag(dequantize_float_qparams(weight), ..): only the rows picked are read (torch.ao.nn.quantized.EmbeddingBag).",
                inputs: &[
                    required("weight"),
                    required("scales"),
                    required("zero_points"),
                    required("indices"),
                    optional("offsets"),
                    optional("per_sample_weights"),
                ],
                attrs: &[BITS, COLUMNS, MODE, INCLUDE_LAST_OFFSET, PADDING_IDX],
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        bag_mode(&cx.str("mode")?)?;
        let columns = infer_table(cx)?;
        Ok(vec![TensorType { dtype: DType::F32, shape: infer_bags(cx, 3, columns)? }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Unseen
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let codes = Codes::new(cx)?;
        eval_bags(cx, codes.table()?, [codes.rows, codes.columns], 3)
    }
}
