"""`toolgate journal` and `toolgate runs` over a real journal: what a person and a program read of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from toolgate import ledger as ledgers
from toolgate.cli.telling import asked
from toolgate.core import runs
from toolgate.core.journal import timestamp
from toolgate.core.mask import mask, mask_key, patterns
from toolgate.core.model import Call, Event, Freeze, Named, OpenedRun, Principal
from toolgate.keys import mask_file, mask_secret

ROOT = Path(__file__).resolve().parents[2]
NOW_MS = 1_795_365_757_000
Toolgate = Callable[..., Result]

REMOVED = {
    "number": 2,
    "principal": "digest",
    "roles": [],
    "environment": "prod",
    "operation": "metrics.removeMetric",
    "effect": "destructive",
    "reason": 'metric appears "outdated"\x1b[2J',
    "arguments": {"name": "node_cpu_throttle_time_seconds"},
    "decision": "refuse",
    "stage": "policy",
    "code": "tool.disallowed",
    "detail": "critical metric; removal prohibited",
    "hint": "Keep the metric.",
    "violations": [{"path": "/name", "keyword": "x", "message": "no", "expected": None}],
}
QUERIED = {
    "number": 1,
    "principal": "digest",
    "environment": "prod",
    "operation": "metrics.queryCluster",
    "effect": "read",
    "arguments": {"body": {"cluster": "eu-1", "token": {"$masked": "00ff"}}},
    "decision": "permit",
}
FINISHED = {
    "operation": "metrics.queryCluster",
    "outcome": "completed",
    "status": 200,
    "sent": "yes",
    "latency_ms": 12.5,
}


async def written(path: Path, *events: tuple[str, dict[str, Any], str | None]) -> None:
    ticks = itertools.count(NOW_MS, 1000)
    ledger = ledgers.open(f"sqlite://{path}", clock=lambda: next(ticks))
    run, _ = ledger.next_in_run(Call("", NOW_MS, Principal("digest"), Named("", {})))
    for kind, data, call in events:
        await ledger.append(Event(kind, next(ticks), data, call, run))
    await ledger.close()


@pytest.fixture
def journal(folder: Path) -> Path:
    """A permitted call that completed, a refused one, and one whose request could not be matched."""
    unknown = {
        "number": 3,
        "principal": "digest",
        "environment": "prod",
        "operation": None,
        "method": "GET",
        "path": "/x\x07",
        "decision": "refuse",
        "code": "tool.unknown",
        "detail": "no",
    }
    failed = {**QUERIED, "number": 4}
    events = (
        ("Decided", QUERIED, "C1"),
        ("Finished", FINISHED, "C1"),
        ("Decided", REMOVED, "C2"),
        ("Decided", unknown, "C3"),
        ("Decided", failed, "C4"),
        (
            "Finished",
            {
                "operation": "metrics.queryCluster",
                "outcome": "failed",
                "code": "upstream.timeout",
                "detail": "late",
                "sent": "unknown",
            },
            "C4",
        ),
    )
    asyncio.run(written(folder / "ledger.db", *events))
    (folder / "toolgate.yaml").write_text("environment: prod\nledger: sqlite:ledger.db\n")
    return folder / "ledger.db"


def test_a_run_is_told_as_numbered_steps(toolgate: Toolgate, journal: Path) -> None:
    """The call, the agent's own reason, the ruling, the way forward and the outcome."""
    shown = toolgate("runs", "show")
    run = json.loads(toolgate("runs", "list", "--json").stdout)["runs"][0]["run"]

    assert journal.is_file()
    assert shown.exit_code == 0
    assert shown.output.partition("\n")[0].startswith(f"Run {run}  digest  prod  2026-11-22 16:4")
    assert shown.output.partition("\n")[0].endswith("  4 calls, 2 refused")
    assert shown.output.partition("\n\n")[2] == (
        'Step 1: queryCluster(cluster="eu-1", token=[masked])\n'
        "  ruling   permitted\n"
        "  outcome  completed with status 200 in 12.5 ms\n"
        "\n"
        'Step 2: removeMetric("node_cpu_throttle_time_seconds")\n'
        '  reason   "metric appears "outdated"\\x1b[2J"\n'
        "  ruling   BLOCKED tool.disallowed: critical metric; removal prohibited\n"
        "           /name: no\n"
        "  hint     Keep the metric.\n"
        "  outcome  not sent\n"
        "\n"
        "Step 3: GET /x\\x07\n"
        "  ruling   BLOCKED tool.unknown: no\n"
        "  outcome  not sent\n"
        "\n"
        'Step 4: queryCluster(cluster="eu-1", token=[masked])\n'
        "  ruling   permitted\n"
        "  outcome  upstream.timeout: late (sent: unknown)\n"
    )


