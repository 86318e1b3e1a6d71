//! Weights as compiled models store them: packed for the kernel of one tier.

use quantc_ir::{Graph, NodeId};
use quantc_kernels::{ConvWeightShape, Kernels, PackedWeights, Panels, QConv, SharedBytes, is_depthwise};
use quantc_tensor::{DType, Tensor};

use crate::attrs::AttrView;
use crate::ops::conv::{CUT_MACS, channels_last_weights};

/// How an operator's weights lie in the convolution that computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredForm {
    /// `[oc][ic]`, as they are.
    Linear,
    /// `[oc][ic / groups][kh][kw]` as `[oc][kh][kw][ic / groups]`.
    Conv,
}

impl StoredForm {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            StoredForm::Linear => "linear",
            StoredForm::Conv => "conv",
        }
    }

    /// The form of this name.
    pub fn named(name: &str) -> Option<StoredForm> {
        [StoredForm::Linear, StoredForm::Conv].into_iter().find(|form| form.name() == name)
    }

    /// What the packing of a parameter of some sizes depends on; `None` if it is no such weight.
    fn weight_shape(self, sizes: &[usize], groups: usize) -> Option<ConvWeightShape> {
        let shape = match (self, sizes) {
            (StoredForm::Linear, &[oc, c]) if groups == 1 => ConvWeightShape::linear(c, oc),
            (StoredForm::Conv, &[oc, c, w]) => {
                ConvWeightShape { oc, kernel: [1, w], c: c.checked_mul(groups)?, groups }
            }
            (StoredForm::Conv, &[oc, c, h, w]) => {
                ConvWeightShape { oc, kernel: [h, w], c: c.checked_mul(groups)?, groups }
            }
            _ => return None,
        };
        let numel = sizes.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n > 0 && n < MAX_WEIGHTS)?;
        (groups > 0 && groups <= numel && shape.oc.is_multiple_of(groups)).then_some(shape)
    }
}

/// More than any weight has: beyond it sizes could overflow.
const MAX_WEIGHTS: usize = 1 << 40;
/// The largest vector and panel that a layout may have.
const MAX_PANEL: usize = 64;

/// The weights of one layer, packed.
#[derive(Clone, Debug)]
pub struct StoredWeights {
    /// The kernel that packed them.
    pub kernel: String,
    /// Their layout.
    pub panels: Panels,
    /// How they got there.
    pub form: StoredForm,
    /// Groups of the convolution.
    pub groups: usize,
    /// Sizes of the parameter, which is i8.
    pub sizes: Vec<usize>,
    /// The packed bytes.
    pub data: SharedBytes,
    /// The sum of each output channel's weights.
    pub sums: Vec<i32>,
}

impl StoredWeights {
    /// The shape that they are packed for; `None` if the fields contradict each other.
    pub fn shape(&self) -> Option<ConvWeightShape> {
        let shape = self.form.weight_shape(&self.sizes, self.groups)?;
        let Panels { lanes, vectors, depth, lot } = self.panels;
        let possible = [lanes, vectors, depth, lot].iter().all(|size| (1..=MAX_PANEL).contains(size));
        let fits = possible && self.panels.bytes(&shape) == self.data.as_slice().len() && self.sums.len() == shape.oc;
        fits.then_some(shape)
    }

    /// The parameter; `None` if the fields contradict each other.
    pub fn unpack(&self) -> Option<Tensor> {
        let shape = self.shape()?;
        let weights = self.panels.unpack(&shape, self.data.as_slice());
        let weights = match self.form {
            StoredForm::Linear => weights,
            // The inverse: taps and channels change places again.
            StoredForm::Conv => channels_last_weights(&weights, shape.taps(), shape.group_c()),
        };
        Tensor::from_vec(&self.sizes, weights).ok()
    }

    /// The weights as they are, if it is this kernel that packed them, in this form and for this shape.
    pub(crate) fn packed_for(
        &self,
        usage: &str,
        kernel: &'static dyn QConv,
        shape: &ConvWeightShape,
    ) -> Option<PackedWeights> {
        let same = kernel.name() == self.kernel && kernel.panels() == Some(self.panels) && usage == self.form.name();
        let wanted = same && self.shape().as_ref() == Some(shape);
        wanted.then(|| PackedWeights::stored(kernel.name(), shape, self.data.clone(), self.sums.clone()))
    }

