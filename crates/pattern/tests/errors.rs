//! Every error is one message with file, line, column, caret and hint.

use quantc_pattern::{Library, Source};

fn error(text: &str) -> String {
    match Library::parse(&[Source::new("t.qpat", text)]) {
        Ok(_) => panic!("must not load:\n{text}"),
        Err(e) => e.to_string(),
    }
}

/// A rule with parts replaced.
fn rule(body: &str) -> String {
    error(&format!(
        "(phase canonical)\n(rule r\n  :doc \"d\" :class exact\n  {body}\n  :inputs (x f32[2])\n  :example (relu (relu x)) => (relu x))"
    ))
}

#[test]
fn reader() {
    insta::assert_snapshot!(
        [
            error("(rule"),
            error("(rule]"),
            error(")"),
            error("(rule \"abc"),
            error("(rule a 1x)"),
            error("(rule a : b)"),
            error("relu"),
            error("(rul a)"),
        ]
        .join("\n\n")
    );
}

#[test]
fn rules() {
    insta::assert_snapshot!(
        [
            error("(rule r :doc \"d\")"),
            error("(phase canonicl)"),
            error("(phase canonical)\n(rule)"),
            error("(phase canonical)\n(rule r)"),
            error("(phase canonical)\n(rule r :doc \"d\")"),
            error("(phase canonical)\n(rule r :doc \"d\" :doc \"e\")"),
            error("(phase canonical)\n(rule r :doc \"d\" :clas exact)"),
            error("(phase lower)\n(rule r :doc \"d\" :class (real 1e-5))"),
            rule(":match (relu ?x)"),
            rule(":match (rellu ?x) :replace ?x"),
            rule(":match relu :replace ?x"),
            rule(":match ?x :replace ?x"),
            rule(":match (relu ?x ?y) :replace ?x"),
            rule(":match (relu) :replace ?x"),
            rule(":match (relu none) :replace ?x"),
            rule(":match (relu ?x :alpha 1) :replace ?x"),
            rule(":match (observer ?x) :replace ?x"),
            rule(":match (observer ?x :id ?i) :replace ?x"),
            rule(":match (observer ?x :id \"a\") :replace ?x"),
            rule(":match (relu ?x) :replace ?y"),
            rule(":match (relu ?input) :replace ?inptu"),
            rule(":match (relu ?x) :replace (relu 1 2)"),
            rule(":match (relu ?x) :when (constnt ?x) :replace ?x"),
            rule(":match (relu ?x) :when (constant 1) :replace ?x"),
            rule(":match (relu ?x) :when (= (dtype ?x)) :replace ?x"),
            rule(":match (relu ?x) :when (= ?x 1) :replace ?x"),
            rule(":match (observer ?x :attrs ?a) :when (= (attr ?a idd) 1) :replace ?x"),
            rule(":match (observer ?x :attrs ?a) :replace (relu ?x :attrs ?a)"),
            rule(":match (relu ?x) :replace (observer ?x)"),
            rule(":match (dequantize_per_channel ?x ?s (optional ?z)) :replace ?z"),
            rule(":match (either (relu ?x) (relu ?y)) :replace ?x"),
            rule(":match (relu ?x) :replace ?x :inputs (y f32[2])"),
        ]
        .join("\n\n")
    );
}

#[test]
fn duplicates_and_examples() {
    let good = "(rule r :doc \"d\" :class exact :match (relu (relu ?x)) :replace (relu ?x)\n  :inputs (x f32[2]) :example (relu (relu x)) => (relu x))";
    let example = |text: &str| {
        error(&format!(
            "(phase canonical)\n(rule r :doc \"d\" :class exact :match (relu (relu ?x)) :replace (relu ?x)\n  {text})"
        ))
    };
    insta::assert_snapshot!(
        [
            error(&format!("(phase canonical)\n{good}\n{good}")),
            example(""),
            example(":example (relu x) => (relu x)"),
            example(":inputs (x f32[2]) :example (relu x)"),
            example(":inputs (x f32) :example (relu x) => x"),
            example(":inputs (x f32[n]) :example (relu x) => x"),
            example(":inputs (x f32[2]) :example (relu y) => x"),
            example(":for $op [relu] :inputs (x f32[2]) :example ($oq x) => x"),
        ]
        .join("\n\n")
    );
}

#[test]
fn backends() {
    let body =
        |text: &str| error(&format!("(backend b :doc \"d\"\n  (dtype-config static :input u8 :output u8)\n  {text})"));
    insta::assert_snapshot!(
        [
            error("(backend)"),
            error("(backend b)"),
            error("(backend b :doc \"d\" :extends c)"),
            error("(backend b :doc \"d\")\n(backend b :doc \"d\")"),
            body("(patern)"),
            body("(pattern p :doc \"d\" :match (relu ?x))"),
            body("(pattern p :doc \"d\" :match (relu ?x) :observation same :dtypes (static))"),
            body("(pattern p :doc \"d\" :match (relu ?x) :observation different :dtypes (sttic))"),
            body("(pattern p :doc \"d\" :match (relu ?x) :observation different :dtypes (static) :weight ?w)"),
            body("(pattern p :doc \"d\" :match (relu ?x) :observation different :dtypes (static) :fixed-qparams (u8 0 0))"),
            body("(dtype-config d :input u7)"),
            body("(dtype-config d :input (u8 :qmn 0))"),
            body("(unsupported rellu :reason \"r\")"),
            body("(remove p)"),
        ]
        .join("\n\n")
    );
}
