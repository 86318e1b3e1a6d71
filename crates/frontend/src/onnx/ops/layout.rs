//! Operators that move elements.

use quantc_ops::Attrs;
use quantc_tensor::{DType, Dim, Tensor, TensorType};

use super::reduce::{axes, axis};
use super::shape::sizes;
use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;
use crate::onnx::symbolic::SymInt;

pub(super) fn concat(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let inputs: Vec<_> = cx.variadic()?.into_iter().map(Some).collect();
    let dim = cx.need("axis", cx.opt_int("axis")?)?;
    im.emit(cx, "cat", &inputs, Attrs::new().with("dim", dim))
}

pub(super) fn split(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "input")?;
    let dim = axis(cx.int("axis", 0)?, im.rank(x))?;
    let given = if cx.opset < 13 {
        cx.ints("split")?
    } else {
        cx.opt_input(1).map(|v| im.need_ints(v, "split")).transpose()?
    };
    let parts = cx.int("num_outputs", cx.outputs() as i64)?;
    let sizes = match given {
        Some(sizes) => sizes,
        None => {
            let shape = im.ty(x).shape;
            let Some(size) = shape.0[dim].known().map(|n| n as i64) else {
                return Err(NodeError::UnknownShape { shape: shape.to_string() });
            };
            if parts < 1 || parts > size.max(1) || parts > 1 << 16 {
                return Err(NodeError::mismatch(format!("{size} can't be split into {parts} parts")));
            }
            // The last part takes what is left.
            let each = size.saturating_add(parts - 1) / parts;
            (0..parts).map(|i| size.saturating_sub(i.saturating_mul(each)).clamp(0, each)).collect()
        }
    };
    im.emit(cx, "split", &[Some(x)], Attrs::new().with("sizes", sizes).with("dim", dim))
}

/// Starts, ends, axes and steps are attributes before opset 10, inputs since.
pub(super) fn slice(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "data")?;
    let mut parts = [None; 4];
    if cx.opset < 10 {
        for (part, name) in parts.iter_mut().zip(["starts", "ends", "axes"]) {
            *part = cx.ints(name)?.map(|v| im.ints_val(cx, v));
        }
    } else {
        for (i, part) in parts.iter_mut().enumerate() {
            *part = cx.opt_input(i + 1);
        }
    }
    let [Some(starts), Some(ends), ax, steps] = parts else {
        return Err(NodeError::MissingInput { index: 1, name: "starts, ends".to_owned() });
    };
    // Not given; given but not constant; constant.
    let known: Vec<Option<Option<Vec<i64>>>> = parts.iter().map(|p| p.map(|v| im.const_ints(v))).collect();
    if known.iter().all(|k| !matches!(k, Some(None))) {
        if keeps_everything(im, x, &known) {
            return Ok(vec![x]);
        }
        let mut attrs = Attrs::new();
        for (name, value) in ["starts", "ends", "axes", "steps"].into_iter().zip(known.into_iter().map(Option::flatten))
        {
            if let Some(value) = value.filter(|v| name != "steps" || v.iter().any(|s| *s != 1)) {
                attrs.set(name, value);
            }
        }
        let y = im.emit1(cx, "slice", &[x], attrs)?;
        slice_symbols(im, x, y, starts, ends, steps);
        return Ok(vec![match im.known_ints(y) {
            Some(known) => im.constant_val(cx.output_name(), known),
            None => y,
        }]);
    }
    let y = im.emit(cx, "slice", &[Some(x), Some(starts), Some(ends), ax, steps], Attrs::new())?;
    if let [y] = y[..] {
        name_sliced_dim(im, x, y, [starts, ends], ax, steps);
    }
    Ok(y)
}

/// Whether a slice is its whole input, as exporters write `x[:]`: starts, ends, axes and steps.
fn keeps_everything(im: &Importer, x: Val, known: &[Option<Option<Vec<i64>>>]) -> bool {
    let shape = im.ty(x).shape;
    let get = |i: usize| known.get(i).cloned().flatten().flatten();
    let (Some(starts), Some(ends)) = (get(0), get(1)) else { return false };
    let axes = get(2).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let ones = get(3).is_none_or(|s| s.iter().all(|s| *s == 1));
    let whole = |(a, end): (&i64, &i64)| {
        let size = axis(*a, shape.rank()).ok().and_then(|a| shape.0[a].known()).map_or(i64::MAX, |n| n as i64);
        // Exporters of 32-bit origin write the largest 32-bit number for "the end".
        *end >= size || *end == i64::MAX || *end == i64::from(i32::MAX)
    };
    ones && axes.len() == ends.len() && starts.iter().all(|s| *s == 0) && axes.iter().zip(&ends).all(whole)
}

