"""The pytest plugin: cases are tests for whoever asks for it, decided and told as `toolgate test` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPENAPI = """\
openapi: 3.1.0
info: {title: Shop, version: "1"}
paths:
  /orders: {get: {operationId: listOrders, responses: {"200": {description: ok}}}}
"""
TOOL = "tool: shop\nopenapi: openapi.yaml\nenvironments: {dev: {upstream: 'http://d', allow: ['*']}, prod: {upstream: 'http://p', allow: ['*']}}\n"  # fmt: skip
POLICY = '@id("in-dev")\npermit (principal, action, resource) when { context.environment == "dev" };\n'
CASES = """\
environment: all
cases:
  - {note: reads, call: {operation: shop.listOrders}, want: {permit: true}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "toolgate.yaml": "environment: prod\nenvironments: [dev, prod]\n",
        "toolspecs/shop/tool.yaml": TOOL,
        "toolspecs/shop/openapi.yaml": OPENAPI,
        "policies/shop.cedar": POLICY,
        "policies/tests/fixtures.yaml": "principals: {ann: {}}\n",
        "policies/tests/cases.yaml": CASES,
        "policies/tests/test_beside.py": "def test_beside(): pass\n",
        "elsewhere.yaml": "no: case\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "policies/tests/test_beside.py").rename(tmp_path / "test_beside.py")
    return tmp_path


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOOLGATE_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--rootdir", ".", *words]
    environ = {**kept, "PYTHONPATH": str(ROOT / "proxy")}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_every_case_is_a_test(project: Path) -> None:
    """One per environment, with its line, beside the project's own tests; a failure is told as the command tells it."""
    done = run_pytest(project, "-p", "toolgate.testing.pytest")

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert "FAILED policies/tests/cases.yaml::reads (prod)" in done.stdout
    assert "policies/tests/cases.yaml:3: permit: wanted true, came false\n" in done.stdout
    assert 'nearly: `in-dev` would permit it, but for `context.environment == "dev"`' in done.stdout


def test_nobody_gets_it_unasked(project: Path) -> None:
    """Installing the product changes nothing of what pytest collects."""
    done = run_pytest(project)

    assert (0, True) == (done.returncode, "1 passed" in done.stdout)


def test_what_cannot_be_loaded_is_an_error(project: Path) -> None:
    """A broken case file or policy, and settings that are not there, end the run: nothing is skipped silently."""
    (project / "policies/tests/cases.yaml").write_text(CASES.replace("want", "wnat"))
    broken = run_pytest(project, "-p", "toolgate.testing.pytest")
    (project / "toolgate.yaml").unlink()
    absent = run_pytest(project, "-p", "toolgate.testing.pytest")

    assert 0 != broken.returncode
    assert "the key `wnat` is not known; did you mean `want`?" in broken.stdout
    assert 4 == absent.returncode
    assert "toolgate.yaml" in absent.stderr
