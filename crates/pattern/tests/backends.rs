//! What a backend makes of the one it extends, and of the rules for every backend.

use quantc_pattern::{Library, Role, Source};

const BASE: &str = r#"
(phase canonical)
(rule general :for $op [relu relu6]
  :doc "d" :class exact :match ($op ($op ?x)) :replace ($op ?x)
  :inputs (x f32[2]) :example ($op ($op x)) => ($op x))
(rule other
  :doc "d" :class exact :match (abs (abs ?x)) :replace (abs ?x)
  :inputs (x f32[2]) :example (abs (abs x)) => (abs x))

(backend base
  :doc "d"
  (kernels conv conv1d conv2d)
  (dtype-config static :input u8 :output u8 :weight i8)
  (pattern conv-relu :for $conv conv
    :doc "d" :match (relu ($conv ?x ?w (optional ?b) :as ?conv)) :when (constant ?w)
    :weight ?w :bias ?b :root ?conv :observation different :dtypes (static))
  (pattern conv :for $conv conv
    :doc "d" :match ($conv ?x ?w (optional ?b)) :when (constant ?w)
    :weight ?w :bias ?b :observation different :dtypes (static))
  (pattern mean :doc "d" :match (mean ?x _) :observation different :dtypes (static)))
"#;

fn load(own: &str) -> Library {
    let sources = [Source::new("base.qpat", BASE), Source::new("own.qpat", own)];
    Library::parse(&sources).unwrap_or_else(|e| panic!("{e}"))
}

fn patterns(library: &Library, backend: &str) -> Vec<String> {
    let backend = library.backend(backend).unwrap_or_else(|e| panic!("{e}"));
    backend.patterns.iter().map(|p| p.name.to_string()).collect()
}

fn rules(library: &Library, backend: &str) -> Vec<String> {
    let backend = library.backend(backend).unwrap_or_else(|e| panic!("{e}"));
    library.rules_for(backend).rules.iter().map(|r| r.name.to_string()).collect()
}

#[test]
fn patterns_taken_over_go_over_the_kernels_of_the_backend_that_takes_them() {
    let library = load("(backend own :extends base :doc \"d\" (kernels conv conv2d conv3d))");
    assert_eq!(
        patterns(&library, "base"),
        ["conv-relu/conv1d", "conv-relu/conv2d", "conv/conv1d", "conv/conv2d", "mean"]
    );
    assert_eq!(
        patterns(&library, "own"),
        ["conv-relu/conv2d", "conv-relu/conv3d", "conv/conv2d", "conv/conv3d", "mean"]
    );
}

#[test]
fn a_definition_replaces_every_row_of_the_one_of_its_name_in_its_place() {
    let library = load(
        "(backend own :extends base :doc \"d\" (remove mean)
           (pattern conv-relu :doc \"d\" :match (relu (conv2d ?x ?w)) :weight ?w
             :observation different :dtypes (static)))",
    );
    assert_eq!(patterns(&library, "own"), ["conv-relu", "conv/conv1d", "conv/conv2d"]);
}

#[test]
fn patterns_taken_over_have_the_types_of_the_backend_that_takes_them() {
    let library = load(
        "(backend own :extends base :doc \"d\" (dtype-config static :input i8 :output i8 :weight (i8 :qmin -127)))",
    );
    let own = library.backend("own").expect("defined");
    for pattern in &own.patterns {
        let weight = pattern.dtype_configs[0].weight.as_ref().expect("declared");
        assert_eq!((pattern.dtype_configs.len(), weight.quant_min), (1, Some(-127)), "{}", pattern.name);
    }
    let conv = own.pattern("conv/conv2d").expect("taken over");
    let role = |name: &str| conv.role(conv.pattern.var(name).expect("bound"));
    assert_eq!((role("x"), role("w"), role("b")), (Some(Role::Input), Some(Role::Weight), Some(Role::Bias)));
}

#[test]
fn a_backend_does_without_types_of_the_one_it_extends() {
    let base = "(backend base :doc \"d\"
      (dtype-config a :input u8 :output u8) (dtype-config b :input i8 :output i8)
      (pattern both :doc \"d\" :match (relu ?x) :observation different :dtypes (a b))
      (pattern one :doc \"d\" :match (relu6 ?x) :observation different :dtypes (b)))";
    let parse = |own: &str| Library::parse(&[Source::new("base.qpat", base), Source::new("own.qpat", own)]);
    let library = parse("(backend own :extends base :doc \"d\" (remove one b))").unwrap_or_else(|e| panic!("{e}"));
    let own = library.backend("own").expect("defined");
    let types: Vec<&str> = own.patterns[0].dtype_configs.iter().map(|c| &*c.name).collect();
    assert_eq!((own.patterns.len(), own.dtype_configs.len(), types), (1, 1, vec!["a"]));
    let errors = parse("(backend own :extends base :doc \"d\" (remove b))").expect_err("a pattern without types");
    assert!(errors.to_string().contains("the pattern `one` has no other types than `b`"), "{errors}");
}

#[test]
fn a_backend_has_rules_of_its_own_and_does_without_others() {
    let library = load(
        "(backend own :extends base :doc \"d\"
           (kernels neat relu6)
           (remove other)
           (phase canonical)
           (rule general :for $op neat
             :doc \"d\" :class exact :match ($op ($op ($op ?x))) :replace ($op ?x)
             :inputs (x f32[2]) :example ($op ($op ($op x))) => ($op x)))
         (backend next :extends own :doc \"d\" (kernels neat relu relu6))
         (backend row :extends base :doc \"d\" (remove general/relu))",
    );
    assert_eq!(rules(&library, "base"), ["general/relu", "general/relu6", "other"]);
    assert_eq!(rules(&library, "own"), ["general/relu6"], "its own replaces every row of the general one");
    assert_eq!(rules(&library, "next"), ["general/relu", "general/relu6"], "over its kernels");
    assert_eq!(rules(&library, "row"), ["general/relu6", "other"]);
}

#[test]
fn what_is_wrong_with_a_base_is_said_once() {
    let wrong = BASE.replace("(mean ?x _)", "(meen ?x _)");
    let own = "(backend own :extends base :doc \"d\")\n(backend more :extends own :doc \"d\")";
    let sources = [Source::new("base.qpat", &wrong), Source::new("own.qpat", own)];
    let errors = Library::parse(&sources).expect_err("wrong");
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert!(errors.0[0].message.contains("meen"));
}