def test_what_audit_lets_pass_is_told(toolgate: Toolgate, folder: Path) -> None:
    """A trial is read from the journal, so its lines say what would have been, and by which statement."""
    refuse = {"decision": "refuse", "code": "policy.denied", "statements": ["few-lines"]}
    permit = {"decision": "permit", "code": None, "statements": ["trial-a", "trial-b"]}
    events = (
        ("Decided", {**QUERIED, "would": refuse}, "C1"),
        ("Decided", {**REMOVED, "reason": None, "violations": [], "would": permit}, "C2"),
    )
    asyncio.run(written(folder / "ledger.db", *events))
    (folder / "toolgate.yaml").write_text("environment: prod\nledger: sqlite:ledger.db\n")
    run = toolgate("runs", "show").output
    listed = toolgate("journal", "list", "--kind", "Decided").output

    assert "  ruling   permitted\n  audit    would be BLOCKED policy.denied by `few-lines`\n" in run
    assert "  audit    would be permitted by `trial-a`, `trial-b`\n" in run
    assert "  permitted; audit: would be BLOCKED policy.denied by `few-lines`\n" in listed


def test_runs_are_listed_with_their_counts(toolgate: Toolgate, journal: Path) -> None:
    """For people as a table, for programs as JSON."""
    table, listed = toolgate("runs", "list"), json.loads(toolgate("runs", "list", "--json").stdout)["runs"]

    assert journal.is_file()
    assert table.output.splitlines()[0].split() == [
        "run",
        "principal",
        "started",
        "last",
        "call",
        "calls",
        "refused",
        "failed",
        "state",
        "labels",
    ]
    assert [(run["principal"], run["calls"], run["refusals"], run["failures"]) for run in listed] == [
        ("digest", 4, 2, 1)
    ]


async def test_a_stopped_run_says_how_it_goes_on(toolgate: Toolgate, tmp_path: Path) -> None:
    """Its state stands in the first line, what to type in the last; the gate's own readings are not the newest run."""
    ledger = ledgers.open(f"sqlite://{tmp_path}/other.db", clock=lambda: NOW_MS)
    for event in (
        runs.implicit("run_1", "digest", NOW_MS),
        Event("Decided", NOW_MS, QUERIED, "C9", "run_1"),
        runs.stopped("run_1", "digest", "20 of its calls were refused", "policy.denied", NOW_MS + 2),
        runs.implicit("run_2", "toolgate", NOW_MS + 3),
        Event("Decided", NOW_MS + 3, {**QUERIED, "principal": "toolgate"}, "C10", "run_2"),
    ):
        await ledger.record(event, ())
    await ledger.close()
    lines = toolgate("runs", "show", "--file", str(tmp_path / "other.db")).output.splitlines()

    assert lines[0].startswith("Run run_1  digest  prod  ")
    assert lines[0].endswith("  1 call, 0 refused  stopped")
    assert lines[-1] == 'let it go on with: toolgate thaw --run run_1 --why "…"'


@pytest.mark.parametrize("url", ["sqlite", "memory"])
async def test_a_run_that_was_opened_and_ended_says_so(toolgate: Toolgate, tmp_path: Path, url: str) -> None:
    """How it was opened, why it was stopped, who thawed it; its state in the listing; what calls cost."""
    run, by = OpenedRun("run_1", NOW_MS + 60_000, ("run_0",)), Freeze("olga", "the loop\x1b is fixed", NOW_MS + 3)
    turns = (
        runs.opened(run, "digest", {"task": "weekly"}, NOW_MS),
        Event("Decided", NOW_MS, QUERIED, "C9", "run_1"),
        Event("Finished", NOW_MS, {**FINISHED, "costs": {"usd": 2_000}}, "C9", "run_1"),
        runs.stopped("run_1", "digest", "the same refusal 3 times", "loop.repeated_refusal", NOW_MS + 2),
        runs.switched("thaw", "run", "run_1", by),
        runs.finished("run_1", "digest", 1, (), NOW_MS + 4),
    )
    path = tmp_path / "other.db"
    ledger = ledgers.open("memory:" if url == "memory" else f"sqlite://{path}", clock=lambda: NOW_MS)
    states = []
    for event in turns:
        await ledger.record(event, ())
        states += [found.state for found in ledger.journal.runs() if found.labels == {"task": "weekly"}]
    await ledger.close()
    assert states == ["open", "open", "open", "stopped", "open", "finished"]
    if url == "memory":
        return
    shown = toolgate("runs", "show", "run_1", "--file", str(path))
    lines = shown.output.splitlines()
    assert lines[0].endswith("  1 call, 0 refused, for 0.002 usd  finished")
    assert lines[1] == f"  opened  in run_0  task=weekly  its token ends {timestamp(NOW_MS + 60_000)}"
    assert lines[5].startswith("  outcome  completed with status 200 in 12.5 ms, for 0.002 usd")
    assert lines[7:] == [
        f"stopped  {timestamp(NOW_MS + 2)}  the same refusal 3 times",
        "",
        f"thawed  {timestamp(NOW_MS + 3)}  by olga: the loop\\x1b is fixed",
        "",
        f"finished  {timestamp(NOW_MS + 4)}",
    ]
    told = json.loads(toolgate("runs", "show", "run_1", "--file", str(path), "--json").stdout)
    assert (told["state"], told["started"]["labels"]) == ("finished", {"task": "weekly"})
    assert toolgate("runs", "list", "--file", str(path)).output.splitlines()[1].endswith("finished  task=weekly")