    /// A parameter packed by the kernels of a tier, if all its uses are weights of integer layers that take it so, whatever the shapes
    /// of their inputs, and it takes no more room than the parameter, about.
    pub fn pack(graph: &Graph, param: &str, kernels: &Kernels) -> Option<StoredWeights> {
        let value = graph.params().get(param)?.value.as_ref().filter(|v| v.dtype() == DType::I8)?;
        let mut form = None;
        for id in graph.order().filter(|&id| graph.node(id).param().is_some_and(|p| **p == *param)) {
            for (user, ..) in graph.uses(id) {
                let this = weights_of(graph, user, id)?;
                if form.replace(this).is_some_and(|other| other != this) {
                    return None;
                }
            }
        }
        let (form, groups) = form?;
        let shape = form.weight_shape(value.shape(), groups)?;
        // A layer that is cut for threads when it has one row, and a depthwise convolution, are packed otherwise.
        let cut = groups == 1 && shape.taps() == 1 && shape.len() >= CUT_MACS && form == StoredForm::Linear;
        let panels = kernels.qconv.panels().filter(|_| !cut && !is_depthwise(&shape))?;
        if panels.bytes(&shape) > value.byte_len() + value.byte_len() / 8 {
            return None;
        }
        let weights = value.slice::<i8>().ok()?;
        let packed = match form {
            StoredForm::Linear => kernels.qconv.pack(&shape, weights),
            StoredForm::Conv => {
                kernels.qconv.pack(&shape, &channels_last_weights(weights, shape.group_c(), shape.taps()))
            }
        };
        Some(StoredWeights {
            kernel: kernels.qconv.name().to_owned(),
            panels,
            form,
            groups,
            sizes: value.shape().to_vec(),
            sums: packed.sum_w().to_vec(),
            data: SharedBytes::new(packed.data().to_vec()),
        })
    }
}

/// The form that a layer takes a parameter in as its weights, and its groups; `None` if it is something else to it.
fn weights_of(graph: &Graph, user: NodeId, param: NodeId) -> Option<(StoredForm, usize)> {
    let (op, attrs) = graph.node(user).call()?;
    let form = match op.name() {
        "quantized.linear" | "quantized.linear_dynamic" => StoredForm::Linear,
        "quantized.conv1d" | "quantized.conv2d" | "quantized.conv1d_dynamic" | "quantized.conv2d_dynamic" => {
            StoredForm::Conv
        }
        _ => return None,
    };
    let is_weight =
        |(i, input): (usize, &Option<quantc_ir::ValueRef>)| (input.map(|v| v.node) == Some(param)) == (i == 1);
    let only_weight = graph.node(user).inputs().iter().enumerate().all(is_weight);
    let groups = match form {
        StoredForm::Linear => 1,
        StoredForm::Conv => usize::try_from(AttrView::new(op.signature(), attrs).int("groups").ok()?).ok()?,
    };
    only_weight.then_some((form, groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantc_kernels::Isa;
    use quantc_kernels::conv::AlignedBytes;

    #[test]
    fn the_kernel_that_packed_them_uses_them_where_they_are() {
        let shape = ConvWeightShape::linear(64, 64);
        for &isa in &Isa::available() {
            let kernel = quantc_runtime::kernels(isa).qconv;
            let Some(panels) = kernel.panels() else { continue };
            let packed = kernel.pack(&shape, &vec![3; shape.len()]);
            let mut bytes = AlignedBytes::zeroed(packed.data().len());
            bytes.as_mut_slice().copy_from_slice(packed.data());
            let mut stored = StoredWeights {
                kernel: kernel.name().to_owned(),
                panels,
                form: StoredForm::Linear,
                groups: 1,
                sizes: vec![64, 64],
                data: SharedBytes::new(bytes),
                sums: packed.sum_w().to_vec(),
            };
            let used = stored.packed_for("linear", kernel, &shape).expect("fits");
            assert!(std::ptr::eq(used.data(), stored.data.as_slice()), "{isa}");
            assert!(stored.packed_for("conv", kernel, &shape).is_none());
            assert!(stored.packed_for("linear", kernel, &ConvWeightShape::linear(32, 128)).is_none());
            stored.kernel.push('2');
            assert!(stored.packed_for("linear", kernel, &shape).is_none());
        }
    }
}
