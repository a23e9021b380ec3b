"""The tests about bits, on processors with other instructions than this one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# What oneDNN, torch and MKL are told to use. The tests themselves run with the best there is.
PROCESSORS = {
    "sse4": ("SSE41", "default", "SSE4_2"),
    "avx": ("AVX", "default", "SSE4_2"),
    "avx2": ("AVX2", "avx2", "AVX2"),
}
FOLDER = Path(__file__).parents[1]


@pytest.mark.parametrize("processor", PROCESSORS)
def test_bits_are_kept_on(processor):
    names = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
    environment = {**os.environ, **dict(zip(names, PROCESSORS[processor], strict=True))}
    for name in [name for name in environment if name.startswith("PYTEST")]:
        del environment[name]
    files = [str(path) for path in FOLDER.glob("**/test_*.py") if "mark.bits\n" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "bits", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, *files], cwd=FOLDER.parent, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) >= 80
