//! What becomes of every layer of PyTorch's quantized modules and functions, in each mode: the table of docs/quantized-modules.md.
//! `QUANTC_BLESS=1` writes it. Whatever is quantized has the bits of its reference graph on every tier.

mod pipeline;

use std::collections::BTreeSet;
use std::fmt::Write;

use pipeline::{Inputs, Quantization, inputs};
use quantc_ir::{Graph, text};
use quantc_kernels::Isa;
use quantc_lower::{WeightCache, lower};
use quantc_pattern::Library;
use quantc_quant::qconfig::named;
use quantc_quant::report::Decision;
use quantc_quant::{Placement, QConfigMapping, prepare_fx};
use quantc_tensor::{Tensor, TensorType};
use quantc_testkit::{with_random_params, workspace_root};

/// A row: PyTorch's names, the layer's call (its origin is the module `row`), and what it stands between.
struct Row {
    name: &'static str,
    call: &'static str,
    params: &'static str,
    context: Context,
    backend: &'static str,
}

/// What a layer stands between: layers that are quantized, so that a light one is worth quantizing.
#[derive(Clone, Copy)]
enum Context {
    /// Nothing: an input of this type.
    Alone(&'static str),
    /// Linear layers, 8 features.
    Features,
    /// Convolutions over so many dimensions, 8 channels.
    Channels(usize),
    /// The same with a relu behind the layer, which a convolution would take in otherwise.
    Activated(usize),
}

impl Row {
    /// The row as a graph.
    fn graph(&self) -> Graph {
        let call = |x: &str| self.call.replace("%x", x);
        let text = match self.context {
            Context::Alone(ty) => {
                format!(
                    "graph row(%x: {ty}) {{\n{}  %y = {}  # row: Row(row, 0)\n  return y=%y\n}}",
                    self.params,
                    call("%x")
                )
            }
            Context::Features => format!(
                "graph row(%x: f32[N,5,4]) {{\n{}  param @before: f32[4,4]\n  param @after: f32[3,8]\n  %before = linear(%x, @before)\n  \
                 %both = cat(%before, %x) {{dim=2}}\n  %y = {}  # row: Row(row, 0)\n  %after = linear(%y, @after)\n  return y=%after\n}}",
                self.params,
                call("%both")
            ),
            Context::Channels(dims) | Context::Activated(dims) => {
                let activated = matches!(self.context, Context::Activated(_));
                let (relu, last) = if activated { ("  %relu = relu(%y)\n", "%relu") } else { ("", "%y") };
                let (size, ones) = ([",6", ",6,5", ",4,4,5"][dims - 1], ",1".repeat(dims));
                format!(
                    "graph row(%x: f32[N,4{size}]) {{\n{}  param @before: f32[4,4{ones}]\n  param @after: f32[3,8{ones}]\n  \
                     %before = conv{dims}d(%x, @before)\n  %both = cat(%before, %x) {{dim=1}}\n  %y = {}  # row: Row(row, 0)\n{relu}  \
                     %after = conv{dims}d({last}, @after)\n  return y=%after\n}}",
                    self.params,
                    call("%both")
                )
            }
        };
        with_random_params(text::parse(&text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", self.name)), 5)
    }
}

const fn row(name: &'static str, context: Context, params: &'static str, call: &'static str) -> Row {
    Row { name, call, params, context, backend: "x86" }
}

/// The same on the backend `native`.
const fn native(row: Row) -> Row {
    Row { backend: "native", ..row }
}

use Context::{Activated, Alone, Channels, Features};

const RECURRENT: &str = "f32[4,N,8]";

/// What stands before the output projection.
const ATTENTION: &str = "  param @in: f32[24,8]
  param @ib: f32[24]
  param @out: f32[8,8]
  param @ob: f32[8]
  param @scale: f32[] = [0.5]
  %in = linear(%x, @in, @ib)  # row: Row(row, 0)
  %parts = split(%in) {sizes=[8,8,8], dim=2}  # row: Row(row, 0)
  %q1 = reshape(%parts) {shape=[0,0,2,4]}  # row: Row(row, 0)
  %q2 = permute(%q1) {dims=[0,2,1,3]}  # row: Row(row, 0)
  %k1 = reshape(%parts:1) {shape=[0,0,2,4]}  # row: Row(row, 0)
  %k2 = permute(%k1) {dims=[0,2,3,1]}  # row: Row(row, 0)
  %v1 = reshape(%parts:2) {shape=[0,0,2,4]}  # row: Row(row, 0)
  %v2 = permute(%v1) {dims=[0,2,1,3]}  # row: Row(row, 0)
  %q3 = mul(%q2, @scale)  # row: Row(row, 0)
  %scores = matmul(%q3, %k2)  # row: Row(row, 0)
  %softmax = softmax(%scores) {dim=-1}  # row: Row(row, 0)
  %m1 = matmul(%softmax, %v2)  # row: Row(row, 0)
  %m2 = permute(%m1) {dims=[0,2,1,3]}  # row: Row(row, 0)
  %mixed = reshape(%m2) {shape=[0,0,8]}  # row: Row(row, 0)
";

const CONV1D: Row =
    row("Conv1d, conv1d", Alone("f32[N,4,9]"), "  param @w: f32[6,4,3]\n  param @b: f32[6]\n", "conv1d(%x, @w, @b)");
const CONV2D: Row = row(
    "Conv2d, conv2d",
    Alone("f32[N,4,7,6]"),
    "  param @w: f32[6,4,3,3]\n  param @b: f32[6]\n",
    "conv2d(%x, @w, @b)",
);
const CONV3D: Row = row(
    "Conv3d, conv3d",
    Alone("f32[N,4,5,4,4]"),
    "  param @w: f32[6,4,2,3,2]\n  param @b: f32[6]\n",
    "conv3d(%x, @w, @b)",
);
const CONV_TRANSPOSE1D: Row =
    row("ConvTranspose1d", Alone("f32[N,4,9]"), "  param @w: f32[4,6,3]\n", "conv_transpose1d(%x, @w) {stride=[2]}");
const CONV_TRANSPOSE2D: Row = row(
    "ConvTranspose2d",
    Alone("f32[N,4,5,4]"),
    "  param @w: f32[4,6,3,3]\n",
    "conv_transpose2d(%x, @w) {stride=[2,1]}",
);
const CONV_TRANSPOSE3D: Row =
    row("ConvTranspose3d", Alone("f32[N,4,3,3,3]"), "  param @w: f32[4,6,2,2,2]\n", "conv_transpose3d(%x, @w)");

static ROWS: &[Row] = &[
    row("Linear, linear", Alone("f32[N,8]"), "  param @w: f32[6,8]\n  param @b: f32[6]\n", "linear(%x, @w, @b)"),
    CONV1D,
    CONV2D,
    CONV3D,
    CONV_TRANSPOSE1D,
    CONV_TRANSPOSE2D,
    CONV_TRANSPOSE3D,
    native(Row { name: "Conv1d, conv1d (backend `native`)", ..CONV1D }),
    native(Row { name: "Conv2d, conv2d (backend `native`)", ..CONV2D }),
    native(Row { name: "Conv3d, conv3d (backend `native`)", ..CONV3D }),
    native(Row { name: "ConvTranspose1d (backend `native`)", ..CONV_TRANSPOSE1D }),
    native(Row { name: "ConvTranspose2d (backend `native`)", ..CONV_TRANSPOSE2D }),
    native(Row { name: "ConvTranspose3d (backend `native`)", ..CONV_TRANSPOSE3D }),
    row(
        "LSTM",
        Alone(RECURRENT),
        "  param @w: f32[1,24,8]\n  param @r: f32[1,24,6]\n  param @b: f32[1,48]\n",
        "lstm(%x, @w, @r, @b) {hidden_size=6}",
    ),
    row(
        "GRU",
        Alone(RECURRENT),
        "  param @w: f32[1,18,8]\n  param @r: f32[1,18,6]\n  param @b: f32[1,36]\n",
        "gru(%x, @w, @r, @b) {hidden_size=6, linear_before_reset=true}",
    ),
    row(
        "LSTMCell",
        Alone("f32[1,N,8]"),
        "  param @w: f32[1,24,8]\n  param @r: f32[1,24,6]\n  param @b: f32[1,48]\n",
        "lstm(%x, @w, @r, @b) {hidden_size=6}",
    ),
    row(
        "GRUCell",
        Alone("f32[1,N,8]"),
        "  param @w: f32[1,18,8]\n  param @r: f32[1,18,6]\n  param @b: f32[1,36]\n",
        "gru(%x, @w, @r, @b) {hidden_size=6, linear_before_reset=true}",
    ),
    row(
        "RNNCell",
        Alone("f32[1,N,8]"),
        "  param @w: f32[1,6,8]\n  param @r: f32[1,6,6]\n  param @b: f32[1,12]\n",
        "rnn(%x, @w, @r, @b) {hidden_size=6}",
    ),
    row("Embedding", Alone("i64[N,3]"), "  param @w: f32[200,8]\n", "gather(@w, %x)"),
    row("Embedding (4 bits)", Alone("i64[N,3]"), "  param @w: f32[200,8]\n", "gather(@w, %x)"),
    row("EmbeddingBag", Alone("i64[N,3]"), "  param @w: f32[200,8]\n", "embedding_bag(@w, %x) {mode=\"sum\"}"),
    row(
        "EmbeddingBag (4 bits)",
        Alone("i64[N,3]"),
        "  param @w: f32[200,8]\n",
        "embedding_bag(@w, %x) {mode=\"mean\"}",
    ),
    row("MultiheadAttention", Alone("f32[N,5,8]"), ATTENTION, "linear(%mixed, @out, @ob)"),
    row(
        "BatchNorm2d",
        Activated(2),
        "  param @g: f32[8]\n  param @b: f32[8]\n  param @m: f32[8]\n  param @v: f32[8] = [1.0, 2.0, 0.5, 1.0, 1.5, 0.25, 1.0, 2.0]\n",
        "batch_norm(%x, @g, @b, @m, @v)",
    ),
    row(
        "BatchNorm3d",
        Activated(3),
        "  param @g: f32[8]\n  param @b: f32[8]\n  param @m: f32[8]\n  param @v: f32[8] = [1.0, 2.0, 0.5, 1.0, 1.5, 0.25, 1.0, 2.0]\n",
        "batch_norm(%x, @g, @b, @m, @v)",
    ),
    native(row(
        "LayerNorm (backend `native`)",
        Features,
        "  param @g: f32[8]\n  param @b: f32[8]\n",
        "layer_norm(%x, @g, @b)",
    )),
    row("LayerNorm", Features, "  param @g: f32[8]\n  param @b: f32[8]\n", "layer_norm(%x, @g, @b)"),
    row("GroupNorm", Channels(2), "  param @g: f32[8]\n  param @b: f32[8]\n", "group_norm(%x, @g, @b) {num_groups=2}"),
    row("InstanceNorm1d", Channels(1), "", "instance_norm(%x)"),
    row("InstanceNorm2d", Channels(2), "  param @g: f32[8]\n  param @b: f32[8]\n", "instance_norm(%x, @g, @b)"),
    row("InstanceNorm3d", Channels(3), "", "instance_norm(%x)"),
    row("avg_pool2d", Channels(2), "", "avg_pool2d(%x) {kernel_size=[2,2]}"),
    row("avg_pool3d", Channels(3), "", "avg_pool3d(%x) {kernel_size=[2,2,2]}"),
    row("adaptive_avg_pool2d", Channels(2), "", "adaptive_avg_pool2d(%x) {output_size=[2,2]}"),
    row("adaptive_avg_pool3d", Channels(3), "", "adaptive_avg_pool3d(%x) {output_size=[2,2,2]}"),
    row("max_pool1d", Channels(1), "", "max_pool1d(%x) {kernel_size=[2]}"),
    row("max_pool2d", Channels(2), "", "max_pool2d(%x) {kernel_size=[2,2]}"),
    row("interpolate, upsample_nearest", Channels(2), "", "interpolate(%x) {scale_factor=[2.0,2.0]}"),
    row(
        "upsample, upsample_bilinear",
        Channels(2),
        "",
        "interpolate(%x) {size=[9,7], mode=\"bilinear\", coordinates=\"align_corners\"}",
    ),
    row("interpolate (trilinear)", Channels(3), "", "interpolate(%x) {size=[5,7,3], mode=\"trilinear\"}"),
    row("celu", Channels(2), "", "celu(%x) {alpha=0.7}"),
    row("leaky_relu, LeakyReLU", Channels(2), "", "leaky_relu(%x) {negative_slope=0.1}"),
    row("hardtanh, clamp", Channels(2), "", "clamp(%x) {min=-1.0, max=1.0}"),
    row("hardswish, Hardswish", Channels(2), "", "hardswish(%x)"),
    row("threshold", Channels(2), "", "threshold(%x) {threshold=0.1, value=-0.3}"),
    row("elu, ELU", Channels(2), "", "elu(%x) {alpha=0.7}"),
    row("hardsigmoid", Channels(2), "", "hardsigmoid(%x)"),
    row("Sigmoid", Channels(2), "", "sigmoid(%x)"),
    row("ReLU6", Channels(2), "", "relu6(%x)"),
];

/// A heading, and the preset that a row has under it.
type ModeColumn = (&'static str, fn(&Row) -> &'static str);

static MODES: &[ModeColumn] = &[
    ("static", |_| "x86"),
    ("dynamic", |_| "dynamic"),
    ("weight-only", |row| match (row.name.starts_with("Embedding"), row.name.ends_with("(4 bits)")) {
        (true, true) => "float_qparams_weight_only_qconfig_4bit",
        (true, false) => "float_qparams_weight_only_qconfig",
        (false, _) => "default_weight_only_qconfig",
    }),
    ("float16 dynamic", |_| "float16_dynamic_qconfig"),
    ("float16 static, backend `native`", |_| "float16_static_qconfig"),
];

/// Random inputs; indices are of the tables' 200 rows.
fn samples(graph: &Graph, batch: usize, seed: u64) -> Inputs {
    let index = |t: Tensor| match &t {
        Tensor::I64(data) => {
            Tensor::from_vec(t.shape(), data.iter().map(|v| v.rem_euclid(200)).collect()).expect("as many")
        }
        _ => t,
    };
    inputs(graph, batch, seed).into_iter().map(|(name, t)| (name, index(t))).collect()
}

/// A kernel's name without the tier it is compiled for.
fn without_tier(kernel: &str) -> &str {
    match kernel.rsplit_once('.') {
        Some((name, tier)) if tier == "portable" || Isa::ALL.iter().any(|isa| isa.name() == tier) => name,
        _ => kernel,
    }
}

/// What runs for a row under a QConfig: operators and kernels, or why it stays float.
fn cell(row: &Row, preset: &str, library: &Library) -> String {
    let half = preset == "float16_static_qconfig";
    let backend = library.backend(if half { "native" } else { row.backend }).expect("built in");
    let graph = row.graph();
    let rules = library.rules_for(backend);
    let (canonical, _) = quantc_rewrite::canonicalize(&graph, &rules).unwrap_or_else(|e| panic!("{}: {e}", row.name));
    let qconfig = named(preset).unwrap_or_else(|| panic!("no {preset}"));
    let mut mapping = QConfigMapping::default_for(qconfig.clone());
    if ["lstm(", "gru(", "rnn("].iter().any(|op| row.call.starts_with(op)) {
        // A recurrent layer runs statically only if an entry names it.
        mapping = mapping.set_module_name("row", Some(qconfig));
    }
    let (seen, runs) = ([samples(&canonical, 2, 1), samples(&canonical, 3, 2)], [samples(&canonical, 3, 3)]);
    let quantization = Quantization {
        mapping: &mapping,
        backend,
        placement: Placement::Quantc,
        rules: &rules,
        samples: &seen,
        runs: &runs,
        powers_of_two: false,
    };
    let lowered = quantization.check(&canonical).unwrap_or_else(|e| panic!("{} {preset}: {e}", row.name));
    let report = prepare_fx(&canonical, &mapping, backend).unwrap_or_else(|e| panic!("{}: {e}", row.name)).report;
    let of_row = report.nodes.iter().filter(|n| n.origins.iter().any(|o| o.starts_with("row:")));
    let reasons: Option<Vec<String>> = of_row
        .map(|n| if let Decision::Float { reason } = &n.decision { Some(reason.to_string()) } else { None })
        .collect();
    // Nothing of it is quantized.
    if let Some(reason) = reasons.and_then(|all| all.into_iter().next_back()) {
        return format!("float: {}", reason.replace('|', "\\|"));
    }
    let best = Isa::available().last().copied().expect("portable at least");
    let types: Vec<(&str, TensorType)> = runs[0].iter().map(|(n, t)| (n.as_str(), t.ty())).collect();
    let plan = lower(&lowered, &types, best, &WeightCache::new()).unwrap_or_else(|e| panic!("{}: {e}", row.name));
    let of_row: BTreeSet<&str> = lowered
        .calls()
        .filter(|id| lowered.node(*id).origins().iter().any(|o| &*o.module_path == "row"))
        .map(|id| lowered.node(id).name())
        .collect();
    let mut ran = Vec::new();
    for step in plan.describe().filter(|s| of_row.contains(s.node.as_str())) {
        let context = step.node.starts_with("before") || step.node.starts_with("after");
        let moved = step.kernel == "layout" || step.kernel.starts_with("layout.");
        let quantizes = ["quantize_per_tensor", "dequantize_per_tensor"].contains(&step.op.as_str());
        let conversion = context || moved || quantizes;
        let text = format!("`{}` ({})", step.op, without_tier(&step.kernel));
        if !conversion && !ran.contains(&text) {
            ran.push(text);
        }
    }
    assert!(!ran.is_empty(), "{} {preset}: nothing runs\n{lowered}", row.name);
    // Float operators may have no kernel; integers never lack one.
    assert!(half || !ran.iter().any(|s| s.contains("reference")), "{} {preset}: {ran:?}\n{lowered}", row.name);
    ran.join(", ")
}

#[test]
fn the_table_is_true() {
    let library = Library::builtin().expect("built in");
    let mut table = String::from("| module, function |");
    MODES.iter().for_each(|(name, _)| write!(table, " {name} |").expect("a string"));
    table.push_str("\n|---|");
    MODES.iter().for_each(|_| table.push_str("---|"));
    for row in ROWS {
        write!(table, "\n| {} |", row.name).expect("a string");
        for (_, preset) in MODES {
            write!(table, " {} |", cell(row, preset(row), library)).expect("a string");
        }
    }
    table.push('\n');
    let path = workspace_root().join("docs/quantized-modules.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (start, end) = ("<!-- generated: modules -->\n", "<!-- end -->");
    let from = page.find(start).expect("the table's start") + start.len();
    let to = from + page[from..].find(end).expect("the table's end");
    if std::env::var_os("QUANTC_BLESS").is_some() {
        std::fs::write(&path, format!("{}{table}{}", &page[..from], &page[to..])).expect("can be written");
        return;
    }
    assert!(page[from..to] == table, "docs/quantized-modules.md is not what runs; QUANTC_BLESS=1 writes it:\n{table}");
}
