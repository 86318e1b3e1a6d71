//! `docs/adding-a-backend.md` is run as it stands: its files are written, its commands run, their outputs compared with what it
//! shows. `QUANTC_BLESS=1` writes the outputs into the page, and the files that it ends with into `examples/npu`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{demo, quantc_on};
use quantc_kernels::Isa;

fn root() -> PathBuf {
    quantc_testkit::workspace_root()
}

fn bless() -> bool {
    std::env::var_os("QUANTC_BLESS").is_some_and(|v| v == "1")
}

/// Runs the page in a folder; gives it with the outputs that the commands had.
fn run(page: &str, folder: &Path) -> String {
    let mut out = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
        match info.split_once(' ') {
            Some((_, file)) => {
                let path = folder.join(file);
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs::write(path, body.join("\n") + "\n").expect("written");
                out.push_str(&(body.join("\n") + "\n"));
            }
            None if info == "console" => {
                for command in body.iter().filter_map(|l| l.strip_prefix("$ ")) {
                    out.push_str(&format!("$ {command}\n{}", execute(command, folder)));
                }
            }
            None => out.push_str(&(body.join("\n") + "\n")),
        }
        out.push_str("```\n");
    }
    out
}

/// Everything a command prints.
fn execute(command: &str, folder: &Path) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["cat", file] => fs::read_to_string(folder.join(file)).expect("readable"),
        ["quantc", ref args @ ..] => {
            // The size of a compiled model is that of the tier's packed weights: here of one that every machine has.
            let output = quantc_on(Isa::Portable, folder, args);
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8(text).expect("UTF-8")
        }
        _ => panic!("the page runs `{command}`"),
    }
}

/// Without what takes another time at each run: `0.12 s`.
fn without_times(text: &str) -> String {
    let is_time = |w: &str| w.contains('.') && w.parse::<f64>().is_ok();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let timed = |i: usize| is_time(words[i]) && words.get(i + 1).is_some_and(|w| *w == "s");
        (0..words.len()).map(|i| if timed(i) { "_" } else { words[i] }).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_tutorial_is_true() {
    let path = root().join("docs/adding-a-backend.md");
    let page = fs::read_to_string(&path).expect("the page");
    let folder = tempfile::tempdir().expect("folder");
    for file in ["digits_cnn.onnx", "digits_calib_x.npy", "digits_preprocess.json"] {
        fs::copy(demo(file), folder.path().join(file)).expect("copied");
    }
    let actual = run(&page, folder.path());
    let example = root().join("examples/npu");
    let files = ["npu/backend.qpat", "npu-tests/full-range.json", "npu-tests/net.qtest"];
    if bless() {
        fs::write(&path, &actual).expect("written");
        for file in files {
            let to = example.join(file);
            fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            fs::copy(folder.path().join(file), to).expect("copied");
        }
    }
    let page = if bless() { actual.clone() } else { page };
    assert!(without_times(&page) == without_times(&actual), "QUANTC_BLESS=1 accepts this:\n{actual}");
    for file in files {
        let (kept, made) = (fs::read_to_string(example.join(file)), fs::read_to_string(folder.path().join(file)));
        assert_eq!(kept.expect("kept"), made.expect("made"), "{file}");
    }
    // What a reader must see, whatever the page says.
    for word in [
        "did you mean `relu6`?",
        "pattern linear-clamp",
        "quantized.conv2d(",
        "quant_min must be at least -127",
        "as expected",
    ] {
        assert!(actual.contains(word), "{word}");
    }
}
