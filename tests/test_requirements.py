from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

EXTRAS = ("", "plot", "dask", "keras", "onnx", "test")
OLDEST = Path(__file__).parents[1] / "constraints-oldest.txt"


def versions(lines):
    """Return the version that each requirement names, by package."""
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    return {
        requirement.name: Version(specifier.version)
        for requirement in requirements
        for specifier in requirement.specifier
        if not requirement.marker
        or any(requirement.marker.evaluate({"extra": extra}) for extra in EXTRAS)
    }


def test_the_oldest_pins_are_the_declared_minima():
    declared = versions(requires("sklstm"))
    pinned = versions(OLDEST.read_text().splitlines())
    assert {name: pinned.get(name) for name in declared} == declared
