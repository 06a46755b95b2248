"""The documentation says what is so.

RULE: whatever the product has that an operator or an agent meets (a code, a setting, a command, a metric) is documented,
what is generated is fresh, and an example that claims to run does.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from docs import generate
from tests.pages import PAGES, ROOT, Block, Session, agrees, blocks, commands
from tests.support.ports import free_port

from toolgate import cli
from toolgate.core.codes import CODES
from toolgate.core.model import Principal
from toolgate.core.plan import NO_RULES, Plan
from toolgate.core.planning import validated
from toolgate.load.bundle import Sources, load
from toolgate.settings import keys

DOCS = ROOT / "docs"
BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = {context.command_path: context.command for context in generate.walk(cli.main)}
ENVIRONMENTS = ("dev", "staging", "prod")
IN_A_CHECKOUT = ("README.md", "policies.md", "plans.md", "from-prompt-to-plan.md")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: the printed commands were not run")
RUNNING = [page for page in PAGES if any(block.mark == "runs" for block in blocks(page))]


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def of_language(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def event_kinds() -> list[str]:
    """The kinds of events the product writes, as its source names them."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "proxy").rglob("*.py"))]
    named = r'Event\(\s*"([A-Z]\w+)"|_note\("([A-Z]\w+)"|^[A-Z_]+(?:: Final)? = "((?:Writer|Journal|Bundle|Run|Plan|Approval)[A-Z]\w+)"'
    return sorted(
        {kind for source in sources for found in re.findall(named, source, re.MULTILINE) for kind in found if kind}
    )


# -- complete and fresh ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: page.name)
def test_generated_pages_are_fresh(page: Path) -> None:
    """A generated fragment is what the product would print now; `make docs` writes it."""
    assert page.read_text(encoding="utf-8") == generate.pages()[page]


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_documented(code: str) -> None:
    """Each code has its entry with its meaning and its hint."""
    assert f"### {code}\n" in text("errors.md")


@pytest.mark.parametrize("name", keys())
def test_every_setting_is_documented(name: str) -> None:
    """Each setting has its entry."""
    assert f"### `{name}`\n" in text("settings.md")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    """Each command has its entry."""
    assert f"## {name}\n" in text("cli.md")


@pytest.mark.parametrize("name", sorted({name for name, *_ in generate.metric_rows()}))
def test_every_metric_is_documented(name: str) -> None:
    """Each metric stands in the operations page."""
    assert f"`{name}`" in text("operations.md")


@pytest.mark.parametrize("kind", event_kinds())
def test_every_journal_event_is_documented(kind: str) -> None:
    """Each kind of event has its line in the decision log's page."""
    assert f"| `{kind}` |" in text("decision-log.md")


# -- true --------------------------------------------------------------------------------------------------


def test_metrics_named_in_prose_exist() -> None:
    """No page speaks of a metric that is not there."""
    known = {"toolgate_config", *(name for name, *_ in generate.metric_rows())}  # the one is a setting of pytest's
    named = {found for page in PAGES for found in re.findall(r"`(toolgate_[a-z_]+)`", page.read_text(encoding="utf-8"))}

    assert named - known == set()


def test_codes_named_in_prose_exist() -> None:
    """No page speaks of a code that is not there."""
    categories = "|".join(sorted({code.split(".")[0] for code in CODES} - {"tool"}))
    named = {
        found
        for page in PAGES
        for found in re.findall(rf"`((?:{categories})\.[a-z_]+)`", page.read_text(encoding="utf-8"))
    }

    assert {name for name in named if not name.endswith(".py")} - set(CODES) == set()


def test_commands_named_in_examples_exist() -> None:
    """Every `toolgate …` of a console block or in backticks is a command, with options it has."""
    wrong = [problem for line in mentioned() if (problem := misused(line))]

    assert wrong == []


def mentioned() -> Iterator[str]:
    for page in PAGES:
        written = page.read_text(encoding="utf-8")
        yield from re.findall(r"`(toolgate(?: [^`]+)?)`", written)
        yield from re.findall(r"^\$ (toolgate .*)$", written, re.MULTILINE)


def misused(line: str) -> str | None:
    words = re.split(r"[|&;)]|\$\(", line)[0].split()
    name, rest = "toolgate", words[1:]
    while rest and f"{name} {rest[0]}" in COMMANDS:
        name, rest = f"{name} {rest[0]}", rest[1:]
    command = COMMANDS[name]
    if isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z]+", rest[0]):
        return f"`{line}`: no command `{name} {rest[0]}`"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [w.split("=")[0] for w in rest if re.match(r"--?[a-z]", w) and w.split("=")[0] not in known | {"--help"}]
    return f"`{line}`: `{name}` has no {', '.join(unknown)}" if unknown else None


def test_links_lead_somewhere() -> None:
    """Every relative link names a file, and an anchor in it if it has one."""
    broken = [f"{page.relative_to(ROOT)}: {link}" for page in PAGES for link in links(page) if not leads(page, link)]

    assert broken == []


def links(page: Path) -> list[str]:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", link)]


def leads(page: Path, link: str) -> bool:
    name, _, fragment = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists():
        return False
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if fragment else []
    anchors = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return not fragment or fragment in anchors


