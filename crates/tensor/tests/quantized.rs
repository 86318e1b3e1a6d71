//! Quantized tensors: properties, and where they are meant to differ from PyTorch's.

use ndarray::{Axis, IxDyn};
use proptest::prelude::*;
use quantc_tensor::quantized::{QuantizedError, Quantizer};
use quantc_tensor::{QDType, QScheme, QuantizedTensor, Tensor};

/// A shape of up to four dimensions, without sizes of 0 where `least` is 1.
fn shapes(least: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(least..=4, 1..=4)
}

fn schemes() -> impl Strategy<Value = QScheme> {
    use QScheme::{PerChannelAffine, PerChannelAffineFloatQParams, PerTensorAffine};
    prop::sample::select(vec![PerTensorAffine, PerChannelAffine, PerChannelAffineFloatQParams])
}

/// Parameters for a tensor of that shape; all values of -1 to 1 and more are in their range.
fn quantizer(scheme: QScheme, shape: &[usize], axis: usize, dtype: QDType, seed: usize) -> Quantizer {
    let (lo, hi) = dtype.range();
    let levels = (f64::from(hi) - f64::from(lo)).min(1000.0);
    let scale = |c: usize| 2.5 * (1.0 + ((c + seed) % 3) as f64) / levels;
    let middle = (i64::from(lo) + i64::from(hi) + 1).div_euclid(2) as i32;
    let axis = axis % shape.len();
    let channels = 0..shape[axis];
    match scheme {
        QScheme::PerChannelAffine => Quantizer::PerChannelAffine {
            scales: channels.clone().map(scale).collect(),
            zero_points: channels.map(|_| middle).collect(),
            axis,
        },
        QScheme::PerChannelAffineFloatQParams => Quantizer::PerChannelAffineFloatQParams {
            scales: channels.clone().map(|c| scale(c) as f32).collect(),
            zero_points: channels.map(|c| middle as f32 - 0.25 * (c % 3) as f32).collect(),
            axis,
        },
        _ => Quantizer::PerTensorAffine { scale: scale(0), zero_point: middle },
    }
}

/// Values in -1..=1.
fn values(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let data = (0..n).map(|i| ((i * 37 + seed * 101) % 201) as f32 / 100.0 - 1.0).collect();
    Tensor::from_vec(shape, data).expect("fills its shape")
}

fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&d| d as i64).collect()
}

