"""What the figures were measured on, as far as it matters and without naming the machine."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
_PACKAGES = ("torch", "open_clip_torch", "timm", "scikit-learn", "numpy", "pillow", "streamlit")


def describe_machine() -> dict[str, Any]:
    """Processor, its relevant instruction sets, cores, memory, and the versions of the libraries compared with."""
    model, flags = platform.processor() or platform.machine(), []
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
        found = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
        flags = [flag for flag in _FLAGS if flag in found]
    return {
        "processor": model,
        "instructions": flags,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def peak_bytes() -> int:
    """The most memory that this process has held in RAM.

    Not ``ru_maxrss`` where it can be had otherwise: that begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
        return 1024 * int(line.split()[1])
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