def test_make_targets_named_in_prose_exist() -> None:
    """No page speaks of a make target that is not there."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {found for page in PAGES for found in re.findall(r"`make ([a-z0-9-]+)", page.read_text(encoding="utf-8"))}

    assert named - targets == set()


# -- examples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", of_language("yaml"), ids=str)
def test_yaml_examples_are_yaml(block: Block) -> None:
    """A YAML example parses."""
    assert yaml.safe_load(block.text) is not None


@pytest.mark.parametrize("block", of_language("json"), ids=str)
def test_json_examples_are_json(block: Block) -> None:
    """A JSON example parses."""
    assert json.loads(block.text) is not None


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "toolspec"], ids=str)
def test_toolspec_examples_load(block: Block, tmp_path: Path) -> None:
    """A whole tool.yaml in the documentation loads beside the worked example's documents, in each of its environments."""
    folder = tmp_path / "toolspecs" / "metrics"
    shutil.copytree(ROOT / "toolspecs" / "metrics", folder)
    (folder / "tool.yaml").write_text(block.text, encoding="utf-8")

    for environment in ("dev", "prod"):
        bundle = load(Sources(tmp_path / "toolspecs", None, environment, ("dev", "prod")))
        assert set(bundle.tools) == {"metrics"}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "overlay"], ids=str)
def test_overlay_examples_apply(block: Block, tmp_path: Path) -> None:
    """An overlay in the documentation applies to the worked example's document."""
    folder = tmp_path / "toolspecs" / "metrics"
    shutil.copytree(ROOT / "toolspecs" / "metrics", folder)
    (folder / "overlay.yaml").write_text(block.text, encoding="utf-8")
    written = (folder / "tool.yaml").read_text(encoding="utf-8")
    (folder / "tool.yaml").write_text(f"{written}\noverlays: [overlay.yaml]\n", encoding="utf-8")

    bundle = load(Sources(tmp_path / "toolspecs", None, "prod", ENVIRONMENTS))

    assert bundle.catalog.operations["metrics.removeMetric"].effect == "destructive"


@pytest.mark.parametrize("block", [block for block in of_language("cedar") if block.mark != "file"], ids=str)
def test_policy_examples_load(block: Block, tmp_path: Path) -> None:
    """Statements in the documentation fit the worked example's tools, in each of its environments."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "example.cedar").write_text(block.text, encoding="utf-8")

    for environment in ENVIRONMENTS:
        bundle = load(Sources(ROOT / "toolspecs", policies, environment, ENVIRONMENTS))
        assert block.text.count("@id(") == len(bundle.policies.statements)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "budgets"], ids=str)
def test_budget_examples_load(block: Block, tmp_path: Path) -> None:
    """Budgets in the documentation fit the worked example's tools, in each of its environments."""
    policies = shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (policies / "budgets.yaml").write_text(block.text, encoding="utf-8")

    for environment in ENVIRONMENTS:
        bundle = load(Sources(ROOT / "toolspecs", policies, environment, ENVIRONMENTS))
        assert block.text.count("name: ") == len(bundle.budgets.budgets) + len(bundle.budgets.limits)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "plans"], ids=str)
def test_plan_rules_load(block: Block, tmp_path: Path) -> None:
    """Rules of plans in the documentation fit the worked example's tools, in each of its environments."""
    policies = shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (policies / "plans.yaml").write_text(block.text, encoding="utf-8")

    for environment in ENVIRONMENTS:
        assert load(Sources(ROOT / "toolspecs", policies, environment, ENVIRONMENTS)).plans is not NO_RULES


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "plan"], ids=str)
def test_plan_examples_would_be_locked(block: Block) -> None:
    """A plan in the documentation is accepted by the worked example's gate."""
    bundle = load(Sources(ROOT / "toolspecs", ROOT / "policies", "prod", ENVIRONMENTS))

    assert isinstance(validated(json.loads(block.text), Principal("metrics-digest", ("digest",)), bundle), Plan)


@needs_curl
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.name)
def test_console_examples_run(page: Path, tmp_path: Path) -> None:
    """The console blocks of a page run one after the other, and say what is printed under them.

    Some pages' reader is in a checkout; every other page's is in an empty folder beside the examples.
    """
    session = Session(tmp_path, {port: str(free_port()) for port in ("8400", "8401", "8402", "8410", "8490")})
    copied = ("examples", "toolspecs", "policies") if page.name in IN_A_CHECKOUT else ("examples",)
    for name in copied:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    if page.name in IN_A_CHECKOUT:
        shutil.copy(ROOT / "toolgate.yaml", tmp_path)
        for toolspec in tmp_path.glob("toolspecs/*/tool.yaml"):
            toolspec.write_text(session.here(toolspec.read_text(encoding="utf-8")), encoding="utf-8")
    try:
        for block in blocks(page):
            perform(block, session)
    finally:
        session.close()


def perform(block: Block, session: Session) -> None:
    match block.mark:
        case "file":
            session.write(block.rest, block.text)
        case "runs":
            for command, printed in commands(block):
                said = session.run(command)
                assert agrees(printed, said), f"{block}\n$ {command}\n--- printed\n{printed}\n--- said\n{said}"
            if block.rest:
                session.until_answered(block.rest)
        case _:
            pass
