"""A small project in a folder of its own: files in, bundle or problems out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from toolgate.core.bundle import Bundle, BundleError, Problem
from toolgate.load.bundle import Sources, load

ENVIRONMENTS = ("dev", "staging", "prod")

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Metrics", "version": "1"},
    "servers": [{"url": "https://metrics.example/v1"}],
    "paths": {
        "/metrics": {
            "get": {"operationId": "listMetrics", "summary": "List.", "responses": {"200": {"description": "ok"}}}
        },
        "/cluster": {
            "post": {
                "operationId": "queryCluster",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"type": "object", "properties": {"metric": {"type": "string"}}}}
                    },
                },
                "responses": {"200": {"description": "ok"}},
            }
        },
        "/metrics/{name}": {
            "delete": {
                "operationId": "removeMetric",
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"204": {"description": "gone"}},
            }
        },
    },
}


def document(**changes: object) -> str:
    return json.dumps({**DOCUMENT, **changes})


class Project:
    """Writes files below a folder and loads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "toolspecs").mkdir(parents=True)

    def write(self, files: Mapping[str, str]) -> Project:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return self

    def sources(self, environment: str = "prod", environments: tuple[str, ...] = ENVIRONMENTS) -> Sources:
        return Sources(self.root / "toolspecs", self.root / "policies", environment, environments)

    def load(self, environment: str = "prod") -> Bundle:
        return load(self.sources(environment))

    def problems(self, environment: str = "prod") -> list[tuple[str, int, str, str]]:
        try:
            self.load(environment)
        except BundleError as error:
            return [self._short(each) for each in error.problems]
        return []

    def _short(self, problem: Problem) -> tuple[str, int, str, str]:
        root = f"{self.root}/"
        return problem.path.removeprefix(root), problem.line, problem.code, problem.message.replace(root, "")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def metrics(project: Project) -> Project:
    """A project with one tool and its document; the test writes `tool.yaml`."""
    return project.write({"toolspecs/metrics/openapi.json": document()})
