//! Resampling and rearrangement of images.

use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value, with_data};

use crate::activation::UNARY_INPUT;
use crate::dims::{moved, numel, sizes};
use crate::slice::take;
use crate::spec::attr;
use crate::strided::{signed_strides, view};
use crate::{AttrDefault, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

/// `interpolate`.
pub struct Interpolate;

/// Attributes of a call.
struct Params {
    size: Vec<i64>,
    factor: Vec<f32>,
    bilinear: bool,
    align_corners: bool,
}

impl Params {
    fn new(size: Vec<i64>, factor: Vec<f32>, mode: &str, align_corners: bool) -> Result<Params, OpError> {
        let bilinear = match mode {
            "nearest" => false,
            "bilinear" => true,
            other => {
                return Err(OpError::new(format!("`mode` of `interpolate` can't be {other:?}"))
                    .with_hint("nearest or bilinear"));
            }
        };
        if size.is_empty() == factor.is_empty() {
            return Err(OpError::new("`interpolate` needs either `size` or `scale_factor`"));
        }
        Ok(Params { size, factor, bilinear, align_corners })
    }

    fn at<T: Copy>(list: &[T], d: usize, rank: usize) -> Result<T, OpError> {
        match list {
            [one] => Ok(*one),
            list if list.len() == rank => Ok(list[d]),
            list => Err(OpError::new(format!("{} entries for {rank} spatial dimensions", list.len()))),
        }
    }

    /// Size of the result along spatial dimension `d`, and how far one step in it goes in the input.
    fn target(&self, d: usize, rank: usize, input: usize) -> Result<(usize, f32), OpError> {
        let (out, step) = if self.size.is_empty() {
            let factor = Params::at(&self.factor, d, rank)?;
            if !(factor > 0.0 && factor.is_finite()) {
                return Err(OpError::new(format!("`scale_factor` can't be {factor}")));
            }
            ((input as f64 * f64::from(factor)).floor() as usize, 1.0 / factor)
        } else {
            let out = sizes(&[Params::at(&self.size, d, rank)?])?[0];
            (out, input as f32 / out.max(1) as f32)
        };
        if out == 0 || input == 0 {
            return Err(OpError::new(format!("`interpolate` from a size of {input} to {out}")));
        }
        let step = match (self.bilinear && self.align_corners, out) {
            (true, 1) => 0.0,
            (true, _) => (input - 1) as f32 / (out - 1) as f32,
            _ => step,
        };
        Ok((out, step))
    }

    fn infer(&self, x: &Shape) -> Result<Shape, OpError> {
        let rank = x.rank().saturating_sub(2);
        if !(1..=3).contains(&rank) || self.bilinear && rank != 2 {
            return Err(OpError::new(format!("`interpolate` of {x}")));
        }
        let mut dims = x.dims()[..2].to_vec();
        for (d, dim) in x.dims()[2..].iter().enumerate() {
            dims.push(match dim.known() {
                Some(n) => Dim::Known(self.target(d, rank, n)?.0),
                None if !self.size.is_empty() => Dim::Known(sizes(&[Params::at(&self.size, d, rank)?])?[0]),
                None => Dim::Unknown,
            });
        }
        Ok(dims.into_iter().collect())
    }

    fn nearest(&self, t: &Tensor) -> Result<Tensor, OpError> {
        let rank = t.rank() - 2;
        let mut out = t.clone();
        for d in 0..rank {
            let input = t.shape()[2 + d];
            let (size, step) = self.target(d, rank, input)?;
            let index: Vec<Option<usize>> =
                (0..size).map(|i| Some(((i as f32 * step).floor() as usize).min(input - 1))).collect();
            let mut shape = out.shape().to_vec();
            shape[2 + d] = size;
            numel(&shape)?;
            out = with_data!(&out, |data| {
                let fill = Default::default();
                Tensor::from_vec(&shape, take(data.as_slice().unwrap_or(&[]), data.shape(), 2 + d, &index, fill))?
            });
        }
        Ok(out)
    }

    /// Index of the two neighbours and the weight of the second, for every place along a dimension.
    fn neighbours(&self, d: usize, input: usize) -> Result<Vec<(usize, usize, f32)>, OpError> {
        let (size, step) = self.target(d, 2, input)?;
        Ok((0..size)
            .map(|i| {
                let at = if self.align_corners { i as f32 * step } else { ((i as f32 + 0.5) * step - 0.5).max(0.0) };
                let low = (at as usize).min(input - 1);
                (low, (low + 1).min(input - 1), at - low as f32)
            })
            .collect())
    }

    fn bilinear(&self, t: &Tensor) -> Result<Tensor, OpError> {
        let x = t.slice::<f32>()?;
        let (h, w) = (t.shape()[2], t.shape()[3]);
        let (rows, cols) = (self.neighbours(0, h)?, self.neighbours(1, w)?);
        let shape = [t.shape()[0], t.shape()[1], rows.len(), cols.len()];
        let mut out = Vec::with_capacity(numel(&shape)?);
        for plane in x.chunks_exact(h * w) {
            for &(top, bottom, fy) in &rows {
                let (top, bottom) = (&plane[top * w..][..w], &plane[bottom * w..][..w]);
                out.extend(cols.iter().map(|&(left, right, fx)| {
                    let upper = top[left] * (1.0 - fx) + top[right] * fx;
                    let lower = bottom[left] * (1.0 - fx) + bottom[right] * fx;
                    upper * (1.0 - fy) + lower * fy
                }));
            }
        }
        Ok(Tensor::from_vec(&shape, out)?)
    }
}

impl Operator for Interpolate {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "interpolate",
                doc: "Resampled to another size: `nearest` (index floor(i * in / out)) or `bilinear` (pixel centres at half) (torch.nn.functional.interpolate, ONNX Resize).",
                inputs: UNARY_INPUT,
                attrs: &[
                    attr("size", AttrDefault::Ints(&[]), "Spatial size of the result."),
                    attr("scale_factor", AttrDefault::Floats(&[]), "Factor of each spatial size, instead of `size`."),
                    attr("mode", AttrDefault::Str("nearest"), "`nearest` or `bilinear`."),
                    attr("align_corners", AttrDefault::Bool(false), "Bilinear: the corner pixels keep their places."),
                ],
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let p = Params::new(cx.ints("size")?, cx.floats("scale_factor")?, &cx.str("mode")?, cx.bool("align_corners")?)?;
        let dtype = if p.bilinear { cx.expect_dtype(0, &[DType::F32])? } else { cx.ty(0)?.dtype };
        Ok(vec![TensorType { dtype, shape: p.infer(&cx.ty(0)?.shape)? }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Moved
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let p = Params::new(cx.ints("size")?, cx.floats("scale_factor")?, &cx.str("mode")?, cx.bool("align_corners")?)?;
        let x = cx.value(0)?;
        numel(&p.infer(&Shape::known(x.shape()))?.to_known().unwrap_or_default())?;
        Ok(vec![if p.bilinear { p.bilinear(&x.to_tensor())?.into() } else { moved(x, |t| p.nearest(t))? }])
    }
}

/// `depth_to_space` and `pixel_shuffle`.
pub struct DepthToSpace {
    sig: &'static Signature,
    factor: &'static str,
}

/// `pixel_shuffle`.
pub static PIXEL_SHUFFLE: DepthToSpace = DepthToSpace {
    sig: &Signature {
        name: "pixel_shuffle",
        doc: "[N, C r r, H, W] to [N, C, H r, W r] (torch.nn.functional.pixel_shuffle, ONNX DepthToSpace with mode CRD).",
        inputs: UNARY_INPUT,
        attrs: &[attr("upscale_factor", AttrDefault::RequiredInt, "The factor r.")],
        class: OpClass::Movement,
    },
    factor: "upscale_factor",
};

/// `depth_to_space`.
pub static DEPTH_TO_SPACE: DepthToSpace = DepthToSpace {
    sig: &Signature {
        name: "depth_to_space",
        doc: "[N, r r C, H, W] to [N, C, H r, W r], the block's place slowest in the channels (ONNX DepthToSpace with mode DCR).",
        inputs: UNARY_INPUT,
        attrs: &[attr("block_size", AttrDefault::RequiredInt, "The factor r.")],
        class: OpClass::Movement,
    },
    factor: "block_size",
};

fn shuffled(x: &Shape, factor: i64) -> Result<(Shape, usize), OpError> {
    let bad = || OpError::new(format!("{x} rearranged by {factor}"));
    let r = usize::try_from(factor).ok().filter(|&r| (1..=1 << 15).contains(&r)).ok_or_else(bad)?;
    let [n, c, h, w] = x.dims() else { return Err(bad()) };
    if c.known().is_some_and(|c| !c.is_multiple_of(r * r)) {
        return Err(bad());
    }
    let grown = |d: &Dim, f: fn(usize, usize) -> usize, by| d.known().map_or(Dim::Unknown, |n| Dim::Known(f(n, by)));
    let channels = grown(c, |n, by| n / by, r * r);
    Ok((
        [n.clone(), channels, grown(h, usize::saturating_mul, r), grown(w, usize::saturating_mul, r)]
            .into_iter()
            .collect(),
        r,
    ))
}

impl Operator for DepthToSpace {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        Ok(vec![TensorType { dtype: x.dtype, shape: shuffled(&x.shape, cx.int(self.factor)?)?.0 }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let factor = cx.int(self.factor)?;
        let column_first = self.factor == "upscale_factor";
        Ok(vec![moved(cx.value(0)?, |t| {
            let (shape, r) = shuffled(&Shape::known(t.shape()), factor)?;
            let shape = shape.to_known().unwrap_or_default();
            let [n, c, h, w] = [t.shape()[0], shape[1], t.shape()[2], t.shape()[3]];
            let split = if column_first { [n, c, r, r, h, w] } else { [n, r, r, c, h, w] };
            let s = signed_strides(&split);
            // (n, c, h, row in block, w, column in block)
            let order = if column_first { [0, 1, 4, 2, 5, 3] } else { [0, 3, 4, 1, 5, 2] };
            Ok(view(t, &order.map(|d| split[d]), &order.map(|d| s[d]), 0)?.reshape(&shape)?)
        })?])
    }
}
