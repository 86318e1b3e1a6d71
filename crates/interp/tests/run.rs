//! Running small graphs: results, freeing, hooks and errors.

use quantc_interp::{Interpreter, eval_constant};
use quantc_ir::{Graph, text};
use quantc_tensor::{DType, Tensor};

fn graph(source: &str) -> Graph {
    text::parse(source).expect("valid text")
}

fn two_inputs() -> Graph {
    graph(
        "graph g(%a: f32[N,2], %b: f32[N,2]) {\n  %r = relu(%a) : f32[N,2]\n  %s = relu(%b) : f32[N,2]\n  return r=%r, s=%s\n}\n",
    )
}

fn f32s(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::from_vec(shape, data.to_vec()).expect("sizes fit")
}

#[test]
fn inputs_go_by_name_and_outputs_come_in_order() {
    let g = two_inputs();
    let (a, b) = (f32s(&[1, 2], &[-1.0, 2.0]), f32s(&[1, 2], &[3.0, -4.0]));
    let out = Interpreter::new(&g).run(&[("b", b), ("a", a)]).expect("runs");
    assert_eq!(out.iter().map(|o| &*o.0).collect::<Vec<_>>(), ["r", "s"]);
    assert_eq!(out[0].1.to_f32_vec(), [0.0, 2.0]);
    assert_eq!(out[1].1.to_f32_vec(), [3.0, 0.0]);
}

#[test]
fn the_hook_sees_every_call_in_order() {
    let g = graph(
        "graph g(%a: f32[2]) {\n  %o = observer(%a) {id=7} : f32[2]\n  %r = relu(%o) : f32[2]\n  return r=%r\n}\n",
    );
    let mut seen = Vec::new();
    let run = Interpreter::new(&g).run_with(&[("a", f32s(&[2], &[-1.0, 5.0]))], |id, values| {
        seen.push((g.node(id).name().to_owned(), values[0].to_tensor().to_f32_vec()));
    });
    assert!(run.is_ok());
    assert_eq!(seen, [("o".to_owned(), vec![-1.0, 5.0]), ("r".to_owned(), vec![0.0, 5.0])]);
}

#[test]
fn a_quantized_round_trip_keeps_the_integers() {
    let g = graph(
        "graph g(%q: u8[3]) {\n  %x = dequantize_per_tensor(%q) {scale=0.1, zero_point=3} : f32[3]\n  %r = relu(%x) : f32[3]\n  \
         %y = quantize_per_tensor(%r) {scale=0.1, zero_point=3} : u8[3]\n  return y=%y\n}\n",
    );
    let out = Interpreter::new(&g).run(&[("q", Tensor::vector(vec![0u8, 3, 200]))]).expect("runs");
    assert_eq!(out[0].1.slice::<u8>().expect("u8"), [3, 3, 200]);
}

#[test]
fn errors_name_the_input_and_what_to_do() {
    let g = two_inputs();
    let ok = || f32s(&[1, 2], &[1.0, 2.0]);
    let run = |inputs: &[(&str, Tensor)]| Interpreter::new(&g).run(inputs).expect_err("must fail").to_string();
    let messages = [
        run(&[("a", ok())]),
        run(&[("a", ok()), ("b", ok()), ("c", ok())]),
        run(&[("a", ok()), ("a", ok())]),
        run(&[("a", ok()), ("b", Tensor::full(&[1, 2], 1i64))]),
        run(&[("a", ok()), ("b", f32s(&[2], &[1.0, 2.0]))]),
        run(&[("a", ok()), ("b", f32s(&[1, 3], &[1.0; 3]))]),
        run(&[("a", ok()), ("b", f32s(&[2, 2], &[1.0; 4]))]),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_parameter_without_a_value_is_an_error() {
    let g = graph(
        "graph g() {\n  param @w: f32[32,32]\n  %r = relu(@w) : f32[32,32]  # m.0: ReLU(Relu, 0)\n  return r=%r\n}\n",
    );
    let none: &[(&str, Tensor)] = &[];
    let error = Interpreter::new(&g).run(none).expect_err("no value");
    insta::assert_snapshot!(error, @"parameter `w` has no value, node `r` needs it (hint: are the weights beside the model?)");
}

#[test]
fn constants_fold_but_not_dequantized_ones() {
    let mut g = Graph::new("g");
    let relu = quantc_ops::lookup("relu").expect("relu");
    let dequantize = quantc_ops::lookup("dequantize_per_tensor").expect("dequantize");
    let w = g.param("w", f32s(&[2], &[-1.0, 1.0]));
    let q = g.param("q", Tensor::vector(vec![1i8, 2]));
    let x = g.placeholder("x", quantc_tensor::TensorType::new(DType::F32, [2usize].as_slice()));
    let folded = g.call("r", relu, &[Some(w.into())], quantc_ops::Attrs::new(), &[]).expect("types");
    let attrs = quantc_ops::Attrs::new().with("scale", 0.5f32);
    let scaled = g.call("d", dequantize, &[Some(q.into())], attrs, &[]).expect("types");
    let dynamic = g.call("s", relu, &[Some(x.into())], quantc_ops::Attrs::new(), &[]).expect("types");
    let value = |id| eval_constant(&g, id).expect("evaluates").map(|v| v[0].to_f32_vec());
    assert_eq!(value(folded), Some(vec![0.0, 1.0]));
    assert_eq!(value(scaled), None);
    assert_eq!(value(dynamic), None);
}
