//! `fuse_fx` folds batch norms and says what a backend runs as one.

use quantc_ir::text::parse;
use quantc_pattern::{Library, RuleSet};
use quantc_quant::{FusedGroup, fuse_fx};
use quantc_testkit::with_random_params;

const NET: &str = "graph net(%x: f32[1,3,8,8]) {
  param @conv.weight: f32[4,3,3,3]
  param @bn.weight: f32[4]
  param @bn.bias: f32[4]
  param @bn.running_mean: f32[4]
  param @bn.running_var: f32[4]
  param @last.weight: f32[4,4,1,1]
  %conv = conv2d(%x, @conv.weight, none) {padding=[1,1]} : f32[1,4,8,8]  # conv: Conv2d(conv2d, 0)
  %bn = batch_norm(%conv, @bn.weight, @bn.bias, @bn.running_mean, @bn.running_var) : f32[1,4,8,8]  # bn: BatchNorm2d(batch_norm, 0)
  %relu = relu(%bn) : f32[1,4,8,8]  # relu: ReLU(relu, 0)
  %last = conv2d(%relu, @last.weight, none) : f32[1,4,8,8]  # last: Conv2d(conv2d, 0)
  %add = add(%last, %relu) : f32[1,4,8,8]
  return y=%add
}";

#[test]
fn batch_norm_is_folded_and_groups_are_named() {
    let graph = with_random_params(parse(NET).unwrap_or_else(|e| panic!("{e}")), 1);
    let library = Library::builtin().expect("valid");
    let rules = RuleSet::builtin().expect("valid");
    let fused = fuse_fx(&graph, &rules, library.backend("x86").expect("exists")).expect("fuses");
    let ops: Vec<&str> = fused.graph.calls().filter_map(|c| Some(fused.graph.node(c).call()?.0.name())).collect();
    assert_eq!(ops, ["conv2d", "relu", "conv2d", "add"]);
    let group = |pattern: &str, nodes: [&str; 2]| FusedGroup {
        pattern: pattern.to_owned(),
        nodes: nodes.map(str::to_owned).to_vec(),
    };
    let first = fused.groups[0].nodes[0].clone();
    let origins: Vec<String> =
        fused.graph.node(fused.graph.find(&first).expect("named")).origins().iter().map(ToString::to_string).collect();
    assert_eq!(origins.len(), 2, "the folded batch norm's origin is kept: {origins:?}");
    assert_eq!(
        fused.groups,
        [group("conv-activation/conv2d", [&first, "relu"]), group("conv-add/conv2d", ["last", "add"])]
    );
}
