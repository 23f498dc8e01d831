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
        name="cross-entropy-ensemble",
        target="medbench_plugins.methods.cross_entropy:CrossEntropyEnsemble",
        settings="medbench_plugins.methods.settings:CrossEntropySettings",
        summary="two networks by cross-entropy, averaged; the control for methods with two",
        interface=1,
        citation="Lakshminarayanan B, Pritzel A, Blundell C. Simple and scalable predictive "
        "uncertainty estimation using deep ensembles. NeurIPS 2017, arXiv 1612.01474",
    ),
    Plugin(
        name="co-teaching",
        target="medbench_plugins.methods.co_teaching:CoTeaching",
        settings="medbench_plugins.methods.settings:CoTeachingSettings",
        summary="two networks pick small-loss samples for each other (Han et al. 2018)",
        interface=1,
        citation="Han B, Yao Q, Yu X, et al. Co-teaching: robust training of deep neural "
        "networks with extremely noisy labels. NeurIPS 2018, arXiv 1804.06872",
    ),
    Plugin(
        name="small-loss",
        target="medbench_plugins.methods.small_loss:SmallLoss",
        settings="medbench_plugins.methods.settings:SmallLossSettings",
        summary="one network learns from its own small-loss samples; Co-teaching's ablation",
        interface=1,
        citation="Han B, Yao Q, Yu X, et al. Co-teaching: robust training of deep neural "
        "networks with extremely noisy labels. NeurIPS 2018, arXiv 1804.06872 (one "
        "network of its two)",
    ),
    Plugin(
        name="dividemix",
        target="medbench_plugins.methods.dividemix:DivideMix",
        settings="medbench_plugins.methods.settings:DivideMixSettings",
        summary="splits off doubtful labels and learns semi-supervised (Li et al. 2020)",
        interface=1,
        citation="Li J, Socher R, Hoi SCH. DivideMix: learning with noisy labels as "
        "semi-supervised learning. ICLR 2020, arXiv 2002.07394",
    ),
)
