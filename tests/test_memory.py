"""What a loaded process gives back: code nobody has changed, and nothing else; and it goes on as before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.world import ROOT
from tests.support import home
from tests.support.gate import Gate
from tests.support.scenes import served
from tests.support.waiting import until

from toolgate.app.memory import Stretch, clean_code

_FIGURES = {"Rss": 64, "Private_Clean": 64, "Shared_Dirty": 0, "Private_Dirty": 0, "Anonymous": 0, "Swap": 0}
LIBRARY = "260386                     /usr/lib/lib one.so"
_LINUX = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="what is mapped is read from Linux")
_ONLY_IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
import toolgate.app, toolgate.cli.serve
print(next(line for line in open("/proc/self/status") if line.startswith("RssFile:")).split()[1])
"""


def mapping(allowed: str, file: str, **figures: int) -> str:
    """One mapping as the kernel tells it."""
    shown = "".join(f"{name}: {kb:>14} kB\n" for name, kb in (_FIGURES | figures).items())
    return f"7f0000010000-7f0000020000 {allowed} 00001000 fe:00 {file}\n{shown}VmFlags: rd ex mr mw me\n"


def test_clean_code_is_given_back() -> None:
    """Also of a file that was replaced since: the old one stays while it is mapped."""
    told = mapping("r-xp", LIBRARY) + mapping("rw-p", LIBRARY) + mapping("r-xp", f"{LIBRARY} (deleted)")

    assert [Stretch(0x7F0000010000, 0x10000)] * 2 == list(clean_code(told))


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(mapping("rw-p", LIBRARY), id="data"),
        pytest.param(mapping("rwxp", LIBRARY), id="code that may change"),
        pytest.param(mapping("r-xs", LIBRARY), id="shared with who may change it"),
        pytest.param(mapping("r--p", LIBRARY), id="constants"),
        pytest.param(mapping("r-xp", LIBRARY, Private_Dirty=4), id="code that was changed"),
        pytest.param(mapping("r-xp", LIBRARY, Shared_Dirty=4), id="changed before a fork"),
        pytest.param(mapping("r-xp", LIBRARY, Anonymous=8), id="copied"),
        pytest.param(mapping("r-xp", LIBRARY, Swap=4), id="changed and swapped out"),
        pytest.param(mapping("r-xp", "0                          [vdso]"), id="the kernel's"),
        pytest.param(mapping("r-xp", "0"), id="made while running"),
        pytest.param(mapping("r-xp", LIBRARY).replace("Anonymous", "Anon"), id="a kernel that tells less"),
        pytest.param("", id="nothing told"),
        pytest.param("7f00-8000 r-xp\nRss: \x00", id="nonsense"),
    ],
)
def test_what_no_file_holds_stays(told: str) -> None:
    """To give that back would lose it."""
    assert [] == list(clean_code(told))


@_LINUX
def test_a_gate_at_rest_keeps_less_code_than_its_imports_read(tmp_path: Path) -> None:
    """After its start and after a reload; calls before, between and after are answered."""
    command = [sys.executable, "-c", _ONLY_IMPORTS, str(ROOT / "proxy")]
    imported_kb = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with served(tmp_path / "home") as scene:
        gate = scene.gate
        assert gate.status("RssFile") < imported_kb
        assert_answers(gate)
        busy_kb = gate.status("RssFile")
        home.write(gate.home / "toolspecs" / "store" / "tool.yaml", home.tool(scene.upstream.url, allow=["getItem"]))
        until(lambda: gate.bundles_loaded == 2, "the other bundle serves")

        assert gate.status("RssFile") < busy_kb
        assert_answers(gate)
        assert gate.stop() == 0


def assert_answers(gate: Gate) -> None:
    assert [gate.call("GET", f"/store/items/plain-{number}").status for number in range(20)] == [200] * 20
