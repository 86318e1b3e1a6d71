//! `--preprocess`: images to network input.

use std::path::Path;

use quantc_tensor::{DType, Tensor, TensorType};
use serde::Deserialize;

use crate::{Error, files};

/// Order of the colour channels the model wants; the data are RGB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// As the data.
    #[default]
    Rgb,
    /// Reversed.
    Bgr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Layout {
    Nhwc,
    Nchw,
}

/// `((x - mean) / std)` per channel, NHWC (or NHW) or NCHW data to NCHW f32, for one input.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    layout: Layout,
    mean: Vec<f32>,
    std: Vec<f32>,
    #[serde(default)]
    channel_order: ChannelOrder,
    input: Option<String>,
}

impl Preprocess {
    /// Reads the JSON file `{"layout": "nhwc", "mean": [..], "std": [..], "channel_order": "rgb"|"bgr",
    /// "input": NAME}`; the last two may be left out.
    ///
    /// # Errors
    /// If it cannot be read or is not of that form.
    pub fn read(path: &Path) -> Result<Preprocess, Error> {
        Preprocess::parse(path, &files::read_text(path)?)
    }

    /// The same from text; `path` is for messages.
    ///
    /// # Errors
    /// If the text is not of that form.
    pub fn parse(path: &Path, text: &str) -> Result<Preprocess, Error> {
        let p: Preprocess = serde_json::from_str(text).map_err(|e| Error::file(path, e.to_string()))?;
        if p.mean.is_empty() || p.mean.len() != p.std.len() {
            return Err(Error::file(path, "`mean` and `std` must have the same length, at least 1"));
        }
        if p.std.iter().any(|s| *s == 0.0 || !s.is_finite()) || p.mean.iter().any(|m| !m.is_finite()) {
            return Err(Error::file(path, "`mean` must be finite, `std` finite and not 0"));
        }
        Ok(p)
    }

    /// Which of the inputs is made by it: the one it names, else the only one of type `f32[N,C,H,W]` with as many channels as there are
    /// means (any number, if there is one mean).
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn input_among(&self, inputs: &[(&str, &TensorType)]) -> Result<usize, Error> {
        let is_image = |ty: &TensorType| ty.dtype == DType::F32 && ty.shape.rank() == 4;
        let channels_fit = |ty: &TensorType| {
            let channels = ty.shape.dims().get(1).and_then(|d| d.known());
            self.mean.len() == 1 || channels.is_none_or(|c| c == self.mean.len())
        };
        let all = || inputs.iter().map(|(n, t)| format!("{n}: {t}")).collect::<Vec<_>>().join(", ");
        let fail = |why: String| Err(Error::Data(format!("the preprocessing {why}; the inputs are {}", all())));
        if let Some(name) = &self.input {
            return match inputs.iter().position(|i| i.0 == name) {
                Some(i) if is_image(inputs[i].1) => Ok(i),
                Some(_) => fail(format!("makes f32[N,C,H,W], the input `{name}` is something else")),
                None => fail(format!("is for an input `{name}`, which the model does not have")),
            };
        }
        let fitting = |i: &usize| is_image(inputs[*i].1) && channels_fit(inputs[*i].1);
        match (0..inputs.len()).filter(fitting).collect::<Vec<_>>().as_slice() {
            [only] => Ok(*only),
            [] => fail(format!("makes f32[N,C,H,W] with {} means, which no input is", self.mean.len())),
            several => {
                let names: Vec<String> = several.iter().map(|i| format!("`{}`", inputs[*i].0)).collect();
                fail(format!("could be for {} (hint: \"input\": NAME says which)", names.join(" or ")))
            }
        }
    }

