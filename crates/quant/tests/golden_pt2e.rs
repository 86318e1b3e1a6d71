//! Where `prepare_pt2e` with the XNNPACK quantizer puts observers, and which it shares, against torch 2.8.0
//! (`scripts/golden_pt2e.py` made the file).

use std::collections::{BTreeMap, HashMap};

use quantc_ir::{Graph, NodeId, ValueRef, text::parse};
use quantc_quant::pt2e::{
    EmbeddingQuantizer, PreparedObserver, PreparedPt2e, SymmetricQuantization, X86InductorQuantization,
    X86InductorQuantizer, XNNPACKQuantizer, get_default_x86_inductor_quantization_config,
    get_symmetric_quantization_config, prepare_pt2e,
};
use quantc_tensor::QScheme;
use quantc_testkit::with_random_params;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    torch: String,
    configs: BTreeMap<String, Config>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    is_per_channel: bool,
    is_dynamic: bool,
    act_qmin: i32,
    act_qmax: i32,
}

impl Default for Config {
    fn default() -> Self {
        let SymmetricQuantization { is_per_channel, is_dynamic, act, .. } = SymmetricQuantization::default();
        Config { is_per_channel, is_dynamic, act_qmin: act.0, act_qmax: act.1 }
    }
}

/// class, dtype, quant_min, quant_max, qscheme, dynamic.
#[derive(Deserialize, PartialEq, Debug, Clone)]
struct Observer(String, String, i32, i32, String, bool);

/// producer, consumer, observers between them.
#[derive(Deserialize, PartialEq, Debug, Clone)]
struct Edge(String, String, Vec<usize>);

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Vec<(String, String, String)>,
    graph: String,
    observers: Vec<Observer>,
    edges: Vec<Edge>,
}

/// Whether the case is of the X86Inductor quantizer.
fn is_x86(case: &Case) -> bool {
    case.config.iter().any(|(.., config)| config.starts_with("x86"))
}

fn x86_quantizer(case: &Case) -> X86InductorQuantizer {
    case.config.iter().fold(X86InductorQuantizer::new(), |quantizer, (what, key, config)| {
        let args =
            X86InductorQuantization { is_dynamic: config == "x86_dynamic", reduce_range: config == "x86_reduced" };
        let config = (config != "none").then(|| get_default_x86_inductor_quantization_config(args));
        match what.as_str() {
            "global" => quantizer.set_global(config),
            "module_name" => quantizer.set_module_name_qconfig(key, config),
            "module_type" => quantizer.set_module_type_qconfig(key, config).expect("a recipe"),
            "function" => quantizer.set_function_type_qconfig(key, config).expect("a recipe"),
            other => panic!("setting {other}"),
        }
    })
}

fn quantizer(golden: &Golden, case: &Case) -> XNNPACKQuantizer {
    case.config.iter().fold(XNNPACKQuantizer::new(), |quantizer, (what, key, config)| {
        let config = &golden.configs[config];
        let config = get_symmetric_quantization_config(SymmetricQuantization {
            is_per_channel: config.is_per_channel,
            is_dynamic: config.is_dynamic,
            act: (config.act_qmin, config.act_qmax),
            ..SymmetricQuantization::default()
        });
        match what.as_str() {
            "global" => quantizer.set_global(config),
            "module_name" => quantizer.set_module_name(key, config),
            "module_type" => quantizer.set_module_type(key, config),
            other => panic!("setting {other}"),
        }
    })
}

fn describe(observer: &PreparedObserver) -> Observer {
    let PreparedObserver::Observed(spec) = observer else { panic!("{observer:?}") };
    let spec = &spec.observer;
    let scheme = match spec.qscheme {
        QScheme::PerTensorAffine => "per_tensor_affine",
        QScheme::PerTensorSymmetric => "per_tensor_symmetric",
        QScheme::PerChannelSymmetric => "per_channel_symmetric",
        QScheme::PerChannelAffineFloatQParams => "per_channel_affine_float_qparams",
        other => panic!("{other:?}"),
    };
    let dtype = spec.dtype.name().trim_start_matches('q').to_owned();
    let (lo, hi) = (spec.range().qmin, spec.range().qmax);
    Observer(observer.name().to_owned(), dtype, lo, hi, scheme.to_owned(), observer.is_dynamic())
}

