//! The state of one lowering: where every value is, and the steps so far.

use std::collections::HashMap;

use quantc_ir::{Graph, Node, NodeId, NodeKind, ValueRef};
use quantc_kernels::Kernels;
use quantc_ops::{Attrs, OpClass, OpRef};
use quantc_runtime::steps::{Argument, PermuteStep, Produced, RealizeStep, ReferenceStep};
use quantc_runtime::{Constant, Place, Plan, PlannedStep, Port, Slot, Source, Step, StepInfo, store};
use quantc_tensor::{DType, Tensor, Value};

use crate::attrs::AttrView;
use crate::error::NodeError;
use crate::layouts::{self, Preferences, is_empty, results, touches_empty};
use crate::memory;
use crate::ops::sums::{self, Sums};
use crate::scaled::{Kept, kept};
use crate::table;
use crate::view::{View, channels_last, layout_name, merge_axes, row_major, same_order};
use crate::{LowerError, WeightCache};

/// Where a value is.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    /// In the arena.
    View(View),
    /// Known now.
    Const(Value),
    /// A parameter that the cache holds packed: known now, at the cost of unpacking it.
    Stored,
    /// Outside the arena: a real tensor that keeps its integers for another reference step.
    Outside(usize),
    /// Integer sums that keep their scale for a quantize.
    Sums(Sums),
}

/// A call being lowered.
pub(crate) struct Call<'a> {
    pub(crate) id: NodeId,
    pub(crate) node: &'a Node,
    pub(crate) op: OpRef,
    pub(crate) raw: &'a Attrs,
    pub(crate) attrs: AttrView<'a>,
}

impl Call<'_> {
    /// Input `i`, if given.
    pub(crate) fn opt(&self, i: usize) -> Option<ValueRef> {
        self.node.inputs().get(i).copied().flatten()
    }

    /// Input `i`.
    pub(crate) fn input(&self, i: usize) -> Result<ValueRef, NodeError> {
        self.opt(i).ok_or_else(|| NodeError::Other(format!("input {i} is missing")))
    }

    /// The inputs given.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = ValueRef> {
        self.node.inputs().iter().copied().flatten()
    }

    /// Output 0.
    pub(crate) fn out(&self) -> ValueRef {
        self.id.into()
    }
}

/// An operand of a step: a value in the arena, or a constant.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) source: Source,
    pub(crate) dtype: DType,
    /// Logical sizes.
    pub(crate) shape: Vec<usize>,
    /// Physical order.
    pub(crate) order: Vec<usize>,
}

/// Part of a concatenation that its producer writes in place.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The `cat` call's result.
    pub(crate) whole: ValueRef,
    /// Its index along the innermost axis of the whole.
    pub(crate) start: usize,
    /// The memory order of both.
    pub(crate) order: Vec<usize>,
}

pub(crate) struct Lowering<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) kernels: Kernels,
    pub(crate) cache: &'g WeightCache,
    pub(crate) preferences: Preferences,
    /// Values written into their concatenation by their producer.
    pieces: HashMap<ValueRef, Piece>,
    values: HashMap<ValueRef, Val>,
    /// Values in other orders than their own, by order.
    converted: HashMap<(ValueRef, Vec<usize>), View>,
    /// Codes and parameters of values quantized when the plan runs, by whether half the range is used and the order of the codes.
    pub(crate) dynamic: HashMap<(ValueRef, bool, Vec<usize>), (Slot, Slot)>,
    /// Values that must keep their integer form outside the arena, and the calls that look at it.
    pub(crate) kept: Kept,
    sizes: Vec<usize>,
    steps: Vec<PlannedStep>,
    outside: usize,
}