proptest! {
    #[test]
    fn within_half_a_step(
        shape in shapes(0), scheme in schemes(), axis in 0..4usize, seed in 0..50usize, dtype in prop::sample::select(QDType::ALL)
    ) {
        let params = quantizer(scheme, &shape, axis, dtype, seed);
        let x = values(&shape, seed);
        let q = QuantizedTensor::quantize(&x, params.clone(), dtype).expect("fits");
        let (lo, hi) = dtype.range();
        prop_assert!(q.ints().iter().all(|v| (lo..=hi).contains(v)));
        let widest = match &params {
            Quantizer::PerTensorAffine { scale, .. } => *scale as f32,
            Quantizer::PerChannelAffine { scales, .. } => scales.iter().copied().fold(0.0, f64::max) as f32,
            Quantizer::PerChannelAffineFloatQParams { scales, .. } => scales.iter().copied().fold(0.0, f32::max),
        };
        // The lowest and highest of the middle range are a fraction of a step short of 1 in 2 bits.
        let reach = if dtype == QDType::QUInt2x4 { 1.0 } else { 0.5 };
        for (x, back) in x.to_f32_vec().iter().zip(q.dequantize().to_f32_vec()) {
            prop_assert!((x - back).abs() <= widest * reach * 1.001, "{x} became {back}, a step is {widest}");
        }
        let repr = QuantizedTensor::from_int_repr(&q.int_repr(), &shape, params, dtype).expect("its own");
        prop_assert!(repr.equal(&q));
        prop_assert_eq!(q.int_repr().numel(), q.numel().div_ceil(dtype.per_byte()));
        // What was real once stays: quantizing what dequantizing gave changes nothing.
        let again = QuantizedTensor::quantize(&q.dequantize(), q.quantizer().clone(), dtype).expect("fits");
        prop_assert!(again.equal(&q));
    }

    #[test]
    fn views_are_views_of_the_real_values(
        shape in shapes(1), scheme in schemes(), axis in 0..4usize, seed in 0..50usize, dtype in prop::sample::select(QDType::ALL),
        dim in 0..4usize, index in 0..4usize, cut in 0..4usize
    ) {
        let q = QuantizedTensor::quantize(&values(&shape, seed), quantizer(scheme, &shape, axis, dtype, seed), dtype).expect("fits");
        let real = q.dequantize();
        let same = |q: &QuantizedTensor, real: &Tensor| q.dequantize().bits_eq(real);
        let dim = dim % shape.len();
        let index = index % shape[dim];
        match q.select(dim as i64, index as i64) {
            Ok(one) => {
                let want = real.view::<f32>().expect("f32").index_axis(Axis(dim), index).to_owned();
                prop_assert!(same(&one, &Tensor::from_array(want)));
            }
            Err(e) => prop_assert!(matches!(e, QuantizedError::RealZeroPoint(..)) && Some(dim) == q.quantizer().axis(), "{e}"),
        }
        for wanted in [[&[1], &shape[..]].concat(), vec![q.numel()], vec![shape[0], q.numel() / shape[0]]] {
            match q.view(&sizes(&wanted)) {
                Ok(view) => prop_assert!(same(&view, &real.reshape(&wanted).expect("same number"))),
                Err(e) => prop_assert!(q.quantizer().axis().is_some(), "{e}"),
            }
        }
        // Dimensions before the channels can always be joined, and those behind.
        let axis = q.quantizer().axis().unwrap_or(cut % shape.len());
        if axis > 0 {
            let flat = q.flatten(0, axis as i64 - 1).expect("not the channels");
            prop_assert!(same(&flat, &real.reshape(flat.shape()).expect("same number")));
        }
        if axis + 1 < shape.len() {
            let flat = q.flatten(axis as i64 + 1, -1).expect("not the channels");
            prop_assert!(same(&flat, &real.reshape(flat.shape()).expect("same number")));
        }
        let wide = [&[2], &shape[..]].concat();
        match q.expand(&sizes(&wide)) {
            Ok(wider) => {
                let want = real.view::<f32>().expect("f32").broadcast(IxDyn(&wide)).expect("broadcasts").to_owned();
                prop_assert!(same(&wider, &Tensor::from_array(want)));
            }
            Err(e) => prop_assert!(matches!(e, QuantizedError::Scheme { .. }) && q.quantizer().axis().is_some(), "{e}"),
        }
    }

    /// Packed elements are elements like others: the methods give what they give for quint8 of the same integers.
    #[test]
    fn packed_as_unpacked(shape in shapes(1), seed in 0..50usize, dim in 0..4i64, k in 0..4usize, packed in any::<bool>()) {
        let dtype = if packed { QDType::QUInt4x2 } else { QDType::QUInt2x4 };
        let params = quantizer(QScheme::PerTensorAffine, &shape, 0, dtype, seed);
        let q = QuantizedTensor::quantize(&values(&shape, seed), params.clone(), dtype).expect("fits");
        let bytes = Tensor::from_vec(&shape, q.ints().iter().map(|&v| v as u8).collect()).expect("fills its shape");
        let wide = QuantizedTensor::from_int_repr(&bytes, &shape, params, QDType::QUInt8).expect("fits");
        let same = |a: &QuantizedTensor, b: &QuantizedTensor| a.shape() == b.shape() && a.ints() == b.ints();
        let dim = dim % shape.len() as i64;
        prop_assert!(same(&q.max().expect("elements"), &wide.max().expect("elements")));
        prop_assert!(same(&q.min().expect("elements"), &wide.min().expect("elements")));
        prop_assert!(same(&q.mean(&[dim], false).expect("elements"), &wide.mean(&[dim], false).expect("elements")));
        prop_assert!(same(&q.select(dim, 0).expect("there"), &wide.select(dim, 0).expect("there")));
        let k = k.min(shape[dim as usize]);
        let pairs = [
            (q.max_dim(dim, true), wide.max_dim(dim, true)),
            (q.min_dim(dim, false), wide.min_dim(dim, false)),
            (q.sort(dim, true), wide.sort(dim, true)),
            (q.topk(k, dim, false), wide.topk(k, dim, false)),
        ];
        for (a, b) in pairs {
            let (a, b) = (a.expect("per tensor"), b.expect("per tensor"));
            prop_assert!(same(&a.0, &b.0) && a.1.bits_eq(&b.1));
        }
        let strided = |q: &QuantizedTensor| q.as_strided(&[q.numel().div_ceil(2)], &[2], 0).expect("inside");
        prop_assert!(same(&strided(&q), &strided(&wide)));
        prop_assert!(q.ge(0.1).expect("a number").bits_eq(&wide.ge(0.1).expect("a number")));
        let (mut a, mut b) = (q.clone(), wide.clone());
        a.resize_(&[shape[0], 3]).expect("per tensor");
        b.resize_(&[shape[0], 3]).expect("per tensor");
        prop_assert!(same(&a, &b));
        a.copy_(&a.clone()).expect("itself");
        prop_assert!(same(&a, &b));
    }
}

