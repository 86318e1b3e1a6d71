//! Resampling of images.

use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value, with_data};

use crate::activation::UNARY_INPUT;
use crate::dims::{moved, numel, sizes};
use crate::float::resize::{Neighbour, resample_row};
use crate::slice::take;
use crate::spec::attr;
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

pub(crate) const INTERPOLATE_ATTRS: [AttrSpec; 5] = [
    attr("size", AttrDefault::Ints(&[]), "Spatial size of the result."),
    attr("scale_factor", AttrDefault::Floats(&[]), "Factor of each spatial size, instead of `size`."),
    attr(
        "mode",
        AttrDefault::Str("nearest", &["nearest", "linear", "bilinear", "trilinear"]),
        "`nearest`, or for one, two and three spatial dimensions `linear`, `bilinear` and `trilinear`.",
    ),
    attr(
        "coordinates",
        AttrDefault::Str(
            "",
            &["", "asymmetric", "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "align_corners"],
        ),
        "Where the result's pixels lie, as ONNX calls it: `asymmetric`, `half_pixel`, `pytorch_half_pixel`, `tf_half_pixel_for_nn` or `align_corners`; empty is `asymmetric` for `nearest`, else `half_pixel`.",
    ),
    attr(
        "rounding",
        AttrDefault::Str("floor", &["floor", "ceil", "round_prefer_floor", "round_prefer_ceil", "floor_or_ceil"]),
        "Nearest pixel: `floor`, `ceil`, `round_prefer_floor`, `round_prefer_ceil`, or `floor_or_ceil`, which is `ceil` where the size shrinks.",
    ),
];

/// `interpolate`.
pub struct Interpolate;

/// Which place of the input a place of the result is (the coordinate transformations of ONNX Resize).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinates {
    Asymmetric,
    HalfPixel,
    PytorchHalfPixel,
    TfHalfPixel,
    AlignCorners,
}

/// Which pixel is nearest to a place (the nearest modes of ONNX Resize).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    Floor,
    Ceil,
    PreferFloor,
    PreferCeil,
    FloorOrCeil,
}

/// One spatial dimension of the input and of the result.
#[derive(Clone, Copy, Debug)]
struct Axis {
    input: usize,
    output: usize,
    /// How much larger the result is, which its whole size need not be exactly.
    scale: f32,
}

/// Whether a place is halfway between two pixels, as far as f32 can tell: onnxruntime's tolerance.
fn is_halfway(at: f32) -> bool {
    (at - at.floor() - 0.5).abs() <= 1e-6
}

impl Axis {
    /// The place in the input of element `i` of the result. In f32 and with these divisions, as onnxruntime computes it: which side
    /// of a pixel's edge it falls on depends on them.
    fn source(&self, i: usize, coordinates: Coordinates) -> f32 {
        let i = i as f32;
        match coordinates {
            _ if self.scale == 1.0 => i,
            Coordinates::Asymmetric => i / self.scale,
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if self.output == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (i + 0.5) / self.scale - 0.5,
            Coordinates::TfHalfPixel => (i + 0.5) / self.scale,
            Coordinates::AlignCorners => i * (self.input - 1) as f32 / (self.output - 1) as f32,
        }
    }

    /// The pixel nearest to each place of the result.
    fn nearest(&self, coordinates: Coordinates, rounding: Rounding) -> Vec<Option<usize>> {
        let pixel = |at: f32| match rounding {
            Rounding::Floor => at.floor(),
            Rounding::Ceil => at.ceil(),
            Rounding::PreferFloor if is_halfway(at) => at.floor(),
            Rounding::PreferCeil if is_halfway(at) => at.ceil(),
            Rounding::PreferFloor | Rounding::PreferCeil => at.round(),
            Rounding::FloorOrCeil if self.scale < 1.0 => at.ceil(),
            Rounding::FloorOrCeil => at.floor(),
        };
        // The conversion takes what lies before the first pixel to it.
        let index = |i: usize| (pixel(self.source(i, coordinates)) as usize).min(self.input - 1);
        (0..self.output).map(|i| Some(index(i))).collect()
    }

    /// The two neighbours of each place of the result.
    fn neighbours(&self, coordinates: Coordinates) -> Vec<Neighbour> {
        let last = self.input - 1;
        let neighbour = |i: usize| {
            let at = self.source(i, coordinates).clamp(0.0, last as f32);
            let low = (at as usize).min(last);
            Neighbour { low, high: (low + 1).min(last), part: at - low as f32 }
        };
        (0..self.output).map(neighbour).collect()
    }
}

