//! Properties: fused integer operators equal their compositions bit for bit, layouts agree, and nothing a model can say
//! makes an operator panic.

use proptest::prelude::*;
use quantc_ops::float::conv::{Channels, conv_nchw, conv_nhwc, conv_nhwc_scratch, pack_weights_nhwc};
use quantc_ops::window::Window;
use quantc_ops::{Attr, AttrDefault, Attrs, InferCx, InputInfo, InputKind, OpClass, OpRef, lookup, operators};
use quantc_tensor::{DType, Tensor, Value};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn call(name: &str, inputs: &[Option<Value>], attrs: Attrs) -> Value {
    let op = lookup(name).unwrap_or_else(|| panic!("no operator {name}"));
    let attrs = attrs.check(op.signature()).unwrap_or_else(|e| panic!("{name}: {e}"));
    op.eval(inputs, &attrs).unwrap_or_else(|e| panic!("{name}: {e}")).remove(0)
}

fn some(v: &Value) -> Option<Value> {
    Some(v.clone())
}

fn u8s(rng: &mut StdRng, shape: &[usize]) -> Value {
    Tensor::from_vec(shape, (0..shape.iter().product()).map(|_| rng.random::<u8>()).collect()).expect("shape").into()
}

fn i8s(rng: &mut StdRng, shape: &[usize]) -> Value {
    Tensor::from_vec(shape, (0..shape.iter().product()).map(|_| rng.random::<i8>()).collect()).expect("shape").into()
}

fn reals(rng: &mut StdRng, shape: &[usize], lo: f32, hi: f32) -> Value {
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(lo..hi)).collect();
    Tensor::from_vec(shape, data).expect("shape").into()
}

fn quant(scale: f32, zero_point: i64) -> Attrs {
    Attrs::new().with("scale", scale).with("zero_point", zero_point)
}