/// The elements of a slice of an integer vector.
fn slice_symbols(im: &mut Importer, x: Val, y: Val, starts: Val, ends: Val, steps: Option<Val>) {
    let one = steps.is_none_or(|s| im.const_ints(s).is_some_and(|s| s == [1]));
    let (Some(all), Some(start), Some(end), true) = (im.sym_ints(x), im.const_ints(starts), im.const_ints(ends), one)
    else {
        return;
    };
    let (&[start], &[end]) = (&start[..], &end[..]) else { return };
    let len = all.len() as i64;
    let index = |i: i64| (if i < 0 { i.saturating_add(len) } else { i }).clamp(0, len) as usize;
    if let (1, Some(part)) = (im.rank(x), all.get(index(start)..index(end))) {
        im.set_sym_ints(y, part.to_vec());
    }
}

/// `x[:S]` has the size S, as long as x is that long.
fn name_sliced_dim(im: &mut Importer, x: Val, y: Val, [starts, ends]: [Val; 2], ax: Option<Val>, steps: Option<Val>) {
    let (Some(start), Some(end)) = (im.const_ints(starts), im.sym_ints(ends)) else { return };
    let along = match ax {
        None => Some(vec![0]),
        Some(v) => im.const_ints(v),
    };
    let one = steps.is_none_or(|s| im.const_ints(s).is_some_and(|s| s == [1]));
    let ([0], [SymInt::Symbol(symbol)], Some([along]), true) = (&start[..], &end[..], along.as_deref(), one) else {
        return;
    };
    let (Ok(along), Val::Node(value)) = (axis(*along, im.rank(x)), y) else { return };
    let TensorType { dtype, mut shape } = im.ty(y);
    shape.0[along] = Dim::Symbol(symbol.clone());
    // It only narrows an unknown size, so it can't fail.
    let _ = im.graph.refine_type(value, &TensorType { dtype, shape });
}

pub(super) fn gather(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let inputs = [Some(cx.input(0, "data")?), Some(cx.input(1, "indices")?)];
    im.emit(cx, "gather", &inputs, Attrs::new().with("dim", cx.int("axis", 0)?))
}

pub(super) fn gather_elements(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let inputs = [Some(cx.input(0, "data")?), Some(cx.input(1, "indices")?)];
    im.emit(cx, "gather_elements", &inputs, Attrs::new().with("dim", cx.int("axis", 0)?))
}

pub(super) fn reshape(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let (x, target) = (cx.input(0, "data")?, cx.input(1, "shape")?);
    let allowzero = cx.flag("allowzero", false)?;
    Ok(vec![reshape_to(im, cx, x, target, allowzero)?])
}

/// A value in another shape, which is an attribute where it is known or can be written relative to the value's own.
pub(super) fn reshape_to(
    im: &mut Importer,
    cx: &NodeCx<'_>,
    x: Val,
    target: Val,
    allowzero: bool,
) -> Result<Val, NodeError> {
    let relative = || relative_shape(&im.ty(x), &im.sym_ints(target)?);
    // With `allowzero` a 0 is a size, and shapes written relative to the input have none.
    let known = match im.const_ints(target) {
        Some(known) => Some((allowzero && known.contains(&0), known)),
        None => relative().map(|known| (false, known)),
    };
    match known {
        Some((allowzero, known)) => {
            let attrs = Attrs::new().with("shape", known).with("allowzero", allowzero);
            im.emit1(cx, "reshape", &[x], attrs)
        }
        None => im.emit1(cx, "reshape", &[x, target], Attrs::new().with("allowzero", allowzero)),
    }
}

/// A target shape as numbers: 0 for a symbol that the input has in the same place, -1 for at most one other.
fn relative_shape(input: &TensorType, target: &[SymInt]) -> Option<Vec<i64>> {
    if target.contains(&SymInt::Known(0)) {
        return None;
    }
    let mut free = !target.contains(&SymInt::Known(-1));
    let mut out = Vec::with_capacity(target.len());
    for (i, element) in target.iter().enumerate() {
        out.push(match element {
            SymInt::Known(n) => *n,
            SymInt::Symbol(s) if matches!(input.shape.0.get(i), Some(Dim::Symbol(t)) if t == s) => 0,
            _ if free => {
                free = false;
                -1
            }
            _ => return None,
        });
    }
    Some(out)
}