/// The producer of a value and the observers behind it, the nearest to the producer first.
fn trace(graph: &Graph, mut value: ValueRef) -> (String, Vec<usize>) {
    let mut chain = Vec::new();
    while graph.node(value.node).is_op("observer") {
        let node = graph.node(value.node);
        let (op, attrs) = node.call().expect("a call");
        let Some(quantc_ops::Attr::Int(id)) = op.signature().attr(attrs, "id") else { panic!("no id") };
        chain.insert(0, id as usize);
        value = node.inputs()[0].expect("an observer has an input");
    }
    (graph.node(value.node).name().trim_start_matches('@').to_owned(), chain)
}

/// Observers numbered by first use, and the edges.
fn placement(prepared: &PreparedPt2e) -> (Vec<Observer>, Vec<Edge>) {
    let graph = &prepared.graph;
    let (mut observers, mut edges) = (Vec::new(), Vec::new());
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let nodes: Vec<NodeId> = graph.calls().chain(graph.output_node()).collect();
    for id in nodes.into_iter().filter(|id| !graph.node(*id).is_op("observer")) {
        for value in graph.node(id).inputs().iter().flatten() {
            let (producer, chain) = trace(graph, *value);
            let mut number = |id: usize| {
                *numbers.entry(id).or_insert_with(|| {
                    observers.push(describe(&prepared.observers[id]));
                    observers.len() - 1
                })
            };
            let chain = chain.into_iter().map(&mut number).collect();
            edges.push(Edge(producer, graph.node(id).name().to_owned(), chain));
        }
    }
    (observers, edges)
}

fn golden() -> Golden {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/pt2e.json")).expect("the golden file is well-formed");
    assert_eq!(golden.torch, "2.8.0");
    golden
}

fn prepared(golden: &Golden, case: &Case) -> PreparedPt2e {
    let graph = parse(&case.graph).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let graph = with_random_params(graph, 1);
    let prepared = if is_x86(case) {
        prepare_pt2e(&graph, &x86_quantizer(case))
    } else if case.name == EMBEDDINGS {
        prepare_pt2e(&graph, &EmbeddingQuantizer::new())
    } else {
        prepare_pt2e(&graph, &quantizer(golden, case))
    };
    prepared.unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

/// The case of the embedding quantizer.
const EMBEDDINGS: &str = "Embeddings";

/// Cases whose placement differs on purpose, tested one by one below.
const DIFFERENT: &[&str] = &["ModuleName"];

#[test]
fn observers_are_where_pytorch_puts_them() {
    let golden = golden();
    assert!(golden.cases.len() >= 10);
    for case in golden.cases.iter().filter(|c| !is_x86(c) && !DIFFERENT.contains(&c.name.as_str())) {
        let (observers, edges) = placement(&prepared(&golden, case));
        assert_eq!(edges, case.edges, "{}", case.name);
        assert_eq!(observers, case.observers, "{}", case.name);
    }
}

#[test]
fn the_x86_quantizer_puts_them_where_pytorch_s_does() {
    let golden = golden();
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in golden.cases.iter().filter(|c| is_x86(c)) {
        let (observers, edges) = placement(&prepared(&golden, case));
        if edges != case.edges || observers != case.observers {
            wrong.push(format!(
                "{} {:?}:\nours      {edges:?}\nPyTorch's {:?}\nours      {observers:?}\nPyTorch's {:?}",
                case.name, case.config, case.edges, case.observers
            ));
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{} of {compared} differ\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(compared, 13);
}

/// PyTorch asks a convolution's parameters for their module, finds none, and leaves the convolution float.
#[test]
fn a_module_name_selects_convolutions_too() {
    let golden = golden();
    let case = golden.cases.iter().find(|c| c.name == "ModuleName").expect("there is one");
    let of = |edges: &[Edge], from: &str, to: &str| {
        edges.iter().find(|e| e.0 == from && e.1 == to).unwrap_or_else(|| panic!("{from} -> {to}")).2.clone()
    };
    assert!(of(&case.edges, "a.conv.weight", "conv2d").is_empty(), "PyTorch's");
    let (observers, edges) = placement(&prepared(&golden, case));
    assert_eq!(of(&edges, "x", "conv2d"), [0]);
    assert_eq!(of(&edges, "a.conv.weight", "conv2d"), [1]);
    assert!(of(&edges, "conv2d", "relu").is_empty());
    assert_eq!(of(&edges, "relu", "linear"), [2]);
    assert_eq!(of(&edges, "a.fc.weight", "linear"), [3]);
    assert_eq!(of(&edges, "linear", "conv2d_1"), [4]);
    assert_eq!(observers.len(), 5, "nothing of module b");
}
