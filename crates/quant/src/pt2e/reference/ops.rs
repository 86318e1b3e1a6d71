//! Operators written out on integers.

use quantc_ir::ValueRef;
use quantc_ops::quantize::range_of;
use quantc_ops::{Attr, Attrs, OpRef};
use quantc_tensor::scaled::{clamp_bounds, quantize_bias};
use quantc_tensor::{DType, QRange, Tensor};

use super::scaled::{Ints, Rep, ScaleOf, Scaled, Zero};
use super::{Rewriter, attribute};
use crate::pt2e::error::Pt2eError;

fn int(op: OpRef, attrs: &Attrs, name: &str) -> Option<i64> {
    match attribute(op, attrs, name)? {
        Attr::Int(v) => Some(v),
        _ => None,
    }
}

fn float(op: OpRef, attrs: &Attrs, name: &str) -> Option<f32> {
    match attribute(op, attrs, name)? {
        Attr::Float(v) => Some(v.0),
        _ => None,
    }
}

/// The range of a quantize call.
fn range(op: OpRef, attrs: &Attrs) -> Option<QRange> {
    let Attr::DType(dtype) = attribute(op, attrs, "dtype")? else { return None };
    range_of(dtype, int(op, attrs, "quant_min"), int(op, attrs, "quant_max")).ok()
}

/// The one zero point of a call.
fn zero_point(op: OpRef, attrs: &Attrs) -> Option<i32> {
    i32::try_from(int(op, attrs, "zero_point")?).ok()
}