fn same(got: &Value, want: &Value) -> Result<(), TestCaseError> {
    let (got, want) = (got.to_tensor(), want.to_tensor());
    prop_assert!(got.bits_eq(&want), "{got:?} instead of {want:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quantized_conv2d_is_its_composition(
        seed: u64, groups in 1usize..3, gin in 1usize..5, gout in 1usize..4, h in 3usize..7, w in 3usize..7, kernel in 1usize..4,
        stride in 1i64..3, padding in 0i64..2, per_channel: bool, with_bias: bool, with_residual: bool, float_out: bool, relu6: bool,
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let oc = groups * gout;
        let x = u8s(&mut rng, &[2, groups * gin, h, w]);
        let weight = i8s(&mut rng, &[oc, gin, kernel, kernel]);
        let scales = reals(&mut rng, &[if per_channel { oc } else { 1 }], 0.001, 0.02);
        let bias = with_bias.then(|| reals(&mut rng, &[oc], -3.0, 3.0));
        let (sx, zx, sy, zy, sr, zr) = (0.031f32, 117i64, rng.random_range(0.01..0.3f32), 9i64, 0.017f32, 131i64);
        let geometry = Attrs::new().with("stride", vec![stride; 2]).with("padding", vec![padding; 2]).with("groups", groups);

        let real_x = call("dequantize_per_tensor", &[some(&x)], quant(sx, zx));
        let real_w = if per_channel {
            call("dequantize_per_channel", &[some(&weight), some(&scales)], Attrs::new())
        } else {
            let s = scales.to_tensor().as_scalar_f32().expect("one scale");
            call("dequantize_per_tensor", &[some(&weight)], quant(s, 0))
        };
        let mut y = call("conv2d", &[Some(real_x), Some(real_w), bias.clone()], geometry.clone());
        let residual = with_residual.then(|| u8s(&mut rng, y.shape()));
        if let Some(r) = &residual {
            let r = call("dequantize_per_tensor", &[some(r)], quant(sr, zr));
            y = call("add", &[Some(y), Some(r)], Attrs::new());
        }
        let mut fused = geometry
            .with("x_scale", sx).with("x_zero_point", zx).with("scale", sy).with("zero_point", zy)
            .with("residual_scale", sr).with("residual_zero_point", zr);
        if relu6 {
            y = call("relu6", &[Some(y)], Attrs::new());
            fused = fused.with("activation_min", 0.0f32).with("activation_max", 6.0f32);
        }
        if float_out {
            fused = fused.with("dtype", DType::F32);
        } else {
            y = call("quantize_per_tensor", &[Some(y)], quant(sy, zy));
        }
        same(&call("quantized.conv2d", &[some(&x), some(&weight), some(&scales), bias, residual], fused), &y)?;
    }

    #[test]
    fn quantized_linear_is_its_composition(seed: u64, rows in 1usize..5, inputs in 1usize..70, outputs in 1usize..9, dynamic: bool) {
        let mut rng = StdRng::seed_from_u64(seed);
        let weight = i8s(&mut rng, &[outputs, inputs]);
        let scales = reals(&mut rng, &[outputs], 0.001, 0.02);
        let bias = reals(&mut rng, &[outputs], -3.0, 3.0);
        let real_w = call("dequantize_per_channel", &[some(&weight), some(&scales)], Attrs::new());
        if dynamic {
            let x = reals(&mut rng, &[rows, inputs], -2.0, 3.0);
            let real_x = call("dynamic_quantize_dequantize", &[some(&x)], Attrs::new());
            let y = call("linear", &[Some(real_x), Some(real_w), some(&bias)], Attrs::new());
            let y = call("relu", &[Some(y)], Attrs::new());
            let fused = Attrs::new().with("activation_min", 0.0f32);
            return same(&call("quantized.linear_dynamic", &[some(&x), some(&weight), some(&scales), some(&bias)], fused), &y);
        }
        let x = u8s(&mut rng, &[rows, inputs]);
        let real_x = call("dequantize_per_tensor", &[some(&x)], quant(0.02, 30));
        let y = call("linear", &[Some(real_x), Some(real_w), some(&bias)], Attrs::new());
        let y = call("quantize_per_tensor", &[Some(y)], quant(0.05, 40));
        let fused = quant(0.05, 40).with("x_scale", 0.02f32).with("x_zero_point", 30i64);
        same(&call("quantized.linear", &[some(&x), some(&weight), some(&scales), some(&bias)], fused), &y)?;
    }

    #[test]
    fn dynamic_convolutions_are_their_compositions(
        seed: u64, rank in 1usize..4, transposed: bool, groups in 1usize..3, gin in 1usize..4, gout in 1usize..4, kernel in 1usize..4,
        stride in 1i64..3, padding in 0i64..2, per_channel: bool, with_bias: bool, reduce_range: bool, relu6: bool,
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (op, axis, first, second) = if transposed { ("conv_transpose", 1, groups * gin, gout) } else { ("conv", 0, groups * gout, gin) };
        let sizes = |a: usize, b: usize, size: usize| [vec![a, b], vec![size; rank]].concat();
        let x = reals(&mut rng, &sizes(2, groups * gin, 4), -2.0, 3.0);
        let weight = i8s(&mut rng, &sizes(first, second, kernel));
        let scales = reals(&mut rng, &[if per_channel { weight.shape()[axis] } else { 1 }], 0.001, 0.02);
        let bias = with_bias.then(|| reals(&mut rng, &[groups * gout], -3.0, 3.0));
        let geometry =
            Attrs::new().with("stride", vec![stride; rank]).with("padding", vec![padding.min(kernel as i64 - 1); rank]).with("groups", groups);

        let real_x = call("dynamic_quantize_dequantize", &[some(&x)], Attrs::new().with("reduce_range", reduce_range));
        let real_w = if per_channel {
            call("dequantize_per_channel", &[some(&weight), some(&scales)], Attrs::new().with("axis", axis as i64))
        } else {
            let s = scales.to_tensor().as_scalar_f32().expect("one scale");
            call("dequantize_per_tensor", &[some(&weight)], quant(s, 0))
        };
        let mut y = call(&format!("{op}{rank}d"), &[Some(real_x), Some(real_w), bias.clone()], geometry.clone());
        let mut fused = geometry.with("reduce_range", reduce_range);
        if relu6 {
            y = call("relu6", &[Some(y)], Attrs::new());
            fused = fused.with("activation_min", 0.0f32).with("activation_max", 6.0f32);
        }
        let name = format!("quantized.{op}{rank}d_dynamic");
        same(&call(&name, &[some(&x), some(&weight), some(&scales), bias], fused), &y)?;
    }

    #[test]
    fn quantized_elementwise_and_pools_are_their_compositions(seed: u64, sa in 0.001f32..0.1, sb in 0.001f32..0.1, sy in 0.001f32..0.2) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (a, b) = (u8s(&mut rng, &[2, 3, 4, 5]), u8s(&mut rng, &[3, 1, 1]));
        let (real_a, real_b) =
            (call("dequantize_per_tensor", &[some(&a)], quant(sa, 100)), call("dequantize_per_tensor", &[some(&b)], quant(sb, 20)));
        let store = |v: Value| call("quantize_per_tensor", &[Some(v)], quant(sy, 77));
        let out = quant(sy, 77).with("a_scale", sa).with("a_zero_point", 100i64).with("b_scale", sb).with("b_zero_point", 20i64);
        for name in ["add", "sub", "mul"] {
            let want = store(call(name, &[some(&real_a), some(&real_b)], Attrs::new()));
            same(&call(&format!("quantized.{name}"), &[some(&a), some(&b)], out.clone()), &want)?;
        }
        let one = quant(sy, 77).with("x_scale", sa).with("x_zero_point", 100i64);
        let want = store(call("sigmoid", &[some(&real_a)], Attrs::new()));
        same(&call("quantized.lookup", &[some(&a)], one.clone().with("function", "sigmoid")), &want)?;
        let slope = Attrs::new().with("negative_slope", 0.3f32);
        let want = store(call("leaky_relu", &[some(&real_a)], slope));
        same(&call("quantized.lookup", &[some(&a)], one.clone().with("function", "leaky_relu").with("alpha", 0.3f32)), &want)?;
        same(&call("quantized.requantize", &[some(&a)], one.clone()), &store(real_a.clone()))?;
        let window = Attrs::new().with("kernel_size", vec![3i64, 2]).with("stride", vec![1i64, 2]).with("padding", vec![1i64, 1]);
        for pad in [true, false] {
            let window = window.clone().with("count_include_pad", pad);
            let want = store(call("avg_pool2d", &[some(&real_a)], window.clone()));
            let fused = window.iter().fold(one.clone(), |all, (k, v)| all.with(k, v.clone()));
            same(&call("quantized.avg_pool2d", &[some(&a)], fused), &want)?;
        }
        let want = store(call("adaptive_avg_pool2d", &[some(&real_a)], Attrs::new().with("output_size", vec![1i64, 1])));
        same(&call("quantized.adaptive_avg_pool2d", &[some(&a)], one.clone().with("output_size", vec![1i64, 1])), &want)?;
        let want = store(call("mean", &[some(&real_a)], Attrs::new().with("dims", vec![2i64, 3])));
        same(&call("quantized.mean", &[some(&a)], one.with("dims", vec![2i64, 3])), &want)?;
    }

    #[test]
    fn channels_last_and_channels_first_convolutions_have_the_same_bits(
        seed: u64, groups in 1usize..5, gin in 1usize..40, gout in 1usize..20, h in 1usize..20, w in 1usize..20,
        kernel in prop::array::uniform2(1usize..4), stride in 1i64..3, pad in 0i64..3, dilation in 1i64..3,
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let window = Window::new(&kernel, &[stride], &[1, 1], &[pad], &[dilation]).expect("window");
        let Ok(grid) = window.over([1, h, w], false) else { return Ok(()) };
        let channels = Channels { input: groups * gin, output: groups * gout, groups };
        let x = reals(&mut rng, &[channels.input, h, w], -1.0, 1.0).to_tensor();
        let weight = reals(&mut rng, &[channels.output, gin, kernel[0], kernel[1]], -1.0, 1.0).to_tensor();
        let bias = reals(&mut rng, &[channels.output], -1.0, 1.0).to_tensor();
        let bias = Some(bias.slice::<f32>().expect("f32"));
        let want = conv_nchw(x.shape()[0], x.slice().expect("f32"), weight.slice().expect("f32"), bias, channels, &grid);
        let last = call("permute", &[Some(x.into())], Attrs::new().with("dims", vec![1i64, 2, 0])).to_tensor();
        let packed = pack_weights_nhwc(weight.slice().expect("f32"), channels, window.taps());
        let mut scratch = vec![0.0; conv_nhwc_scratch(channels, &grid)];
        let mut out = vec![f32::NAN; want.len()];
        conv_nhwc(last.slice().expect("f32"), &packed, bias, channels, &grid, &mut scratch, &mut out);
        for c in 0..channels.output {
            for p in 0..grid.out_len() {
                let (got, want) = (out[p * channels.output + c], want[c * grid.out_len() + p]);
                prop_assert_eq!(got.to_bits(), want.to_bits(), "channel {} pixel {}", c, p);
            }
        }
    }
}

