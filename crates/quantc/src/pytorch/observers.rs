//! Observers and fake quantization.

use super::{Section, item, method, missing};

pub(super) const SECTION: Section = Section {
    title: "Observers and fake quantization",
    entries: &[
        item!(
            quantc_quant::observer::Observer,
            "torch.ao.quantization.observer.ObserverBase",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch",
            "a trait; calculate_qparams, merge and the state dict are its methods"
        ),
        item!(
            quantc_quant::observer::ObservedQParams,
            "torch.ao.quantization.observer.UniformQuantizationObserverBase",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch",
            "no base class: what its `_calculate_qparams` gives, which every observer of a range shares"
        ),
        item!(
            quantc_quant::observer::MinMaxObserver,
            "torch.ao.quantization.observer.MinMaxObserver",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        item!(
            quantc_quant::observer::MovingAverageMinMaxObserver,
            "torch.ao.quantization.observer.MovingAverageMinMaxObserver",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        item!(
            quantc_quant::observer::PerChannelMinMaxObserver,
            "torch.ao.quantization.observer.PerChannelMinMaxObserver",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        item!(
            quantc_quant::observer::MovingAveragePerChannelMinMaxObserver,
            "torch.ao.quantization.observer.MovingAveragePerChannelMinMaxObserver",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        item!(
            quantc_quant::observer::HistogramObserver,
            "torch.ao.quantization.observer.HistogramObserver",
            "crates/quant/tests/golden_observers.rs::histogram_observer_agrees_with_torch"
        ),
        item!(
            quantc_quant::observer::AlignedHistogramObserver,
            "(no counterpart) order-independent histogram",
            "crates/quant/tests/aligned_histogram.rs::neither_order_nor_shards_change_a_bit",
            "bins aligned to powers of two and integer counts: no order of batches and no sharding changes a bit; search by L2, percentile, entropy or MSE"
        ),
        item!(
            quantc_quant::observer::FixedQParamsObserver,
            "torch.ao.quantization.observer.FixedQParamsObserver",
            "crates/quant/tests/presets.rs::observers_and_fake_quantize_modules_are_torch_s"
        ),
        item!(
            quantc_quant::observer::PassiveObserver,
            "torch.ao.quantization.observer.PlaceholderObserver",
            "crates/quant/tests/presets.rs::observers_and_fake_quantize_modules_are_torch_s",
            "one type with Noop and ReuseInput: `ObserverKind` tells them apart"
        ),
        method!(
            quantc_quant::ObserverKind::Noop,
            "torch.ao.quantization.observer.NoopObserver",
            "crates/quant/tests/presets.rs::observers_and_fake_quantize_modules_are_torch_s"
        ),
        method!(
            quantc_quant::ObserverKind::ReuseInput,
            "torch.ao.quantization.observer.ReuseInputObserver",
            "crates/quant/tests/presets.rs::observers_and_fake_quantize_modules_are_torch_s"
        ),
        item!(
            quantc_quant::observer::RecordingObserver,
            "torch.ao.quantization.observer.RecordingObserver",
            "crates/quant/tests/observers.rs::a_recorder_keeps_what_it_saw_in_order"
        ),
        item!(
            quantc_quant::observer::get_observer_state_dict,
            "torch.ao.quantization.observer.get_observer_state_dict",
            "crates/quant/tests/observer_state.rs::a_calibrator_is_saved_and_loaded"
        ),
        item!(
            quantc_quant::observer::load_observer_state_dict,
            "torch.ao.quantization.observer.load_observer_state_dict",
            "crates/quant/tests/observer_state.rs::a_state_from_pytorch_is_read"
        ),
        item!(
            quantc_tensor::choose_qparams,
            "at::native ChooseQuantizationParams",
            "crates/tensor/tests/golden_quantized_tensor.rs::choose_quantization_params"
        ),
        item!(
            quantc_quant::fake_quantize::fake_quantize_per_tensor_affine,
            "torch.fake_quantize_per_tensor_affine",
            "crates/quant/tests/golden_fake_quantize.rs::functions_are_bit_identical_to_torch"
        ),
        item!(
            quantc_quant::fake_quantize::fake_quantize_per_channel_affine,
            "torch.fake_quantize_per_channel_affine",
            "crates/quant/tests/golden_fake_quantize.rs::functions_are_bit_identical_to_torch"
        ),
        item!(
            quantc_quant::fake_quantize::FakeQuantize,
            "torch.ao.quantization.fake_quantize.FakeQuantizeBase",
            "crates/quant/tests/golden_fake_quantize.rs::modules_are_bit_identical_to_torch",
            "no base class: one type, whose `FakeQuantizeKind` says which of PyTorch's it is"
        ),
        item!(
            quantc_quant::fake_quantize::FakeQuantize,
            "torch.ao.quantization.fake_quantize.FakeQuantize",
            "crates/quant/tests/golden_fake_quantize.rs::modules_are_bit_identical_to_torch"
        ),
        method!(
            quantc_quant::qconfig::FakeQuantizeKind::FixedQParamsFakeQuantize,
            "torch.ao.quantization.fake_quantize.FixedQParamsFakeQuantize",
            "crates/quant/tests/golden_fake_quantize.rs::modules_are_bit_identical_to_torch"
        ),
        method!(
            quantc_quant::qconfig::FakeQuantizeKind::FusedMovingAvgObsFakeQuantize,
            "torch.ao.quantization.fake_quantize.FusedMovingAvgObsFakeQuantize",
            "crates/quant/tests/golden_fake_quantize.rs::modules_are_bit_identical_to_torch"
        ),
        item!(
            quantc_quant::fake_quantize::enable_fake_quant,
            "torch.ao.quantization.fake_quantize.enable_fake_quant",
            "crates/quant/tests/fake_quantize.rs::a_set_of_modules_is_turned_on_and_off"
        ),
        item!(
            quantc_quant::fake_quantize::disable_fake_quant,
            "torch.ao.quantization.fake_quantize.disable_fake_quant",
            "crates/quant/tests/fake_quantize.rs::a_set_of_modules_is_turned_on_and_off"
        ),
        item!(
            quantc_quant::fake_quantize::enable_observer,
            "torch.ao.quantization.fake_quantize.enable_observer",
            "crates/quant/tests/fake_quantize.rs::a_set_of_modules_is_turned_on_and_off"
        ),
        item!(
            quantc_quant::fake_quantize::disable_observer,
            "torch.ao.quantization.fake_quantize.disable_observer",
            "crates/quant/tests/fake_quantize.rs::a_set_of_modules_is_turned_on_and_off"
        ),
        missing("torch.ao.nn.intrinsic.qat.update_bn_stats", "quantization-aware training comes later"),
        missing("torch.ao.nn.intrinsic.qat.freeze_bn_stats", "quantization-aware training comes later"),
    ],
};