    /// Applies it to a batch of samples on axis 0.
    ///
    /// # Errors
    /// If the rank or the number of channels does not fit.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor, Error> {
        let mut shape = x.shape().to_vec();
        if shape.len() == 3 {
            shape.insert(if self.layout == Layout::Nhwc { 3 } else { 1 }, 1);
        }
        let &[n, a, b, c] = shape.as_slice() else {
            return Err(Error::Data(format!(
                "preprocessing needs images of shape [N,H,W,C] or [N,H,W], the data are {:?}",
                x.shape()
            )));
        };
        let (h, w, channels) = if self.layout == Layout::Nhwc { (a, b, c) } else { (b, c, a) };
        if self.mean.len() != 1 && self.mean.len() != channels {
            return Err(Error::Data(format!(
                "the preprocessing has {} means, the data {channels} channels",
                self.mean.len()
            )));
        }
        let wide = x.cast(DType::F32);
        let values: &[f32] = wide.slice().map_err(|e| Error::Data(e.to_string()))?;
        let mut out = vec![0f32; values.len()];
        let plane = h * w;
        for image in 0..n {
            for channel in 0..channels {
                let source = match self.channel_order {
                    ChannelOrder::Rgb => channel,
                    ChannelOrder::Bgr => channels - 1 - channel,
                };
                // Mean and std are those of the data's channel, so they are applied before the swap.
                let of = |v: &[f32]| if v.len() == 1 { v[0] } else { v[source] };
                let (mean, std) = (of(&self.mean), of(&self.std));
                let target = &mut out[(image * channels + channel) * plane..][..plane];
                for (i, t) in target.iter_mut().enumerate() {
                    let v = match self.layout {
                        Layout::Nhwc => values[(image * plane + i) * channels + source],
                        Layout::Nchw => values[(image * channels + source) * plane + i],
                    };
                    *t = (v - mean) / std;
                }
            }
        }
        Tensor::from_vec(&[n, channels, h, w], out).map_err(|e| Error::Data(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nhwc_to_nchw_with_bgr() {
        let p = Preprocess {
            layout: Layout::Nhwc,
            mean: vec![1.0, 2.0, 3.0],
            std: vec![1.0, 2.0, 4.0],
            channel_order: ChannelOrder::Bgr,
            input: None,
        };
        let x = Tensor::from_vec::<u8>(&[1, 1, 2, 3], vec![1, 4, 7, 2, 6, 11]).expect("fits");
        let y = p.apply(&x).expect("applies");
        assert_eq!(y.shape(), [1, 3, 1, 2]);
        assert_eq!(y.slice::<f32>().expect("f32"), [1.0, 2.0, 1.0, 2.0, 0.0, 1.0]);
        let gray = Tensor::from_vec::<u8>(&[2, 2, 2], vec![0; 8]).expect("fits");
        assert!(p.apply(&gray).is_err());
    }

    #[test]
    fn the_input_is_the_only_image_or_the_one_named() {
        let parse = |text: &str| Preprocess::parse(Path::new("p.json"), text).expect("parses");
        let rgb = parse(r#"{"layout": "nhwc", "mean": [0, 0, 0], "std": [1, 1, 1]}"#);
        let gray = parse(r#"{"layout": "nhwc", "mean": [0], "std": [1]}"#);
        let named = parse(r#"{"layout": "nhwc", "mean": [0], "std": [1], "input": "b"}"#);
        let ty = |channels: usize| TensorType::new(DType::F32, &[1, channels, 4, 4][..]);
        let (three, one, flat) = (ty(3), ty(1), TensorType::new(DType::F32, &[1, 16][..]));
        let of = |p: &Preprocess, inputs: &[(&str, &TensorType)]| p.input_among(inputs).map_err(|e| e.to_string());
        assert_eq!(of(&rgb, &[("flat", &flat), ("a", &one), ("b", &three)]), Ok(2));
        assert_eq!(of(&named, &[("a", &one), ("b", &three)]), Ok(1));
        assert_eq!(of(&gray, &[("a", &flat), ("b", &three)]), Ok(1));
        assert!(of(&gray, &[("a", &one), ("b", &three)]).expect_err("two").contains("\"input\""));
        assert!(of(&rgb, &[("a", &one), ("flat", &flat)]).expect_err("none").contains("no input"));
        assert!(of(&named, &[("a", &three)]).expect_err("no such").contains("`b`"));
        assert!(of(&named, &[("b", &flat)]).is_err());
    }
}
