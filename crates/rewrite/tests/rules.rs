//! Every rule that ships keeps its promises.

use quantc_pattern::{Library, Rule, RuleSet, Source};
use quantc_rewrite::{check_examples, unreachable};

fn library() -> &'static Library {
    Library::builtin().unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_example_holds() {
    let library = library();
    let rules: Vec<&Rule> = library.rules.rules.iter().chain(library.backends.iter().flat_map(|b| &b.rules)).collect();
    assert!(!rules.is_empty());
    let failures: Vec<String> = rules.into_iter().flat_map(check_examples).map(|e| e.to_string()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_rule_can_match() {
    let rules = &library().rules;
    let dead: Vec<String> = rules.rules.iter().filter_map(|r| unreachable(r, rules)).map(|e| e.to_string()).collect();
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

fn parse(text: &str) -> RuleSet {
    Library::parse(&[Source::new("t.qpat", text)]).unwrap_or_else(|e| panic!("{e}")).rules
}

#[test]
fn a_rule_whose_left_side_is_rewritten_before_it_is_found() {
    let rules = parse(
        "(phase canonical)
         (rule clamp-is-relu :doc \"d\" :class exact :match (clamp ?x :min 0) :replace (relu ?x)
           :inputs (x f32[2]) :example (clamp x :min 0) => (relu x))
         (phase lower)
         (rule dead :doc \"d\" :class exact :match (clamp ?x :min 0) :replace (relu ?x)
           :inputs (x f32[2]) :example (clamp x :min 0) => (relu x))
         (rule folded :doc \"d\" :class exact :match (relu (relu 1)) :replace 1
           :inputs (x f32[2]) :example (add x (relu (relu 1))) => (add x 1))",
    );
    let of = |name: &str| unreachable(rules.find(name).expect("defined"), &rules).map(|e| e.to_string());
    assert_eq!(of("clamp-is-relu"), None);
    let dead = of("dead").expect("dead");
    assert!(dead.contains("earlier phases") && dead.contains("clamp-is-relu"), "{dead}");
    let folded = of("folded").expect("dead");
    assert!(folded.contains("constants"), "{folded}");
}

#[test]
fn approximate_rules_run_only_if_they_are_allowed() {
    let mut rules = parse(
        "(phase canonical)
         (rule rough :doc \"d\" :class (approximate 0.2) :match (tanh ?x) :replace (clamp ?x :min -1 :max 1)
           :inputs (x f32[9] -1 1) :example (tanh x) => (clamp x :min -1 :max 1))",
    );
    let graph = quantc_ir::text::parse("graph g(%x: f32[3]) {\n  %t = tanh(%x)\n  return y=%t\n}\n").expect("parses");
    let has = |rules: &RuleSet, op: &str| {
        let (after, _) = quantc_rewrite::canonicalize(&graph, rules).expect("rewrites");
        after.calls().any(|id| after.node(id).is_op(op))
    };
    assert!(has(&rules, "tanh"));
    rules.allow_approximate = true;
    assert!(has(&rules, "clamp"));
    let failures = check_examples(&rules.rules[0]);
    assert!(failures.len() == 1 && failures[0].message.contains("differ by"), "tanh(1) is 0.76: {failures:?}");
}

#[test]
fn backends_load() {
    for name in ["x86", "qnnpack"] {
        let backend = library().backend(name).unwrap_or_else(|e| panic!("{e}"));
        assert!(backend.patterns.iter().all(|p| !p.dtype_configs.is_empty()), "{name}");
    }
}

/// What is wrong with an example is said where it stands, with what to do about it.
#[test]
fn what_is_wrong_with_an_example_has_a_place_and_a_hint() {
    let wrong = |body: &str| {
        let text = format!("(phase canonical)\n(rule r :doc \"d\"\n  {body})");
        let rules = parse(&text);
        let found = check_examples(&rules.rules[0]);
        let [error] = &found[..] else { panic!("{found:?}") };
        error.to_string()
    };
    let twice = ":class exact :match (relu (relu ?x)) :replace (relu ?x)\n  :inputs (x f32[2])";
    insta::assert_snapshot!(
        [
            wrong(&format!("{twice} :example (relu (neg x)) => (relu x)")),
            wrong(&format!("{twice} :example (relu x) => (relu x)")),
            wrong(&format!("{twice} :example (relu (relu x)) => (neg (relu x))")),
            wrong(&format!("{twice} (y f32[3]) :example (add (relu (relu x)) y) => x")),
            wrong(&format!("{twice} (y f32[3]) :example (relu (relu x)) => (add x y)")),
            wrong(
                ":class exact :match (relu (relu ?x)) :when (= (rank ?x) 2) :replace (relu ?x)\n  \
                 :inputs (x f32[2]) :example (relu (relu x)) => (relu x)",
            ),
            wrong(
                ":class exact :match (relu (relu ?x)) :replace ?x\n  \
                 :inputs (x f32[2]) :example (relu (relu x)) => x",
            ),
            wrong(
                ":class (real 1e-6) :match (relu (relu ?x)) :replace ?x\n  \
                 :inputs (x f32[2]) :example (relu (relu x)) => x",
            ),
            wrong(
                ":class exact :match (relu (relu ?x)) :replace (softmax ?x :dim 3)\n  \
                 :inputs (x f32[2]) :example (relu (relu x)) => (softmax x :dim 0)",
            ),
            wrong(
                ":class (real 1e-6) :match (log (log ?x)) :replace (log (log (relu ?x)))\n  \
                 :inputs (x f32[2] -2 -1) :example (log (log x)) => (log (log (relu x)))",
            ),
        ]
        .join("\n\n")
    );
}

/// An unsound rule is named with the nodes that it was applied to, and only what has to do with it.
#[test]
fn an_unsound_rule_is_named() {
    let graph = |text: &str| quantc_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let rule = |name: &str, class: &str, left: &str, right: &str| {
        format!(
            "(rule {name} :doc \"d\" :class {class} :match {left} :replace {right}\n  \
             :inputs (x f32[2]) :example (relu x) => (relu x))\n"
        )
    };
    let error = |definitions: &[String], text: &str| {
        let rules = parse(&format!("(phase canonical)\n{}", definitions.concat()));
        match quantc_rewrite::canonicalize(&graph(text), &rules) {
            Ok((after, _)) => panic!("must be found\n{after}"),
            Err(e) => e.to_string(),
        }
    };
    let innocent = rule("innocent", "exact", "(neg (neg ?x))", "?x");
    let zero = rule("zero", "exact", "(sub ?x ?x)", "0");
    let constants = "graph g(%x: f32[], %z: f32[]) {\n  %n = neg(%z)\n  %nn = neg(%n)\n  %a = abs(%x)\n  %d = sub(%a, %a)\n  return y=%d, z=%nn\n}\n";
    // Each of these has the type of what it replaces, as far as that is known; together they have not.
    let types = "graph g(%x: f32[?], %z: f32[2]) {\n  %n = neg(%z)\n  %nn = neg(%n)\n  %a = abs(%x)\n  %b = sin(%x)\n  %s = exp(%a)\n  %t = exp(%b)\n  return s=%s, t=%t, z=%nn\n}\n";
    let fixed =
        |name: &str, left: &str, size: usize| rule(name, "exact", left, &format!("(expand ?x :shape [{size}])"));
    insta::assert_snapshot!(
        [
            error(&[innocent.clone(), zero.clone(), rule("one", "exact", "(sub ?x ?x)", "1")], constants),
            error(
                &[
                    innocent,
                    zero,
                    fixed("two", "(exp (abs ?x))", 2),
                    fixed("three", "(exp (sin ?x))", 3),
                    rule("wave", "exact", "(abs ?x)", "(sin ?x)"),
                ],
                types,
            ),
        ]
        .join("\n\n")
    );
}
