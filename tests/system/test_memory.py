"""Passes of a network reuse the memory of the one before: in a process of its own, since all allocations count."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PASSES = 12
MOST_FAULTS = 800

SCRIPT = f"""
import resource, threading
import numpy as np
from detector.backbones.offline import load_offline

backbone = load_offline("float32", threads=2)
crop = np.zeros((backbone.input_size, backbone.input_size, 3), dtype=np.uint8)

def passes():
    for _ in range({PASSES}):
        backbone.embed_crops([crop])

passes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
passes()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / {PASSES})
"""


@pytest.mark.long
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_passes_do_not_ask_the_system_for_the_same_memory_again() -> None:
    """Which limits a process has is a matter of what it did before; this one starts with those of every new one."""
    first = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=os.environ | first)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < MOST_FAULTS
