"""The chart's schema and README are what helm/generate.py writes, and its version is the program's."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

from ruamel.yaml import YAML

from monitor import __version__
from tests.deploy.rendering import CHART, ROOT


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("helm_generate", ROOT / "helm" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_schema_is_the_one_of_the_settings() -> None:
    assert (CHART / "values.schema.json").read_text() == generator().schema_text(), "run: python helm/generate.py"


def test_the_readme_has_every_value() -> None:
    assert (CHART / "README.md").read_text() == generator().readme(), "run: python helm/generate.py"


def test_image_and_chart_are_of_the_programs_version() -> None:
    chart = YAML(typ="safe").load((CHART / "Chart.yaml").read_text())
    (in_image,) = re.findall(r"^ARG VERSION=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert chart["appVersion"] == chart["version"] == in_image == __version__
