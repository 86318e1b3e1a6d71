//! A roofline plot: each layer's rate over its multiply-accumulates for each byte moved, under what the machine can do.

use std::fmt::Write;

use quantc_runtime::Arithmetic;

use super::layers::{Layer, Layers};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 620.0;
/// The plot within the picture.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 930.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 556.0;
/// Height of the letters, and the width of one: the font is monospaced.
const FONT: f64 = 12.0;
const LETTER: f64 = 0.61 * FONT;
/// Layers that are named, those that take the most time.
const LABELS: usize = 6;
/// Letters of a name, at most.
const NAME: usize = 28;

/// A logarithmic axis.
struct Axis {
    /// Powers of ten.
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// The decades around some values.
    fn around(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Axis {
        let low = values.clone().fold(f64::MAX, f64::min).max(1e-6).log10().floor();
        let high = values.fold(1e-6, f64::max).log10().ceil().max(low + 1.0);
        Axis { low, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.max(1e-12).log10() - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn start(&self) -> f64 {
        10f64.powf(self.low)
    }

    fn end(&self) -> f64 {
        10f64.powf(self.high)
    }

    /// The powers of ten on the axis.
    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|e| 10f64.powi(e))
    }
}

/// A layer that multiplies.
struct Dot<'a> {
    layer: &'a Layer,
    intensity: f64,
    rate: f64,
}

impl Dot<'_> {
    /// The area is the share of time; a layer that takes all of it has a radius of 40.
    fn radius(&self) -> f64 {
        3.0 + 37.0 * self.layer.time_share.max(0.0).sqrt()
    }

    /// What is shown when it is pointed at.
    fn tip(&self) -> String {
        let Layer { info, bytes, median_us, time_share, peak_share, .. } = self.layer;
        let lines = [
            format!("{} ({})", info.node, info.op),
            format!("{} {}", info.kernel, info.output),
            format!("{median_us} us, {:.1}% of the time", time_share * 100.0),
            format!("{} GMAC/s, {:.1}% of peak", number(self.rate), peak_share.unwrap_or(0.0) * 100.0),
            format!("{} MAC/byte, {:.1} kB", number(self.intensity), *bytes as f64 / 1e3),
        ];
        lines.map(|line| escaped(&line)).join("&#10;")
    }
}

fn dots(layers: &Layers) -> Vec<Dot<'_>> {
    let multiplying = layers.layers.iter().filter_map(|layer| Some((layer, layer.macs?, layer.gmacs_per_s?)));
    let mut dots: Vec<_> = multiplying
        .map(|(layer, macs, rate)| Dot { layer, intensity: macs as f64 / layer.bytes.max(1) as f64, rate })
        .collect();
    // Large dots first, so that small ones lie on top.
    dots.sort_by(|a, b| b.layer.time_share.total_cmp(&a.layer.time_share));
    dots
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

/// The end of a text that is too long: the end of a name is what tells layers apart.
fn shortened(text: &str, letters: usize) -> String {
    let count = text.chars().count();
    if count <= letters {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(count + 1 - letters)).collect()
}

fn color(arithmetic: Arithmetic) -> &'static str {
    match arithmetic {
        Arithmetic::Int8 => "#1f6fb4",
        Arithmetic::Float => "#c4661f",
    }
}

/// A number in as few letters as its size needs.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

struct Picture {
    svg: String,
    /// What labels keep away from: left, top, right, bottom.
    taken: Vec<[f64; 4]>,
}

impl Picture {
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.svg, "{element}");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, fill: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{fill}">{text}</text>"#));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}" stroke-width="{width}"/>"#
        ));
    }

    /// Names a dot near it, where nothing else is and the plot has room, with a line to it; leaves the name out otherwise.
    fn label(&mut self, x: f64, y: f64, radius: f64, text: &str) {
        let width = text.chars().count() as f64 * LETTER;
        let side = [x + radius + 6.0, x - radius - 6.0 - width];
        let places = (0..16).flat_map(|lines| {
            let away = f64::from(lines) * (FONT + 3.0);
            [y + 4.0 - away, y + 4.0 + away].into_iter().flat_map(move |base| side.map(|left| (left, base)))
        });
        for (left, base) in places {
            let place = [left, base - FONT, left + width, base + 3.0];
            let inside = left >= LEFT + 2.0 && place[2] <= RIGHT - 2.0 && place[1] >= TOP && place[3] <= BOTTOM;
            let meets = |o: &[f64; 4]| place[0] < o[2] && o[0] < place[2] && place[1] < o[3] && o[1] < place[3];
            if inside && !self.taken.iter().any(meets) {
                self.taken.push(place);
                let end = if left > x { left - 2.0 } else { place[2] + 2.0 };
                self.line((x, y), (end, base - 4.0), "#999", 0.7);
                self.text(left, base, "start", "#222", text);
                return;
            }
        }
    }
}

