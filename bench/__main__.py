"""One command, one run: `python -m bench` measures, prints the table and keeps every figure as JSON.

RULE: it reports and does not judge, unless `--strict` asks for an exit code.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.report import table, with_results
from bench.run import FULL, QUICK, run


def main() -> int:
    options = _options()
    report = run(QUICK if options.quick else FULL, with_gate=not options.bare_only, only=options.only)
    if not (report.measured or report.runs):
        print(f"no case has `{options.only}` in its name", file=sys.stderr)
        return 2
    print(table(report))
    if options.page:
        options.page.write_text(with_results(options.page.read_text(), report))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return 1 if options.strict and report.missed() else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gate beside a bare pass-through.")
    parser.add_argument("--quick", action="store_true", help="within a minute: fewer rounds, two sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement to FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between the marks of FILE")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--bare-only", action="store_true", help="measure the pass-through alone")
    parser.add_argument(
        "--only", default="", metavar="NAME", help="only what has NAME in its name: cases, or `open runs`"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