/// Always two dimensions, of which the first `axis` ones make the first.
pub(super) fn flatten(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "input")?;
    let rank = im.rank(x);
    let given = cx.int("axis", 1)?;
    let split = if given == rank as i64 { rank } else { axis(given, rank)? };
    if split == 1 && rank > 1 {
        return im.emit(cx, "flatten", &[Some(x)], Attrs::new().with("start_dim", 1i64));
    }
    let shape = im.ty(x).shape;
    let product = |dims: &[Dim]| dims.iter().try_fold(1i64, |n, d| n.checked_mul(i64::try_from(d.known()?).ok()?));
    let target = match (product(&shape.0[..split]), product(&shape.0[split..])) {
        (Some(rows), _) => vec![rows, -1],
        (None, Some(columns)) => vec![-1, columns],
        (None, None) => return im.emit(cx, "flatten2d", &[Some(x)], Attrs::new().with("axis", split as i64)),
    };
    im.emit(cx, "reshape", &[Some(x)], Attrs::new().with("shape", target))
}

pub(super) fn transpose(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "data")?;
    let dims = cx.ints("perm")?.unwrap_or_else(|| (0..im.rank(x) as i64).rev().collect());
    im.emit(cx, "permute", &[Some(x)], Attrs::new().with("dims", dims))
}

pub(super) fn squeeze(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "data")?;
    let dims = match axes(im, cx, 13)? {
        Some(dims) => dims,
        None => {
            let sizes = im.need_shape(x)?;
            (0..sizes.len() as i64).filter(|&d| sizes[d as usize] == 1).collect()
        }
    };
    if dims.is_empty() {
        return Ok(vec![x]);
    }
    im.emit(cx, "squeeze", &[Some(x)], Attrs::new().with("dims", dims))
}

pub(super) fn unsqueeze(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let dims = axes(im, cx, 13)?.ok_or_else(|| NodeError::MissingInput { index: 1, name: "axes".to_owned() })?;
    im.emit(cx, "unsqueeze", &[Some(cx.input(0, "data")?)], Attrs::new().with("dims", dims))
}

pub(super) fn expand(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let (x, target) = (cx.input(0, "input")?, cx.input(1, "shape")?);
    let known = im.const_ints(target).or_else(|| {
        let ty = im.ty(x);
        let elements = im.sym_ints(target)?;
        // Dimensions align at the end; a size of 1 keeps the input's.
        let offset = elements.len().checked_sub(ty.shape.rank())?;
        let number = |(i, e): (usize, &SymInt)| match e {
            SymInt::Known(n) => Some(*n),
            SymInt::Symbol(s) => {
                let own = ty.shape.0.get(i.checked_sub(offset)?)?;
                matches!(own, Dim::Symbol(t) if t == s).then_some(1)
            }
            SymInt::Unknown => None,
        };
        elements.iter().enumerate().map(number).collect()
    });
    match known {
        Some(known) => im.emit(cx, "expand", &[Some(x)], Attrs::new().with("shape", known)),
        None => im.emit(cx, "expand", &[Some(x), Some(target)], Attrs::new()),
    }
}

pub(super) fn tile(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let (x, repeats) = (cx.input(0, "input")?, cx.input(1, "repeats")?);
    match im.const_ints(repeats) {
        Some(known) => im.emit(cx, "repeat", &[Some(x)], Attrs::new().with("repeats", known)),
        None => im.emit(cx, "repeat", &[Some(x), Some(repeats)], Attrs::new()),
    }
}

/// Pads and value are attributes before opset 11, inputs since.
pub(super) fn pad(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "data")?;
    let mode = cx.one_of("mode", "constant", &["constant", "reflect", "edge"])?;
    let mut attrs = Attrs::new().with("mode", mode);
    if cx.opset < 11 {
        attrs.set("pads", cx.need("pads", cx.ints("pads")?)?);
        attrs.set("value", cx.float("value", 0.0)?);
        return im.emit(cx, "pad", &[Some(x)], attrs);
    }
    let (pads, value) = (cx.input(1, "pads")?, cx.opt_input(2));
    let known = match (im.const_ints(pads), cx.opt_input(3)) {
        (known, None) => known,
        (None, Some(_)) => return Err(NodeError::NotConstant { name: "pads".to_owned() }),
        (Some(some), Some(axes)) => {
            let (rank, axes) = (im.rank(x), im.need_ints(axes, "axes")?);
            if some.len() != 2 * axes.len() {
                return Err(NodeError::mismatch(format!("it has {} pads for {} axes", some.len(), axes.len())));
            }
            let mut all = vec![0; 2 * rank];
            for (i, a) in axes.iter().enumerate() {
                let a = axis(*a, rank)?;
                (all[a], all[a + rank]) = (some[i], some[i + axes.len()]);
            }
            Some(all)
        }
    };
    let constant = value.and_then(|v| im.constant(v)).and_then(Tensor::as_scalar_f32);
    if let Some(constant) = constant {
        attrs.set("value", constant);
    }
    let value = if constant.is_some() { None } else { value };
    match known {
        Some(known) => {
            attrs.set("pads", known);
            im.emit(cx, "pad", &[Some(x), None, value], attrs)
        }
        None => im.emit(cx, "pad", &[Some(x), Some(pads), value], attrs),
    }
}

