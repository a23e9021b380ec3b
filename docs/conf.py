"""Configuration of the documentation."""

import sys
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

import sklstm

sys.path.insert(0, str(Path(__file__).parent / "figures"))
from house import first_lines

project = "sklstm"
author = "The sklstm developers"
copyright = author
release = version = sklstm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "numpydoc",
    "matplotlib.sphinxext.plot_directive",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".rst": "restructuredtext"}
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "literal"
highlight_language = "text"
smartquotes = False

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False

plot_formats = ["svg"]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = {"savefig.transparent": True, "svg.hashsalt": "sklstm"}
plot_apply_rcparams = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sklstm",),
    "capture_repr": (),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_sidebars = {"index": [], "**": ["sidebar-nav-bs"]}
html_title = f"sklstm {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "sklstm"},
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


class FilesOfThePackage(SphinxDirective):
    """Lists the files of each folder, with the first line of their docstrings."""

    def run(self):
        lines = []
        for folder, files in first_lines().items():
            lines += [f"{folder}/"] + [f"   - `{name}`: {line}" for name, line in files] + [""]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    app.add_directive("files-of-the-package", FilesOfThePackage)
