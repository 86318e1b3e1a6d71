//! Bags of embeddings.

use std::ops::Range;

use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value};

use crate::float::embedding::{BagMode, Table};
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

pub(crate) const MODE: AttrSpec =
    attr("mode", AttrDefault::Str("mean", &["sum", "mean", "max"]), "What becomes of a bag: `sum`, `mean` or `max`.");
pub(crate) const INCLUDE_LAST_OFFSET: AttrSpec = attr(
    "include_last_offset",
    AttrDefault::Bool(false),
    "Whether the last offset is the number of indices, not a bag.",
);
pub(crate) const PADDING_IDX: AttrSpec = attr("padding_idx", AttrDefault::OptionalInt, "An index that does not count.");

const INDEX_TYPES: &[DType] = &[DType::I64, DType::I32];

/// The mode of that name.
///
/// # Errors
/// If there is none.
pub fn bag_mode(name: &str) -> Result<BagMode, OpError> {
    match name {
        "sum" => Ok(BagMode::Sum),
        "mean" => Ok(BagMode::Mean),
        "max" => Ok(BagMode::Max),
        other => Err(OpError::new(format!("`mode` can't be {other:?}")).with_hint("sum, mean or max")),
    }
}

/// The shape of the bags of a table of `columns`. Inputs from `first` on are the indices, offsets and weights of the samples.
pub(crate) fn infer_bags(cx: &InferCx<'_>, first: usize, columns: Dim) -> Result<Shape, OpError> {
    cx.expect_dtype(first, INDEX_TYPES)?;
    let indices = &cx.ty(first)?.shape;
    let last = cx.bool("include_last_offset")?;
    let bags = match (indices.dims(), cx.opt_ty(first + 1)) {
        ([bags, _], None) => bags.clone(),
        ([_], Some(offsets)) if offsets.shape.rank() == 1 && INDEX_TYPES.contains(&offsets.dtype) => {
            match &offsets.shape.dims()[0] {
                Dim::Known(0) if last => return Err(OpError::new("offsets that include the last are at least one")),
                Dim::Known(n) if last => Dim::Known(n - 1),
                _ if last => Dim::Unknown,
                other => other.clone(),
            }
        }
        (_, offsets) => {
            let given = offsets.map_or("no offsets".to_owned(), |o| format!("offsets {o}"));
            return Err(OpError::new(format!("bags of indices {indices} with {given}"))
                .with_hint("indices [bags, size], or indices [n] and offsets [bags]"));
        }
    };
    if let Some(weights) = cx.opt_ty(first + 2) {
        if weights.dtype != DType::F32 || !weights.shape.compatible(indices) {
            return Err(OpError::new(format!("the samples' weights are {weights}, they must be f32{indices}")));
        }
        if cx.str("mode")? != "sum" {
            return Err(OpError::new("weights of samples are for `sum` alone (torch.nn.functional.embedding_bag)"));
        }
    }
    Ok([bags, columns].into_iter().collect())
}

/// Where the bags are in the indices.
pub struct Bags {
    /// The places of each bag, in order.
    pub places: Vec<Range<usize>>,
}

impl Bags {
    /// From offsets, or of equal size.
    ///
    /// # Errors
    /// If the offsets do not rise from 0, or end beyond the indices.
    pub fn new(indices: &[usize], offsets: Option<&[i64]>, include_last: bool) -> Result<Bags, OpError> {
        let count: usize = indices.iter().product();
        let Some(offsets) = offsets else {
            let size = indices.last().copied().unwrap_or(0);
            let bags = indices.first().copied().unwrap_or(0);
            return Ok(Bags { places: (0..bags).map(|b| b * size..(b + 1) * size).collect() });
        };
        let bags = if include_last { offsets.len().saturating_sub(1) } else { offsets.len() };
        let at =
            |b: usize| offsets.get(b).map_or(Ok(count), |o| usize::try_from(*o).map_err(|_| bad_offset(*o, count)));
        let mut places = Vec::with_capacity(bags);
        for (b, offset) in offsets.iter().enumerate().take(bags) {
            let (start, end) = (at(b)?, at(b + 1)?);
            if (b == 0 && start != 0) || start > end || end > count {
                return Err(bad_offset(*offset, count));
            }
            places.push(start..end);
        }
        Ok(Bags { places })
    }
}

