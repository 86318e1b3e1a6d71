//! Backends from PyTorch's dictionaries and back.

use quantc_pattern::{BackendConfig, Imported, Library, Source, export_backend, import_backend};
use serde_json::{Value as Json, json};

const STATIC: &str = r#"{"input_dtype": "torch.quint8", "output_dtype": "torch.quint8", "weight_dtype": "torch.qint8", "bias_dtype": "torch.float32"}"#;
const ACTIVATION: &str = r#"{"input_dtype": "torch.quint8", "output_dtype": "torch.quint8"}"#;

/// A document with these entries.
fn document(configs: &[String]) -> String {
    format!(r#"{{"name": "mine", "configs": [{}]}}"#, configs.join(","))
}

fn entry(pattern: &str, observation: &str, dtypes: &str) -> String {
    format!(r#"{{"pattern": {pattern}, "observation_type": "{observation}", "dtype_configs": [{dtypes}]}}"#)
}

const DIFFERENT: &str = "OUTPUT_USE_DIFFERENT_OBSERVER_AS_INPUT";
const SHARED: &str = "OUTPUT_SHARE_OBSERVER_WITH_INPUT";

fn import(configs: &[String]) -> Imported {
    import_backend(&document(configs), None).unwrap_or_else(|e| panic!("{e}"))
}

/// The backend of the imported text, which has no lint.
fn backend(imported: &Imported) -> BackendConfig {
    let library = Library::parse(&[Source::new("mine.qpat", &imported.text)]).unwrap_or_else(|e| panic!("{e}"));
    let lints: Vec<String> = library.lint().iter().map(ToString::to_string).collect();
    assert!(lints.is_empty(), "{}\n{}", lints.join("\n"), imported.text);
    library.backends[0].clone()
}

fn patterns(imported: &Imported) -> Vec<String> {
    backend(imported).patterns.iter().map(|p| format!("{}: {}", p.name, p.pattern_text())).collect()
}

/// The message of a document that is refused.
fn refused(configs: &[String]) -> String {
    import_backend(&document(configs), None).expect_err("wrong").to_string()
}

#[test]
fn names_of_one_operator_are_one_pattern() {
    let imported = import(&[
        entry(r#""torch.nn.Linear""#, DIFFERENT, STATIC),
        entry(r#""F.linear""#, DIFFERENT, STATIC),
        entry(r#"["torch.nn.Linear", "torch.nn.ReLU"]"#, DIFFERENT, STATIC),
        entry(r#""torch.nn.intrinsic.modules.fused.LinearReLU""#, DIFFERENT, STATIC),
        entry(r#"["torch.nn.Linear", "torch.nn.Dropout", "torch.nn.functional.relu"]"#, DIFFERENT, STATIC),
    ]);
    assert_eq!(
        patterns(&imported),
        [
            "linear: (linear ?x ?weight (optional ?bias))",
            "linear-relu: (relu (linear ?x ?weight (optional ?bias) :as ?root))"
        ]
    );
    assert!(imported.warnings.is_empty(), "{:?}", imported.warnings);
    assert!(imported.text.contains("; torch.nn.Linear; torch.nn.functional.linear\n"), "{}", imported.text);
}

#[test]
fn what_is_not_known_is_refused_with_the_nearest_name_all_mistakes_at_once() {
    let wrong = refused(&[
        entry(r#""torch.nn.Conv4d""#, DIFFERENT, STATIC),
        entry(r#"["torch.nn.Linear", "torch.nn.functional.reluu"]"#, DIFFERENT, STATIC),
        entry(r#""reshap""#, SHARED, ACTIVATION),
        entry(r#""torch.nn.ReLU""#, "OUTPUT_SHARES_OBSERVER_WITH_INPUT", ACTIVATION),
        entry(r#""torch.nn.ReLU""#, SHARED, r#"{"input_dtype": "torch.quint9"}"#),
        entry(r#""torch.nn.ReLU""#, SHARED, r#"{"input_dtype": {"dtype": "torch.quint8", "scale_min": 1}}"#),
        r#"{"patern": "torch.nn.ReLU"}"#.to_owned(),
        r#"{"dtype_configs": []}"#.to_owned(),
        r#"{"pattern": "torch.nn.functional.linear", "input_type_to_index": {"weight": 2}}"#.to_owned(),
    ]);
    let expected = [
        "configs[0].pattern: quantc knows no class or function `torch.nn.Conv4d` of PyTorch (hint: did you mean `torch.nn.Conv1d`?)",
        "configs[1].pattern[1]: quantc knows no class or function `torch.nn.functional.reluu` of PyTorch (hint: did you mean `torch.nn.functional.relu`?)",
        "configs[2].pattern: quantc knows no method `reshap` of PyTorch (hint: did you mean `reshape`?)",
        "configs[3].observation_type: there is no observation type `OUTPUT_SHARES_OBSERVER_WITH_INPUT` (hint: did you mean `OUTPUT_SHARE_OBSERVER_WITH_INPUT`?)",
        "configs[4].dtype_configs[0].input_dtype: there is no dtype `torch.quint9` (hint: did you mean `torch.quint8`?)",
        "configs[5].dtype_configs[0].input_dtype.scale_min: there is no such key",
        "configs[6].patern: there is no such key (hint: did you mean `pattern`?)",
        "configs[7]: has either `pattern` or `pattern_complex_format`",
        "configs[8].input_type_to_index.weight: the weight of torch.nn.functional.linear is its argument 1",
    ];
    let lines: Vec<&str> = wrong.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{wrong}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\nwanted {expected}");
    }
}

#[test]
fn documents_of_another_form_are_refused() {
    for (text, part) in [
        ("{", "no JSON"),
        ("[]", "the document: must be an object"),
        (r#"{"name": "b", "config": []}"#, "config: there is no such key (hint: did you mean `configs`?)"),
        (r#"{"name": "two words", "configs": []}"#, "name: `two words` is no name of a backend"),
        (r#"{"configs": []}"#, "name: `` is no name of a backend"),
        (r#"{"name": "b", "configs": {}}"#, "configs: must be a list"),
        (r#"{"name": "b", "configs": []}"#, "nothing of it is a pattern that quantc can run quantized"),
        (r#"{"name": "b", "configs": [{"pattern_complex_format": "MatchAllNode"}]}"#, "matches everything"),
        (r#"{"name": "b", "configs": [{"pattern": []}]}"#, "configs[0].pattern: is empty"),
    ] {
        let message = import_backend(text, None).expect_err(text).to_string();
        assert!(message.contains(part), "{text}: {message}");
    }
    assert_eq!(
        import_backend(&document(&[entry(r#""relu""#, SHARED, ACTIVATION)]), Some("other")).expect("fits").name,
        "other"
    );
}

#[test]
fn what_quantc_has_not_is_left_out_and_said() {
    let half =
        r#"{"input_dtype": "torch.bfloat16", "output_dtype": "torch.float32", "weight_dtype": "torch.bfloat16"}"#;
    let wide = STATIC.replace("torch.qint8", "torch.qint32");
    let imported = import(&[
        entry(r#""torch.nn.Linear""#, DIFFERENT, &format!("{STATIC}, {half}, {wide}, {ACTIVATION}")),
        entry(r#""torch.nn.LayerNorm""#, DIFFERENT, STATIC),
        entry(r#""torch.nn.functional.layer_norm""#, DIFFERENT, &STATIC.replace("torch.qint8", "torch.float32")),
        entry(r#""torch.nn.ReLU""#, SHARED, r#"{"input_dtype": "torch.float16", "output_dtype": "torch.float32"}"#),
        entry(r#""torch.stack""#, SHARED, ACTIVATION),
        entry(r#"["torch.nn.Conv2d", "torch.add"]"#, DIFFERENT, STATIC),
        entry(r#""torch.nn.Identity""#, SHARED, ACTIVATION),
        entry(r#""torch.nn.Sigmoid""#, DIFFERENT, STATIC),
    ]);
    assert_eq!(
        patterns(&imported),
        ["linear: (linear ?x ?weight (optional ?bias))", "layer_norm: (layer_norm ?x _ _)", "sigmoid: (sigmoid ?x)"]
    );
    assert_eq!(
        imported.warnings,
        [
            "a dtype_config is left out, quantc has no torch.bfloat16: torch.nn.Linear",
            "a dtype_config is left out, weight_dtype: no observer makes i32: no QConfig can satisfy this: torch.nn.Linear",
            "a dtype_config is left out, it has no weight_dtype, and the layer has a weight: torch.nn.Linear",
            "a dtype_config is left out, it has weights of i8, and quantc's layer_norm has real ones: torch.nn.LayerNorm",
            "left out, none of its types is left: torch.nn.LayerNorm, torch.nn.ReLU",
            "a dtype_config is left out, half precision is for everything, or dynamic and for the weights: torch.nn.ReLU",
            "left out, it is several calls, unsqueeze for each input and cat: torch.stack",
            "left out, torch.add has two operands: a tuple with it in this place never matches in PyTorch: (torch.nn.Conv2d, torch.add)",
        ]
    );
    for line in &imported.warnings {
        let start: String = line.chars().take(40).collect();
        assert!(imported.text.contains(&format!("; - {start}")), "the text does not say: {line}\n{}", imported.text);
    }
    assert!(imported.text.contains("nothing is lost): torch.nn.Identity\n"), "{}", imported.text);
    assert!(imported.text.contains("weight_dtype has no effect, there is no weight: torch.nn.Sigmoid\n"));
}

#[test]
fn halves_weights_alone_recurrent_layers_and_tables_have_their_forms() {
    let dynamic = STATIC
        .replace("\"output_dtype\": \"torch.quint8\"", "\"is_dynamic\": true, \"output_dtype\": \"torch.float32\"");
    let half = r#"{"input_dtype": "torch.float16", "output_dtype": "torch.float32", "weight_dtype": "torch.float16", "bias_dtype": "torch.float32", "is_dynamic": true}"#;
    let weights = |dtype: &str| {
        format!(r#"{{"input_dtype": "torch.float32", "output_dtype": "torch.float32", "weight_dtype": "{dtype}"}}"#)
    };
    let tables = format!("{}, {}", weights("torch.quint8"), weights("torch.quint4x2"));
    let imported = import(&[
        entry(r#""torch.nn.Linear""#, DIFFERENT, &format!("{half}, {}", weights("torch.qint8"))),
        entry(r#""torch.nn.LSTM""#, DIFFERENT, &format!("{dynamic}, {half}")),
        entry(r#""torch.nn.Embedding""#, DIFFERENT, &tables),
        entry(r#""torch.nn.EmbeddingBag""#, DIFFERENT, &weights("torch.quint4x2")),
    ]);
    assert_eq!(
        patterns(&imported),
        [
            "linear: (linear ?x ?weight (optional ?bias))",
            "lstm: (lstm ?x ?w ?r (optional ?bias) _ _ _ _)",
            "gather: (gather ?weight _ :dim 0)",
            "embedding_bag: (embedding_bag ?weight _ _ _)",
        ]
    );
    for line in [
        "(dtype-config float16-dynamic :half true :dynamic true)",
        "(dtype-config weight-only :input f32 :output f32 :weight i8)",
        "(dtype-config weight-only-2 :input f32 :output f32 :weight u8)",
        "(dtype-config weight-only-3 :input f32 :output f32 :weight (u8 :qmin 0 :qmax 15))",
        ":when (constant ?w) (constant ?r)\n    :weight ?w ?r :bias ?bias",
        ":when (constant ?weight) (= (rank ?weight) 2)",
        "the same as one before it, or narrower: torch.nn.Embedding\n",
    ] {
        assert!(imported.text.contains(line), "{line}\n{}", imported.text);
    }
    assert_eq!(imported.warnings, Vec::<String>::new());
}

#[test]
fn a_layer_that_is_listed_with_a_batch_norm_only_is_said_to_run_without_it() {
    let imported =
        import(&[entry(r#"["torch.nn.Conv2d", "torch.nn.BatchNorm2d", "torch.nn.ReLU"]"#, DIFFERENT, STATIC)]);
    assert_eq!(patterns(&imported), ["conv2d-relu: (relu (conv2d ?x ?weight (optional ?bias) :as ?root))"]);
    assert!(imported.warnings[0].starts_with("also run without the batch norm"), "{:?}", imported.warnings);
}

#[test]
fn a_later_entry_replaces_one_of_the_same_pattern_and_other_names_cannot_differ() {
    let imported = import(&[
        entry(r#""torch.nn.ReLU""#, DIFFERENT, ACTIVATION),
        entry(r#""torch.nn.functional.relu""#, SHARED, ACTIVATION),
        entry(r#""torch.nn.ReLU""#, SHARED, ACTIVATION),
        entry(r#""torch.relu""#, DIFFERENT, ACTIVATION),
    ]);
    assert_eq!(patterns(&imported), ["relu: (relu ?x)"]);
    assert!(imported.text.contains(":observation share-with-input"), "{}", imported.text);
    assert_eq!(
        imported.warnings,
        [
            "left out, to quantc it is the operator of torch.nn.ReLU, which is observed otherwise or has other types: torch.relu"
        ]
    );
}

#[test]
fn batch_norms_of_different_ranks_may_differ() {
    let imported = import(&[
        entry(r#""torch.nn.BatchNorm2d""#, DIFFERENT, ACTIVATION),
        entry(r#""torch.nn.BatchNorm1d""#, SHARED, ACTIVATION),
        entry(r#""torch.nn.BatchNorm3d""#, DIFFERENT, ACTIVATION),
    ]);
    assert_eq!(imported.warnings, Vec::<String>::new());
    assert!(
        imported.text.contains("(in (rank ?x) 4 5)") && imported.text.contains("(in (rank ?x) 2 3)"),
        "{}",
        imported.text
    );
    assert_eq!(backend(&imported).patterns.len(), 2);
}

#[test]
fn additions_in_the_complex_format_have_their_order() {
    let complex = |pattern: &str| {
        format!(r#"{{"pattern_complex_format": {pattern}, "dtype_configs": [{STATIC}], "root_node_getter": "f"}}"#)
    };
    let left = r#"["torch.add", ["torch.nn.BatchNorm2d", "torch.nn.Conv2d"], "MatchAllNode"]"#;
    let right = r#"["operator.add", "MatchAllNode", "torch.nn.Conv2d"]"#;
    let of = |pattern: &str| patterns(&import(&[complex(pattern)])).remove(0);
    assert_eq!(of(left), "conv2d-add: (add (conv2d ?x ?weight (optional ?bias) :as ?root) ?extra)");
    assert_eq!(of(right), "conv2d-add: (add ?extra (conv2d ?x ?weight (optional ?bias) :as ?root))");
    let both = import(&[complex(left), complex(right), complex(&format!(r#"["torch.nn.ReLU", {right}]"#))]);
    let conv = "(conv2d ?x ?weight (optional ?bias) :as ?root)";
    assert_eq!(
        patterns(&both),
        [
            format!("conv2d-add: (commutative (add {conv} ?extra))"),
            format!("conv2d-add-relu: (relu (add ?extra {conv}))")
        ]
    );
    let fused = entry(r#""torch.ao.nn.intrinsic.ConvAddReLU2d""#, DIFFERENT, STATIC);
    assert_eq!(patterns(&import(&[fused])), [format!("conv2d-add-relu: (relu (commutative (add {conv} ?extra)))")]);
}

#[test]
fn an_operand_that_is_a_number_may_be_observed_otherwise() {
    let counts = format!(
        r#""num_tensor_args_to_observation_type": {{"0": "{DIFFERENT}", "1": "{SHARED}", "2": "{DIFFERENT}"}}"#
    );
    let add = format!(r#"{{"pattern": "torch.add", "dtype_configs": [{ACTIVATION}], {counts}}}"#);
    let imported = import(std::slice::from_ref(&add));
    assert_eq!(patterns(&imported), ["add-number: (commutative (add ?x ?number))", "add: (add ?x ?y)"]);
    // And back: the entry is what it was.
    let exported = export_backend(&backend(&imported));
    let back = exported.document["configs"].as_array().expect("a list").iter().find(|c| c["pattern"] == "torch.add");
    let (mut back, add): (Json, Json) = (back.expect("there").clone(), serde_json::from_str(&add).expect("JSON"));
    assert_eq!(back.as_object_mut().and_then(|o| o.remove("observation_type")), Some(json!(DIFFERENT)));
    assert_eq!(back, add);
}

#[test]
fn every_constraint_comes_back_as_it_was() {
    let constraints = json!({
        "dtype": "torch.qint8", "quant_min_lower_bound": -127, "quant_max_upper_bound": 127,
        "scale_min_lower_bound": 0.000244140625, "scale_max_upper_bound": 0.1,
    });
    let types = json!({"input_dtype": constraints, "output_dtype": constraints, "weight_dtype": constraints});
    let imported = import(&[entry(r#""torch.nn.Linear""#, DIFFERENT, &types.to_string())]);
    let text = "(i8 :qmin -127 :qmax 127 :scale-min 2^-12 :scale-max 0.1)";
    assert_eq!(imported.text.matches(text).count(), 3, "{}", imported.text);
    let exported = export_backend(&backend(&imported));
    assert_eq!(exported.document["configs"][0]["dtype_configs"], json!([types]));
    // The exact parameters of an output are its fixed ones.
    let exact = json!({"dtype": "torch.quint8", "scale_exact_match": 0.0078125, "zero_point_exact_match": 128});
    let types = json!({"input_dtype": exact, "output_dtype": exact}).to_string();
    let imported = import(&[entry(r#""torch.nn.Tanh""#, DIFFERENT, &types)]);
    assert!(
        imported.text.contains("(dtype-config fixed :input u8 :output (u8 :scale 2^-7 :zero-point 128))"),
        "{}",
        imported.text
    );
    assert!(imported.text.contains(":fixed-qparams (u8 2^-7 128)"), "{}", imported.text);
    assert!(imported.text.contains("the parameters of the output are not asked of the input"), "{}", imported.text);
}

#[test]
fn what_ships_comes_back_as_it_was() {
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    for original in &library.backends {
        let exported = export_backend(original);
        let imported = import_backend(&exported.to_text(), None).unwrap_or_else(|e| panic!("{}: {e}", original.name));
        assert_eq!(imported.warnings, Vec::<String>::new(), "{}", original.name);
        let again = export_backend(&backend(&imported));
        let sorted = |document: &Json| {
            let configs = document["configs"].as_array().expect("a list").iter();
            let mut rows: Vec<String> = configs.map(Json::to_string).collect();
            rows.sort();
            rows
        };
        let (first, second) = (sorted(&exported.document), sorted(&again.document));
        let lost: Vec<&String> = first.iter().filter(|row| !second.contains(row)).collect();
        assert!(first == second, "{}: {lost:#?}", original.name);
    }
}

#[test]
fn what_pytorch_cannot_say_is_said() {
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    let warnings = |name: &str| export_backend(library.backend(name).unwrap_or_else(|e| panic!("{e}"))).warnings;
    assert_eq!(
        warnings("x86"),
        [
            "`pad` is for every attribute there, and here only if (or (/= ?mode \"constant\") (= ?value 0))",
            "`movement/flatten2d` is left out: the table of PyTorch's names has none for it",
            "`movement/depth_to_space` is left out: the table of PyTorch's names has none for it",
        ]
    );
    let ranks = |name: &str| format!("`{name}` is left out under the names that are for more than (>= (rank ?x) 4)");
    assert_eq!(warnings("fbgemm"), [ranks("batch-norm"), ranks("batch-norm-relu")]);
    let own = "(backend own :doc \"d\" (dtype-config a :input u8 :output u8)
       (pattern twice :doc \"d\" :match (mul ?x 2) :observation share-with-input :dtypes (a))
       (pattern part :doc \"d\" :match (relu (output 0 (split ?x _))) :observation share-with-input :dtypes (a)))";
    let own = Library::parse(&[Source::new("own.qpat", own)]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        export_backend(&own.backends[0]).warnings,
        ["`twice` is left out: it asks for the constant 2", "`part` is left out: it is no tree of calls"]
    );
}