#[test]
fn names_are_the_same_in_files() {
    for &dtype in QDType::ALL {
        assert_eq!(serde_json::to_string(&dtype).expect("a name"), format!("\"{dtype}\""));
    }
    let scheme = QScheme::PerChannelAffineFloatQParams;
    for scheme in [
        QScheme::PerTensorAffine,
        QScheme::PerTensorSymmetric,
        QScheme::PerChannelAffine,
        QScheme::PerChannelSymmetric,
        scheme,
    ] {
        let name = format!("\"{scheme}\"");
        assert_eq!(serde_json::to_string(&scheme).expect("a name"), name);
        assert_eq!(serde_json::from_str::<QScheme>(&name).expect("a scheme"), scheme);
    }
}

#[test]
fn what_is_no_number_has_one_meaning() {
    let x = Tensor::vector(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, -1e38]);
    for &dtype in QDType::ALL {
        let (lo, hi) = dtype.range();
        for scheme in [QScheme::PerTensorAffine, QScheme::PerChannelAffine, QScheme::PerChannelAffineFloatQParams] {
            let params = quantizer(scheme, &[5], 0, dtype, 1);
            let q = QuantizedTensor::quantize(&x, params, dtype).expect("fits");
            assert_eq!(q.ints(), [lo, hi, lo, hi, lo], "{dtype} {scheme}");
        }
    }
}

#[test]
fn channels_go_where_their_elements_go() {
    let x = values(&[2, 3, 4], 5);
    let (scales, zero_points) = (Tensor::vector(vec![0.25f32, 0.5, 0.75]), Tensor::vector(vec![1i64, 2, 3]));
    let q = QuantizedTensor::quantize_per_channel(&x, &scales, &zero_points, 1, QDType::QInt8).expect("fits");
    let axis = |shape: &[i64]| q.view(shape).map(|v| v.q_per_channel_axis().expect("per channel"));
    assert_eq!(axis(&[2, 3, 2, 2]), Ok(1));
    assert_eq!(axis(&[1, 2, 3, 4]), Ok(2));
    assert_eq!(axis(&[2, 1, 3, -1]), Ok(2));
    for shape in [&[6, 4][..], &[3, 2, 4], &[24], &[2, 12]] {
        assert!(matches!(axis(shape), Err(QuantizedError::Shape { method: "view", .. })), "{shape:?}");
    }
    let behind = q.select(2, -1).expect("there");
    assert_eq!((behind.shape(), behind.q_per_channel_axis()), (&[2, 3][..], Ok(1)));

    let float = Tensor::vector(vec![1.5f32, 2.0, 300.0]);
    let q = QuantizedTensor::quantize_per_channel(&x, &scales, &float, 1, QDType::QUInt4x2).expect("fits");
    assert_eq!(q.qscheme(), QScheme::PerChannelAffineFloatQParams);
    assert_eq!(q.select(1, 1).and_then(|c| c.q_zero_point()), Ok(2));
    assert!(matches!(q.select(1, 0), Err(QuantizedError::RealZeroPoint(1.5, _))));
    assert!(matches!(q.select(1, 2), Err(QuantizedError::RealZeroPoint(300.0, _))));
    assert!(q.select(0, 0).is_ok());
}

#[test]
fn a_copy_is_its_own() {
    let q = QuantizedTensor::quantize_per_tensor(&values(&[2, 3], 1), 0.1, 3, QDType::QUInt8).expect("fits");
    let mut other = q.clone();
    other.copy_from_float_(&Tensor::full(&[2, 3], 0.5f32)).expect("the same shape");
    assert_eq!(other.ints(), [8; 6]);
    assert!(!other.equal(&q));
    other.resize_(&[2, 4]).expect("per tensor");
    assert_eq!(other.ints(), [8, 8, 8, 8, 8, 8, 3, 3]);
    assert_eq!(other.dequantize().to_f32_vec()[6..], [0.0, 0.0]);
}