/// Attributes of a call.
struct Params {
    size: Vec<i64>,
    factor: Vec<f32>,
    /// Spatial dimensions that linear resampling is over; `None` for nearest.
    linear: Option<usize>,
    coordinates: Coordinates,
    rounding: Rounding,
}

fn no_such(name: &str, value: &str, hint: &str) -> OpError {
    OpError::new(format!("`{name}` of `interpolate` can't be {value:?}")).with_hint(hint)
}

impl Params {
    /// The attributes, of a call being typed or evaluated.
    fn new((size, factor): (Vec<i64>, Vec<f32>), [mode, coordinates, rounding]: [&str; 3]) -> Result<Params, OpError> {
        let linear = match mode {
            "nearest" => None,
            "linear" => Some(1),
            "bilinear" => Some(2),
            "trilinear" => Some(3),
            other => return Err(no_such("mode", other, "nearest, linear, bilinear or trilinear")),
        };
        let coordinates = match coordinates {
            "" if linear.is_some() => Coordinates::HalfPixel,
            "" | "asymmetric" => Coordinates::Asymmetric,
            "half_pixel" => Coordinates::HalfPixel,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "tf_half_pixel_for_nn" => Coordinates::TfHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            other => {
                let hint = "asymmetric, half_pixel, pytorch_half_pixel, tf_half_pixel_for_nn or align_corners";
                return Err(no_such("coordinates", other, hint));
            }
        };
        let rounding = match rounding {
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            "round_prefer_floor" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor_or_ceil" => Rounding::FloorOrCeil,
            other => {
                let hint = "floor, ceil, round_prefer_floor, round_prefer_ceil or floor_or_ceil";
                return Err(no_such("rounding", other, hint));
            }
        };
        if size.is_empty() == factor.is_empty() {
            return Err(OpError::new("`interpolate` needs either `size` or `scale_factor`"));
        }
        Ok(Params { size, factor, linear, coordinates, rounding })
    }

    fn at<T: Copy>(list: &[T], d: usize, rank: usize) -> Result<T, OpError> {
        match list {
            [one] => Ok(*one),
            list if list.len() == rank => Ok(list[d]),
            list => Err(OpError::new(format!("{} entries for {rank} spatial dimensions", list.len()))),
        }
    }

    /// Spatial dimension `d` of `rank`.
    fn axis(&self, d: usize, rank: usize, input: usize) -> Result<Axis, OpError> {
        let (output, scale) = if self.size.is_empty() {
            let scale = Params::at(&self.factor, d, rank)?;
            if !(scale > 0.0 && scale.is_finite()) {
                return Err(OpError::new(format!("`scale_factor` can't be {scale}")));
            }
            ((input as f32 * scale) as usize, scale)
        } else {
            let output = sizes(&[Params::at(&self.size, d, rank)?])?[0];
            (output, output as f32 / input as f32)
        };
        if output == 0 || input == 0 {
            return Err(OpError::new(format!("`interpolate` from a size of {input} to {output}")));
        }
        Ok(Axis { input, output, scale })
    }

    fn infer(&self, x: &Shape) -> Result<Shape, OpError> {
        let rank = x.rank().saturating_sub(2);
        if !(1..=3).contains(&rank) || self.linear.is_some_and(|dims| dims != rank) {
            return Err(OpError::new(format!("`interpolate` of {x}"))
                .with_hint("linear is for one spatial dimension, bilinear for two, trilinear for three"));
        }
        let mut dims = x.dims()[..2].to_vec();
        for (d, dim) in x.dims()[2..].iter().enumerate() {
            dims.push(match dim.known() {
                Some(n) => Dim::Known(self.axis(d, rank, n)?.output),
                None if !self.size.is_empty() => Dim::Known(sizes(&[Params::at(&self.size, d, rank)?])?[0]),
                None => Dim::Unknown,
            });
        }
        Ok(dims.into_iter().collect())
    }

    /// The spatial dimensions of an input `[N, C, ...]`.
    fn axes(&self, shape: &[usize]) -> Result<Vec<Axis>, OpError> {
        let rank = shape.len() - 2;
        (0..rank).map(|d| self.axis(d, rank, shape[2 + d])).collect()
    }