/// A tensor of a random type and small random shape, sometimes empty; often of the rank given.
fn anything(rng: &mut StdRng, likely: DType, rank: Option<usize>) -> Tensor {
    let rank = rank.filter(|_| rng.random_bool(0.8)).unwrap_or_else(|| rng.random_range(0..6usize));
    let shape: Vec<usize> = (0..rank).map(|_| [0, 1, 1, 2, 2, 2, 3, 4][rng.random_range(0..8usize)]).collect();
    let dtype = if rng.random_bool(0.7) { likely } else { DType::ALL[rng.random_range(0..DType::ALL.len())] };
    let data: Vec<f32> = (0..shape.iter().product())
        .map(|_| match rng.random_range(0..20) {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => -3e9,
            _ => rng.random_range(-3.0..5.0f32),
        })
        .collect();
    Tensor::from_vec(&shape, data).expect("shape").cast(dtype)
}

fn any_int(rng: &mut StdRng) -> i64 {
    match rng.random_range(0..24) {
        0 => i64::MAX,
        1 => i64::MIN,
        2 => i64::from(i32::MAX),
        3 => -1,
        4 => 1 << 40,
        _ => rng.random_range(-3..6),
    }
}

fn any_attrs(rng: &mut StdRng, op: OpRef, rank: Option<usize>) -> Attrs {
    let mut attrs = Attrs::new();
    for spec in op.signature().attrs {
        if !spec.default.is_required() && rng.random_bool(0.4) {
            continue;
        }
        let float =
            |rng: &mut StdRng| [0.0, 1.0, 0.1, -2.0, f32::NAN, f32::INFINITY, 1e-40][rng.random_range(0..7usize)];
        let tame = rng.random_bool(0.5);
        let len = rank.filter(|_| tame).map_or_else(|| rng.random_range(0..6usize), |r| r - 2);
        use AttrDefault as D;
        let attr = match spec.default {
            D::Int(_) | D::RequiredInt | D::OptionalInt => Attr::from(any_int(rng)),
            D::Float(_) | D::RequiredFloat => Attr::from(float(rng)),
            D::Bool(_) => Attr::from(rng.random::<bool>()),
            D::DType(_) | D::RequiredDType => Attr::from(DType::ALL[rng.random_range(0..DType::ALL.len())]),
            D::Ints(_) | D::RequiredInts | D::OptionalInts => Attr::from(
                (0..len).map(|_| if tame { rng.random_range(1..3) } else { any_int(rng) }).collect::<Vec<_>>(),
            ),
            D::Floats(_) | D::RequiredFloats => Attr::from((0..len).map(|_| float(rng)).collect::<Vec<_>>()),
            D::Str(_, choices) if rng.random_bool(0.9) => Attr::from(choices[rng.random_range(0..choices.len())]),
            D::Str(..) | D::RequiredStr => Attr::from(["none", "sigmoid", "clamp"][rng.random_range(0..3usize)]),
        };
        attrs.set(spec.name, attr);
    }
    attrs
}

