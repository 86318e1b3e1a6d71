//! `--preprocess`: images to network input.

use std::path::Path;

use quantc_tensor::{DType, Tensor};
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

/// `((x - mean) / std)` per channel, NHWC (or NHW) or NCHW data to NCHW f32.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    layout: Layout,
    mean: Vec<f32>,
    std: Vec<f32>,
    #[serde(default)]
    channel_order: ChannelOrder,
    #[serde(default)]
    input: Option<String>,
}

impl Preprocess {
    /// The input it is for, if it says so; else the model's only image.
    pub fn input(&self) -> Option<&str> {
        self.input.as_deref()
    }

    /// Reads the JSON file `{"layout": "nhwc", "mean": [..], "std": [..], "channel_order": "rgb"|"bgr", "input": "NAME"}`; the last
    /// two may be left out.
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
}
