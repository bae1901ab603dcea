"""Settings of the documentation's site: `make docs` builds it into docs/_build/html, and any warning is an error."""

from __future__ import annotations

from importlib import import_module, metadata

project = "hetserve"
release = metadata.version("hetserve")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "hetserve"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_heading_anchors = 4

default_role = "literal"
autodoc_member_order = "alphabetical"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False

# The packages load a name when it is used; autodoc documents those that are there.
for name in ("hetserve", "sim", "planners", "traces"):
    package = import_module(name)
    vars(package).update({export: getattr(package, export) for export in package.__all__})
