"""The host's own CPU, memory, disk, network and load, read from the kernel.

RULE: a figure is what this host says now or it is absent; nothing here is made up.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Tier: TypeAlias = Literal["critical", "standard", "placeholder"]

_BUSY_MS_COLUMN = 12  # /proc/diskstats: milliseconds spent doing I/O
_WHOLE_DISK = re.compile(r"(sd|vd|xvd)[a-z]+|nvme\d+n\d+|mmcblk\d+")  # not their partitions, which count again


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure that can be asked for; `read` answers None where this host does not know it."""

    name: str
    tier: Tier
    unit: str
    read: Callable[[], float | None]


def host_metrics(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[Metric, ...]:
    """Every figure this host can give, in the order they are listed."""
    known = (
        Metric("node_cpu", "critical", "percent", CpuUtilization(proc / "stat")),
        Metric("node_cpu_throttle_time_seconds", "critical", "seconds", lambda: throttled_s(cgroup, proc)),
        Metric("node_memory_available_bytes", "critical", "bytes", lambda: memory_bytes(proc)["available"]),
        Metric("node_memory_used_percent", "standard", "percent", lambda: memory_used_percent(proc)),
        Metric("node_filesystem_available_bytes", "critical", "bytes", lambda: float(shutil.disk_usage("/").free)),
        Metric("node_filesystem_used_percent", "standard", "percent", filesystem_used_percent),
        Metric("node_disk_io_time_seconds", "standard", "seconds", lambda: disk_io_s(proc)),
        Metric("node_network_receive_bytes", "standard", "bytes", lambda: network_bytes(proc, column=0)),
        Metric("node_network_transmit_bytes", "standard", "bytes", lambda: network_bytes(proc, column=8)),
        Metric("node_load1", "standard", "processes", lambda: os.getloadavg()[0]),
        Metric("node_load5", "standard", "processes", lambda: os.getloadavg()[1]),
        Metric("node_load15", "standard", "processes", lambda: os.getloadavg()[2]),
    )
    return tuple(metric for metric in known if try_reading(metric) is not None)


def try_reading(metric: Metric) -> float | None:
    """The figure, or None where the kernel does not offer it."""
    try:
        return metric.read()
    except (OSError, KeyError, ValueError, IndexError):
        return None


class CpuUtilization:
    """Busy share of all CPUs since the last reading; the first reading is the share since boot."""

    def __init__(self, stat: Path) -> None:
        self._stat = stat
        self._busy = self._total = 0.0

    def __call__(self) -> float | None:
        if not self._stat.exists():  # not Linux: the load average is the nearest thing every Unix has
            return min(100.0, 100.0 * os.getloadavg()[0] / (os.cpu_count() or 1))
        ticks = [float(word) for word in _first_line(self._stat).split()[1:9]]
        total, busy = sum(ticks), sum(ticks) - ticks[3] - ticks[4]
        spent, worked = total - self._total, busy - self._busy
        self._total, self._busy = total, busy
        return 100.0 * worked / spent if spent > 0 else 0.0


def throttled_s(cgroup: Path, proc: Path) -> float:
    """Time this control group was held back for its CPU quota; stolen time where there is no such counter."""
    for path, key, per_s in (
        (cgroup / "cpu.stat", "throttled_usec", 1e6),  # cgroup v2
        (cgroup / "cpu" / "cpu.stat", "throttled_time", 1e9),  # cgroup v1
    ):
        if path.exists():
            counters = _pairs(path)
            if key in counters:
                return counters[key] / per_s
    stolen_ticks = float(_first_line(proc / "stat").split()[8])
    return stolen_ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(proc: Path) -> Mapping[str, float]:
    meminfo = proc / "meminfo"
    if meminfo.exists():
        lines = (line.split() for line in meminfo.read_text().splitlines())
        kib = {words[0]: float(words[1]) for words in lines}
        return {"total": kib["MemTotal:"] * 1024, "available": kib["MemAvailable:"] * 1024}
    page = os.sysconf("SC_PAGE_SIZE")
    return {
        "total": float(os.sysconf("SC_PHYS_PAGES") * page),
        "available": float(os.sysconf("SC_AVPHYS_PAGES") * page),
    }


def memory_used_percent(proc: Path) -> float:
    memory = memory_bytes(proc)
    return 100.0 * (1 - memory["available"] / memory["total"])


def filesystem_used_percent() -> float:
    usage = shutil.disk_usage("/")
    return 100.0 * usage.used / usage.total


def disk_io_s(proc: Path) -> float:
    rows = (line.split() for line in (proc / "diskstats").read_text().splitlines())
    return sum(float(row[_BUSY_MS_COLUMN]) for row in rows if _WHOLE_DISK.fullmatch(row[2])) / 1000


def network_bytes(proc: Path, *, column: int) -> float:
    """All interfaces but the loopback; column 0 is received, 8 transmitted."""
    rows = (line.partition(":") for line in (proc / "net" / "dev").read_text().splitlines()[2:])
    return sum(float(counters.split()[column]) for name, _, counters in rows if name.strip() != "lo")


def _first_line(path: Path) -> str:
    with path.open() as lines:
        return lines.readline()


def _pairs(path: Path) -> Mapping[str, float]:
    return {key: float(value) for key, value in (line.split() for line in path.read_text().splitlines())}
