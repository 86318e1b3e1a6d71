//! Plans of recurrent layers and embeddings, float and quantized: every step has a kernel, every output the reference's bits.

use crate::common::{Random, check, graph, no_reference};

/// Holds the plans of a graph to the reference, and to have no reference step.
fn holds(seed: u64, sizes: &[usize], text: &str) {
    let mut random = Random(seed);
    let g = graph(text, &mut random);
    no_reference(&check(&g, sizes, &mut random));
}

/// Sizes written as letters: `DD` directions, `HH` elements of the state, `GG` gates times elements, `BB` twice that, `PP` three times the
/// elements.
fn sized(text: &str, direction: &str, hidden: usize, gates: usize) -> String {
    let dirs = if direction == "bidirectional" { 2 } else { 1 };
    [("DIR", direction.to_owned()), ("DD", dirs.to_string()), ("HH", hidden.to_string())]
        .into_iter()
        .chain(
            [("GG", gates * hidden), ("BB", 2 * gates * hidden), ("PP", 3 * hidden)].map(|(k, v)| (k, v.to_string())),
        )
        .fold(text.to_owned(), |text, (letters, size)| text.replace(letters, &size))
}

#[test]
fn plain_layers() {
    for (seed, direction, hidden) in [(1, "forward", 7), (2, "bidirectional", 66)] {
        let text = r#"graph g(%x: f32[5,N,6], %h0: f32[DD,N,HH], %f: f32[N,4,6]) {
  param @w: f32[DD,GG,6]
  param @r: f32[DD,GG,HH]
  param @b: f32[DD,BB]
  %a = rnn(%x, @w, @r, @b, none, %h0) {hidden_size=HH, direction="DIR"}
  %b = rnn(%x, @w, @r) {hidden_size=HH, direction="DIR", nonlinearity="relu"}
  %c = rnn(%f, @w, @r, @b) {hidden_size=HH, direction="DIR", layout=1}
  return ay=%a, ah=%a:1, by=%b, bh=%b:1, cy=%c, ch=%c:1
}"#;
        holds(seed, &[1, 3], &sized(text, direction, hidden, 1));
    }
}

#[test]
fn dynamic_lstms() {
    for (seed, direction, hidden) in [(3, "forward", 7), (4, "reverse", 70), (5, "bidirectional", 16)] {
        let text = r#"graph g(%x: f32[6,N,5], %h0: f32[DD,N,HH], %c0: f32[DD,N,HH], %f: f32[N,6,5], %fh: f32[N,DD,HH]) {
  param @w: i8[DD,GG,5]
  param @r: i8[DD,GG,HH]
  param @w.scale: f32[DD,GG]
  param @r.scale: f32[DD,1]
  param @b: f32[DD,BB]
  param @p: f32[DD,PP]
  %a = quantized.lstm_dynamic(%x, @w, @r, @w.scale, @r.scale, @b, none, %h0, %c0, @p) {hidden_size=HH, direction="DIR"}
  %b = quantized.lstm_dynamic(%x, @w, @r, @w.scale, @r.scale) {hidden_size=HH, direction="DIR", reduce_range=true}
  %c = quantized.lstm_dynamic(%f, @w, @r, @w.scale, @r.scale, @b, none, %fh) {hidden_size=HH, direction="DIR", layout=1}
  return ay=%a, ah=%a:1, ac=%a:2, bc=%b:2, cy=%c, ch=%c:1, cc=%c:2
}"#;
        holds(seed, &[1, 3], &sized(text, direction, hidden, 4));
    }
}

#[test]
fn dynamic_grus() {
    for (seed, direction, hidden) in [(6, "forward", 9), (7, "bidirectional", 65)] {
        let text = r#"graph g(%x: f32[4,N,6], %h0: f32[DD,N,HH], %f: f32[N,4,6]) {
  param @w: i8[DD,GG,6]
  param @r: i8[DD,GG,HH]
  param @w.scale: f32[DD,1]
  param @r.scale: f32[DD,GG]
  param @b: f32[DD,BB]
  %a = quantized.gru_dynamic(%x, @w, @r, @w.scale, @r.scale, @b, none, %h0) {hidden_size=HH, direction="DIR"}
  %b = quantized.gru_dynamic(%x, @w, @r, @w.scale, @r.scale, @b) {hidden_size=HH, direction="DIR", linear_before_reset=true}
  %c = quantized.gru_dynamic(%f, @w, @r, @w.scale, @r.scale) {hidden_size=HH, direction="DIR", layout=1, reduce_range=true}
  return ay=%a, ah=%a:1, by=%b, bh=%b:1, cy=%c, ch=%c:1
}"#;
        holds(seed, &[1, 3], &sized(text, direction, hidden, 3));
    }
}

