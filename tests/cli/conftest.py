"""The command line as people meet it: a folder, words, what is printed and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from toolgate.cli import main

ROOT = Path(__file__).resolve().parents[2]
Toolgate = Callable[..., Result]

DOCUMENT = """\
openapi: 3.1.0
info: {title: Shop, version: "1"}
servers: [{url: "https://shop.example/v1"}]
paths:
  /orders:
    get: {operationId: listOrders, responses: {"200": {description: ok}}}
    post:
      operationId: createOrder
      requestBody: {required: true, content: {application/json: {schema: {type: object}}}}
      responses: {"201": {description: ok}}
  /orders/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
    get: {operationId: getOrder, responses: {"200": {description: ok}}}
    delete: {operationId: deleteOrder, responses: {"204": {description: ok}}}
  /orders/search:
    post: {operationId: searchOrders, responses: {"200": {description: ok}}}
  /orders/{id}/refunds/purge:
    parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
    post: {operationId: purgeRefunds, responses: {"204": {description: ok}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory; no TOOLGATE_ variable is set."""
    for name in os.environ:
        if name.startswith("TOOLGATE_") or name == "NO_COLOR":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openapi.yaml").write_text(DOCUMENT)
    return tmp_path


@pytest.fixture
def toolgate(folder: Path) -> Toolgate:
    """Run a command in `folder`, in this process."""

    def run(*words: str, **environ: str) -> Result:
        return CliRunner().invoke(main, words, env=environ, prog_name="toolgate")

    return run


@pytest.fixture
def process(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in `folder`, as its own process."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "proxy")}
        command = [sys.executable, "-m", "toolgate.cli", *words]
        return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def project(toolgate: Toolgate, folder: Path) -> Path:
    """A folder that `init` has set up for the shop."""
    made = toolgate("init", "--openapi", "openapi.yaml", "--tool", "shop")
    assert made.exit_code == 0, made.output
    return folder
