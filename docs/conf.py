"""The documentation site: ``uv run --group docs sphinx-build -W docs site``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import medbench
import medbench.results
import medbench.running  # before autodoc would, with TYPE_CHECKING set: pydantic needs it unset

project = "medbench"
author = "The medbench founders"
version = release = medbench.__version__
language = "en-GB"

extensions = [
    "myst_nb",  # pages and notebooks in Markdown
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
]
exclude_patterns = ["_extra", "notebooks/.ipynb_checkpoints"]

# Markdown as GitHub shows it
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # tests/test_notebook.py executes notebooks; outputs are stored

# reference pages from numpydoc docstrings
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "Settings"}  # each class's own, shown once
autodoc_typehints = "none"  # the docstrings have them
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# nothing is fetched unless asked for: sphinx-build -D intersphinx_disabled_reftypes=
intersphinx_mapping = {}

html_theme = "pydata_sphinx_theme"
html_title = "medbench"
html_extra_path = ["_extra"]  # the boards
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "navbar_persistent": [
        "search-button"
    ],  # the wider field has a label that differs from its text
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
copyright = "The medbench founders, Apache-2.0"
suppress_warnings = ["mystnb.unknown_mime_type"]

html_math_renderer = "mathml"  # which browsers draw: MathJax would be fetched by the reader


def _formula(translator: Any, node: nodes.Node) -> None:
    block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="math">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Draw formulas as MathML."""
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
