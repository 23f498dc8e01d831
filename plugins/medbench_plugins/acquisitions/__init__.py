"""Built-in acquisition functions."""

from medbench import Plugin

_UNCERTAINTY = "medbench_plugins.acquisitions.uncertainty:"

ACQUISITIONS: tuple[Plugin, ...] = (
    Plugin(
        name="random",
        target="medbench_plugins.acquisitions.random:Random",
        summary="any candidates, all equally likely; the baseline",
        interface=1,
    ),
    Plugin(
        name="entropy",
        target=f"{_UNCERTAINTY}Entropy",
        summary="highest entropy of the prediction (Shannon 1948; Settles 2009)",
        interface=1,
        citation="Settles B. Active learning literature survey. University of Wisconsin-Madison, "
        "Computer Sciences technical report 1648, 2009",
    ),
    Plugin(
        name="least-confidence",
        target=f"{_UNCERTAINTY}LeastConfidence",
        summary="lowest probability of the most likely class (Lewis and Gale 1994)",
        interface=1,
        citation="Lewis DD, Gale WA. A sequential algorithm for training text classifiers. SIGIR "
        "1994, arXiv cmp-lg/9407020",
    ),
    Plugin(
        name="margin",
        target=f"{_UNCERTAINTY}Margin",
        summary="smallest gap between the two most likely classes (Scheffer et al. 2001)",
        interface=1,
        citation="Scheffer T, Decomain C, Wrobel S. Active hidden Markov models for information "
        "extraction. IDA 2001",
    ),
    Plugin(
        name="bald",
        target=f"{_UNCERTAINTY}BALD",
        settings="medbench_plugins.acquisitions.settings:BALDSettings",
        summary="most disagreement of passes with dropout (Houlsby et al. 2011; Gal et al. 2017)",
        interface=1,
        citation="Houlsby N, Huszar F, Ghahramani Z, Lengyel M. Bayesian active learning for "
        "classification and preference learning. 2011, arXiv 1112.5745; see also Gal Y, Islam R, "
        "Ghahramani Z. Deep Bayesian active learning with image data. ICML 2017, arXiv 1703.02910",
    ),
    Plugin(
        name="coreset",
        target="medbench_plugins.acquisitions.diversity:Coreset",
        summary="features far from all that is trusted: k-centre greedy (Sener and Savarese 2018)",
        interface=1,
        citation="Sener O, Savarese S. Active learning for convolutional neural networks: a "
        "core-set approach. ICLR 2018, arXiv 1708.00489",
    ),
    Plugin(
        name="badge",
        target="medbench_plugins.acquisitions.diversity:BADGE",
        summary="large and diverse gradients of the last layer (Ash et al. 2020)",
        interface=1,
        citation="Ash JT, Zhang C, Krishnamurthy A, Langford J, Agarwal A. Deep batch active "
        "learning by diverse, uncertain gradient lower bounds. ICLR 2020, arXiv 1906.03671",
    ),
    Plugin(
        name="badness",
        target="medbench_plugins.acquisitions.badness:Badness",
        summary="labels that look wrong on images that look easy (after Bernhardt et al. 2022)",
        interface=1,
        citation="Bernhardt M, Castro DC, Tanno R, et al. Active label cleaning for improved "
        "dataset quality under resource constraints. Nature Communications 13, 2022, 1161",
    ),
)