def test_a_run_or_call_that_is_not_there_is_a_no(toolgate: Toolgate, journal: Path) -> None:
    """Exit 1, and a sentence."""
    run, call = toolgate("runs", "show", "run_x"), toolgate("journal", "show", "C9")

    assert journal.is_file()
    assert (run.exit_code, run.stderr) == (1, "toolgate: the journal has no run `run_x`\n")
    assert call.exit_code == 1
    assert call.stderr.startswith("toolgate: the journal has no call `C9`; what is refused before it is a call ")


def test_a_filter_that_nothing_passes_says_so(toolgate: Toolgate, journal: Path) -> None:
    """On standard error, with the code that was meant."""
    shown = toolgate("journal", "list", "--code", "tool.dissallowed")

    assert journal.is_file()
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert shown.stderr == "no event matches; there is no code `tool.dissallowed`, did you mean `tool.disallowed`?\n"
    assert toolgate("journal", "list", "--run", "run_x").stderr == "no event matches\n"


def test_events_are_filtered_and_printed_as_they_were_written(toolgate: Toolgate, journal: Path) -> None:
    """`--json` prints the very bytes the chain was made of."""
    with sqlite3.connect(journal) as db:
        stored = [line for (line,) in db.execute("select line from events where code = 'tool.disallowed'")]
    db.close()
    shown = toolgate("journal", "list", "--decision", "refuse", "--operation", "metrics.removeMetric", "--json")
    text = toolgate("journal", "list", "--kind", "Decided", "--order", "oldest", "--limit", "2")

    assert shown.stdout.splitlines() == stored
    assert [line.split("  ")[1].strip() for line in text.stdout.splitlines()] == ["Decided", "Decided"]
    assert "removeMetric" in text.stdout
    assert (
        toolgate("journal", "list", "--since", "2026-11-22T16:42:00Z", "--until", "2030-01-01").stdout.count("\n") > 6
    )
    assert toolgate("journal", "list", "--until", "1970-01-02").stdout == ""
    assert toolgate("journal", "list", "--since", "yesterday").exit_code == 2


def test_a_call_is_shown_whole(toolgate: Toolgate, journal: Path) -> None:
    """By its id, or by the `instance` of a problem."""
    by_id, by_instance = toolgate("journal", "show", "C1"), toolgate("journal", "show", "urn:toolgate:call:C1")

    assert journal.is_file()
    assert by_id.output == by_instance.output
    assert by_id.output.count("queryCluster") >= 3
    assert "latency_ms   12.5" in by_id.output
    assert len(toolgate("journal", "show", "C1", "--json").stdout.splitlines()) == 2


def test_verify_proves_or_names_the_place(toolgate: Toolgate, journal: Path) -> None:
    """0 and the head when it is as written; 1 and the row when it is not."""
    good = toolgate("journal", "verify")
    head = good.output.splitlines()[1].removeprefix("head ")
    parts = dict(zip(("writer", "seq", "hash"), head.split(":"), strict=True))

    assert good.exit_code == 0
    assert toolgate("journal", "verify", "--head", head).exit_code == 0
    assert toolgate("journal", "verify", "--head", json.dumps({"event": "Head", **parts})).exit_code == 0
    assert toolgate("journal", "verify", "--head", "w:1:00").exit_code == 1
    assert toolgate("journal", "verify", "--head", "nonsense").exit_code == 2
    with sqlite3.connect(journal) as db:
        db.execute("update events set line = replace(line, 'eu-1', 'eu-2') where row = 3")
    db.close()
    broken = toolgate("journal", "verify", "--json")
    assert (broken.exit_code, json.loads(broken.stdout)["verified"]) == (1, False)