#[test]
fn dynamic_plain_layers() {
    for (seed, direction, hidden) in [(8, "forward", 33), (9, "bidirectional", 8)] {
        let text = r#"graph g(%x: f32[4,N,6], %h0: f32[DD,N,HH]) {
  param @w: i8[DD,GG,6]
  param @r: i8[DD,GG,HH]
  param @w.scale: f32[DD,GG]
  param @r.scale: f32[DD,GG]
  param @b: f32[DD,BB]
  %a = quantized.rnn_dynamic(%x, @w, @r, @w.scale, @r.scale, @b, none, %h0) {hidden_size=HH, direction="DIR"}
  %b = quantized.rnn_dynamic(%x, @w, @r, @w.scale, @r.scale) {hidden_size=HH, direction="DIR", nonlinearity="relu"}
  return ay=%a, ah=%a:1, by=%b, bh=%b:1
}"#;
        holds(seed, &[1, 3], &sized(text, direction, hidden, 1));
    }
}

#[test]
fn dynamic_sequences_of_several_lengths() {
    holds(
        10,
        &[3],
        r#"graph g(%x: f32[5,3,4]) {
  param @w: i8[2,24,4]
  param @r: i8[2,24,6]
  param @gw: i8[2,18,4]
  param @gr: i8[2,18,6]
  param @pw: i8[2,6,4]
  param @pr: i8[2,6,6]
  param @one.scale: f32[2,1]
  param @lens: i64[3] = [5, 2, 0]
  %a = quantized.lstm_dynamic(%x, @w, @r, @one.scale, @one.scale, none, @lens) {hidden_size=6, direction="bidirectional"}
  %b = quantized.gru_dynamic(%x, @gw, @gr, @one.scale, @one.scale, none, @lens) {hidden_size=6, direction="bidirectional"}
  %c = quantized.gru_dynamic(%x, @gw, @gr, @one.scale, @one.scale, none, @lens) {hidden_size=6, direction="bidirectional", linear_before_reset=true}
  %d = quantized.rnn_dynamic(%x, @pw, @pr, @one.scale, @one.scale, none, @lens) {hidden_size=6, direction="bidirectional"}
  return ay=%a, ah=%a:1, ac=%a:2, by=%b, bh=%b:1, cy=%c, ch=%c:1, dy=%d, dh=%d:1
}"#,
    );
}

#[test]
fn embeddings() {
    for (seed, bits, bytes, columns) in [(11, 8, 13, 13), (12, 4, 7, 13), (13, 4, 32, 64)] {
        let text = r#"graph g(%i: i64[N,3], %j: i32[N], %s: f32[N,3]) {
  param @t: u8[4,BYTES]
  param @t.scale: f32[4]
  param @zero: f32[4] = [7.5, 0.0, 120.25, -3.0]
  param @f: f32[4,COLS]
  param @zeros: i64[2] = [0, 0]
  param @ends: i32[3] = [0, 0, 0]
  %a = quantized.embedding(@t, @t.scale, @zero, %i) {bits=BITS, columns=COLS}
  %b = quantized.embedding(@t, @t.scale, @zero, %j) {bits=BITS, columns=COLS}
  %c = quantized.embedding_bag(@t, @t.scale, @zero, %i) {bits=BITS, columns=COLS, padding_idx=-1}
  %d = quantized.embedding_bag(@t, @t.scale, @zero, %i, none, %s) {bits=BITS, columns=COLS, mode="sum"}
  %e = quantized.embedding_bag(@t, @t.scale, @zero, %i) {bits=BITS, columns=COLS, mode="max", padding_idx=2}
  %g = embedding_bag(@f, %i) {mode="sum"}
  %h = embedding_bag(@f, %i) {mode="max", padding_idx=0}
  %l = slice(%i) {starts=[0], ends=[1], axes=[1]}
  %m = reshape(%l) {shape=[-1]}
  %n = embedding_bag(@f, %m, @zeros) {mode="mean"}
  %o = quantized.embedding_bag(@t, @t.scale, @zero, %m, @zeros) {bits=BITS, columns=COLS, mode="sum"}
  %p = quantized.embedding_bag(@t, @t.scale, @zero, %m, @ends) {bits=BITS, columns=COLS, mode="sum", include_last_offset=true}
  return a=%a, b=%b, c=%c, d=%d, e=%e, g=%g, h=%h, n=%n, o=%o, p=%p
}"#
        .replace("BYTES", &bytes.to_string())
        .replace("COLS", &columns.to_string())
        .replace("BITS", &bits.to_string());
        holds(seed, &[1, 3], &text);
    }
}
