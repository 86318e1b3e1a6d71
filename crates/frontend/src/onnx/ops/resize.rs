//! Resize and Upsample.

use quantc_ops::Attrs;
use quantc_tensor::{Shape, Tensor};

use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;

/// What to resize to, for all dimensions.
enum Target {
    Sizes(Vec<i64>),
    Scales(Vec<f32>),
}

/// How: the attributes `mode`, `coordinate_transformation_mode` and `nearest_mode`.
struct Sampling {
    mode: String,
    coordinates: String,
    rounding: String,
}

impl Sampling {
    /// Before opset 11 there are no attributes. What shrinks is rounded up by onnxruntime; the standard says nothing.
    fn old(cx: &NodeCx<'_>, scales: &[f32]) -> Result<Sampling, NodeError> {
        let rounding = if scales.iter().all(|s| *s >= 1.0) { "floor" } else { "floor_or_ceil" };
        Ok(Sampling { mode: mode(cx)?, coordinates: "asymmetric".to_owned(), rounding: rounding.to_owned() })
    }

    fn new(cx: &NodeCx<'_>) -> Result<Sampling, NodeError> {
        let coordinates = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn"];
        Ok(Sampling {
            mode: mode(cx)?,
            coordinates: cx.one_of("coordinate_transformation_mode", "half_pixel", &coordinates)?,
            rounding: cx.one_of(
                "nearest_mode",
                "round_prefer_floor",
                &["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
            )?,
        })
    }

    /// The attributes of `interpolate` over some spatial dimensions. Whole factors put every pixel of the result strictly nearest to
    /// the one it is a copy of: that is the plain way, which stays in integers.
    fn attrs(self, spatial: usize, whole_factors: bool) -> Attrs {
        let Sampling { mode, mut coordinates, mut rounding } = self;
        if mode == "linear" {
            let mode = ["linear", "bilinear", "trilinear"][spatial - 1];
            let attrs = Attrs::new().with("mode", mode);
            return if coordinates == "half_pixel" { attrs } else { attrs.with("coordinates", coordinates) };
        }
        let centred = ["half_pixel", "pytorch_half_pixel"].contains(&coordinates.as_str());
        if whole_factors && centred && rounding.starts_with("round") {
            (coordinates, rounding) = ("asymmetric".to_owned(), "floor".to_owned());
        }
        let mut attrs = Attrs::new();
        if coordinates != "asymmetric" {
            attrs.set("coordinates", coordinates);
        }
        if rounding != "floor" {
            attrs.set("rounding", rounding);
        }
        attrs
    }
}

fn mode(cx: &NodeCx<'_>) -> Result<String, NodeError> {
    cx.one_of("mode", "nearest", &["nearest", "linear"])
}

/// An image resized over its dimensions behind batch and channel.
fn interpolate(im: &mut Importer, cx: &NodeCx<'_>, how: Sampling, target: Target) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "X")?;
    let rank = im.rank(x);
    let shape = im.ty(x).shape;
    let len = match &target {
        Target::Sizes(v) => v.len(),
        Target::Scales(v) => v.len(),
    };
    if len != rank || !(3..=5).contains(&rank) {
        return Err(NodeError::mismatch(format!("it has {len} scales or sizes for an input {}", im.ty(x))));
    }
    let outer_kept = match &target {
        Target::Sizes(v) => (0..2).all(|d| shape.0[d].known().is_none_or(|n| n as i64 == v[d])),
        Target::Scales(v) => v[..2].iter().all(|s| *s == 1.0),
    };
    if !outer_kept {
        return Err(NodeError::mismatch("only the dimensions behind batch and channel can be resized"));
    }
    let attrs = how.attrs(rank - 2, whole_factors(&shape, &target));
    let attrs = match target {
        Target::Sizes(v) => attrs.with("size", v[2..].to_vec()),
        Target::Scales(v) => attrs.with("scale_factor", v[2..].to_vec()),
    };
    im.emit(cx, "interpolate", &[Some(x)], attrs)
}

/// Whether the image grows by whole factors.
fn whole_factors(shape: &Shape, target: &Target) -> bool {
    match target {
        Target::Scales(v) => v.iter().all(|s| *s >= 1.0 && s.fract() == 0.0),
        Target::Sizes(v) => v.iter().zip(&shape.0).skip(2).all(|(n, d)| {
            let size = d.known().and_then(|d| i64::try_from(d).ok()).filter(|d| *d > 0);
            size.is_some_and(|d| n % d == 0)
        }),
    }
}

/// Opset 7 and 8 have the scales as attribute, 9 as input.
pub(super) fn upsample(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let scales = match cx.opset {
        ..9 => cx.need("scales", cx.floats("scales")?)?,
        _ => floats(im, cx.input(1, "scales")?, "scales")?,
    };
    interpolate(im, cx, Sampling::old(cx, &scales)?, Target::Scales(scales))
}

fn floats(im: &Importer, val: Val, name: &str) -> Result<Vec<f32>, NodeError> {
    im.constant(val).map(Tensor::to_f32_vec).ok_or_else(|| NodeError::NotConstant { name: name.to_owned() })
}

pub(super) fn resize(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    if cx.opset < 11 {
        let scales = floats(im, cx.input(1, "scales")?, "scales")?;
        return interpolate(im, cx, Sampling::old(cx, &scales)?, Target::Scales(scales));
    }
    let how = Sampling::new(cx)?;
    // They only matter to cubic interpolation and to cropping.
    cx.ignore(&["cubic_coeff_a", "extrapolation_value"]);
    cx.only_int("exclude_outside", 0, "only sampling inside the image is supported")?;
    cx.only_int("antialias", 0, "resizing without antialiasing is supported")?;
    cx.one_of("keep_aspect_ratio_policy", "stretch", &["stretch"])?;
    let given = |i: usize| cx.opt_input(i).filter(|v| im.ty(*v).shape.to_known() != Some(vec![0]));
    let mut target = match (given(3), given(2)) {
        (Some(sizes), _) => Target::Sizes(im.need_ints(sizes, "sizes")?),
        (None, Some(scales)) => Target::Scales(floats(im, scales, "scales")?),
        (None, None) => return Err(NodeError::MissingInput { index: 2, name: "scales".to_owned() }),
    };
    if let Some(axes) = cx.ints("axes")? {
        target = for_all_dims(im, cx, target, &axes)?;
    }
    interpolate(im, cx, how, target)
}

/// Sizes or scales given for some axes only.
fn for_all_dims(im: &Importer, cx: &NodeCx<'_>, target: Target, axes: &[i64]) -> Result<Target, NodeError> {
    let x = cx.input(0, "X")?;
    let rank = im.rank(x);
    let axes: Vec<usize> = axes.iter().map(|a| super::reduce::axis(*a, rank)).collect::<Result<_, _>>()?;
    Ok(match target {
        Target::Sizes(v) if v.len() == axes.len() => {
            let mut all: Vec<i64> = im.need_shape(x)?.iter().map(|n| *n as i64).collect();
            axes.iter().zip(v).for_each(|(a, n)| all[*a] = n);
            Target::Sizes(all)
        }
        Target::Scales(v) if v.len() == axes.len() => {
            let mut all = vec![1.0; rank];
            axes.iter().zip(v).for_each(|(a, s)| all[*a] = s);
            Target::Scales(all)
        }
        _ => return Err(NodeError::mismatch("as many sizes or scales as axes are needed")),
    })
}