    /// Resamples one dimension after the other, the last one first. What keeps all its sizes is a copy, whatever the scales are.
    fn resample(
        &self,
        t: &Tensor,
        one: impl Fn(&Tensor, usize, &Axis, &[usize]) -> Result<Tensor, OpError>,
    ) -> Result<Tensor, OpError> {
        let axes = self.axes(t.shape())?;
        let mut out = t.clone();
        if is_copy(&axes) {
            return Ok(out);
        }
        for (d, axis) in axes.iter().enumerate().rev() {
            let mut shape = out.shape().to_vec();
            shape[2 + d] = axis.output;
            numel(&shape)?;
            out = one(&out, 2 + d, axis, &shape)?;
        }
        Ok(out)
    }

    fn nearest(&self, t: &Tensor) -> Result<Tensor, OpError> {
        self.resample(t, |t, dim, axis, shape| {
            let index = axis.nearest(self.coordinates, self.rounding);
            with_data!(t, |data| {
                let fill = Default::default();
                Ok(Tensor::from_vec(shape, take(data.as_slice().unwrap_or(&[]), data.shape(), dim, &index, fill))?)
            })
        })
    }

    fn linear(&self, t: &Tensor) -> Result<Tensor, OpError> {
        self.resample(t, |t, dim, axis, shape| {
            let inner: usize = shape[dim + 1..].iter().product();
            let neighbours = axis.neighbours(self.coordinates);
            let mut out = vec![0.0; numel(shape)?];
            let blocks = t.slice::<f32>()?.chunks_exact((axis.input * inner).max(1));
            for (block, out) in blocks.zip(out.chunks_exact_mut((axis.output * inner).max(1))) {
                resample_row(block, inner, &neighbours, out);
            }
            Ok(Tensor::from_vec(shape, out)?)
        })
    }
}

/// Whether every dimension keeps its size: then the result is a copy, whatever the scales are.
fn is_copy(axes: &[Axis]) -> bool {
    axes.iter().all(|axis| axis.output == axis.input)
}

/// What a call of `interpolate` does to each spatial dimension, the outermost first.
#[derive(Clone, Debug, PartialEq)]
pub enum Resampling {
    /// Nothing.
    Copy,
    /// Each place of the result is a copy of this one.
    Nearest(Vec<Vec<usize>>),
    /// Each place of the result is made of two; the innermost dimension is resampled first.
    Linear(Vec<Vec<Neighbour>>),
}

/// What a call with these attributes (`words` are `mode`, `coordinates` and `rounding`) does to an input of this shape.
///
/// # Errors
/// If the attributes are wrong or do not fit the shape.
pub fn resampling(
    size: Vec<i64>,
    scale_factor: Vec<f32>,
    words: [&str; 3],
    shape: &[usize],
) -> Result<Resampling, OpError> {
    let params = Params::new((size, scale_factor), words)?;
    params.infer(&Shape::known(shape))?;
    let axes = params.axes(shape)?;
    if is_copy(&axes) {
        return Ok(Resampling::Copy);
    }
    if params.linear.is_some() {
        return Ok(Resampling::Linear(axes.iter().map(|a| a.neighbours(params.coordinates)).collect()));
    }
    let nearest = |a: &Axis| a.nearest(params.coordinates, params.rounding).into_iter().flatten().collect();
    Ok(Resampling::Nearest(axes.iter().map(nearest).collect()))
}

macro_rules! params {
    ($cx:expr) => {
        Params::new(
            ($cx.ints("size")?, $cx.floats("scale_factor")?),
            [&$cx.str("mode")?, &$cx.str("coordinates")?, &$cx.str("rounding")?],
        )
    };
}

impl Operator for Interpolate {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "interpolate",
                doc: "Resampled to another size, by the nearest pixel or linearly between neighbours (torch.nn.functional.interpolate, ONNX Resize).",
                inputs: UNARY_INPUT,
                attrs: &INTERPOLATE_ATTRS,
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let p = params!(cx)?;
        let dtype = if p.linear.is_some() { cx.expect_dtype(0, &[DType::F32])? } else { cx.ty(0)?.dtype };
        Ok(vec![TensorType { dtype, shape: p.infer(&cx.ty(0)?.shape)? }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Moved
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let p = params!(cx)?;
        let x = cx.value(0)?;
        p.infer(&Shape::known(x.shape()))?;
        Ok(vec![if p.linear.is_some() { p.linear(&x.to_tensor())?.into() } else { moved(x, |t| p.nearest(t))? }])
    }
}
