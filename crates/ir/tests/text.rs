//! The text form: round trips and errors with positions.

use quantc_ir::text::parse;

const SMALL: &str = r#"graph small(%x: f32[N,3,8,8]) {
  param @"odd name": f32[2] = [0.1, -inf]
  %relu = relu(%x) : f32[N,3,8,8]  # block.0: ReLU(relu, 0)
  %q = quantize_per_tensor(%relu) {scale=0.1, zero_point=3} : u8[N,3,8,8]  # block.0: ReLU(relu, 0) @7; "": Model("a b", 1)
  %"odd:value" = dequantize_per_tensor(%q) {scale=0.1, zero_point=3} : f32[N,3,8,8]
  return out=%"odd:value", weight=@"odd name"
}
"#;

#[test]
fn print_is_the_inverse_of_parse() {
    let graph = parse(SMALL).expect("parses");
    graph.verify().expect("valid");
    assert_eq!(graph.to_string(), SMALL);
    assert_eq!(parse(&graph.to_string()).expect("parses").to_string(), SMALL);
}

#[test]
fn a_graph_may_return_nothing() {
    let mut graph = parse(SMALL).expect("parses");
    graph.set_outputs(&[]);
    graph.verify().expect("valid");
    let text = graph.to_string();
    assert_eq!(parse(&text).expect("parses").to_string(), text);
}

#[test]
fn listing_and_dot_name_every_call() {
    let graph = parse(SMALL).expect("parses");
    let table = graph.to_table();
    let dot = graph.to_dot();
    for id in graph.calls() {
        let name = graph.node(id).name();
        assert!(table.contains(name) && dot.contains(name), "{name}");
    }
    insta::assert_snapshot!(table);
}

fn error(text: &str) -> String {
    parse(text).map(|g| g.to_string()).expect_err("must not parse").to_string()
}

#[test]
fn errors_have_a_position_and_a_cause() {
    let with = |line: &str| error(&format!("graph g(%x: f32[2,2]) {{\n  {line}\n  return y=%x\n}}"));
    let messages = [
        error(""),
        error("graph g(%x: f33[2]) {"),
        with("%y = nonsense(%x)"),
        with("%y = relu(%z)"),
        with("%y = relu(@w)"),
        with("%y = relu(%x) {alpha=1}"),
        with("%y = relu(%x, %x)"),
        with("%y = relu()"),
        with("%y = quantize_per_tensor(%x)"),
        with("%y = quantize_per_tensor(%x) {scale=\"a\"}"),
        with("%y = relu(%x) : f32[3,3]"),
        with("%x = relu(%x)"),
        with("param @p: i64[2] = [1]"),
        with("param @p: u8[1] = [256]"),
        with("%y = relu(%x:1)"),
        with("$"),
        with("%y = \"abc"),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn editing_keeps_the_graph_valid() {
    let mut graph = parse(SMALL).expect("parses");
    let relu = graph.find("relu").expect("there");
    let q = graph.find("q").expect("there");
    let observer = quantc_ops::lookup("observer").expect("exists");
    let attrs = quantc_ops::Attrs::new().with("id", 0i64);
    let o = graph.call_before(Some(q), "o", observer, &[Some(relu.into())], attrs, &[]).expect("types");
    graph.replace_uses(relu.into(), o.into(), &[o]);
    graph.verify().expect("valid");
    assert!(graph.remove(o).is_err(), "it is used");
    graph.replace_uses(o.into(), relu.into(), &[]);
    assert_eq!(graph.eliminate_dead(), 1);
    graph.verify().expect("valid");
    assert_eq!(graph.to_string(), SMALL);
}

#[test]
fn halves_are_written_as_they_are() {
    let text = "graph g(%x: f16[N]) {\n  param @h: f16[4] = [0.099975586, 65504.0, -inf, 6e-8]\n  return h=@h\n}\n";
    let graph = parse(text).expect("parses");
    let value = graph.params()["h"].value.as_ref().expect("inline");
    assert_eq!(value.to_f32_vec(), [0.099975586, 65504.0, f32::NEG_INFINITY, 5.9604645e-8]);
    // 0.1 has no exact half.
    assert_eq!(parse(&text.replace("0.099975586", "0.1")).expect("parses").to_string(), graph.to_string());
}
