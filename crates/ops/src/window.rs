//! Sliding windows of convolution and pooling, over one, two or three spatial dimensions.

use quantc_tensor::Dim;

use crate::OpError;

/// Kernel, stride, padding and dilation. Always three spatial dimensions (depth, height, width): operators of fewer have leading
/// dimensions of size 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Kernel size.
    pub kernel: [usize; 3],
    /// Step from one window to the next.
    pub stride: [usize; 3],
    /// Step between the elements of one window.
    pub dilation: [usize; 3],
    /// Padding before.
    pub pad_begin: [usize; 3],
    /// Padding after.
    pub pad_end: [usize; 3],
}

/// The last `rank` of three spatial entries, the others filled with `fill`.
fn spread(list: &[usize], rank: usize, fill: usize) -> [usize; 3] {
    let mut out = [fill; 3];
    out[3 - rank..].copy_from_slice(&list[..rank]);
    out
}

/// A list of `rank` sizes of at least `min`; an empty list is `rank` times the default, one entry counts for all.
fn list(name: &str, values: &[i64], rank: usize, default: &[usize], min: i64) -> Result<Vec<usize>, OpError> {
    if values.is_empty() {
        return Ok(default.to_vec());
    }
    if values.len() != rank && values.len() != 1 {
        return Err(OpError::new(format!("`{name}` has {} entries for {rank} spatial dimensions", values.len())));
    }
    if let Some(bad) = values.iter().find(|&&v| v < min || v > i64::from(i32::MAX)) {
        return Err(OpError::new(format!("`{name}` can't be {bad}")));
    }
    Ok((0..rank).map(|i| values[if values.len() == 1 { 0 } else { i }] as usize).collect())
}

impl Window {
    /// A window from an operator's lists. Empty lists: stride is `stride_default`, padding 0, dilation 1. Padding has `rank` entries
    /// (the same before and after), or twice as many (all before, then all after).
    ///
    /// # Errors
    /// If a list has the wrong length or an entry is out of range.
    pub fn new(
        kernel: &[usize],
        stride: &[i64],
        stride_default: &[usize],
        padding: &[i64],
        dilation: &[i64],
    ) -> Result<Window, OpError> {
        let rank = kernel.len();
        if !(1..=3).contains(&rank) {
            return Err(OpError::new(format!("a window of {rank} spatial dimensions")));
        }
        if kernel.contains(&0) {
            return Err(OpError::new(format!("an empty window {kernel:?}")));
        }
        let ones = vec![1; rank];
        let (begin, end) =
            if padding.len() == 2 * rank && padding.len() > 1 { padding.split_at(rank) } else { (padding, padding) };
        let zeros = vec![0; rank];
        Ok(Window {
            kernel: spread(kernel, rank, 1),
            stride: spread(&list("stride", stride, rank, stride_default, 1)?, rank, 1),
            dilation: spread(&list("dilation", dilation, rank, &ones, 1)?, rank, 1),
            pad_begin: spread(&list("padding", begin, rank, &zeros, 0)?, rank, 0),
            pad_end: spread(&list("padding", end, rank, &zeros, 0)?, rank, 0),
        })
    }

    /// Elements of one window.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Whether the window is one element moved by one, without padding: the output grid is the input grid.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1; 3] && self.stride == [1; 3] && self.pad_begin == [0; 3] && self.pad_end == [0; 3]
    }

    /// Distance from the first to the last element of a window along `d`, plus one.
    fn extent(&self, d: usize) -> usize {
        self.dilation[d].saturating_mul(self.kernel[d] - 1).saturating_add(1)
    }

    /// Number of windows along spatial dimension `d` of an input of `size`. With `ceil_mode` a last window may hang over the
    /// end, as long as it starts inside the input or its padding before (PyTorch).
    ///
    /// # Errors
    /// If the padded input is smaller than one window.
    pub fn count(&self, d: usize, size: usize, ceil_mode: bool) -> Result<usize, OpError> {
        let padded = size.saturating_add(self.pad_begin[d]).saturating_add(self.pad_end[d]);
        let Some(room) = padded.checked_sub(self.extent(d)) else {
            return Err(OpError::new(format!(
                "a window of {} elements does not fit an input of {size} with padding {} and {}",
                self.extent(d),
                self.pad_begin[d],
                self.pad_end[d]
            )));
        };
        let mut count = room / self.stride[d] + 1;
        if ceil_mode && room % self.stride[d] != 0 && count * self.stride[d] < size + self.pad_begin[d] {
            count += 1;
        }
        Ok(count)
    }

    /// [`Window::count`] of a dimension that may be unknown. A symbol survives where the size is kept.
    ///
    /// # Errors
    /// As [`Window::count`].
    pub fn count_dim(&self, d: usize, size: &Dim, ceil_mode: bool) -> Result<Dim, OpError> {
        let keeps = self.stride[d] == 1 && self.pad_begin[d] + self.pad_end[d] + 1 == self.extent(d);
        Ok(match size {
            Dim::Known(n) => Dim::Known(self.count(d, *n, ceil_mode)?),
            other if keeps => other.clone(),
            _ => Dim::Unknown,
        })
    }

    /// The grid of windows over an input.
    ///
    /// # Errors
    /// As [`Window::count`].
    pub fn over(&self, input: [usize; 3], ceil_mode: bool) -> Result<Grid, OpError> {
        let mut output = [0; 3];
        for d in 0..3 {
            output[d] = self.count(d, input[d], ceil_mode)?;
        }
        crate::dims::numel(&output)?;
        Ok(Grid { window: *self, input, output })
    }
}

