"""Results as JUnit XML, the form every CI reads: a suite per file, a test case per case and environment.

RULE: what cases and policies say is data: characters XML cannot hold are written as their escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final
from xml.etree import ElementTree as ET  # XML is written here, never read

from toolgate.testing.running import Result
from toolgate.testing.telling import told

# https://www.w3.org/TR/xml/#charsets
_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(results: Sequence[Result]) -> bytes:
    """Return the document."""
    root = ET.Element("testsuites", _counts("toolgate", results))
    for file, group in groupby(results, key=lambda result: result.case.file):
        members = list(group)
        suite = ET.SubElement(root, "testsuite", _counts(file, members))
        for result in members:
            _add_case(suite, result)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _add_case(suite: ET.Element, result: Result) -> None:
    case = result.case
    name = f"{case.name} ({result.environment})"
    attributes = {
        "name": name,
        "classname": case.file.removesuffix(".yaml").replace("/", "."),
        "file": case.file,
        "line": str(case.line),
        "time": _seconds([result]),
    }
    element = ET.SubElement(suite, "testcase", {key: _writable(value) for key, value in attributes.items()})
    if not result.passed:
        lines = [_writable(line) for line in told(result)]
        failure = ET.SubElement(element, "failure", {"message": lines[0], "type": "decision"})
        failure.text = "\n".join(lines)


def _counts(name: str, results: Sequence[Result]) -> dict[str, str]:
    failed = sum(not result.passed for result in results)
    return {
        "name": _writable(name),
        "tests": str(len(results)),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
        "time": _seconds(results),
    }


def _seconds(results: Iterable[Result]) -> str:
    return f"{sum(result.elapsed_s for result in results):.6f}"


def _writable(text: str) -> str:
    return _UNWRITABLE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
