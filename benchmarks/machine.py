"""What a benchmark ran on, for the top of its table."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def print_machine(*packages: str) -> None:
    """Print the processor, the versions and the command."""
    print(f"{_processor()}, {os.cpu_count()} cores, {platform.system()}")
    installed = (f"{package} {_version(package)}" for package in packages)
    print(f"Python {platform.python_version()}, " + ", ".join(installed))
    script = Path(sys.argv[0]).resolve()
    print("$ " + " ".join(["python", f"{script.parent.name}/{script.name}", *sys.argv[1:]]))


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
