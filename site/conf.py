"""Sphinx's settings. ``python site/build.py`` gathers the pages and calls Sphinx with them."""

import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent
# Extensions and the package of this clone, wherever another one may be installed.
sys.path[:0] = [str(SITE), str(SITE.parent)]

from gather import repository  # noqa: E402

import asr_tutorial  # noqa: E402

project = "asr_tutorial"
author = "the asr_tutorial authors"
copyright = author
release = version = asr_tutorial.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "library", "mathml"]

# Text
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
highlight_language = "none"
smartquotes = False

# Notebooks: what is shown is what `make notebooks` recorded.
nb_execution_mode = "off"
nb_merge_streams = True

# The library
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
viewcode_line_numbers = True
nitpicky = True
# Names that are other projects' own, whose indexes are not here to link to.
nitpick_ignore_regex = [(r"py:.*", r"(?!asr_tutorial).*")]

# The look
html_theme = "sphinx_book_theme"
html_title = "Speech recognition by building it"
html_static_path = [str(SITE / "static")]
html_css_files = ["site.css"]
html_favicon = str(SITE / "static" / "icon.svg")
html_context = {"default_mode": "auto"}
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "show_navbar_depth": 1,
    "collapse_navbar": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if repository():
    html_theme_options |= {"repository_url": repository(), "use_repository_button": True}