/// A window at every place of a concrete input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The window.
    pub window: Window,
    /// Input size.
    pub input: [usize; 3],
    /// Number of windows.
    pub output: [usize; 3],
}

impl Grid {
    /// Input elements of one channel.
    pub fn in_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Windows of one channel.
    pub fn out_len(&self) -> usize {
        self.output.iter().product()
    }

    /// The input index of element `tap` of window `out` along `d`; `None` in the padding.
    #[inline(always)]
    pub fn source(&self, d: usize, out: usize, tap: usize) -> Option<usize> {
        let w = &self.window;
        (out * w.stride[d] + tap * w.dilation[d]).checked_sub(w.pad_begin[d]).filter(|&i| i < self.input[d])
    }

    /// The windows along `d` whose element `tap` is inside the input.
    pub fn inside(&self, d: usize, tap: usize) -> std::ops::Range<usize> {
        let w = &self.window;
        let (offset, stride) = (tap * w.dilation[d], w.stride[d]);
        let first = w.pad_begin[d].saturating_sub(offset).div_ceil(stride);
        let end = (self.input[d] + w.pad_begin[d]).saturating_sub(offset).div_ceil(stride);
        first.min(self.output[d])..end.min(self.output[d]).max(first.min(self.output[d]))
    }
}

/// Folds every window of one channel: `out` starts as `init` and takes `step(accumulator, element, tap)` for the window's elements inside the
/// input, in row-major order of the taps. `x` is of `grid.input`, `out` of `grid.output`.
#[inline(always)]
pub fn fold_windows<T: Copy>(x: &[T], grid: &Grid, init: T, step: impl Fn(T, T, usize) -> T, out: &mut [T]) {
    let [kd, kh, kw] = grid.window.kernel;
    let [_, in_h, in_w] = grid.input;
    let [out_d, out_h, out_w] = grid.output;
    let stride = grid.window.stride[2];
    out.fill(init);
    for od in 0..out_d {
        for oh in 0..out_h {
            let row = &mut out[(od * out_h + oh) * out_w..][..out_w];
            for d in 0..kd {
                let Some(id) = grid.source(0, od, d) else { continue };
                for h in 0..kh {
                    let Some(ih) = grid.source(1, oh, h) else { continue };
                    let line = &x[(id * in_h + ih) * in_w..][..in_w];
                    for v in 0..kw {
                        let tap = (d * kh + h) * kw + v;
                        let range = grid.inside(2, v);
                        let Some(first) = grid.source(2, range.start, v) else { continue };
                        let acc = &mut row[range];
                        if stride == 1 {
                            let source = &line[first..first + acc.len()];
                            acc.iter_mut().zip(source).for_each(|(a, &s)| *a = step(*a, s, tap));
                        } else {
                            let source = line[first..].iter().step_by(stride);
                            acc.iter_mut().zip(source).for_each(|(a, &s)| *a = step(*a, s, tap));
                        }
                    }
                }
            }
        }
    }
}

/// Spatial sizes of a tensor of shape `[N, C, ...]` with `rank` spatial dimensions, leading ones filled with 1.
pub fn spatial(shape: &[usize], rank: usize) -> [usize; 3] {
    spread(&shape[shape.len() - rank..], rank, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_pytorch() {
        let w = Window::new(&[3], &[2], &[1], &[1], &[]).expect("window");
        assert_eq!(w.count(2, 224, false), Ok(112));
        let w = Window::new(&[3], &[2], &[1], &[], &[]).expect("window");
        assert_eq!((w.count(2, 112, false), w.count(2, 112, true)), (Ok(55), Ok(56)));
        // The extra window of ceil_mode must not start in the padding after the input.
        let w = Window::new(&[1], &[2], &[1], &[1], &[]).expect("window");
        assert_eq!(w.count(2, 2, true), Ok(2));
        assert!(w.count(2, 0, false).is_ok());
        assert!(Window::new(&[5], &[], &[1], &[], &[]).expect("window").count(2, 4, false).is_err());
    }

    #[test]
    fn bad_windows_are_errors() {
        assert!(Window::new(&[3], &[0], &[1], &[], &[]).is_err());
        assert!(Window::new(&[3], &[], &[1], &[-1], &[]).is_err());
        assert!(Window::new(&[0], &[], &[1], &[], &[]).is_err());
        assert!(Window::new(&[3, 3], &[1, 1, 1], &[1, 1], &[], &[]).is_err());
    }

    #[test]
    fn inside_agrees_with_source() {
        let w = Window::new(&[3, 4], &[2, 3], &[1, 1], &[1, 2, 3, 0], &[2, 1]).expect("window");
        let g = w.over([1, 9, 11], true).expect("grid");
        for d in 0..3 {
            for tap in 0..w.kernel[d] {
                let range = g.inside(d, tap);
                for out in 0..g.output[d] {
                    assert_eq!(g.source(d, out, tap).is_some(), range.contains(&out), "{d} {tap} {out}");
                }
            }
        }
    }
}
