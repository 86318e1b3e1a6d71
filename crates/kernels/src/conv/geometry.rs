//! The shape of a convolution, and the part of it that packed weights depend on.

/// What the packing of weights depends on: nothing about the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvWeightShape {
    /// Output channels.
    pub oc: usize,
    /// Taps `[kh, kw]`.
    pub kernel: [usize; 2],
    /// Input channels, of all groups.
    pub c: usize,
    /// Groups; divides `c` and `oc`.
    pub groups: usize,
}

/// A product of sizes: shapes of weights are not validated before they are packed.
fn product(a: usize, b: usize) -> usize {
    a.checked_mul(b).expect("number of weights overflows usize")
}

impl ConvWeightShape {
    /// The shape of a linear layer's weights `[out_features][in_features]`.
    pub fn linear(in_features: usize, out_features: usize) -> Self {
        ConvWeightShape { oc: out_features, kernel: [1, 1], c: in_features, groups: 1 }
    }

    /// Input channels of a group.
    pub fn group_c(&self) -> usize {
        self.c / self.groups
    }

    /// Output channels of a group.
    pub fn group_oc(&self) -> usize {
        self.oc / self.groups
    }

    /// Number of taps.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn taps(&self) -> usize {
        product(self.kernel[0], self.kernel[1])
    }

    /// Products summed for one output: `kh * kw * c / groups`.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn k(&self) -> usize {
        product(self.taps(), self.group_c())
    }

    /// Number of weights.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn len(&self) -> usize {
        product(self.oc, self.k())
    }

    /// Whether there are no weights at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A convolution over NHWC images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Images.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels.
    pub c: usize,
    /// Output height.
    pub oh: usize,
    /// Output width.
    pub ow: usize,
    /// Output channels.
    pub oc: usize,
    /// Taps `[kh, kw]`.
    pub kernel: [usize; 2],
    /// Input pixels from one output pixel to the next, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Input pixels from one tap to the next, `[vertical, horizontal]`.
    pub dilation: [usize; 2],
    /// Rows and columns of zero point around the image, `[top, left, bottom, right]` as in ONNX.
    pub pad: [usize; 4],
    /// Groups; divides `c` and `oc`.
    pub groups: usize,
}

/// A geometry that is no convolution.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GeometryError {
    /// Kernel, stride, dilation and groups are 1 at least.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// The channels cannot be split into the groups.
    #[error("{what} = {channels} is not a multiple of groups = {groups}")]
    Groups {
        /// `input channels` or `output channels`.
        what: &'static str,
        /// Their number.
        channels: usize,
        /// The groups.
        groups: usize,
    },
    /// `oh` or `ow` is not what the other fields give.
    #[error("output {axis} is {given}, but input size, kernel, stride, dilation and padding give {computed}")]
    OutputSize {
        /// `height` or `width`.
        axis: &'static str,
        /// The value in the geometry.
        given: usize,
        /// The value it must have.
        computed: usize,
    },
    /// A buffer would be larger than the address space.
    #[error("the convolution's buffers would exceed the address space")]
    TooLarge,
}

/// `floor((size + pads - (dilation * (kernel - 1) + 1)) / stride) + 1`, 0 where the kernel does not fit.
fn output_size(size: usize, pads: usize, kernel: usize, stride: usize, dilation: usize) -> Option<usize> {
    let reach = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
    Some(size.checked_add(pads)?.checked_sub(reach).map_or(0, |v| v / stride + 1))
}

impl ConvGeometry {
    /// A linear layer over `rows` vectors.
    pub fn linear(rows: usize, in_features: usize, out_features: usize) -> Self {
        ConvGeometry {
            n: rows,
            h: 1,
            w: 1,
            c: in_features,
            oh: 1,
            ow: 1,
            oc: out_features,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0; 4],
            groups: 1,
        }
    }

    /// This geometry with `oh` and `ow` computed from the other fields.
    ///
    /// # Errors
    /// As [`ConvGeometry::validate`].
    pub fn with_output_size(self) -> Result<Self, GeometryError> {
        let [oh, ow] = self.output_size()?;
        let geometry = ConvGeometry { oh, ow, ..self };
        geometry.validate()?;
        Ok(geometry)
    }

    fn output_size(&self) -> Result<[usize; 2], GeometryError> {
        for (what, pair) in [("kernel", self.kernel), ("stride", self.stride), ("dilation", self.dilation)] {
            if pair.contains(&0) {
                return Err(GeometryError::Zero(what));
            }
        }
        let [top, left, bottom, right] = self.pad;
        let size = |size: usize, before: usize, after: usize, i: usize| {
            let pads = before.checked_add(after)?;
            output_size(size, pads, self.kernel[i], self.stride[i], self.dilation[i])
        };
        match (size(self.h, top, bottom, 0), size(self.w, left, right, 1)) {
            (Some(oh), Some(ow)) => Ok([oh, ow]),
            _ => Err(GeometryError::TooLarge),
        }
    }

    /// Checks that the fields fit each other.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn validate(&self) -> Result<(), GeometryError> {
        if self.groups == 0 {
            return Err(GeometryError::Zero("groups"));
        }
        for (what, channels) in [("input channels", self.c), ("output channels", self.oc)] {
            if !channels.is_multiple_of(self.groups) {
                return Err(GeometryError::Groups { what, channels, groups: self.groups });
            }
        }
        let computed = self.output_size()?;
        for (axis, given, computed) in [("height", self.oh, computed[0]), ("width", self.ow, computed[1])] {
            if given != computed {
                return Err(GeometryError::OutputSize { axis, given, computed });
            }
        }
        // A fraction of the address space, so that no later sum of lengths and slack can overflow.
        let fits = |factors: &[usize]| {
            factors
                .iter()
                .try_fold(1usize, |product, &f| product.checked_mul(f.max(1)))
                .is_some_and(|v| v < usize::MAX / 64)
        };
        let [top, left, bottom, right] = self.pad;
        let padded =
            [self.h.saturating_add(top).saturating_add(bottom), self.w.saturating_add(left).saturating_add(right)];
        let [kh, kw] = self.kernel;
        let sizes =
            [[self.n, padded[0], padded[1], self.c], [self.n, self.oh, self.ow, self.oc], [self.oc, kh, kw, self.c]];
        if sizes.iter().all(|factors| fits(factors)) { Ok(()) } else { Err(GeometryError::TooLarge) }
    }

    /// The part that packed weights depend on.
    pub fn weight_shape(&self) -> ConvWeightShape {
        ConvWeightShape { oc: self.oc, kernel: self.kernel, c: self.c, groups: self.groups }
    }

    /// Output pixels: the rows of the GEMM.
    pub fn rows(&self) -> usize {
        self.n * self.oh * self.ow
    }

    /// Elements of the input, without slack.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Multiply-accumulates of the whole convolution, padding included; `usize::MAX` if there are more.
    pub fn macs(&self) -> usize {
        self.rows().saturating_mul(self.weight_shape().len())
    }
}