#[test]
fn no_input_makes_an_operator_panic_and_inference_agrees_with_evaluation() {
    let mut rng = StdRng::seed_from_u64(11);
    let (mut evaluated, mut refused) = (0, 0);
    for op in operators() {
        let before = evaluated;
        let name = op.name();
        let spatial = name.chars().rev().nth(1).and_then(|c| c.to_digit(10)).filter(|_| name.ends_with('d'));
        let rank = spatial.map(|d| d as usize + 2).or(["lstm", "gru", "rnn"].contains(&name).then_some(3));
        for _ in 0..1500 {
            let likely = [DType::F32, DType::F32, DType::U8, DType::I64, DType::Bool][rng.random_range(0..5usize)];
            let mut inputs: Vec<Option<Value>> = Vec::new();
            for spec in op.signature().inputs {
                let times = if spec.kind == InputKind::Variadic { rng.random_range(0..4) } else { 1 };
                for _ in 0..times {
                    let given = spec.kind != InputKind::Optional || rng.random_bool(0.5);
                    // Often an input like the one before, which is what most operators take.
                    let like = inputs.last().cloned().flatten().filter(|_| rng.random_bool(0.4));
                    let dtype = match spec.name {
                        "weight" if name.starts_with("quantized") => DType::I8,
                        "weight_scale" => DType::F32,
                        _ => likely,
                    };
                    inputs.push(given.then(|| like.unwrap_or_else(|| anything(&mut rng, dtype, rank).into())));
                }
            }
            let Ok(attrs) = any_attrs(&mut rng, op, rank).check(op.signature()) else { continue };
            let tensors: Vec<Option<Tensor>> = inputs.iter().map(|v| v.as_ref().map(Value::to_tensor)).collect();
            let infos: Vec<_> =
                tensors.iter().map(|t| t.as_ref().map(|t| InputInfo { ty: t.ty(), value: Some(t) })).collect();
            let inferred = op.infer(&InferCx::new(op.signature(), &infos, &attrs));
            match op.eval(&inputs, &attrs) {
                Ok(values) => {
                    evaluated += 1;
                    let types = inferred.expect("evaluation has inferred them");
                    assert_eq!(types.len(), values.len(), "{op}{attrs}");
                    assert!(op.outputs().is_none_or(|n| n == types.len()), "{op}{attrs}");
                    for (ty, v) in types.iter().zip(&values) {
                        assert_eq!(ty.dtype, v.dtype(), "{op}{attrs} of {infos:?}");
                        assert!(
                            ty.shape.compatible(&v.to_tensor().ty().shape),
                            "{op}{attrs} of {infos:?}: {ty} for {:?}",
                            v.shape()
                        );
                    }
                }
                Err(e) => {
                    refused += 1;
                    assert!(!e.to_string().is_empty());
                }
            }
        }
        if evaluated == before {
            eprintln!("{op} was never evaluated");
        }
    }
    assert!(evaluated > 10_000 && refused > 10_000, "{evaluated} evaluated, {refused} refused");
}

