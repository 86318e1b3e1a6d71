//! Pooling over windows.

use quantc_tensor::{DType, Dim, Element, Scale, Shape, Tensor, TensorType, Value};
use rayon::prelude::*;

use crate::activation::UNARY_INPUT;
use crate::conv::{DILATION, PADDING, scaled};
use crate::dims::moved;
use crate::spec::attr;
use crate::window::{Grid, Window, fold_windows, spatial};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

const KERNEL: AttrSpec = attr("kernel_size", AttrDefault::RequiredInts, "Size of the window.");
const STRIDE: AttrSpec = attr("stride", AttrDefault::Ints(&[]), "Step of the window; empty is the window's size.");
const CEIL_MODE: AttrSpec =
    attr("ceil_mode", AttrDefault::Bool(false), "Whether a last window may hang over the padded input.");
const COUNT_INCLUDE_PAD: AttrSpec =
    attr("count_include_pad", AttrDefault::Bool(true), "Whether padding counts as elements of value 0.");
pub(crate) const OUTPUT_SIZE: AttrSpec = attr("output_size", AttrDefault::RequiredInts, "Size of the result.");

/// The attributes of `avg_pool` without the quantization ones.
pub(crate) const AVG_POOL_ATTRS: [AttrSpec; 5] = [KERNEL, STRIDE, PADDING, CEIL_MODE, COUNT_INCLUDE_PAD];

/// `max_pool1d`, `max_pool2d`, `max_pool3d`.
pub struct MaxPool {
    sig: &'static Signature,
    rank: usize,
}

/// `avg_pool1d`, `avg_pool2d`, `avg_pool3d`.
pub struct AvgPool {
    sig: &'static Signature,
    rank: usize,
}

/// `adaptive_avg_pool1d`, `adaptive_avg_pool2d`, `adaptive_avg_pool3d`.
pub struct AdaptiveAvgPool {
    sig: &'static Signature,
    rank: usize,
}

macro_rules! pool {
    ($id:ident: $ty:ident, $name:literal, $rank:literal, $attrs:expr, $doc:literal) => {
        #[doc = $doc]
        pub static $id: $ty = $ty {
            sig: &Signature { name: $name, doc: $doc, inputs: UNARY_INPUT, attrs: $attrs, class: OpClass::Pool },
            rank: $rank,
        };
    };
}
const MAX_ATTRS: &[AttrSpec] = &[KERNEL, STRIDE, PADDING, DILATION, CEIL_MODE];
pool!(
    MAX_POOL1D: MaxPool,
    "max_pool1d",
    1,
    MAX_ATTRS,
    "The largest element of each window (torch.nn.functional.max_pool1d, ONNX MaxPool)."
);
pool!(
    MAX_POOL2D: MaxPool,
    "max_pool2d",
    2,
    MAX_ATTRS,
    "The largest element of each window (torch.nn.functional.max_pool2d, ONNX MaxPool)."
);
pool!(
    MAX_POOL3D: MaxPool,
    "max_pool3d",
    3,
    MAX_ATTRS,
    "The largest element of each window (torch.nn.functional.max_pool3d, ONNX MaxPool)."
);
pool!(
    AVG_POOL1D: AvgPool,
    "avg_pool1d",
    1,
    &AVG_POOL_ATTRS,
    "The mean of each window (torch.nn.functional.avg_pool1d, ONNX AveragePool)."
);
pool!(
    AVG_POOL2D: AvgPool,
    "avg_pool2d",
    2,
    &AVG_POOL_ATTRS,
    "The mean of each window (torch.nn.functional.avg_pool2d, ONNX AveragePool)."
);
pool!(
    AVG_POOL3D: AvgPool,
    "avg_pool3d",
    3,
    &AVG_POOL_ATTRS,
    "The mean of each window (torch.nn.functional.avg_pool3d, ONNX AveragePool)."
);
pool!(
    ADAPTIVE_AVG_POOL1D: AdaptiveAvgPool,
    "adaptive_avg_pool1d",
    1,
    &[OUTPUT_SIZE],
    "Means of windows that divide the input evenly (torch.nn.functional.adaptive_avg_pool1d; size 1: ONNX GlobalAveragePool)."
);
pool!(
    ADAPTIVE_AVG_POOL2D: AdaptiveAvgPool,
    "adaptive_avg_pool2d",
    2,
    &[OUTPUT_SIZE],
    "Means of windows that divide the input evenly (torch.nn.functional.adaptive_avg_pool2d; size 1: ONNX GlobalAveragePool)."
);
pool!(
    ADAPTIVE_AVG_POOL3D: AdaptiveAvgPool,
    "adaptive_avg_pool3d",
    3,
    &[OUTPUT_SIZE],
    "Means of windows that divide the input evenly (torch.nn.functional.adaptive_avg_pool3d; size 1: ONNX GlobalAveragePool)."
);