impl<'g> Lowering<'g> {
    pub(crate) fn new(graph: &'g Graph, kernels: Kernels, cache: &'g WeightCache) -> Lowering<'g> {
        let preferences = layouts::prefer(graph);
        let pieces = layouts::pieces(graph, &preferences);
        Lowering {
            graph,
            kernels,
            cache,
            preferences,
            pieces,
            values: HashMap::new(),
            converted: HashMap::new(),
            dynamic: HashMap::new(),
            kept: kept(graph),
            sizes: Vec::new(),
            steps: Vec::new(),
            outside: 0,
        }
    }

    /// Lowers every node and plans the memory.
    pub(crate) fn run(mut self) -> Result<Plan, LowerError> {
        let graph = self.graph;
        let mut inputs = Vec::new();
        for id in graph.order() {
            let node = graph.node(id);
            match node.kind() {
                NodeKind::Placeholder => {
                    let value = ValueRef::from(id);
                    let (dtype, shape) = self.ty(value);
                    let used = !graph.uses(id).is_empty();
                    let place = if used {
                        Place::Arena(self.define(value, row_major(shape.len())).slot())
                    } else {
                        Place::Constant(None)
                    };
                    inputs.push(Port { name: node.name().to_owned(), dtype, shape, place });
                }
                NodeKind::GetAttr { param } => {
                    let value = match graph.constant(id) {
                        Some(tensor) => Val::Const(Value::Dense(tensor.clone())),
                        None if self.cache.holds(param) => Val::Stored,
                        None => {
                            let user = graph.uses(id).first().map_or(id, |u| u.0);
                            return Err(LowerError::ParamWithoutValue {
                                param: param.to_string(),
                                node: graph.node(user).name().to_owned(),
                            });
                        }
                    };
                    self.values.insert(id.into(), value);
                }
                NodeKind::Call { op, attrs } => {
                    let call = Call { id, node, op: *op, raw: attrs, attrs: AttrView::new(op.signature(), attrs) };
                    self.call(&call).map_err(|e| e.at(node.name()))?;
                }
                NodeKind::Output { .. } => {}
            }
        }
        self.finish(inputs)
    }

    fn call(&mut self, call: &Call<'_>) -> Result<(), NodeError> {
        if call.inputs().all(|v| self.is_constant(v)) {
            return self.fold(call);
        }
        if touches_empty(self.graph, call.id) {
            return self.empty(call);
        }
        let keeps = results(self.graph, call.id).any(|v| self.keeps(v));
        if keeps && sums::keep(self, call)? {
            return Ok(());
        }
        let looks = self.kept.calls.contains(&call.id);
        if !keeps
            && looks
            && let Some(sums) = self.sums(call.input(0)?).cloned()
        {
            return sums::quantize(self, call, &sums);
        }
        if !keeps
            && !looks
            && let Some(handler) = table::handler(call.op.name())
            && handler(self, call)?
        {
            return Ok(());
        }
        self.reference(call)
    }

    /// A call of constants is one.
    fn fold(&mut self, call: &Call<'_>) -> Result<(), NodeError> {
        let inputs: Vec<Option<Value>> = call.node.inputs().iter().map(|v| v.and_then(|v| self.known(v))).collect();
        let results = call.op.eval(&inputs, call.raw)?;
        for (output, value) in results.into_iter().enumerate() {
            self.values.insert(ValueRef { node: call.id, output: output as u32 }, Val::Const(value));
        }
        Ok(())
    }

    /// A call on tensors without elements. Kernels never meet one: nothing is done for results without elements, and others, of which
    /// there are few (a sum over nothing), are left to reference evaluation.
    fn empty(&mut self, call: &Call<'_>) -> Result<(), NodeError> {
        if !results(self.graph, call.id).all(|v| is_empty(self.graph, v)) {
            return self.reference(call);
        }
        for value in results(self.graph, call.id) {
            let rank = self.graph.ty(value).shape.rank();
            self.define(value, row_major(rank));
        }
        Ok(())
    }

    /// Element type and sizes of a value.
    pub(crate) fn ty(&self, value: ValueRef) -> (DType, Vec<usize>) {
        let ty = self.graph.ty(value);
        (ty.dtype, ty.shape.to_known().unwrap_or_default())
    }

    /// Sizes of a value.
    pub(crate) fn shape(&self, value: ValueRef) -> Vec<usize> {
        self.ty(value).1
    }

    /// Element type of a value.
    pub(crate) fn dtype(&self, value: ValueRef) -> DType {
        self.graph.ty(value).dtype
    }

    /// The value of a constant, as a plain tensor.
    pub(crate) fn constant(&self, value: ValueRef) -> Option<Tensor> {
        self.known(value).map(|value| value.to_tensor())
    }

    /// Whether the value is a constant.
    pub(crate) fn is_constant(&self, value: ValueRef) -> bool {
        matches!(self.values.get(&value), Some(Val::Const(_) | Val::Stored))
    }

    /// The value of a constant.
    fn known(&self, value: ValueRef) -> Option<Value> {
        match self.values.get(&value)? {
            Val::Const(value) => Some(value.clone()),
            Val::Stored => self.cache.value(self.param(value)?).map(Value::Dense),
            _ => None,
        }
    }

    /// The parameter a value is, for the weight cache.
    pub(crate) fn param(&self, value: ValueRef) -> Option<&'g str> {
        self.graph.node(value.node).param().map(|p| &**p)
    }

    /// The order a value has in the arena; `None` for constants and values outside.
    pub(crate) fn order(&self, value: ValueRef) -> Option<Vec<usize>> {
        match self.values.get(&value) {
            Some(Val::View(view) | Val::Sums(Sums { view, .. })) => Some(view.order.clone()),
            _ => None,
        }
    }

    /// The view of a value that is in the arena.
    pub(crate) fn view(&self, value: ValueRef) -> Option<&View> {
        match self.values.get(&value) {
            Some(Val::View(view)) => Some(view),
            _ => None,
        }
    }

    /// Whether the value's integers are looked at.
    pub(crate) fn keeps(&self, value: ValueRef) -> bool {
        self.kept.values.contains(&value)
    }

    /// The sums that a value is kept as.
    pub(crate) fn sums(&self, value: ValueRef) -> Option<&Sums> {
        match self.values.get(&value) {
            Some(Val::Sums(sums)) => Some(sums),
            _ => None,
        }
    }

    /// Makes a value one of sums.
    pub(crate) fn set_sums(&mut self, value: ValueRef, sums: Sums) {
        self.values.insert(value, Val::Sums(sums));
    }

    /// Memory for some bytes.
    pub(crate) fn buffer(&mut self, bytes: usize) -> u32 {
        self.sizes.push(bytes);
        (self.sizes.len() - 1) as u32
    }

    /// A slot in a buffer of its own: temporary memory of one step, with slack.
    pub(crate) fn temporary(&mut self, bytes: usize) -> Slot {
        Slot { buffer: self.buffer(bytes), offset: 0, len: bytes }
    }

    /// Gives a value memory of its own.
    pub(crate) fn define(&mut self, value: ValueRef, order: Vec<usize>) -> View {
        let (dtype, shape) = self.ty(value);
        let bytes = shape.iter().product::<usize>() * dtype.size();
        let view = View { buffer: self.buffer(bytes), offset: 0, dtype, shape, order };
        self.alias(value, view.clone());
        view
    }

    /// Makes a value a view of memory that is there already.
    pub(crate) fn alias(&mut self, value: ValueRef, view: View) {
        self.values.insert(value, Val::View(view));
    }

    /// Where the producer of a value writes it in some order: the slot, which starts at the first element and ends with the last
    /// one, and the elements from one row of the innermost axis to the next. In a concatenation of that order the rows lie further
    /// apart than they are long.
    pub(crate) fn destination(&mut self, value: ValueRef, order: Vec<usize>) -> (Slot, usize) {
        let (dtype, shape) = self.ty(value);
        let columns = order.last().map_or(1, |&axis| shape[axis]);
        let Some(piece) = self.pieces.get(&value).filter(|piece| piece.order == order).cloned() else {
            return (self.define(value, order).slot(), columns);
        };
        let whole = match self.view(piece.whole) {
            Some(view) => view.clone(),
            None => self.define(piece.whole, order),
        };
        let stride = whole.order.last().map_or(1, |&axis| whole.shape[axis]);
        let rows = shape.iter().product::<usize>() / columns.max(1);
        let span = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        let size = dtype.size();
        (Slot { buffer: whole.buffer, offset: piece.start * size, len: span * size }, stride)
    }

    /// Whether the value's producer has written it in place into that concatenation: it is nowhere else.
    pub(crate) fn is_written_in(&self, value: ValueRef, whole: ValueRef) -> bool {
        self.pieces.get(&value).is_some_and(|piece| piece.whole == whole) && !self.values.contains_key(&value)
    }

    /// A value as operand, in a wanted order or (`None`) in whatever order it has.
    pub(crate) fn operand(&mut self, value: ValueRef, want: Option<&[usize]>) -> Result<Operand, NodeError> {
        let (dtype, shape) = self.ty(value);
        let view = match self.values.get(&value).cloned() {
            Some(Val::View(view)) => view,
            Some(Val::Outside(index)) => self.realize(value, index),
            Some(Val::Sums(sums)) => self.realize_sums(value, &sums),
            Some(Val::Const(_) | Val::Stored) => {
                let order = want.map_or_else(|| row_major(shape.len()), <[usize]>::to_vec);
                let make = || {
                    let constant = self.constant(value);
                    ordered_constant(
                        &constant.ok_or_else(|| NodeError::Other("its value is not known".to_owned()))?,
                        &order,
                    )
                };
                let source = match self.param(value) {
                    Some(param) => {
                        let usage = format!("{order:?}");
                        self.cache.constant(param, &usage, make)?
                    }
                    None => make()?,
                };
                return Ok(Operand { source: Source::Const(source), dtype, shape, order });
            }
            None => return Err(NodeError::Other("it is used before it is computed".to_owned())),
        };
        let view = match want {
            Some(want) if !same_order(&view.shape, &view.order, want) => self.convert(value, &view, want)?,
            Some(want) => View { order: want.to_vec(), ..view },
            None => view,
        };
        Ok(Operand { source: Source::Arena(view.slot()), dtype, shape: view.shape, order: view.order })
    }

    /// An operand in row-major order.
    pub(crate) fn row_major(&mut self, value: ValueRef) -> Result<Operand, NodeError> {
        let rank = self.graph.ty(value).shape.rank();
        self.operand(value, Some(&row_major(rank)))
    }

    /// An operand with its channels last.
    pub(crate) fn channels_last(&mut self, value: ValueRef) -> Result<Operand, NodeError> {
        let rank = self.graph.ty(value).shape.rank();
        self.operand(value, Some(&channels_last(rank)))
    }

    fn realize(&mut self, value: ValueRef, index: usize) -> View {
        let order = row_major(self.shape(value).len());
        if let Some(view) = self.converted.get(&(value, order.clone())) {
            return view.clone();
        }
        let (dtype, shape) = self.ty(value);
        let bytes = shape.iter().product::<usize>() * dtype.size();
        let view = View { buffer: self.buffer(bytes), offset: 0, dtype, shape: shape.clone(), order: order.clone() };
        let node = self.graph.node(value.node).name().to_owned();
        let step = RealizeStep { node, value: index, out: view.slot(), dtype, shape };
        self.push_for(value, "realize", view.layout_name(), step);
        self.converted.insert((value, order), view.clone());
        view
    }

    /// The real values of sums, made once.
    fn realize_sums(&mut self, value: ValueRef, sums: &Sums) -> View {
        let key = (value, sums.view.order.clone());
        if let Some(view) = self.converted.get(&key) {
            return view.clone();
        }
        let view = sums::realize(self, value, sums);
        self.converted.insert(key, view.clone());
        view
    }

    /// The value in another order: one transposition, made once.
    fn convert(&mut self, value: ValueRef, view: &View, want: &[usize]) -> Result<View, NodeError> {
        let key = (value, want.to_vec());
        if let Some(view) = self.converted.get(&key) {
            return Ok(view.clone());
        }
        let to = View { buffer: self.buffer(view.bytes()), offset: 0, order: want.to_vec(), ..view.clone() };
        let mut shape = view.physical();
        let mut permutation: Vec<usize> =
            want.iter().map(|axis| view.order.iter().position(|a| a == axis).unwrap_or_default()).collect();
        let element = match view.dtype.size() {
            1 => 1,
            size => {
                // Larger elements are pairs or quadruples of bytes that stay together.
                if size != 4 {
                    shape.push(size.div_ceil(4));
                    permutation.push(shape.len() - 1);
                }
                4
            }
        };
        if view.dtype.size() == 2 {
            return Err(NodeError::Other(format!("{} cannot change its memory order", view.dtype)));
        }
        let (shape, permutation) = merge_axes(&shape, &permutation);
        if shape.len() > quantc_kernels::layout::MAX_RANK {
            return Err(NodeError::Other(format!("a permutation of {} axes is not supported", shape.len())));
        }
        let x = Source::Arena(view.slot());
        let step = PermuteStep { kernel: self.kernels.layout, element, shape, permutation, x, out: to.slot() };
        self.push_for(value, "permute", to.layout_name(), step);
        self.converted.insert(key, to.clone());
        Ok(to)
    }

    /// Adds a call's step. `layout` is that of its result.
    pub(crate) fn push(&mut self, call: &Call<'_>, layout: &str, step: impl Step + 'static) {
        self.push_for(call.out(), call.op.name(), layout, step);
    }

    /// Adds a step whose result is in an order of a shape.
    pub(crate) fn push_in(&mut self, call: &Call<'_>, order: &[usize], step: impl Step + 'static) {
        let shape = self.shape(call.out());
        self.push(call, layout_name(&shape, order), step);
    }

    pub(crate) fn push_for(&mut self, value: ValueRef, op: &str, layout: &str, step: impl Step + 'static) {
        let node = self.graph.node(value.node);
        let kernel = step.kernel();
        let tier = kernel.rsplit_once('.').map_or("portable", |(_, tier)| tier);
        let info = StepInfo {
            node: node.name().to_owned(),
            op: op.to_owned(),
            kernel: kernel.to_owned(),
            tier: tier.to_owned(),
            layout: layout.to_owned(),
            output: self.graph.ty(value).to_string(),
            inputs: node.inputs().iter().flatten().map(|v| self.graph.ty(*v).to_string()).collect(),
        };
        self.steps.push(PlannedStep { info, step: Box::new(step) });
    }

    /// Runs a call by reference evaluation.
    pub(crate) fn reference(&mut self, call: &Call<'_>) -> Result<(), NodeError> {
        let mut inputs = Vec::with_capacity(call.node.inputs().len());
        for value in call.node.inputs() {
            inputs.push(match value {
                None => None,
                Some(value) => Some(match self.values.get(value) {
                    Some(Val::Outside(index)) => Argument::Value(*index),
                    _ if self.is_constant(*value) => {
                        let constant = self.known(*value);
                        Argument::Const(constant.ok_or_else(|| NodeError::Other("its value is not known".to_owned()))?)
                    }
                    _ => {
                        let operand = self.row_major(*value)?;
                        let Source::Arena(slot) = operand.source else {
                            return Err(NodeError::Other("a constant in the arena".to_owned()));
                        };
                        Argument::Arena { slot, dtype: operand.dtype, shape: operand.shape }
                    }
                }),
            });
        }
        let mut outputs = Vec::new();
        for value in results(self.graph, call.id) {
            outputs.push(if self.graph.users(value).is_empty() {
                Produced::Dropped
            } else if self.keeps(value) {
                let index = self.outside;
                self.outside += 1;
                self.values.insert(value, Val::Outside(index));
                Produced::Value(index)
            } else {
                let (dtype, shape) = self.ty(value);
                let slot = self.define(value, row_major(shape.len())).slot();
                Produced::Arena { slot, dtype, shape }
            });
        }
        let node = call.node.name().to_owned();
        if call.op.class() == OpClass::Heavy && !touches_empty(self.graph, call.id) {
            tracing::warn!("`{node}` ({}) runs by reference evaluation, which is slow: no kernel computes it", call.op);
        }
        let step = ReferenceStep { node, op: call.op, attrs: call.raw.clone(), inputs, outputs };
        self.push(call, "row-major", step);
        Ok(())
    }

    fn finish(mut self, inputs: Vec<Port>) -> Result<Plan, LowerError> {
        let mut outputs = Vec::new();
        for (name, value) in self.graph.outputs() {
            let (dtype, shape) = self.ty(value);
            let at = |e: NodeError| e.at(&name);
            let place = match self.values.get(&value) {
                Some(Val::Const(constant)) => Place::Constant(Some(constant.to_tensor())),
                Some(Val::Outside(index)) => Place::Value(*index),
                _ => match self.row_major(value).map_err(at)?.source {
                    Source::Arena(slot) => Place::Arena(slot),
                    Source::Const(_) => Place::Constant(self.constant(value)),
                },
            };
            outputs.push(Port { name: name.to_string(), dtype, shape, place });
        }
        let buffers = |ports: &[Port]| -> Vec<u32> {
            let slot = |p: &Port| if let Place::Arena(slot) = &p.place { Some(slot.buffer) } else { None };
            ports.iter().filter_map(slot).collect()
        };
        let steps = self.steps.iter().map(|s| &*s.step);
        let (placements, report) = memory::place(&self.sizes, steps, &buffers(&inputs), &buffers(&outputs));
        if report.arena > memory::MAX_ARENA {
            return Err(LowerError::TooLarge { bytes: report.arena, limit: memory::MAX_ARENA });
        }
        Ok(Plan::new(std::mem::take(&mut self.steps), &placements, inputs, outputs, self.outside, report)?)
    }
}

/// The stored bytes of a constant in some order.
fn ordered_constant(tensor: &Tensor, order: &[usize]) -> Result<Constant, NodeError> {
    let mut bytes = quantc_kernels::conv::AlignedBytes::zeroed(tensor.byte_len());
    store(tensor, bytes.as_mut_slice()).map_err(|e| NodeError::Other(e.to_string()))?;
    if order == row_major(order.len()) {
        return Ok(Constant::new(bytes.as_slice()));
    }
    let (shape, size) = (tensor.shape(), tensor.dtype().size());
    let mut strides = vec![size; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let mut out = Vec::with_capacity(bytes.as_slice().len());
    let mut index = vec![0usize; order.len()];
    for _ in 0..tensor.numel() {
        let at: usize = order.iter().zip(&index).map(|(&axis, &i)| i * strides[axis]).sum();
        out.extend_from_slice(&bytes.as_slice()[at..at + size]);
        for (i, &axis) in index.iter_mut().zip(order).rev() {
            *i += 1;
            if *i < shape[axis] {
                break;
            }
            *i = 0;
        }
    }
    Ok(Constant::new(&out))
}
