//! What is wrong with a file is one message with a hint, and no bytes make the import panic.

use std::fs;

use proptest::prelude::*;
use prost::Message;
use quantc_frontend::onnx::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type,
    data_type,
};
use quantc_frontend::onnx::{import_bytes, import_file};

fn dim(value: DimensionValue) -> DimensionProto {
    DimensionProto { value: Some(value) }
}

fn value(name: &str, dims: Vec<DimensionProto>) -> ValueInfoProto {
    let shape = Some(TensorShapeProto { dim: dims });
    let tensor_type = Some(TensorTypeProto { elem_type: data_type::FLOAT, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

fn sizes(name: &str, dims: &[i64]) -> ValueInfoProto {
    value(name, dims.iter().map(|d| dim(DimensionValue::DimValue(*d))).collect())
}

fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let data = vec![0.5; dims.iter().product::<i64>() as usize];
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: data_type::FLOAT,
        float_data: data,
        ..TensorProto::default()
    }
}

fn node(name: &str, op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: name.to_owned(),
        op_type: op.to_owned(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i, r#type: attribute_type::INT, ..AttributeProto::default() }
}

fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.to_owned(), s: s.into(), r#type: attribute_type::STRING, ..AttributeProto::default() }
}

/// conv, relu, reshape to rows, gemm.
fn model() -> ModelProto {
    let mut gemm = node("/fc/Gemm", "Gemm", &["flat", "fc.weight", "fc.bias"], "logits");
    gemm.attribute.push(int("transB", 1));
    let graph = GraphProto {
        name: "net".to_owned(),
        node: vec![
            node("/conv/Conv", "Conv", &["x", "conv.weight", "conv.bias"], "c"),
            node("/relu/Relu", "Relu", &["c"], "r"),
            node("/Flatten", "Flatten", &["r"], "flat"),
            gemm,
        ],
        initializer: vec![
            floats("conv.weight", &[2, 1, 3, 3]),
            floats("conv.bias", &[2]),
            floats("fc.weight", &[3, 8]),
            floats("fc.bias", &[3]),
        ],
        input: vec![value(
            "x",
            [DimensionValue::DimParam("N".to_owned())]
                .into_iter()
                .chain([1, 4, 4].map(DimensionValue::DimValue))
                .map(dim)
                .collect(),
        )],
        output: vec![sizes("logits", &[])],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: 8,
        producer_name: "test".to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        ..ModelProto::default()
    }
}

/// The message for the model after a change.
fn error(change: impl FnOnce(&mut GraphProto)) -> String {
    let mut model = model();
    change(model.graph.as_mut().expect("has a graph"));
    import_bytes(&model.encode_to_vec()).expect_err("must fail").to_string()
}

#[test]
fn the_valid_model_keeps_names_origins_and_symbols() {
    let graph = import_bytes(&model().encode_to_vec()).expect("valid");
    graph.verify().expect("valid");
    insta::assert_snapshot!(graph.to_table());
}

#[test]
fn files_that_are_no_models() {
    let valid = model().encode_to_vec();
    let message = |bytes: &[u8]| import_bytes(bytes).expect_err("must fail").to_string();
    let mut no_opset = model();
    no_opset.opset_import.clear();
    let messages = [
        message(b""),
        message(b"graph resnet(%x: f32[1]) {\n}\n"),
        message(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        message(b"PK\x03\x04rest"),
        message(&valid[..valid.len() - 40]),
        message(&no_opset.encode_to_vec()),
        import_file(std::path::Path::new("no/such/model.onnx")).expect_err("no file").to_string(),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn errors_name_the_node_and_what_to_do() {
    let mut future = model();
    future.opset_import[0].version = 99;
    let messages = [
        import_bytes(&future.encode_to_vec()).expect_err("opset").to_string(),
        error(|g| {
            g.node[1].op_type = "Frobnicate".to_owned();
            g.node[2].op_type = "FusedThing".to_owned();
            g.node[2].domain = "com.microsoft".to_owned();
            let mut branch = node("branch", "If", &["c"], "b");
            branch.attribute.push(AttributeProto {
                name: "then_branch".to_owned(),
                r#type: attribute_type::GRAPH,
                ..AttributeProto::default()
            });
            g.node.push(branch);
            g.node.push(node("again", "Frobnicate", &["c"], "d"));
        }),
        error(|g| g.node[0].attribute.push(string("auto_pad", "SOMEHOW"))),
        error(|g| g.node[1].attribute.push(int("alpha", 3))),
        error(|g| g.node[0].attribute.push(string("group", "two"))),
        error(|g| g.node[0].input.truncate(1)),
        error(|g| g.node[1].input[0] = "nowhere".to_owned()),
        error(|g| g.node.swap(0, 1)),
        error(|g| g.initializer[2].float_data.truncate(5)),
        error(|g| g.initializer[2].dims[0] = -3),
        error(|g| g.initializer[2].dims = vec![i64::MAX, 8]),
        error(|g| g.initializer[2].data_type = 8),
        error(|g| g.initializer[2] = floats("fc.weight", &[3, 7])),
        error(|g| g.initializer[0] = floats("conv.weight", &[2, 5, 3, 3])),
        error(|g| g.node[1].output[0] = "c".to_owned()),
        error(|g| g.output[0].name = "nothing".to_owned()),
        error(|g| g.output.clear()),
        error(|g| g.input[0].r#type = None),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn external_data_is_read_beside_the_model_and_nowhere_else() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).expect("folder");
    let weights: Vec<u8> = (0..24).flat_map(|i| (i as f32).to_le_bytes()).collect();
    fs::write(inner.join("data.bin"), [vec![0; 8], weights.clone()].concat()).expect("file");
    fs::write(dir.path().join("outside.bin"), &weights).expect("file");
    let import = |entries: &[(&str, &str)]| {
        let mut model = model();
        let t = &mut model.graph.as_mut().expect("has a graph").initializer[2];
        t.float_data.clear();
        t.data_location = 1;
        t.external_data = entries
            .iter()
            .map(|(k, v)| StringStringEntryProto { key: (*k).to_owned(), value: (*v).to_owned() })
            .collect();
        let path = inner.join("model.onnx");
        fs::write(&path, model.encode_to_vec()).expect("file");
        import_file(&path)
    };
    let graph = import(&[("location", "data.bin"), ("offset", "8"), ("length", "96")]).expect("valid");
    assert_eq!(graph.name(), "model");
    let weight = graph.params()["fc.weight"].value.as_ref().expect("has a value").to_f32_vec();
    assert_eq!(weight, (0..24).map(|i| i as f32).collect::<Vec<_>>());
    let outside = dir.path().join("outside.bin").display().to_string();
    for (entries, cause) in [
        (vec![("location", "../outside.bin")], "outside the model's folder"),
        (vec![("location", outside.as_str())], "outside the model's folder"),
        (vec![], "outside the model's folder"),
        (vec![("location", "missing.bin")], "beside the model file"),
        (vec![("location", "data.bin"), ("offset", "16")], "88 bytes at offset 16 are there, 96 are needed"),
        (vec![("location", "data.bin"), ("offset", "-1")], "is no size"),
    ] {
        let message = import(&entries).expect_err("must fail").to_string();
        assert!(message.contains(cause) && message.contains("`fc.weight`"), "{message}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(dir.path().join("outside.bin"), inner.join("link.bin")).expect("link");
        let message = import(&[("location", "link.bin")]).expect_err("must fail").to_string();
        assert!(message.contains("outside the model's folder"), "{message}");
    }
}

/// Models of every operator, to mutate.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    SEEDS.get_or_init(|| {
        let cases: Vec<serde_json::Value> = serde_json::from_str(include_str!("golden/ops.json")).expect("golden file");
        let hex = |text: &str| {
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
        };
        let models = cases.iter().map(|c| hex(c["model"].as_str().expect("hex")));
        models.chain([model().encode_to_vec()]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_errors_never_panics(
        seed in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut bytes = seed.get(seeds()).clone();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(graph) = import_bytes(&bytes) {
            prop_assert!(graph.verify().is_ok());
        }
    }
}
