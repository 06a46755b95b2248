"""How results of cases are printed: a tree of files and notes, each failure with its reasons, then what is untested.

RULE: a failure is told where it stands in the tree, with everything needed to mend it; what passed takes one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from toolgate.cli import console
from toolgate.cli.console import counted, paint, printable

if TYPE_CHECKING:
    from toolgate.testing.coverage import Coverage
    from toolgate.testing.running import Result

_LISTED: Final = 12  # names of what is untested, on one line


def tell(results: Sequence[Result], coverage: Coverage | None, left_out: int) -> None:
    """Print the results, as a tree or as JSON."""
    if console.wants_json():
        console.emit(_json(results, coverage, left_out))
        return
    for line in _tree(results):
        console.say(line)
    if coverage is not None:
        for line in _coverage_lines(coverage):
            console.say(line)
    if left_out:
        console.note(f"{counted(left_out, 'case')} of other environments left out")
    console.say(_sum(results))


def _tree(results: Sequence[Result]) -> Iterator[str]:
    for file, in_file in groupby(results, key=lambda result: result.case.file):
        yield paint(printable(file), "bold")
        for _, of_case in groupby(in_file, key=lambda result: result.case.written.steps):
            yield from _case_lines(tuple(of_case))
        yield ""


def _case_lines(results: Sequence[Result]) -> Iterator[str]:
    """One written case: every combination and environment it was decided in; only what failed is told apart."""
    failed = [result for result in results if not result.passed]
    case = results[0].case
    note = printable(case.note)
    if not failed:
        ways = f" ({len(results):,} ways)" if len(results) > 1 else ""
        yield f"  {paint('ok', 'green')}      {note}{paint(ways, 'dim')}"
        return
    ways = f"{len(failed):,} of {len(results):,} ways, " if len(results) > 1 else ""
    yield f"  {paint('FAILED', 'red')}  {note} {paint(f'({ways}line {case.line})', 'dim')}"
    for result in failed:
        yield from _failure_lines(result)


def _failure_lines(result: Result) -> Iterator[str]:
    from toolgate.testing.telling import told  # noqa: PLC0415 - the loader; `--help` does without

    chosen = f" [{result.case.label}]" if result.case.label else ""
    yield printable(f"    in {result.environment}{chosen}")
    yield from (f"      {printable(line)}" for line in told(result))


def _sum(results: Sequence[Result]) -> str:
    failed = sum(not result.passed for result in results)
    if failed:
        return f"{paint('failed', 'red')}: {failed:,} of {counted(len(results), 'case')}"
    return f"{paint('ok', 'green')}: {counted(len(results), 'case')}"


def _coverage_lines(coverage: Coverage) -> Iterator[str]:
    count = len(coverage.statements)
    yield f"statements: {count - len(coverage.uncovered):,} of {count:,} decided a case ({coverage.percent} %)"
    for each in coverage.uncovered:
        yield f"  {printable(each.file)}:{each.line}: {each.effect} `{printable(each.id)}` never did"
    yield from _counted_lines("codes", coverage.codes, "occurred")
    yield from _counted_lines("operations", coverage.operations, "asked for")
    yield ""


def _counted_lines(what: str, counts: Mapping[str, int], verb: str) -> Iterator[str]:
    never = [name for name, count in counts.items() if not count]
    yield f"{what}: {len(counts) - len(never):,} of {len(counts):,} {verb}"
    if never:
        more = f" and {len(never) - _LISTED:,} more" if len(never) > _LISTED else ""
        yield f"  never: {printable(', '.join(never[:_LISTED]))}{more}"


def _json(results: Sequence[Result], coverage: Coverage | None, left_out: int) -> dict[str, Any]:
    from toolgate.testing.telling import result_json  # noqa: PLC0415 - the loader; `--help` does without

    failed = sum(not result.passed for result in results)
    shown: dict[str, Any] = {"passed": len(results) - failed, "failed": failed, "left_out": left_out}
    shown["cases"] = [result_json(result) for result in results]
    if coverage is not None:
        shown["coverage"] = {
            "percent": coverage.percent,
            "statements": coverage.statements,
            "codes": coverage.codes,
            "operations": coverage.operations,
        }
    return shown