#[test]
fn what_has_no_meaning_is_refused() {
    let x = values(&[2, 3], 1);
    let per_tensor = |scale, zero_point, dtype| QuantizedTensor::quantize_per_tensor(&x, scale, zero_point, dtype);
    for scale in [0.0, -0.1, f64::NAN, f64::INFINITY, 1e-40, 1e39, 1e-60] {
        assert!(matches!(per_tensor(scale, 0, QDType::QUInt8), Err(QuantizedError::Scale(_))), "{scale}");
    }
    for (zero_point, dtype) in [(16, QDType::QUInt4x2), (4, QDType::QUInt2x4), (i64::MIN, QDType::QInt32)] {
        assert_eq!(
            per_tensor(0.1, zero_point, dtype).map(|_| ()),
            Err(QuantizedError::ZeroPoint { zero_point, dtype })
        );
    }
    let wide = Tensor::full(&[2], 1.0f64);
    let refused = QuantizedTensor::quantize_per_tensor(&wide, 0.1, 0, QDType::QInt8).map(|_| ());
    assert_eq!(refused, Err(QuantizedError::Input(wide.dtype())));

    let two = Tensor::vector(vec![0.5f32; 2]);
    let per_channel = |scales: &Tensor, zero_points: &Tensor| {
        QuantizedTensor::quantize_per_channel(&x, scales, zero_points, 0, QDType::QInt8).map(|_| ())
    };
    let bools = Tensor::vector(vec![true; 2]);
    assert!(matches!(
        per_channel(&Tensor::vector(vec![1i32; 2]), &two),
        Err(QuantizedError::Parameter { what: "scales", .. })
    ));
    assert!(matches!(per_channel(&two, &bools), Err(QuantizedError::Parameter { what: "zero points", .. })));
    let nan = Tensor::vector(vec![0.0, f32::NAN]);
    assert!(matches!(per_channel(&two, &nan), Err(QuantizedError::RealZeroPoint(..))));

    let params = Quantizer::PerTensorAffine { scale: 0.1, zero_point: 0 };
    let from =
        |ints: &Tensor, shape: &[usize], dtype| QuantizedTensor::from_int_repr(ints, shape, params.clone(), dtype);
    let bytes = Tensor::vector(vec![0xffu8; 3]);
    assert!(from(&bytes, &[3], QDType::QInt8).is_err());
    assert!(from(&bytes, &[4], QDType::QUInt8).is_err());
    assert!(from(&bytes, &[7], QDType::QUInt4x2).is_err());
    assert!(from(&bytes, &[0, usize::MAX, 2], QDType::QUInt8).is_err());
    // Bits that belong to no element do not count.
    let ragged = from(&bytes, &[5], QDType::QUInt4x2).expect("three bytes");
    assert_eq!(ragged.int_repr().slice::<u8>(), Ok(&[0xff, 0xff, 0x0f][..]));

    let q = per_tensor(0.1, 0, QDType::QUInt8).expect("fits");
    assert!(matches!(q.expand(&[1 << 40, 2, 3]), Err(QuantizedError::TooLarge(_))));
    assert!(matches!(q.as_strided(&[1 << 40, 2], &[0, 1], 0), Err(QuantizedError::TooLarge(_))));
    assert!(q.as_strided(&[2, 2], &[usize::MAX, usize::MAX], 1).is_err());
    assert!(matches!(q.clone().resize_(&[usize::MAX, 2]), Err(QuantizedError::TooLarge(_))));
    assert!(q.view(&[i64::MAX, i64::MAX]).is_err());
    for index in [i64::MIN, i64::MAX] {
        assert!(q.select(index, 0).is_err() && q.select(0, index).is_err() && q.flatten(index, 0).is_err());
        assert!(q.mean(&[index], false).is_err() && q.sort(index, false).is_err() && q.max_dim(index, true).is_err());
    }
    let empty = QuantizedTensor::quantize_per_tensor(&values(&[0, 3], 0), 0.1, 0, QDType::QUInt8).expect("fits");
    assert_eq!(empty.mean(&[], false).map(|_| ()), Err(QuantizedError::Empty("mean")));
    assert_eq!(empty.mean(&[1], false).map(|m| m.shape().to_vec()), Ok(vec![0]));
    assert!(empty.view(&[0, i64::MAX, i64::MAX]).is_err());
    let scalar = QuantizedTensor::quantize_per_tensor(&Tensor::scalar(1.0f32), 0.1, 0, QDType::QUInt8).expect("fits");
    assert_eq!(scalar.topk(0, 0, true).map(|_| ()), Err(QuantizedError::TopK { k: 0, size: 1 }));
}