/// Window and rounding of a pooling call.
#[derive(Clone, Debug)]
pub struct PoolParams {
    rank: usize,
    window: Window,
    ceil_mode: bool,
}

impl PoolParams {
    fn new(
        rank: usize,
        ints: impl Fn(&str) -> Result<Vec<i64>, OpError>,
        dilation: &[i64],
        ceil_mode: bool,
    ) -> Result<PoolParams, OpError> {
        let given = ints("kernel_size")?;
        let kernel = crate::dims::sizes(&given)?;
        let kernel = if kernel.len() == 1 { vec![kernel[0]; rank] } else { kernel };
        if kernel.len() != rank || given.iter().any(|&k| k > i64::from(i32::MAX)) {
            return Err(OpError::new(format!("`kernel_size` {given:?} for {rank} spatial dimensions")));
        }
        let window = Window::new(&kernel, &ints("stride")?, &kernel, &ints("padding")?, dilation)?;
        Ok(PoolParams { rank, window, ceil_mode })
    }

    /// Attributes of an average pooling being evaluated.
    ///
    /// # Errors
    /// If an attribute is missing or out of range.
    pub fn average(rank: usize, cx: &EvalCx<'_>) -> Result<PoolParams, OpError> {
        PoolParams::new(rank, |n| cx.ints(n), &[], cx.bool("ceil_mode")?)
    }

    /// Attributes of an average pooling being typed.
    ///
    /// # Errors
    /// If an attribute is missing or out of range.
    pub fn infer_average(rank: usize, cx: &InferCx<'_>) -> Result<PoolParams, OpError> {
        PoolParams::new(rank, |n| cx.ints(n), &[], cx.bool("ceil_mode")?)
    }

    /// Shape of the result.
    ///
    /// # Errors
    /// If the input has another rank or is smaller than the window.
    pub fn infer(&self, x: &Shape) -> Result<Shape, OpError> {
        check_rank(x.rank(), self.rank)?;
        let mut dims = x.dims()[..2].to_vec();
        for d in 0..self.rank {
            dims.push(self.window.count_dim(3 - self.rank + d, &x.dims()[2 + d], self.ceil_mode)?);
        }
        Ok(dims.into_iter().collect())
    }

    fn grid(&self, shape: &[usize]) -> Result<(Grid, Vec<usize>), OpError> {
        check_rank(shape.len(), self.rank)?;
        let grid = self.window.over(spatial(shape, self.rank), self.ceil_mode)?;
        let mut out = shape[..2].to_vec();
        out.extend_from_slice(&grid.output[3 - self.rank..]);
        crate::dims::numel(&out)?;
        Ok((grid, out))
    }
}

fn check_rank(rank: usize, spatial: usize) -> Result<(), OpError> {
    if rank == spatial + 2 {
        return Ok(());
    }
    Err(OpError::new(format!(
        "pooling over {spatial} dimensions takes [N, C, ...] of {} dimensions, not {rank}",
        spatial + 2
    )))
}

/// `f(plane in, plane out)` for every channel, on the current rayon pool.
fn planes<T: Element>(
    x: &[T],
    in_len: usize,
    out_len: usize,
    count: usize,
    f: impl Fn(&[T], &mut [T]) + Sync,
) -> Vec<T> {
    let mut out = vec![T::default(); count * out_len];
    if out_len > 0 && in_len > 0 {
        out.par_chunks_exact_mut(out_len).with_min_len(16).zip(x.par_chunks_exact(in_len)).for_each(|(o, x)| f(x, o));
    }
    out
}

fn max_pool_of<T: Element>(
    x: &Tensor,
    grid: &Grid,
    shape: &[usize],
    lowest: T,
    larger: impl Fn(T, T) -> T + Sync,
) -> Result<Tensor, OpError> {
    let count = shape[0] * shape[1];
    let out = planes(x.slice::<T>()?, grid.in_len(), grid.out_len(), count, |x, out| {
        fold_windows(x, grid, lowest, |a, b, _| larger(a, b), out);
    });
    Ok(Tensor::from_vec(shape, out)?)
}

/// `lowest` is what a window that lies in the padding gives where the type's lowest number is not in use.
fn max_pool(x: &Tensor, params: &PoolParams, lowest: i32) -> Result<Tensor, OpError> {
    let (grid, shape) = params.grid(x.shape())?;
    match x.dtype() {
        // NaN wins, as in PyTorch.
        DType::F32 => {
            max_pool_of(x, &grid, &shape, f32::NEG_INFINITY, |a: f32, b| if b > a || b.is_nan() { b } else { a })
        }
        DType::U8 => max_pool_of(x, &grid, &shape, u8::MIN, Ord::max),
        DType::I8 => max_pool_of(x, &grid, &shape, i8::MIN, Ord::max),
        DType::I32 => max_pool_of(x, &grid, &shape, lowest, Ord::max),
        other => Err(OpError::new(format!("max pooling of {other}"))),
    }
}

