"""Built-in methods of learning with noisy labels."""

from medbench import Plugin

METHODS: tuple[Plugin, ...] = (
    Plugin(
        name="cross-entropy",
        target="medbench_plugins.methods.cross_entropy:CrossEntropy",
        settings="medbench_plugins.methods.settings:CrossEntropySettings",
        summary="plain cross-entropy: believes every label; the baseline",
        interface=1,
    ),
    Plugin(
        name="co-teaching",
        target="medbench_plugins.methods.co_teaching:CoTeaching",
        settings="medbench_plugins.methods.settings:CoTeachingSettings",
        summary="two networks pick small-loss samples for each other (Han et al. 2018)",
        interface=1,
    ),
    Plugin(
        name="small-loss",
        target="medbench_plugins.methods.small_loss:SmallLoss",
        settings="medbench_plugins.methods.settings:SmallLossSettings",
        summary="one network learns from its own small-loss samples; Co-teaching's ablation",
        interface=1,
    ),
    Plugin(
        name="dividemix",
        target="medbench_plugins.methods.dividemix:DivideMix",
        settings="medbench_plugins.methods.settings:DivideMixSettings",
        summary="splits off doubtful labels and learns semi-supervised (Li et al. 2020)",
        interface=1,
    ),
)
