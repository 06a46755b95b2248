"""The vendors' documents: every operation of every one is loaded, matched and found again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from toolgate.core.catalog import Catalog, Found
from toolgate.load.report import check_document

from .conftest import Project

COUNTS = {
    "alertmanager-swagger2.yaml": 9,
    "box.json": 296,
    "github.json": 1223,
    "kubernetes-swagger2.json": 826,
    "openai.yaml": 288,
    "petstore.yaml": 19,
    "prometheus-3.1.yaml": 49,
    "stripe.yaml": 468,
}
_MEASURE = """
import json, sys, time
start = time.perf_counter()
from pathlib import Path
from toolgate.load.bundle import Sources, load
bundle = load(Sources(Path(sys.argv[1]), None, "prod", ("prod",)))
seconds = time.perf_counter() - start
# not ru_maxrss: that remembers the process this one was forked from
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"operations": len(bundle.catalog.allowed), "seconds": seconds,
                  "mib": int(peak.split()[1]) / 1024}))
"""


def catalog_of(project: Project, path: Path) -> Catalog:
    folder = project.root / "toolspecs" / "vendor"
    folder.mkdir()
    (folder / path.name).write_bytes(path.read_bytes())
    tool = f'tool: vendor\nopenapi: {path.name}\nenvironments: {{prod: {{upstream: "http://a", allow: ["*"]}}}}\n'
    return project.write({"toolspecs/vendor/tool.yaml": tool}).load().catalog


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_every_operation_is_loaded_and_found_by_its_own_path(
    project: Project, specs: Path, name: str, count: int
) -> None:
    """A request made from an operation's template means that operation, by path and by both its names."""
    catalog = catalog_of(project, specs / name)
    assert count == len(catalog.operations) == len(catalog.allowed) == len(catalog.by_name)
    lost = []
    for operation in catalog.operations.values():
        path, _, query = operation.path.partition("#")[0].partition("?")
        found = catalog.find(operation.method, re.sub(r"\{[^{}]*\}", "7x", path), query)
        if not isinstance(found, Found) or operation not in found.operations:
            lost.append(operation.key)
        assert operation is catalog.named(operation.key)
        assert operation is catalog.named(operation.name)
    assert [] == lost


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_every_document_passes_check_with_its_full_count(specs: Path, name: str, count: int) -> None:
    """Nothing in a vendor's document is a problem; what is not enforced is noted."""
    assert count == check_document(specs / name).operations


def test_the_largest_document_is_ready_within_its_memory(project: Project, specs: Path) -> None:
    """13 MB of JSON to a ready bundle in a fresh process: under 200 MB with every import (DESIGN §16).

    It takes 0.7 s on a quiet core and 100 MB. The time is printed (`-rP`), not asserted: this machine may be busy.
    """
    catalog_of(project, specs / "github.json")
    command = [sys.executable, "-c", _MEASURE, str(project.root / "toolspecs")]
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "proxy"), "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    measured = json.loads(done.stdout)
    assert 1223 == measured["operations"]
    assert measured["mib"] < 200
    print(f"github.json: {measured['seconds']:.2f} s, {measured['mib']:.0f} MiB")  # noqa: T201 (a figure for a reader)