pub(super) fn depth_to_space(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "input")?;
    let block = cx.need("blocksize", cx.opt_int("blocksize")?)?;
    if cx.one_of("mode", "DCR", &["DCR", "CRD"])? == "DCR" {
        im.emit(cx, "depth_to_space", &[Some(x)], Attrs::new().with("block_size", block))
    } else {
        im.emit(cx, "pixel_shuffle", &[Some(x)], Attrs::new().with("upscale_factor", block))
    }
}

pub(super) fn space_to_depth(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "input")?;
    let block = cx.need("blocksize", cx.opt_int("blocksize")?)?;
    let shape = im.ty(x).shape;
    let [_, _, h, w] = &shape.0[..] else {
        return Err(NodeError::mismatch(format!("its input is {}, it must have 4 dimensions", im.ty(x))));
    };
    let divides = |d: &Dim| d.known().is_none_or(|n| n as i64 % block == 0);
    if !(1..=1024).contains(&block) || !divides(h) || !divides(w) {
        return Err(NodeError::mismatch(format!("{h} by {w} does not divide into blocks of {block} by {block}")));
    }
    let [n, c] = [sizes(im, cx, x, 0..1)?, sizes(im, cx, x, 1..2)?];
    let b = im.ints_val(cx, vec![block]);
    let mut blocks = [b; 2];
    for (d, count) in blocks.iter_mut().enumerate() {
        let size = sizes(im, cx, x, 2 + d..3 + d)?;
        *count = im.emit1(cx, "div", &[size, b], Attrs::new())?;
    }
    let [rows, columns] = blocks;
    let along = || Attrs::new().with("dim", 0i64);
    let split = im.emit1(cx, "cat", &[n, c, rows, b, columns, b], along())?;
    let split = reshape_to(im, cx, x, split, true)?;
    let moved = im.emit1(cx, "permute", &[split], Attrs::new().with("dims", vec![0i64, 3, 5, 1, 2, 4]))?;
    let square = im.ints_val(cx, vec![block * block]);
    let channels = im.emit1(cx, "mul", &[c, square], Attrs::new())?;
    let target = im.emit1(cx, "cat", &[n, channels, rows, columns], along())?;
    Ok(vec![reshape_to(im, cx, moved, target, true)?])
}

/// The upper or lower triangle of the last two dimensions, as a selection by a mask of the places.
pub(super) fn trilu(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "input")?;
    let upper = cx.flag("upper", true)?;
    let k = match cx.opt_input(1) {
        None => 0,
        Some(v) => match im.need_ints(v, "k")?[..] {
            [k] => k,
            ref all => return Err(NodeError::mismatch(format!("k is {all:?}, it must be one number"))),
        },
    };
    let TensorType { dtype, shape } = im.ty(x);
    let Some(row) = shape.rank().checked_sub(2) else {
        return Err(NodeError::mismatch(format!("its input is {}, it must have 2 dimensions or more", im.ty(x))));
    };
    let [zero, one, k] = [0, 1, k].map(|v| im.constant_val("", Tensor::scalar(v)));
    let mut indices = [zero; 2];
    for (i, index) in indices.iter_mut().enumerate() {
        let size = sizes(im, cx, x, row + i..row + i + 1)?;
        *index = im.emit1(cx, "arange", &[zero, size, one], Attrs::new())?;
    }
    let [rows, columns] = indices;
    let rows = im.emit1(cx, "unsqueeze", &[rows], Attrs::new().with("dims", vec![1i64]))?;
    let beyond = im.emit1(cx, "sub", &[columns, rows], Attrs::new())?;
    let mask = im.emit1(cx, if upper { "greater_equal" } else { "less_equal" }, &[beyond, k], Attrs::new())?;
    let zero = if dtype == DType::Bool { Tensor::scalar(false) } else { Tensor::scalar(0i64).cast(dtype) };
    let zero = im.constant_val("", zero);
    im.emit(cx, "where", &[Some(mask), Some(x), Some(zero)], Attrs::new())
}