fn bad_offset(offset: i64, count: usize) -> OpError {
    OpError::new(format!("the offset {offset} into {count} indices: they must rise from 0 to at most that"))
}

/// Checks indices into a table of so many rows; PyTorch has no negative ones.
pub(crate) fn rows(indices: &Tensor, rows: usize) -> Result<Vec<usize>, OpError> {
    let one = |i: i64| {
        usize::try_from(i)
            .ok()
            .filter(|&at| at < rows)
            .ok_or_else(|| OpError::new(format!("index {i} is outside a table of {rows} rows")))
    };
    indices.to_i64_vec().into_iter().map(one).collect()
}

/// The bags of a table `[rows, columns]`; inputs as in [`infer_bags`].
pub(crate) fn eval_bags(
    cx: &EvalCx<'_>,
    table: Table<'_>,
    [rows, columns]: [usize; 2],
    first: usize,
) -> Result<Vec<Value>, OpError> {
    let mode = bag_mode(&cx.str("mode")?)?;
    let indices = cx.tensor(first)?;
    let picked = self::rows(&indices, rows)?;
    let offsets = cx.opt_tensor(first + 1).map(|o| o.to_i64_vec());
    let bags = Bags::new(indices.shape(), offsets.as_deref(), cx.bool("include_last_offset")?)?;
    let weights = cx.opt_tensor(first + 2).map(|w| w.to_f32_vec());
    let padding = if cx.has("padding_idx") { padding_row(cx.int("padding_idx")?, rows) } else { None };
    let mut out = vec![0.0; crate::dims::numel(&[bags.places.len(), columns])?];
    for (places, out) in bags.places.iter().zip(out.chunks_exact_mut(columns.max(1))) {
        let row = |place: usize| Some(picked[place]).filter(|row| Some(*row) != padding);
        table.bag(mode, places.clone(), row, |place| weights.as_ref().map(|w| w[place]), out);
    }
    Ok(vec![Tensor::from_vec(&[bags.places.len(), columns], out)?.into()])
}

/// The row that a padding index names: negative ones count from the end.
pub fn padding_row(index: i64, rows: usize) -> Option<usize> {
    let at = if index < 0 { index.checked_add(i64::try_from(rows).ok()?)? } else { index };
    usize::try_from(at).ok()
}

/// `embedding_bag`.
pub struct EmbeddingBag;

impl Operator for EmbeddingBag {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "embedding_bag",
                doc: "Sum, mean or maximum of the table's rows at each bag of indices; a bag is a row of the indices, or starts at an offset (torch.nn.functional.embedding_bag).",
                inputs: &[required("weight"), required("indices"), optional("offsets"), optional("per_sample_weights")],
                attrs: &[MODE, INCLUDE_LAST_OFFSET, PADDING_IDX],
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        bag_mode(&cx.str("mode")?)?;
        cx.expect_dtype(0, &[DType::F32])?;
        let [_, columns] = cx.ty(0)?.shape.dims() else {
            return Err(OpError::new(format!("bags of a table {}, which must be [rows, columns]", cx.ty(0)?)));
        };
        Ok(vec![TensorType { dtype: DType::F32, shape: infer_bags(cx, 1, columns.clone())? }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let weight = cx.tensor(0)?;
        let [rows, columns] = *weight.shape() else {
            return Err(OpError::new(format!("bags of a table {}, which must be [rows, columns]", weight.ty())));
        };
        eval_bags(cx, Table::Float(weight.slice()?), [rows, columns], 1)
    }
}