impl Rewriter<'_> {
    /// A call as calls on integers; `None` if it can't be, or has no integers among its inputs to be concerned with.
    pub(super) fn written_out(
        &mut self,
        op: OpRef,
        attrs: &Attrs,
        inputs: &[Option<Rep>],
    ) -> Result<Option<Rep>, Pt2eError> {
        let given: Vec<&Rep> = inputs.iter().flatten().collect();
        match (op.name(), &given[..]) {
            ("quantize_per_tensor", [x]) => self.quantize(op, attrs, x),
            ("quantize_per_channel" | "dequantize_per_channel", [x, parameters @ ..]) => {
                self.per_channel(op, attrs, x, parameters)
            }
            ("quantize_per_tensor.tensor", [x, Rep::Same(scale), Rep::Same(zero)]) => {
                self.quantize_by_tensor(op, attrs, x, *scale, *zero)
            }
            ("dequantize_per_tensor", [Rep::Same(q)]) => Ok(self.dequantize(op, attrs, *q)),
            ("dequantize_per_tensor.tensor", [Rep::Same(q), Rep::Same(scale), Rep::Same(zero)]) => {
                let ints = Ints::Codes { q: *q, zero: Zero::Runtime(*zero) };
                let scale = ScaleOf::Runtime(*scale);
                Ok(Some(Rep::Scaled(Scaled { ints, scale, clamp: Scaled::UNCLAMPED })))
            }
            ("dynamic_quantize_dequantize", [x]) => self.dynamic(op, attrs, x),
            ("relu", [Rep::Scaled(s)]) => Ok(Some(narrowed(s, (0.0, f32::INFINITY)))),
            ("relu6", [Rep::Scaled(s)]) => Ok(Some(narrowed(s, (0.0, 6.0)))),
            ("clamp", [Rep::Scaled(s)]) => {
                Ok(float(op, attrs, "min").zip(float(op, attrs, "max")).map(|bounds| narrowed(s, bounds)))
            }
            ("identity" | "dropout" | "observer", [rep @ Rep::Scaled(_)]) => Ok(Some((*rep).clone())),
            ("linear", [Rep::Scaled(x), Rep::Scaled(w), bias @ ..]) => {
                self.product("integer.linear", Attrs::new(), x, w, bias.first().copied())
            }
            ("conv1d", [Rep::Scaled(x), Rep::Scaled(w), bias @ ..]) => {
                self.product("integer.conv1d", attrs.clone(), x, w, bias.first().copied())
            }
            ("conv2d", [Rep::Scaled(x), Rep::Scaled(w), bias @ ..]) => {
                self.product("integer.conv2d", attrs.clone(), x, w, bias.first().copied())
            }
            ("conv3d", [Rep::Scaled(x), Rep::Scaled(w), bias @ ..]) => {
                self.product("integer.conv3d", attrs.clone(), x, w, bias.first().copied())
            }
            ("mul", [Rep::Scaled(a), Rep::Scaled(b)]) => self.mul(a, b),
            ("cat", [Rep::Scaled(first), ..]) => self.cat(first, &given, attrs),
            ("adaptive_avg_pool2d", [Rep::Scaled(x)]) => self.adaptive_avg_pool2d(op, attrs, x),
            _ => Ok(None),
        }
    }

    fn quantize(&mut self, op: OpRef, attrs: &Attrs, x: &Rep) -> Result<Option<Rep>, Pt2eError> {
        let (Some(scale), Some(zero), Some(range)) =
            (float(op, attrs, "scale"), zero_point(op, attrs), range(op, attrs))
        else {
            return Ok(None);
        };
        Ok(match x {
            Rep::Kept(_) => None,
            Rep::Same(x) => Some(self.builder.quantize(*x, &ScaleOf::One(scale), &Zero::One(zero), range)?),
            Rep::Scaled(s) => {
                let (qmin, qmax) = clamp_bounds(s.clamp, scale, zero, range);
                Some(self.builder.requantize(s, scale, zero, QRange { qmin, qmax, ..range })?)
            }
        }
        .map(Rep::Same))
    }

    /// The real tensor that quantize per channel and by a tensor's parameters see, unless the value was kept.
    fn real_input(&mut self, x: &Rep) -> Result<Option<ValueRef>, Pt2eError> {
        match x {
            Rep::Kept(_) => Ok(None),
            other => self.plain(other).map(Some),
        }
    }

    fn per_channel(
        &mut self,
        op: OpRef,
        attrs: &Attrs,
        x: &Rep,
        parameters: &[&Rep],
    ) -> Result<Option<Rep>, Pt2eError> {
        let graph = &self.builder.graph;
        let constant = |rep: Option<&&Rep>| match rep {
            Some(Rep::Same(v)) => graph.constant(*v).cloned(),
            _ => None,
        };
        let Some(scales) = constant(parameters.first()).map(|t| t.to_f32_vec()) else { return Ok(None) };
        let zeros = match parameters.get(1) {
            None => vec![0; scales.len()],
            some => match constant(some) {
                Some(zeros) => zeros.to_i64_vec().iter().map(|z| *z as i32).collect(),
                None => return Ok(None),
            },
        };
        let rank = match x {
            Rep::Same(v) | Rep::Kept(v) => graph.ty(*v).shape.rank(),
            Rep::Scaled(Scaled { ints: Ints::Codes { q: v, .. } | Ints::Sums(v), .. }) => graph.ty(*v).shape.rank(),
        };
        let axis = int(op, attrs, "axis").map(|a| if a < 0 { a + rank as i64 } else { a });
        let Some(axis) = axis.and_then(|a| usize::try_from(a).ok()) else { return Ok(None) };
        let scale = ScaleOf::Channels { axis, scales };
        let zero = if zeros.iter().all(|z| *z == 0) { Zero::One(0) } else { Zero::Channels { axis, zeros } };
        if op.name() == "quantize_per_channel" {
            let (Some(range), Some(x)) = (range(op, attrs), self.real_input(x)?) else { return Ok(None) };
            return Ok(Some(Rep::Same(self.builder.quantize(x, &scale, &zero, range)?)));
        }
        let Rep::Same(q) = x else { return Ok(None) };
        Ok(self.integers(*q, zero, scale))
    }

    /// Quantized integers with a scale; those of wide types are sums.
    fn integers(&mut self, q: ValueRef, zero: Zero, scale: ScaleOf) -> Option<Rep> {
        match self.builder.graph.ty(q).dtype {
            DType::U8 | DType::I8 => {}
            // The zero point of i32 is 0.
            DType::I32 if zero == Zero::One(0) => return Some(Rep::Scaled(Scaled::sums(q, scale))),
            _ => return None,
        }
        Some(Rep::Scaled(Scaled { ints: Ints::Codes { q, zero }, scale, clamp: Scaled::UNCLAMPED }))
    }

    fn dequantize(&mut self, op: OpRef, attrs: &Attrs, q: ValueRef) -> Option<Rep> {
        let (scale, zero) = (float(op, attrs, "scale")?, zero_point(op, attrs)?);
        self.integers(q, Zero::One(zero), ScaleOf::One(scale))
    }

    fn quantize_by_tensor(
        &mut self,
        op: OpRef,
        attrs: &Attrs,
        x: &Rep,
        scale: ValueRef,
        zero: ValueRef,
    ) -> Result<Option<Rep>, Pt2eError> {
        let narrow = |r: &QRange| matches!(r.dtype, DType::U8 | DType::I8);
        let (Some(range), Some(x)) = (range(op, attrs).filter(narrow), self.real_input(x)?) else { return Ok(None) };
        let q = self.builder.quantize(x, &ScaleOf::Runtime(scale), &Zero::Runtime(zero), range)?;
        Ok(Some(Rep::Same(q)))
    }

    fn dynamic(&mut self, op: OpRef, attrs: &Attrs, x: &Rep) -> Result<Option<Rep>, Pt2eError> {
        let (Some(mut range), Some(x)) = (range(op, attrs), self.real_input(x)?) else { return Ok(None) };
        if attribute(op, attrs, "reduce_range") == Some(Attr::Bool(true)) {
            (range.qmin, range.qmax) = (range.qmin / 2, range.qmax / 2);
        }
        let choose = Attrs::new()
            .with("quant_min", range.qmin)
            .with("quant_max", range.qmax)
            .with("eps", f32::EPSILON)
            .with("dtype", range.dtype);
        let scale = self.builder.call("choose_qparams", &[x], choose)?;
        let zero = ValueRef { output: 1, ..scale };
        let q = self.builder.quantize(x, &ScaleOf::Runtime(scale), &Zero::Runtime(zero), range)?;
        let ints = Ints::Codes { q, zero: Zero::Runtime(zero) };
        Ok(Some(Rep::Scaled(Scaled { ints, scale: ScaleOf::Runtime(scale), clamp: Scaled::UNCLAMPED })))
    }

    /// A product of an activation and a weight with i32 accumulators.
    fn product(
        &mut self,
        op: &'static str,
        attrs: Attrs,
        x: &Scaled,
        w: &Scaled,
        bias: Option<&Rep>,
    ) -> Result<Option<Rep>, Pt2eError> {
        let fits = !matches!(x.scale, ScaleOf::Channels { .. })
            && !w.scale.is_runtime()
            && !matches!(&w.scale, ScaleOf::Channels { axis, .. } if *axis != 0);
        let plain = x.is_plain() && w.is_plain();
        if !(fits && plain) || matches!(bias, Some(Rep::Kept(_))) {
            // Then reference evaluation sees reals too, or it is left as it is.
            return Ok(None);
        }
        let (xi, wi) = (self.builder.ints(x)?, self.builder.ints(w)?);
        let acc = self.builder.call(op, &[xi, wi], attrs)?;
        let rank = self.builder.graph.ty(acc).shape.rank();
        let axis = if op == "integer.linear" { rank - 1 } else { 1 };
        let weight_scales: Vec<f32> = match &w.scale {
            ScaleOf::One(s) => vec![*s],
            ScaleOf::Channels { scales, .. } => scales.clone(),
            ScaleOf::Runtime(_) => return Ok(None),
        };
        match &x.scale {
            ScaleOf::One(sx) => {
                let acc = match bias {
                    None => acc,
                    Some(bias) => {
                        let bias = self.static_bias(bias, *sx, &weight_scales)?;
                        self.add_bias(acc, bias, rank - axis)?
                    }
                };
                let scale = match &w.scale {
                    ScaleOf::One(sw) => ScaleOf::One(sx * sw),
                    _ => ScaleOf::Channels { axis, scales: weight_scales.iter().map(|sw| sx * sw).collect() },
                };
                Ok(Some(Rep::Scaled(Scaled::sums(acc, scale))))
            }
            ScaleOf::Runtime(sx) => {
                let sx = self.builder.to(*sx, DType::F32)?;
                let sw = self.builder.constant("weight_scale", Tensor::vector(weight_scales));
                let product = self.builder.call("mul", &[sx, sw], Attrs::new())?;
                let acc = match bias {
                    None => acc,
                    Some(bias) => {
                        let bias = self.plain(bias)?;
                        let bias = self.builder.bias(bias, product)?;
                        self.add_bias(acc, bias, rank - axis)?
                    }
                };
                let scale = self.shaped(product, rank - axis)?;
                let float = self.builder.to(acc, DType::F32)?;
                let real = self.builder.call("mul", &[float, scale], Attrs::new())?;
                // 0 times an infinite scale is no number.
                Ok(Some(Rep::Same(self.builder.without_nan(real)?)))
            }
            ScaleOf::Channels { .. } => Ok(None),
        }
    }

    /// A vector over channels with `rank - 1` dimensions of size 1 behind it.
    fn shaped(&mut self, v: ValueRef, rank: usize) -> Result<ValueRef, Pt2eError> {
        if rank <= 1 {
            return Ok(v);
        }
        let mut shape = vec![1i64; rank];
        shape[0] = -1;
        self.builder.call("reshape", &[v], Attrs::new().with("shape", shape))
    }

    fn add_bias(&mut self, acc: ValueRef, bias: ValueRef, rank: usize) -> Result<ValueRef, Pt2eError> {
        let bias = self.shaped(bias, rank)?;
        self.builder.call("add", &[acc, bias], Attrs::new())
    }

    /// The bias as i32 at scales that are known.
    fn static_bias(&mut self, bias: &Rep, sx: f32, weight_scales: &[f32]) -> Result<ValueRef, Pt2eError> {
        if let Rep::Same(v) = bias
            && let Some(values) = self.builder.graph.constant(*v).map(Tensor::to_f32_vec)
        {
            let scale = |c: usize| weight_scales[c % weight_scales.len().max(1)];
            let ints = values.iter().enumerate().map(|(c, b)| quantize_bias(*b, sx, scale(c))).collect();
            return Ok(self.builder.constant("bias", Tensor::vector::<i32>(ints)));
        }
        let bias = self.plain(bias)?;
        let products: Vec<f32> = weight_scales.iter().map(|sw| sx * sw).collect();
        let products = self.builder.constant("bias_scale", Tensor::vector(products));
        self.builder.bias(bias, products)
    }

    fn mul(&mut self, a: &Scaled, b: &Scaled) -> Result<Option<Rep>, Pt2eError> {
        let (Some(sa), Some(sb)) = (a.code_scale(), b.code_scale()) else { return Ok(None) };
        let operands = [self.builder.ints(a)?, self.builder.ints(b)?];
        let ints = self.builder.call("mul", &operands, Attrs::new())?;
        Ok(Some(Rep::Scaled(Scaled::sums(ints, ScaleOf::One(sa * sb)))))
    }

    /// Quantized tensors that mean the same are joined as they are.
    fn cat(&mut self, first: &Scaled, parts: &[&Rep], attrs: &Attrs) -> Result<Option<Rep>, Pt2eError> {
        let Ints::Codes { zero, .. } = &first.ints else { return Ok(None) };
        let mut tensors: Vec<ValueRef> = Vec::new();
        for part in parts {
            match part {
                Rep::Scaled(Scaled { ints: Ints::Codes { q, zero: z }, scale, clamp })
                    if z == zero && *scale == first.scale && *clamp == first.clamp =>
                {
                    tensors.push(*q);
                }
                // Then reference evaluation joins reals, unless a part was kept.
                Rep::Kept(_) => return Ok(None),
                _ => return self.cat_reals(parts, attrs).map(Some),
            }
        }
        let dtypes = tensors.iter().map(|t| self.builder.graph.ty(*t).dtype);
        let alike = dtypes.collect::<std::collections::BTreeSet<_>>().len() == 1;
        if !alike || matches!(first.scale, ScaleOf::Channels { .. }) {
            return self.cat_reals(parts, attrs).map(Some);
        }
        let q = self.builder.call("cat", &tensors, attrs.clone())?;
        let ints = Ints::Codes { q, zero: zero.clone() };
        Ok(Some(Rep::Scaled(Scaled { ints, ..first.clone() })))
    }

    fn cat_reals(&mut self, parts: &[&Rep], attrs: &Attrs) -> Result<Rep, Pt2eError> {
        let reals = parts.iter().map(|p| self.plain(p)).collect::<Result<Vec<_>, _>>()?;
        Ok(Rep::Same(self.builder.call("cat", &reals, attrs.clone())?))
    }

    /// Adaptive average pooling: the sums of the windows are two products with matrices of zeros and ones.
    fn adaptive_avg_pool2d(&mut self, op: OpRef, attrs: &Attrs, x: &Scaled) -> Result<Option<Rep>, Pt2eError> {
        let Some(scale) = x.code_scale() else { return Ok(None) };
        let Ints::Codes { q, .. } = &x.ints else { return Ok(None) };
        let dims = self.builder.graph.ty(*q).shape.dims();
        let sizes: Option<Vec<usize>> = dims.get(2..4).map(|d| d.iter().map(|d| d.known()).collect()).unwrap_or(None);
        let (Some(Attr::Ints(out)), Some(sizes)) = (attribute(op, attrs, "output_size"), sizes) else {
            return Ok(None);
        };
        let Ok(out) = quantc_ops::pool::adaptive_size(2, &out) else { return Ok(None) };
        let [h, w] = [0, 1].map(|d| windows(sizes[d], out[d]));
        let ints = self.builder.ints(x)?;
        let across = self.window_sums(ints, sizes[1], &w)?;
        let sums = self.window_sums(across, sizes[0], &h)?;
        let counts: Vec<usize> = h.iter().flat_map(|h| w.iter().map(move |w| h.len() * w.len())).collect();
        let first = counts[0];
        if counts.iter().all(|n| *n == first) {
            return Ok(Some(Rep::Scaled(Scaled::sums(sums, ScaleOf::One(scale / first as f32)))));
        }
        let scales: Vec<f32> = counts.iter().map(|n| scale / *n as f32).collect();
        let Ok(scales) = Tensor::from_vec(&[h.len(), w.len()], scales) else { return Ok(None) };
        let scales = self.builder.constant("scales", scales);
        let float = self.builder.to(sums, DType::F32)?;
        Ok(Some(Rep::Same(self.builder.call("mul", &[float, scales], Attrs::new())?)))
    }

    /// Sums of windows along the last dimension, which becomes the last but one.
    fn window_sums(
        &mut self,
        x: ValueRef,
        size: usize,
        windows: &[std::ops::Range<usize>],
    ) -> Result<ValueRef, Pt2eError> {
        let ones: Vec<i32> =
            windows.iter().flat_map(|window| (0..size).map(|i| i32::from(window.contains(&i)))).collect();
        let matrix = Tensor::from_vec(&[windows.len(), size], ones).unwrap_or_else(|_| Tensor::vector(vec![0i32]));
        let matrix = self.builder.constant("windows", matrix);
        let sums = self.builder.call("integer.linear", &[x, matrix], Attrs::new())?;
        self.builder.call("permute", &[sums], Attrs::new().with("dims", vec![0i64, 1, 3, 2]))
    }
}

/// The windows of an adaptive pooling along a dimension.
fn windows(input: usize, output: usize) -> Vec<std::ops::Range<usize>> {
    (0..output).map(|i| i * input / output..((i + 1) * input).div_ceil(output)).collect()
}

/// A clamp, carried to where the value is used.
fn narrowed(s: &Scaled, (lo, hi): (f32, f32)) -> Rep {
    let clamp = (s.clamp.0.max(lo).min(hi), s.clamp.1.max(lo).min(hi));
    Rep::Scaled(Scaled { clamp, ..s.clone() })
}
