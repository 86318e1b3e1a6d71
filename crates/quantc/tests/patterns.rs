//! `quantc patterns` on the command line.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{arg, ok, quantc};

const RULE: &str = "(phase canonical)

(rule twice :for $op [neg reciprocal]
  :doc     \"Twice is nothing, as far as rounding goes.\"
  :class   (real 1e-5)
  :match   ($op ($op ?x))
  :when    (= (rank ?x) 2)
  :replace (identity ?x)
  :inputs  (x f32[2 3] 1 2)
  :example ($op ($op x)) => (identity x))
";

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("written");
}

/// The error of a command that must fail as a user's error.
fn fails(folder: &Path, args: &[&str]) -> String {
    let out = quantc(folder, args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    String::from_utf8(out.stderr).expect("UTF-8")
}

#[test]
fn check_accepts_what_is_embedded_and_a_file_of_ones_own() {
    let folder = tempfile::tempdir().expect("folder");
    let embedded = ok(folder.path(), &["patterns", "check"]);
    assert!(embedded.contains("backends with"), "{embedded}");
    write(folder.path(), "own.qpat", RULE);
    assert_eq!(
        ok(folder.path(), &["patterns", "check", "own.qpat"]),
        "1 file: 2 rules with 2 examples that hold, 0 backends with 0 patterns\n"
    );
    // A file with the name of an embedded one is checked in its place.
    let shipped = quantc_testkit::workspace_root().join("patterns");
    ok(folder.path(), &["patterns", "check", arg(&shipped), "own.qpat"]);
    ok(folder.path(), &["patterns", "check", arg(&shipped.join("backend/x86.qpat"))]);
    ok(folder.path(), &["patterns", "check", arg(&shipped.join("backend"))]);
}

#[test]
fn check_reports_examples_lints_and_unreachable_rules() {
    let folder = tempfile::tempdir().expect("folder");
    let wrong = RULE.replace("(identity ?x)", "?x").replace("=> (identity x)", "=> (relu x)");
    write(folder.path(), "wrong.qpat", &wrong);
    let message = fails(folder.path(), &["patterns", "check", "wrong.qpat"]);
    insta::assert_snapshot!("check_example", message);
    let again = RULE.split_once("\n\n").expect("two forms").1.replace("twice", "again");
    write(folder.path(), "lint.qpat", &format!("{RULE}\n{again}"));
    let message = fails(folder.path(), &["patterns", "check", "lint.qpat"]);
    assert!(message.contains("has the left side and the conditions of"), "{message}");
    // Canonical rules remove identities and dropouts, so nothing in the lower phase can see them.
    let dead = RULE
        .replace("canonical", "lower")
        .replace("(real 1e-5)", "exact")
        .replace("[neg reciprocal]", "[identity dropout]")
        .replace("(identity ?x)\n", "(relu ?x)\n")
        .replace("=> (identity x)", "=> (relu x)");
    write(folder.path(), "dead.qpat", &dead);
    let message = fails(folder.path(), &["patterns", "check", "dead.qpat"]);
    assert!(message.contains("never matches: earlier phases rewrite its left side: remove/"), "{message}");
    assert!(message.contains("\n 3 | (rule twice :for") && message.contains(" = hint: match what"), "{message}");
    for (path, word) in [("nowhere.qpat", "nowhere.qpat"), (".", "qpat")] {
        let empty = tempfile::tempdir().expect("folder");
        assert!(fails(empty.path(), &["patterns", "check", path]).contains(word));
    }
}

#[test]
fn list_has_rules_and_backends_as_text_and_json() {
    let folder = tempfile::tempdir().expect("folder");
    fs::create_dir(folder.path().join("own")).expect("made");
    write(folder.path(), "own/rules.qpat", RULE);
    let text = ok(folder.path(), &["patterns", "list", "--patterns", "own"]);
    assert!(text.contains("twice/reciprocal") && text.contains("backend qnnpack"), "{text}");
    let json = ok(folder.path(), &["patterns", "list", "--patterns", "own", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let rule = json["rules"].as_array().expect("rules").iter().find(|r| r["name"] == "twice/neg").expect("the rule");
    assert_eq!(rule["match"], "(neg (neg ?x))");
    assert_eq!(rule["replace"], "(identity ?x)");
    assert_eq!(rule["class"], "(real 1e-5)");
    let x86 = &json["backends"].as_array().expect("backends").iter().find(|b| b["name"] == "x86").expect("x86");
    assert!(x86["patterns"].as_array().is_some_and(|p| p.len() > 20));
}

#[test]
fn docs_has_an_index_and_a_page_for_each_rule_and_backend() {
    let folder = tempfile::tempdir().expect("folder");
    fs::create_dir(folder.path().join("own")).expect("made");
    let again = RULE
        .split_once("\n\n")
        .expect("two forms")
        .1
        .replace("[neg reciprocal]", "[identity]")
        .replace("twice", "Twice");
    write(folder.path(), "own/rules.qpat", &format!("{RULE}\n{again}"));
    let own = format!(
        "(backend own :extends qnnpack :doc \"Mine.\"\n{})",
        RULE.replace("[neg reciprocal]", "[sin]").replace("2 3] 1 2", "2 3] 0 0")
    );
    write(folder.path(), "own/backend.qpat", &own);
    ok(folder.path(), &["patterns", "docs", "-o", "pages", "--patterns", "own"]);
    let pages = folder.path().join("pages");
    let page = |name: &str| fs::read_to_string(pages.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let links = |text: &str| -> Vec<String> {
        text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
    };
    let index = page("index.md");
    let linked = links(&index);
    assert!(linked.iter().all(|link| page(link).starts_with("# ")));
    // Every definition has its page, linked once.
    let json = ok(folder.path(), &["patterns", "list", "--patterns", "own", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let name = |rule: &serde_json::Value| rule["name"].as_str().expect("a name").split('/').next().map(str::to_owned);
    let families: BTreeSet<_> = json["rules"].as_array().expect("rules").iter().map(name).collect();
    assert_eq!(linked.iter().filter(|l| l.starts_with("rules/")).count(), families.len());
    assert_eq!(linked.len(), linked.iter().collect::<BTreeSet<_>>().len());
    insta::assert_snapshot!("docs_entry", page("rules/twice-2.md") + &page("rules/Twice.md"));
    let backend = page("backends/qnnpack.md");
    assert!(
        backend.contains("scale at least 2.4414063e-4") && backend.contains("### conv-add-activation"),
        "{backend}"
    );
    for backend in json["backends"].as_array().expect("backends") {
        let text = page(&format!("backends/{}.md", backend["name"].as_str().expect("a name")));
        for pattern in backend["patterns"].as_array().expect("patterns") {
            assert!(text.contains(&format!("### {}\n", name(pattern).expect("a name"))), "{pattern}");
        }
    }
    let own = page("backends/own.md");
    assert_eq!(links(&own), ["../rules/own.twice.md"]);
    assert!(page("rules/own.twice.md").contains("- only for the backend own\n"));
}

const TEST: &str = "; A word.
graph g(%x: f32[2,3]) {
  %a = reciprocal(%x)
  %b = reciprocal(%a)
  return y=%b
}

; run: canonicalize
; check: class
";

#[test]
fn test_fails_with_a_diff_blesses_and_then_passes() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    for dir in ["own", "tests", "none"] {
        fs::create_dir(at.join(dir)).expect("made");
    }
    write(at, "own/rules.qpat", RULE);
    write(at, "tests/a.qtest", TEST);
    let test = ["patterns", "test", "tests", "--patterns", "own"];
    let message = fails(at, &test);
    assert!(message.contains("a.qtest:8: `canonicalize` gives something else"), "{message}");
    assert!(message.contains("\n+  return y=%x\n"), "{message}");
    assert_eq!(fs::read_to_string(at.join("tests/a.qtest")).expect("there"), TEST, "only --bless writes");
    assert!(ok(at, &[&test[..], &["--bless"]].concat()).contains("a.qtest: updated"));
    assert_eq!(ok(at, &test), "1 file: 1 run as expected, 1 checked on random inputs\n");
    let blessed = fs::read_to_string(at.join("tests/a.qtest")).expect("there");
    assert!(blessed.starts_with(TEST) && blessed.ends_with("return y=%x\n}\n"), "{blessed}");
    // Without the rule, it is another graph.
    assert!(fails(at, &["patterns", "test", "tests"]).contains("reciprocal("));
    assert!(fails(at, &["patterns", "test", "none"]).contains("no .qtest file"));
    write(
        at,
        "tests/b.qtest",
        "; case: bad\ngraph g(%x: f32[2]) {\n  %a = rellu(%x)\n  return y=%a\n}\n; run: canonicalize\n; case: good\ngraph g(%x: f32[2]) {\n  return y=%x\n}\n; run: canonicalize\nold\n; case: worse\n; run: fry\n",
    );
    let message = fails(at, &test);
    assert!(message.contains("3 of 4 runs failed"), "{message}");
    for part in [
        "b.qtest:6: bad: ",
        "b.qtest:11: good: `canonicalize` gives something else",
        "b.qtest:14: worse: no step `fry`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // What can be run is blessed; what can't stays as it is.
    assert!(fails(at, &[&test[..], &["--bless"]].concat()).contains("2 of 4 runs failed"));
    let blessed = fs::read_to_string(at.join("tests/b.qtest")).expect("there");
    assert!(blessed.contains("rellu") && blessed.ends_with("; case: worse\n; run: fry\n"), "{blessed}");
    assert!(blessed.contains("; run: canonicalize\ngraph g(%x: f32[2]) {\n  return y=%x\n}\n"), "{blessed}");
    write(at, "tests/b.qtest", "graph g(%x: f32[2]) {\n  %a = rellu(%x)\n  return y=%a\n}\n; run: canonicalize\n");
    assert!(
        fails(at, &[&test[..], &["--bless"]].concat()).contains("rellu"),
        "an input that is wrong is never blessed"
    );
}

#[test]
fn a_rule_that_breaks_its_promise_is_found_by_the_check() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::create_dir(at.join("own")).expect("made");
    write(at, "own/rules.qpat", &RULE.replace("neg reciprocal", "relu").replace("(real 1e-5)", "exact"));
    write(at, "a.qtest", &TEST.replace("reciprocal", "relu"));
    let message = fails(at, &["patterns", "test", "a.qtest", "--patterns", "own", "--bless"]);
    assert!(message.contains("output `y` differs by") && message.contains("the same bits were promised"), "{message}");
}

#[test]
fn quantize_takes_backends_and_rules_of_a_folder() {
    let folder = tempfile::tempdir().expect("folder");
    let example = quantc_testkit::workspace_root().join("examples/npu/npu");
    let (model, data) = (common::demo("digits_cnn.onnx"), common::demo("digits_calib_x.npy"));
    let preprocess = common::demo("digits_preprocess.json");
    let command =
        ["quantize", arg(&model), "-o", "m.qtc", "--calibration", arg(&data), "--preprocess", arg(&preprocess)];
    let own = ["--backend", "npu", "--qconfig", "qnnpack_symmetric", "--patterns", arg(&example)];
    ok(folder.path(), &[&command[..], &own].concat());
    assert!(ok(folder.path(), &["explain", "m.qtc"]).contains("conv-clamp/conv2d"));
    assert!(fails(folder.path(), &[&command[..], &own[..4]].concat()).contains("there is no backend `npu`"));
}
