"""Writes the generated parts of the documentation: `make docs`, or `--check` to say what is stale.

RULE: a page is prose with fragments between `<!-- generated:NAME -->` and `<!-- /generated -->`; each fragment is made
from the product itself (its table of codes, its models, its commands, its metrics), never typed.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from docs import plan_tools

from toolgate import cli, metrics
from toolgate.core.budget import Budget
from toolgate.core.codes import CODES, Code
from toolgate.core.model import Charge, Permit, Settlement
from toolgate.core.spending import spending
from toolgate.settings import reference
from toolgate.situation import Reading

DOCS = Path(__file__).resolve().parent
PRODUCT = DOCS.parent / "proxy" / "toolgate"
FRAGMENT = re.compile(r"(<!-- generated:(?P<name>[a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
WIDTH = 100  # of a command's help
INHERITED = ("max_body", "max_response", "timeout_s", "idle_timeout_s", "validate_responses")
CATEGORIES = {
    "request": "The wire",
    "auth": "Authentication",
    "run": "Runs",
    "tool": "What exists here",
    "environment": "The environment",
    "arguments": "Arguments",
    "policy": "Policy",
    "plan": "Plans and sub-runs",
    "approval": "Approvals",
    "loop": "Loops",
    "budget": "Budgets",
    "limit": "Limits",
    "upstream": "The upstream",
    "gateway": "The gate",
    "internal": "Defects",
}


def main(arguments: list[str]) -> int:
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(DOCS.parent)}: stale: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


def pages() -> dict[Path, str]:
    """Every page that has fragments, and the files that are generated whole, as they should be."""
    prose = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    mixed = {path: filled(text) for path, text in prose.items() if FRAGMENT.search(text)}
    return mixed | {DOCS / "settings.md": reference.as_markdown()} | plan_tools.files()


def filled(page: str) -> str:
    return FRAGMENT.sub(lambda found: f"{found[1]}{FRAGMENTS[found['name']]().strip()}\n{found[3]}", page)


# -- errors ------------------------------------------------------------------------------------------------


def error_index() -> str:
    rows = (
        f"| [`{c.code}`](#{anchor(c)}) | {c.title} | {c.status} | {c.who} | {yes(c.retryable)} |"
        for c in CODES.values()
    )
    return table("| code | title | HTTP | who can fix it | retry unchanged |", rows)


def error_entries() -> str:
    lines: list[str] = []
    for category, heading in CATEGORIES.items():
        lines += [f"## {heading}", ""]
        for code in CODES.values():
            if code.code.split(".")[0] == category:
                lines += error_entry(code)
    return "\n".join(lines)


def error_entry(code: Code) -> Iterator[str]:
    yield f"### {code.code}"
    yield ""
    yield f"`{code.title}` · HTTP {code.status} · {code.who} can fix it · action `{code.action}`"
    yield ""
    yield f"{code.meaning[0].upper()}{code.meaning[1:]}."
    yield f"Hint: *{code.hint}*"
    yield ""


def anchor(code: Code) -> str:
    return re.sub(r"[^a-z0-9_-]", "", code.code.lower())


# -- commands ----------------------------------------------------------------------------------------------


def commands() -> str:
    return "\n".join(line for context in walk(cli.main) for line in command_entry(context))


def walk(command: click.Command, above: click.Context | None = None) -> Iterator[click.Context]:
    """Every command, each in its context: its own, then those under it."""
    context = command.make_context(command.name, [], parent=above, resilient_parsing=True)
    context.terminal_width = WIDTH
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from walk(found, context)


def command_entry(context: click.Context) -> Iterator[str]:
    yield from (f"## {context.command_path}", "", "```text", context.get_help().rstrip(), "```", "")


# -- metrics -----------------------------------------------------------------------------------------------


def metric_table() -> str:
    rows = (f"| `{name}` | {kind} | {labels} | {meaning} |" for name, kind, labels, meaning in sorted(metric_rows()))
    return table("| metric | kind | labels | what |", rows)


def metric_rows() -> Iterator[tuple[str, str, str, str]]:
    """The families that are always there, and those the composition root registers by name."""
    for family in metrics.Metrics(Silent()).collect():
        yield exposed(family.name, family.type), family.type, ", ".join(label_names(family.name)), family.documentation
    for path in sorted(PRODUCT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="gauge" | "counter" as kind),
                    args=[ast.Constant(value=str(name)), ast.Constant(value=str(meaning)), *_],
                ):
                    yield exposed(name, kind), kind, "", meaning
                case _:
                    pass


def exposed(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def label_names(family: str) -> tuple[str, ...]:
    """The labels of a family with one of everything in it."""
    full = metrics.Metrics(Silent())
    full.ended("tool.operation", "completed", 0.1, 0.1)
    full.wire_refused("agent", "request.framing")
    full.flipped("tool.operation", "refuse")
    full.catalogues = lambda: (Reading("tool", "Type", 1, 1.0, {"changed": 1}),)
    full.authenticated("corp", "verified")
    full.key_ages_s = lambda: {"corp": 1.0}
    full.serving("sha256:0", "prod", "0")
    full.settled(Permit(None, (Charge("b:budget:usd:run", 1, 1),)), Settlement())  # which call it was is not counted
    full.short("b:budget:usd:run")
    full.short("r:limit:principal")
    full.tally.standing = spending((Budget("budget", ("run",), "usd", 1),), {}, 0, 1)
    full.run_stopped("loop.repeated_refusal")
    samples = next(found.samples for found in full.collect() if found.name == family)
    return tuple(label for label in samples[0].labels if label != "le") if samples else ()


class Silent:
    def error(self, event: str, **data: object) -> None:
        """Nothing is logged while the pages are written."""


# -- toolspec ----------------------------------------------------------------------------------------------


def toolspec_keys() -> str:
    """Every key of tool.yaml, out of the JSON Schema that `toolgate schema toolspec` prints."""
    schema = json.loads(CliRunner().invoke(cli.main, ["schema", "toolspec"]).stdout)
    return table("| key | what |", (f"| `{key}` | {meaning} |" for key, meaning in keys(schema, schema, "")))


def keys(schema: Any, root: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for name, found in sorted(schema.get("properties", {}).items(), key=lambda item: item[0] in INHERITED):
        key = f"{prefix}.{name}" if prefix else name
        yield key, " ".join(str(found.get("description", "")).split()).replace("|", "\\|")
        for branch in branches(found, root):
            yield from keys(branch, root, key)
            for suffix, inner in members(branch):
                for entry in branches(inner, root):
                    yield from keys(entry, root, key + suffix)


def members(schema: Any) -> Iterator[tuple[str, Any]]:
    """The schemas of what a mapping or a list holds, each with how a key under it is written."""
    named = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
    yield from ((".*", inner) for inner in named if isinstance(inner, dict))
    yield from (("[]", inner) for inner in [schema.get("items")] if isinstance(inner, dict))


def branches(schema: Any, root: Any) -> list[Any]:
    """What a schema may be: its references resolved, its alternatives apart."""
    if "$ref" in schema:
        return branches(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    alternatives = schema.get("anyOf", []) + schema.get("oneOf", [])
    return [one for found in alternatives for one in branches(found, root)] or [schema]


def table(head: str, rows: Iterable[str]) -> str:
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])


def yes(condition: Any) -> str:
    return "yes" if condition else "no"


def cedar_schema() -> str:
    """Two operations of the worked example, as `toolgate schema cedar` prints them."""
    config = str(DOCS.parent / "toolgate.yaml")
    actions = ["--action", "metrics.removeMetric", "--action", "reports.publish"]
    shown = CliRunner().invoke(cli.main, ["schema", "cedar", "--config", config, *actions]).stdout
    return f"```cedarschema\n{shown.strip()}\n```"


FRAGMENTS: dict[str, Callable[[], str]] = {
    "cedar-schema": cedar_schema,
    "error-index": error_index,
    "errors": error_entries,
    "commands": commands,
    "metrics": metric_table,
    "toolspec": toolspec_keys,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
