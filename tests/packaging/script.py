"""A script of packaging/, which is no package, as a module."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from tests.lab.net import ROOT


def load(path: str) -> ModuleType:
    """`path`: below packaging/."""
    spec = importlib.util.spec_from_file_location("script", ROOT / "packaging" / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