def test_any_file_can_be_read_without_settings(toolgate: Toolgate, journal: Path, folder: Path) -> None:
    """A copy, on another machine."""
    (folder / "toolgate.yaml").unlink()

    assert toolgate("journal", "verify", "--file", str(journal)).exit_code == 0
    assert toolgate("journal", "verify").exit_code == 2
    missing = toolgate("journal", "list", "--file", "nowhere.db")
    assert (missing.exit_code, "there is no journal at `nowhere.db`" in missing.stderr) == (3, True)
    memory = toolgate("journal", "list", "--environment", "prod", "--set", "ledger=memory:")
    assert (memory.exit_code, "the journal is inside the running gate" in memory.stderr) == (3, True)


def test_follow_prints_what_comes_until_it_is_stopped(journal: Path, folder: Path) -> None:
    """The last lines, then each new one; Ctrl-C is its ordinary end."""
    command = [sys.executable, "-m", "toolgate.cli", "journal", "follow", "--last", "1", "--json"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "proxy"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "WriterStopped"
        asyncio.run(written(journal, ("Decided", QUERIED, "C5")))
        seen = [json.loads(process.stdout.readline())["event"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=10)

    assert seen == ["WriterStarted", "Decided", "WriterStopped"]
    assert (process.returncode, error) == (0, b"")


@pytest.fixture
def sealed(folder: Path) -> Path:
    """A journal with one call whose token is masked, and the key beside it."""
    path = folder / "ledger.db"
    key = mask_key(mask_secret(None, path))
    found = mask({"body": {"cluster": "eu-1", "token": "hunter2"}}, patterns(["/body/token"]), key, os.urandom)
    event = {**QUERIED, "arguments": found.arguments, "sealed": found.sealed}
    asyncio.run(written(path, ("Decided", event, "C1")))
    (folder / "toolgate.yaml").write_text("environment: prod\nledger: sqlite:ledger.db\n")
    return path


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("which", [(), ("--file", "ledger.db")], ids=["by the settings", "by its file"])
def test_masked_values_are_shown_with_the_key_only_when_asked_for(toolgate: Toolgate, which: tuple[str, ...]) -> None:
    """`journal show` keeps what is masked masked; `--unmask` puts it back with the key beside the journal."""
    plain = toolgate("journal", "show", "C1", *which)
    opened = toolgate("journal", "show", "C1", "--unmask", *which)
    as_json = toolgate("journal", "show", "C1", "--unmask", "--json", *which)

    assert "hunter2" not in plain.output
    assert 'queryCluster(cluster="eu-1", token="hunter2")' in opened.output
    assert json.loads(as_json.output)["arguments"] == {"body": {"cluster": "eu-1", "token": "hunter2"}}


@pytest.mark.parametrize(
    ("key", "said"),
    [(None, "there is no key file"), ("00" * 32, "cannot be opened with this `keys.mask`")],
    ids=["no key", "another key"],
)
def test_without_its_key_a_masked_value_stays_masked(
    toolgate: Toolgate, sealed: Path, key: str | None, said: str
) -> None:
    """No key is made for reading, and another one opens nothing: exit 3 with a sentence."""
    file = mask_file(sealed)
    file.unlink()
    if key is not None:
        file.write_text(key)
        file.chmod(0o600)

    shown = toolgate("journal", "show", "C1", "--unmask")

    assert shown.exit_code == 3
    assert said in shown.output
    assert file.exists() == (key is not None)


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        ({"asked": {"operation": "a.b", "arguments": {"$masked": "00ff"}}}, "b([masked])"),
        ({"arguments": {"body": {"$masked": "00ff"}}}, "b(body=[masked])"),
        ({"arguments": {"id": "x", "body": {"id": "y"}}}, 'b(id="x", body={"id": "y"})'),
        ({"method": "GET", "path": {"$masked": "00ff"}}, "b(GET [masked])"),
        ({"method": "GET", "path": "/a/x"}, "b(GET /a/x)"),
    ],
)
def test_what_was_asked_is_told_as_it_was(decided: dict[str, Any], expected: str) -> None:
    """What is masked is said to be, no digest stands in as an argument, and no field of the body hides a parameter."""
    assert asked({"operation": "a.b", **decided}) == expected