/// The plot of a model's layers as an SVG document. Layers that multiply nothing have no place in it.
pub fn svg(model: &str, tier: &str, layers: &Layers) -> String {
    let dots = dots(layers);
    let peaks = &layers.peaks;
    let bandwidth = peaks.memory_gb_per_s.max(1e-9);
    let kinds: Vec<(Arithmetic, &str)> = [(Arithmetic::Int8, "int8"), (Arithmetic::Float, "float")]
        .into_iter()
        .filter(|(kind, _)| dots.iter().any(|d| d.layer.arithmetic == *kind))
        .collect();
    let ridges = kinds.iter().map(|(kind, _)| peaks.of(*kind) / bandwidth);
    let tops = kinds.iter().map(|(kind, _)| peaks.of(*kind) * 1.2);
    let x = Axis::around(dots.iter().map(|d| d.intensity).chain(ridges), LEFT, RIGHT);
    let y = Axis::around(dots.iter().map(|d| d.rate).chain(tops), BOTTOM, TOP);

    let mut p = Picture { svg: String::new(), taken: Vec::new() };
    p.add(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="monospace" font-size="{FONT}">"#
    ));
    p.add(format_args!(r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#));
    let shown: f64 = dots.iter().map(|d| d.layer.time_share).sum();
    let most = ((WIDTH - 2.0 * LETTER) / LETTER) as usize;
    let title = format!("{} on {tier}", shortened(model, most / 2));
    p.text(LEFT, 24.0, "start", "#111", &shortened(&title, most));
    let total = &layers.total;
    let subtitle = format!(
        "{} GMAC/s, {:.1}% of peak; {} of {} calls multiply, {:.1}% of the time; area: share of time",
        number(total.gmacs_per_s),
        total.peak_share * 100.0,
        dots.len(),
        layers.layers.len(),
        shown * 100.0
    );
    p.text(LEFT, 42.0, "start", "#555", &subtitle);

    for value in x.decades() {
        p.line((x.at(value), TOP), (x.at(value), BOTTOM), "#e4e4e4", 1.0);
        p.text(x.at(value), BOTTOM + 18.0, "middle", "#555", &value.to_string());
    }
    for value in y.decades() {
        p.line((LEFT, y.at(value)), (RIGHT, y.at(value)), "#e4e4e4", 1.0);
        p.text(LEFT - 8.0, y.at(value) + 4.0, "end", "#555", &value.to_string());
    }
    p.text((LEFT + RIGHT) / 2.0, BOTTOM + 42.0, "middle", "#111", "multiply-accumulates for each byte moved");
    p.text(LEFT, TOP - 12.0, "start", "#111", "GMAC/s");

    // The memory's slope up to the highest ridge, and a level line from each ridge on.
    let highest = kinds.iter().map(|(kind, _)| peaks.of(*kind)).fold(y.start(), f64::max);
    let (low, high) = (x.start().max(y.start() / bandwidth), x.end().min(highest / bandwidth));
    if low < high {
        p.line((x.at(low), y.at(low * bandwidth)), (x.at(high), y.at(high * bandwidth)), "#777", 2.0);
    }
    let mut legend = RIGHT;
    let mut named = |p: &mut Picture, text: String, fill: &str| {
        p.text(legend, TOP - 12.0, "end", fill, &text);
        legend -= (text.chars().count() as f64 + 3.0) * LETTER;
    };
    named(&mut p, format!("memory {} GB/s", number(bandwidth)), "#777");
    for (kind, name) in kinds {
        let peak = peaks.of(kind);
        let ridge = (peak / bandwidth).clamp(x.start(), x.end());
        p.line((x.at(ridge), y.at(peak)), (RIGHT, y.at(peak)), color(kind), 2.0);
        p.taken.push([x.at(ridge), y.at(peak) - 2.0, RIGHT, y.at(peak) + 2.0]);
        named(&mut p, format!("{name} {} GMAC/s", number(peak)), color(kind));
    }

    // Names and their lines lie under the dots, so that every dot can be pointed at.
    for d in &dots {
        let (x, y, radius) = (x.at(d.intensity), y.at(d.rate), d.radius());
        p.taken.push([x - radius, y - radius, x + radius, y + radius]);
    }
    for d in dots.iter().take(LABELS) {
        let name = format!("{} {:.1}%", shortened(&d.layer.info.node, NAME), d.layer.time_share * 100.0);
        p.label(x.at(d.intensity), y.at(d.rate), d.radius(), &name);
    }
    for d in &dots {
        let (x, y, radius, fill) = (x.at(d.intensity), y.at(d.rate), d.radius(), color(d.layer.arithmetic));
        p.add(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}" fill="{fill}" fill-opacity="0.45" stroke="white"><title>{}</title></circle>"#,
            d.tip()
        ));
    }
    p.svg.push_str("</svg>\n");
    p.svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_keep_their_ends() {
        assert_eq!(escaped("a<b>&\"c\"\n"), "a&lt;b&gt;&amp;&quot;c&quot;");
        assert_eq!((shortened("layer1.conv2", 6), shortened("conv2", 6)), ("…conv2".to_owned(), "conv2".to_owned()));
    }

    #[test]
    fn labels_keep_apart_and_inside() {
        let mut p = Picture { svg: String::new(), taken: Vec::new() };
        for i in 0..40 {
            p.label(RIGHT - 10.0 - f64::from(i), 300.0, 5.0, "a long name of a layer");
        }
        for (i, a) in p.taken.iter().enumerate() {
            assert!(a[0] >= LEFT && a[2] <= RIGHT && a[1] >= TOP && a[3] <= BOTTOM, "{a:?}");
            for b in &p.taken[..i] {
                assert!(a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1], "{a:?} {b:?}");
            }
        }
        assert!(p.taken.len() > 10, "{}", p.taken.len());
    }

    #[test]
    fn an_axis_is_logarithmic() {
        let axis = Axis::around([0.5, 70.0].into_iter(), 100.0, 400.0);
        assert_eq!((axis.start(), axis.end()), (0.1, 100.0));
        assert_eq!([0.1, 1.0, 10.0, 100.0, 1e9].map(|v| axis.at(v).round()), [100.0, 200.0, 300.0, 400.0, 400.0]);
    }
}