/// The words that a signature lists are those that evaluation takes.
#[test]
fn a_signature_lists_the_words_of_its_attributes() {
    let mut lists = 0;
    for op in operators() {
        let sig = op.signature();
        let value = if op.name().starts_with("quantized") { DType::U8 } else { DType::F32 };
        let one = Tensor::full(&[1, 1, 4, 4], 1.0f32).cast(value);
        let inputs: Vec<Option<Value>> =
            sig.inputs.iter().map(|i| (i.kind == InputKind::Required).then(|| one.clone().into())).collect();
        let mut base = Attrs::new();
        for spec in sig.attrs {
            match spec.default {
                AttrDefault::RequiredInt => base.set(spec.name, 2i64),
                AttrDefault::RequiredStr => base.set(spec.name, "gelu"),
                AttrDefault::RequiredFloat => base.set(spec.name, 0.1f32),
                AttrDefault::Floats(_) => base.set(spec.name, vec![2.0f32]),
                AttrDefault::OptionalInts => base.set(spec.name, vec![0i64; 8]),
                _ => {}
            }
        }
        for spec in sig.attrs.iter().filter(|s| s.default.choices().is_some()) {
            lists += 1;
            let refused = |word: &str| {
                let result = op.eval(&inputs, &base.clone().with(spec.name, word));
                result.err().is_some_and(|e| e.to_string().contains(&format!("can't be {word:?}")))
            };
            let taken = spec.default.choices().unwrap_or_default();
            assert!(taken.iter().all(|word| !refused(word)), "{op}: {}", spec.name);
            // The words of a layer's function are looked at when the layer is computed, which these inputs do not do.
            let is_layer = sig.inputs.iter().any(|i| i.name == "weight_scale");
            assert!(is_layer || refused("nonsense"), "{op}: {}", spec.name);
            let function = sig.attrs.iter().find(|s| s.name == "function").and_then(|s| s.default.choices());
            let known = |word: &str| word == "none" || lookup(word).is_some_and(|op| op.class() == OpClass::Unary);
            assert!(function.is_none_or(|words| words.iter().all(|word| known(word))), "{op}");
            assert!(spec.default.value().is_some_and(|v| taken.iter().any(|word| v == Attr::from(*word))), "{op}");
            let unknown = base.clone().with(spec.name, "nonsense").check(sig);
            assert!(unknown.is_err_and(|e| e.to_string().contains("can't be")), "{op}: {}", spec.name);
        }
    }
    assert!(lists >= 8, "{lists}");
}
