"""The files of the package, as modules that can be imported."""

import importlib
import pkgutil
import sys

import pytest

import sklstm

MODULES = [found.name for found in pkgutil.walk_packages(sklstm.__path__, "sklstm.")]


@pytest.mark.parametrize("name", MODULES)
def test_no_public_name_hides_a_module(name):
    """``import a.b`` binds what ``a`` calls ``b``, which must be the module."""
    package, _, last = name.rpartition(".")
    importlib.import_module(name)
    assert getattr(sys.modules[package], last) is sys.modules[name]
