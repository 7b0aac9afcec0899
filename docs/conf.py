"""Sphinx: ``python -m sphinx -W -b html docs docs/_build`` (extra ``docs``)."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.ext.autodoc.mock import mock

import fastbce
import fastbce.numba

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "fastbce"
author = "the fastbce developers"
project_copyright = author
version = release = fastbce.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autosummary_generate = True
# What a module lists in __all__ is documented, and nothing else.
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"  # numpydoc's sections say more than the annotations
numpydoc_show_class_members = False
# Whether they are installed or not, the pages are the same: their own docstrings, which classes of
# ours would inherit, are no clean reST.
autodoc_mock_imports = ["jax", "torch"]
default_role = "code"


# What Numba compiles is no function to autodoc, but what it was made of is.
for _name in fastbce.numba.__all__:
    _function = getattr(fastbce.numba, _name)
    setattr(fastbce.numba, _name, getattr(_function, "py_func", _function))


def public_modules() -> Iterator[str]:
    """Yield the modules that export something of their own and can be imported here."""
    known = {id(getattr(fastbce, name)) for name in fastbce.__all__}
    for info in pkgutil.walk_packages(fastbce.__path__, "fastbce."):
        parts = info.name.split(".")
        if parts[1] in ("bench", "cli", "demo") or any(part.startswith("_") for part in parts):
            continue
        try:
            with mock(autodoc_mock_imports):
                module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("fastbce"):
                raise
            continue  # an optional package is not installed
        exported = {id(getattr(module, name)) for name in getattr(module, "__all__", ())}
        if not exported <= known:
            known |= exported
            yield info.name


autosummary_context = {"public_modules": list(public_modules())}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "fastbce"
html_static_path = ["_static"]
html_css_files = ["fastbce.css"]
html_extra_path = ["llms.txt"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "fastbce"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def _inline_math(self: Any, node: Any) -> None:
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise SkipNode


def _block_math(self: Any, node: Any) -> None:
    self.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise SkipNode


def _is_routing(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out scikit-learn's metadata routing, whose documentation refers to its own site."""
    return re.fullmatch(r"set_\w+_request|get_metadata_routing", name) is not None or None


def setup(app: Sphinx) -> None:
    """Write formulas as MathML, which browsers draw themselves: no script from another server."""
    app.connect("autodoc-skip-member", _is_routing)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
