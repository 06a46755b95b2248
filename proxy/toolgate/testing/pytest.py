"""A pytest plugin: every case of the policies' tests is a test. It is there for whoever asks for it:

    pytest -p toolgate.testing.pytest policies/tests

RULE: the runner of `toolgate test` decides and tells; pytest only collects and counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from toolgate.core.bundle import BundleError
from toolgate.load.casefile import FIXTURES
from toolgate.settings import Settings, load
from toolgate.testing.cases import Case, Suite, read_suite
from toolgate.testing.project import nameless, setting_of, tests_folder
from toolgate.testing.running import Served, Setting, run
from toolgate.testing.strangers import environments_of, strangers
from toolgate.testing.telling import told

_INI: Final = "toolgate_config"
_PROJECT: Final = pytest.StashKey["_Project"]()


@dataclass(slots=True)
class _Project:
    """The settings, and what was loaded for the cases so far."""

    settings: Settings
    folder: Path
    served: dict[str, Served] = field(default_factory=dict)

    def suite(self, path: Path) -> tuple[Suite, Setting]:
        """Read one file, and load what it is decided by. Raises BundleError."""
        suite = read_suite([path], self.folder)
        names, problems = environments_of(suite, self.settings.environment, self.settings.environments)
        if problems:
            raise BundleError(problems)
        setting = setting_of(self.settings, [name for name in names if name not in self.served])
        self.served.update(setting.served)
        problems = [*strangers(suite, self.served.values()), *nameless(suite, setting)]
        if problems:
            raise BundleError(problems)
        return suite, Setting(self.served, setting.environment, setting.anonymous)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        _INI, "The settings file of the policies to test, from pytest's root folder.", default="toolgate.yaml"
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.rootpath / str(config.getini(_INI))
    try:
        settings = load(config=path, environ=os.environ, cwd=config.rootpath).settings
    except BundleError as broken:
        raise pytest.UsageError(*map(str, broken.problems)) from None
    config.stash[_PROJECT] = _Project(settings, tests_folder(settings).absolute())


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    folder = parent.config.stash[_PROJECT].folder
    is_ours = file_path.suffix == ".yaml" and file_path.name != FIXTURES and file_path.is_relative_to(folder)
    return _File.from_parent(parent, path=file_path) if is_ours else None


class _File(pytest.File):
    def collect(self) -> Iterable[pytest.Item]:
        try:
            suite, setting = self.config.stash[_PROJECT].suite(self.path)
        except BundleError as broken:
            raise self.CollectError("\n".join(map(str, broken.problems))) from None
        return list(self._items(suite, setting))

    def _items(self, suite: Suite, setting: Setting) -> Iterator[pytest.Item]:
        for case in suite.cases:
            for environment in setting.serving(case):
                item: _Item = _Item.from_parent(self, name=f"{case.name} ({environment})")
                item.case = case
                item.setting = Setting(
                    {environment: setting.served[environment]}, setting.environment, setting.anonymous
                )
                yield item


class _Failed(Exception):  # noqa: N818 - pytest's way to end a test; never leaves this module
    pass


class _Item(pytest.Item):
    case: Case
    setting: Setting

    def runtest(self) -> None:
        for result in run(Suite((self.case,)), self.setting, lambda: 0.0):
            if not result.passed:
                raise _Failed("\n".join(told(result)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: str | None = None) -> str:
        if isinstance(excinfo.value, _Failed):
            return f"{self.case.file}:{self.case.line}: {excinfo.value}"
        return str(super().repr_failure(excinfo, style))  # type: ignore[arg-type]

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.case.line - 1, self.name