impl Operator for MaxPool {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = cx.expect_dtype(0, &[DType::F32, DType::U8, DType::I8])?;
        let params = PoolParams::new(self.rank, |n| cx.ints(n), &cx.ints("dilation")?, cx.bool("ceil_mode")?)?;
        Ok(vec![TensorType { dtype, shape: params.infer(&cx.ty(0)?.shape)? }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Moved
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let params = PoolParams::new(self.rank, |n| cx.ints(n), &cx.ints("dilation")?, cx.bool("ceil_mode")?)?;
        let x = cx.value(0)?;
        let lowest = if let Value::Scaled(s) = x { s.lowest } else { i32::MIN };
        Ok(vec![moved(x, |x| max_pool(x, &params, lowest))?])
    }
}

/// Elements that count for each window along one dimension.
fn counts(grid: &Grid, d: usize, include_pad: bool) -> Vec<usize> {
    let w = &grid.window;
    let padded = grid.input[d] + w.pad_begin[d] + w.pad_end[d];
    (0..grid.output[d])
        .map(|out| {
            (0..w.kernel[d])
                .filter(|&tap| {
                    // Beyond the padding, where ceil_mode may reach, nothing counts.
                    if include_pad { out * w.stride[d] + tap < padded } else { grid.source(d, out, tap).is_some() }
                })
                .count()
        })
        .collect()
}

/// Sums of windows divided by their counts: `sums(x)` gives the integer or real sums of the windows.
///
/// A scaled input with one count for all windows stays scaled, its scale divided by the count; else the result is
/// `f32(sum) * (scale / count)`. A dense input gives `sum / count`.
fn average(
    x: &Value,
    shape: &[usize],
    counts: &[usize],
    sums_i32: impl FnOnce(&[i32]) -> Vec<i32>,
    sums_f32: impl FnOnce(&[f32]) -> Vec<f32>,
) -> Result<Value, OpError> {
    if let Value::Scaled(x) = x
        && let Some(s) = x.code_scale()
    {
        let sums = sums_i32(x.ints.slice()?);
        let first = counts.first().copied().unwrap_or(1);
        if counts.iter().all(|&n| n == first) {
            return Ok(scaled(shape, sums, Scale::PerTensor(s / first as f32))?);
        }
        let data: Vec<f32> = sums.iter().zip(counts.iter().cycle()).map(|(&v, &n)| v as f32 * (s / n as f32)).collect();
        return Ok(Tensor::from_vec(shape, data)?.into());
    }
    let x = x.to_tensor();
    let mut data = sums_f32(x.slice()?);
    data.iter_mut().zip(counts.iter().cycle()).for_each(|(v, &n)| *v /= n as f32);
    Ok(Tensor::from_vec(shape, data)?.into())
}

/// Products of the counts along the three dimensions, for every window.
fn window_counts(along: &[Vec<usize>; 3]) -> Vec<usize> {
    let [d, h, w] = along;
    d.iter().flat_map(|&d| h.iter().flat_map(move |&h| w.iter().map(move |&w| d * h * w))).collect()
}

/// Average pooling of a value (see [`AvgPool`]).
///
/// # Errors
/// If sizes or types do not fit.
pub fn avg_pool(x: &Value, params: &PoolParams, count_include_pad: bool) -> Result<Value, OpError> {
    let (grid, shape) = params.grid(x.shape())?;
    let counts = window_counts(&[0, 1, 2].map(|d| counts(&grid, d, count_include_pad)));
    let (in_len, out_len, count) = (grid.in_len(), grid.out_len(), shape[0] * shape[1]);
    average(
        x,
        &shape,
        &counts,
        |x| {
            planes(x, in_len, out_len, count, |x, out| fold_windows(x, &grid, 0, |a: i32, b, _| a.wrapping_add(b), out))
        },
        |x| planes(x, in_len, out_len, count, |x, out| fold_windows(x, &grid, 0.0, |a, b, _| a + b, out)),
    )
}

impl Operator for AvgPool {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = cx.expect_dtype(0, &[DType::F32])?;
        let shape = PoolParams::infer_average(self.rank, cx)?.infer(&cx.ty(0)?.shape)?;
        Ok(vec![TensorType { dtype, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Computed
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let params = PoolParams::average(self.rank, cx)?;
        Ok(vec![avg_pool(cx.value(0)?, &params, cx.bool("count_include_pad")?)?])
    }
}

/// The result size of an adaptive pooling.
///
/// # Errors
/// If an entry is not positive or their number is wrong.
pub fn adaptive_size(rank: usize, list: &[i64]) -> Result<Vec<usize>, OpError> {
    let size = crate::dims::sizes(list)?;
    let size = if size.len() == 1 { vec![size[0]; rank] } else { size };
    if size.len() != rank || size.contains(&0) {
        return Err(OpError::new(format!("`output_size` {list:?} for {rank} spatial dimensions")));
    }
    Ok(size)
}

/// Shape of an adaptive pooling.
///
/// # Errors
/// If the input has another rank.
pub fn infer_adaptive(x: &Shape, size: &[usize]) -> Result<Shape, OpError> {
    check_rank(x.rank(), size.len())?;
    Ok(x.dims()[..2].iter().cloned().chain(size.iter().map(|&n| Dim::Known(n))).collect())
}

/// Adaptive average pooling of a value: window `i` of `n` over a size `s` is `floor(i s / n)..ceil((i + 1) s / n)`.
///
/// # Errors
/// If sizes or types do not fit.
pub fn adaptive_avg_pool(x: &Value, size: &[usize]) -> Result<Value, OpError> {
    let shape = infer_adaptive(&Shape::known(x.shape()), size)?.to_known().unwrap_or_default();
    crate::dims::numel(&shape)?;
    let (input, output) = (spatial(x.shape(), size.len()), spatial(&shape, size.len()));
    if input.contains(&0) {
        return Err(OpError::new(format!("adaptive pooling of an empty input {:?}", x.shape())));
    }
    let ranges = [0, 1, 2].map(|d| -> Vec<std::ops::Range<usize>> {
        (0..output[d]).map(|i| i * input[d] / output[d]..((i + 1) * input[d]).div_ceil(output[d])).collect()
    });
    let counts = window_counts(&[0, 1, 2].map(|d| ranges[d].iter().map(|r| r.len()).collect()));
    let (in_len, out_len, count) = (input.iter().product(), output.iter().product(), shape[0] * shape[1]);
    fn fold<T: Element>(
        x: &[T],
        input: [usize; 3],
        ranges: &[Vec<std::ops::Range<usize>>; 3],
        add: impl Fn(T, T) -> T,
        out: &mut [T],
    ) {
        let mut out = out.iter_mut();
        for d in &ranges[0] {
            for h in &ranges[1] {
                for w in &ranges[2] {
                    let mut sum = T::default();
                    for i in d.clone() {
                        for j in h.clone() {
                            let line = &x[(i * input[1] + j) * input[2]..][..input[2]];
                            sum = line[w.clone()].iter().fold(sum, |a, &b| add(a, b));
                        }
                    }
                    if let Some(o) = out.next() {
                        *o = sum;
                    }
                }
            }
        }
    }
    average(
        x,
        &shape,
        &counts,
        |x| planes(x, in_len, out_len, count, |x, out| fold(x, input, &ranges, i32::wrapping_add, out)),
        |x| planes(x, in_len, out_len, count, |x, out| fold(x, input, &ranges, |a, b| a + b, out)),
    )
}

impl Operator for AdaptiveAvgPool {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = cx.expect_dtype(0, &[DType::F32])?;
        let size = adaptive_size(self.rank, &cx.ints("output_size")?)?;
        Ok(vec![TensorType { dtype, shape: infer_adaptive(&cx.ty(0)?.shape, &size)? }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Computed
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let size = adaptive_size(self.rank, &cx.ints("output_size")?)?;
        Ok(vec![adaptive_avg_pool(cx.value(0)?, &size)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attrs;
    use crate::quantize::dequantize;

    #[test]
    fn a_window_in_the_padding_gives_the_lowest_code() {
        // Dilation steps over the only element.
        let attrs = Attrs::new()
            .with("kernel_size", vec![2i64])
            .with("padding", vec![1i64])
            .with("stride", vec![1i64])
            .with("dilation", vec![2i64]);
        let pool = |x: Value| MAX_POOL1D.eval(&EvalCx::new(MAX_POOL1D.signature(), &[Some(x)], &attrs)).expect("fits");
        let codes = Tensor::from_vec(&[1, 1, 1], vec![200u8]).expect("fits");
        let pooled = pool(Value::Dense(codes.clone())).swap_remove(0).to_tensor();
        let real = pool(dequantize(&codes, 0.5, 7).expect("u8")).swap_remove(0).to_tensor();
        assert_eq!(pooled.to_f32_vec(), [0.0]);
        assert_eq!(real.to_f32_vec(), [-3.5]);
    }
}
