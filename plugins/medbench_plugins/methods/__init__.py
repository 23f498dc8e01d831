"""Built-in methods of learning with noisy labels."""

from medbench import Plugin

METHODS: tuple[Plugin, ...] = (
    Plugin(
        name="cross-entropy",
        target="medbench_plugins.methods.cross_entropy:CrossEntropy",
        settings="medbench_plugins.methods.settings:CrossEntropySettings",
        summary="plain cross-entropy: believes every label; the baseline",
        interface=1,
        family="baseline",
    ),
    Plugin(
        name="cross-entropy-ensemble",
        target="medbench_plugins.methods.cross_entropy:CrossEntropyEnsemble",
        settings="medbench_plugins.methods.settings:CrossEntropySettings",
        summary="two networks by cross-entropy, averaged; the control for methods with two",
        interface=1,
        family="baseline",
        citation="Lakshminarayanan B, Pritzel A, Blundell C. Simple and scalable predictive "
        "uncertainty estimation using deep ensembles. NeurIPS 2017, arXiv 1612.01474",
    ),
    Plugin(
        name="co-teaching",
        target="medbench_plugins.methods.co_teaching:CoTeaching",
        settings="medbench_plugins.methods.settings:CoTeachingSettings",
        summary="two networks pick small-loss samples for each other (Han et al. 2018)",
        interface=1,
        family="selection",
        citation="Han B, Yao Q, Yu X, et al. Co-teaching: robust training of deep neural "
        "networks with extremely noisy labels. NeurIPS 2018, arXiv 1804.06872",
    ),
    Plugin(
        name="co-teaching-vog",
        target="medbench_plugins.methods.co_teaching_vog:CoTeachingVOG",
        settings="medbench_plugins.methods.settings:CoTeachingVOGSettings",
        summary="Co-teaching that also keeps samples of stable gradient (Khanal et al. 2024)",
        interface=1,
        family="selection",
        citation="Khanal B, Dai T, Bhattarai B, Linte C. Active label refinement for robust "
        "training of imbalanced medical image classification tasks in the presence of high label "
        "noise. MICCAI 2024, arXiv 2407.05973",
    ),
    Plugin(
        name="small-loss",
        target="medbench_plugins.methods.small_loss:SmallLoss",
        settings="medbench_plugins.methods.settings:SmallLossSettings",
        summary="one network learns from its own small-loss samples; Co-teaching's ablation",
        interface=1,
        family="selection",
        citation="Han B, Yao Q, Yu X, et al. Co-teaching: robust training of deep neural "
        "networks with extremely noisy labels. NeurIPS 2018, arXiv 1804.06872",
    ),
    Plugin(
        name="dividemix",
        target="medbench_plugins.methods.dividemix:DivideMix",
        settings="medbench_plugins.methods.settings:DivideMixSettings",
        summary="splits off doubtful labels and learns semi-supervised (Li et al. 2020)",
        interface=1,
        family="semi-supervised",
        citation="Li J, Socher R, Hoi SCH. DivideMix: learning with noisy labels as "
        "semi-supervised learning. ICLR 2020, arXiv 2002.07394",
    ),
    Plugin(
        name="gce",
        target="medbench_plugins.methods.gce:GCE",
        settings="medbench_plugins.methods.loss_settings:GCESettings",
        summary="a loss between cross-entropy and absolute error (Zhang and Sabuncu 2018)",
        interface=1,
        family="robust loss",
        citation="Zhang Z, Sabuncu MR. Generalized cross entropy loss for training deep neural "
        "networks with noisy labels. NeurIPS 2018, arXiv 1805.07836",
    ),
    Plugin(
        name="sce",
        target="medbench_plugins.methods.sce:SCE",
        settings="medbench_plugins.methods.loss_settings:SCESettings",
        summary="cross-entropy and its reverse (Wang et al. 2019); NCE+RCE as a preset",
        interface=1,
        family="robust loss",
        citation="Wang Y, Ma X, Chen Z, et al. Symmetric cross entropy for robust learning with "
        "noisy labels. ICCV 2019, arXiv 1908.06112; see also Ma X, Huang H, Wang Y, et al. "
        "Normalized loss functions for deep learning with noisy labels. ICML 2020, arXiv "
        "2006.13554",
    ),
    Plugin(
        name="elr",
        target="medbench_plugins.methods.elr:ELR",
        settings="medbench_plugins.methods.loss_settings:ELRSettings",
        summary="keeps to what was predicted before labels were memorised (Liu et al. 2020)",
        interface=1,
        family="regularisation",
        citation="Liu S, Niles-Weed J, Razavian N, Fernandez-Granda C. Early-learning "
        "regularization prevents memorization of noisy labels. NeurIPS 2020, arXiv 2007.00151",
    ),
    Plugin(
        name="jocor",
        target="medbench_plugins.methods.jocor:JoCoR",
        settings="medbench_plugins.methods.selection_settings:JoCoRSettings",
        summary="two networks learn small-loss samples on which they agree (Wei et al. 2020)",
        interface=1,
        family="selection",
        citation="Wei H, Feng L, Chen X, An B. Combating noisy labels by agreement: a joint "
        "training method with co-regularization. CVPR 2020, arXiv 2003.02752",
    ),
    Plugin(
        name="forward",
        target="medbench_plugins.methods.forward:Forward",
        settings="medbench_plugins.methods.loss_settings:ForwardSettings",
        summary="corrects the loss by the true transition matrix; an upper bound (Patrini et al. "
        "2017)",
        interface=1,
        family="transition matrix",
        citation="Patrini G, Rozza A, Menon AK, Nock R, Qu L. Making deep neural networks robust "
        "to label noise: a loss correction approach. CVPR 2017, arXiv 1609.03683",
    ),
    Plugin(
        name="volminnet",
        target="medbench_plugins.methods.volminnet:VolMinNet",
        settings="medbench_plugins.methods.loss_settings:VolMinNetSettings",
        summary="learns the transition matrix of least volume with the network (Li et al. 2021)",
        interface=1,
        family="transition matrix",
        citation="Li X, Liu T, Han B, Niu G, Sugiyama M. Provably end-to-end label-noise learning "
        "without anchor points. ICML 2021, arXiv 2102.02400",
    ),
    Plugin(
        name="confident-learning",
        target="medbench_plugins.methods.confident_learning:ConfidentLearning",
        settings="medbench_plugins.methods.selection_settings:ConfidentLearningSettings",
        summary="prunes labels that cross-validation confidently contradicts (Northcutt et al. "
        "2021)",
        interface=1,
        family="selection",
        revision=2,
        citation="Northcutt CG, Jiang L, Chuang IL. Confident learning: estimating uncertainty in "
        "dataset labels. JAIR 70, 2021, arXiv 1911.00068",
    ),
    Plugin(
        name="disc",
        target="medbench_plugins.methods.disc:DISC",
        settings="medbench_plugins.methods.selection_settings:DISCSettings",
        summary="selects and corrects by a threshold for each sample and two views (Li et al. "
        "2023)",
        interface=1,
        family="selection",
        revision=2,
        citation="Li Y, Han H, Shan S, Chen X. DISC: learning from noisy labels via dynamic "
        "instance-specific selection and correction. CVPR 2023",
    ),
    Plugin(
        name="agreement",
        target="medbench_plugins.methods.agreement:Agreement",
        settings="medbench_plugins.methods.selection_settings:AgreementSettings",
        summary="learns labels that a linear probe of the pretrained features confirms (Yu et al. "
        "2024)",
        interface=1,
        family="selection",
        citation="Yu Y, Ko M, Shin S, Kim K, Lee K. Curriculum fine-tuning of vision foundation "
        "model for medical image classification under label noise. NeurIPS 2024, arXiv 2412.00150",
    ),
)
