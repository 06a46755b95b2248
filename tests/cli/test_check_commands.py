"""`check`, `explain`, `settings`, `schema` and `serve` over a project as `init` writes it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from click.testing import Result
from tests.support.policies import permit_all

from toolgate.cli.schema import FILES, published
from toolgate.settings import keys

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0
Toolgate = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]


def test_check_reports_what_is_enforced_and_what_is_not(toolgate: Toolgate, project: Path) -> None:
    """Per document and environment, and what this version keeps without enforcing it."""
    shown = toolgate("check")

    assert project.is_dir()
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert (
        "toolspecs/shop/openapi.yaml  Shop (OpenAPI 3.1)\n  enforced: 6 operations, 3 parameters, 1 request body"
        in shown.stdout
    )
    assert (
        "shop in dev → https://shop.example:443/v1: 2 of 6 operations allowed (2 read, 0 write, 0 destructive)\n"
        in shown.stdout
    )
    assert "policies: 1 statement (1 permit, 0 forbids)\n" in shown.stdout
    assert "ok: 1 tool in 1 environment, no problems" in shown.stdout


def test_check_prints_every_problem_at_once(toolgate: Toolgate, project: Path) -> None:
    """As `path:line: code: message` on standard output, from every file, and ends with 2."""
    spec = project / "toolspecs/shop/tool.yaml"
    text = spec.read_text().replace("- getOrder", "- getOrdr")
    spec.write_text(text)
    (project / "policies" / "notes.txt").write_text("x")
    shown = toolgate("check")
    lines = shown.stdout.splitlines()
    line = 1 + text.splitlines().index("      - getOrdr")

    assert shown.exit_code == 2
    assert len(lines) == 2
    assert lines[0].startswith("policies/notes.txt: policies.stranger: ")
    assert (
        f"toolspecs/shop/tool.yaml:{line}: operation.unmatched: `getOrdr` matches no operation `dev` has; did you mean `getOrder`?"
        in lines
    )
    assert shown.stderr == "2 problems\n"
    as_json = json.loads(toolgate("check", "--json").stdout)["problems"]
    assert [problem["code"] for problem in as_json] == [each.split(": ")[1] for each in lines]


def test_check_takes_folders(toolgate: Toolgate, folder: Path) -> None:
    """Several projects in one go; a broken one spoils the answer and hides nothing."""
    for name in ("a", "b"):
        assert toolgate("init", "--openapi", "openapi.yaml", "--tool", "shop", name).exit_code == 0
    assert toolgate("check", "a", "b").stdout.count("ok: 1 tool") == 2
    (folder / "b/toolgate.yaml").write_text("environmet: dev\n")
    broken = toolgate("check", "a", "b")

    assert broken.exit_code == 2
    assert broken.stdout == (
        "b/toolgate.yaml:1: settings.missing: `environment` is missing; write `environment: prod`, set `TOOLGATE_ENVIRONMENT` or pass `--environment`\n"
        "b/toolgate.yaml:1: settings.unknown_key: `environmet` is not a setting; did you mean `environment`?\n"
    )


def test_check_of_a_bare_document(toolgate: Toolgate, folder: Path) -> None:
    """Counts what is in it; needs no settings."""
    shown = toolgate("check", "--openapi", "openapi.yaml")
    as_json = json.loads(toolgate("check", "--openapi", "openapi.yaml", "--json").stdout)

    assert folder.is_dir()
    assert (shown.exit_code, as_json["documents"][0]["operations"]) == (0, 6)
    assert "enforced: 6 operations" in shown.stdout
    assert toolgate("check", "--openapi", "nowhere.yaml").exit_code == 2


def test_explain_says_stage_by_stage_why(toolgate: Toolgate, project: Path) -> None:
    """0 when it would be permitted, 1 when refused; by name and as a request alike."""
    assert project.is_dir()
    permitted = toolgate("explain", "shop.getOrder", "--args", '{"id": 7}')
    assert (permitted.exit_code, permitted.output.splitlines()[-1]) == (
        0,
        "permitted: shop.getOrder would be sent as GET https://shop.example:443/v1/orders/7",
    )
    assert toolgate("explain", "-X", "GET", "/shop/orders/7").output == permitted.output
    invalid = toolgate("explain", "shop.getOrder", "--args", '{"id": "seven", "idd": 1}')
    assert invalid.exit_code == 1
    assert "  arguments    refused" in invalid.output
    assert "refused: arguments.invalid (InvalidArguments)" in invalid.output
    refused = toolgate("explain", "-X", "DELETE", "/shop/orders/7", "--json")
    assert (refused.exit_code, json.loads(refused.stdout)["decision"]["code"]) == (1, "tool.disallowed")
    assert [stage["result"] for stage in json.loads(refused.stdout)["stages"]][:4] == [
        "passed",
        "passed",
        "refused",
        "not reached",
    ]


def test_explain_marks_what_is_on_trial(toolgate: Toolgate, project: Path) -> None:
    """A forbid that holds beside a call that is permitted would be a riddle without its `audit`."""
    (project / "policies/trial.cedar").write_text('@id("late") @mode("audit") forbid (principal, action, resource);\n')
    shown = toolgate("explain", "shop.getOrder", "--args", '{"id": 7}')

    assert 0 == shown.exit_code
    assert "    holds         forbid `late` (audit)\n" in shown.output


def test_explain_reads_files(toolgate: Toolgate, project: Path) -> None:
    """`@FILE` for arguments and bodies."""
    spec = project / "toolspecs/shop/tool.yaml"
    spec.write_text(spec.read_text().replace("# - createOrder", "- createOrder"))
    permit_all(project)
    (project / "arguments.json").write_text('{"body": {"a": 1}}')
    (project / "body.json").write_text('{"a": 1}')
    named = toolgate("explain", "shop.createOrder", "--args", "@arguments.json")

    assert named.exit_code == 0, named.output
    assert toolgate("explain", "-X", "post", "/shop/orders", "-d", "@body.json").output == named.output
    assert toolgate("explain", "-X", "POST", "/shop/orders", "-d", "x", "-H", "Content-Type: text/plain").exit_code == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("shop.getOrder", "-X", "GET", "/"), 2),
        (("shop.getOrder", "--args", "{"), 2),
        (("shop.getOrder", "--args", "[]"), 2),
        (("shop.getOrder", "--args", "@nowhere.json"), 3),
        (("-X", "GET", "/é"), 2),
        (("-X", "GET", "/shop/orders", "-H", "x"), 2),
        (("shop.getOrdr",), 1),
        (("shop.getOrder", "--args", '{"id": 7}', "--completed", "shop.listOrdres"), 2),
        (("shop.getOrder", "--args", '{"id": 7}', "--completed", "shop.listOrders"), 0),
        (("-X", "GET", "//etc"), 1),
        (("-X", "GET", "http://[x"), 1),
        (("-X", "GET", "http://127.0.0.1:8400/shop/orders"), 0),
    ],
)
def test_explain_refuses_what_is_no_call(toolgate: Toolgate, project: Path, words: tuple[str, ...], code: int) -> None:
    """Usage is 2, a missing file 3, an unknown operation a plain no."""
    shown = toolgate("explain", *words)

    assert project.is_dir()
    assert shown.exit_code == code, shown.output


def test_settings_show_values_and_origins(toolgate: Toolgate, project: Path) -> None:
    """Each key, its value, and whether a flag, a variable, the file or the default says it."""
    shown = toolgate("settings", "--set", "limits.queue=3", "--json", TOOLGATE_LIMITS__IN_FLIGHT="2")
    found = json.loads(shown.stdout)

    assert project.is_dir()
    assert list(found) == list(keys())
    assert found["limits.queue"] == {"value": "3", "from": "--set limits.queue"}
    assert found["limits.in_flight"] == {"value": "2", "from": "TOOLGATE_LIMITS__IN_FLIGHT"}
    assert found["environment"] == {"value": "dev", "from": "toolgate.yaml:3"}
    assert found["disclosure"] == {"value": "explain", "from": "default"}
    assert len(toolgate("settings").stdout.splitlines()) == len(keys()) + 1
    assert toolgate("settings", "--set", "x").exit_code == 2


def test_settings_reference_is_markdown(toolgate: Toolgate) -> None:
    """What docs/settings.md holds."""
    shown = toolgate("settings", "--reference")

    assert shown.stdout.startswith("# Settings\n")
    assert shown.stdout.endswith("\n")
    assert len(json.loads(toolgate("settings", "--reference", "--json").stdout)) == len(keys())


def test_settings_never_show_a_secret(toolgate: Toolgate, project: Path) -> None:
    """Only where it is read."""
    (project / "mask.key").write_text("hunter2")
    shown = toolgate("settings", "--set", "keys.mask=${file:mask.key}", "--set", "ledger=memory:")

    assert shown.exit_code == 0
    assert f"${{file:{project}/mask.key}}" in shown.stdout
    assert "hunter2" not in shown.output
    assert "warning: `ledger` is `memory:`" in shown.stderr


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"cedar"}))  # whose schema is Cedar's own
def test_schemas_are_whole_and_closed(toolgate: Toolgate, name: str) -> None:
    """No reference to follow, no unknown key accepted, every key described."""
    schema = json.loads(toolgate("schema", name).stdout)

    assert "$ref" not in json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert [
        key for key, value in schema["properties"].items() if "properties" not in value and not value.get("description")
    ] == []


def test_schemas_accept_the_files_of_this_repository(project: Path) -> None:
    """And what `init` writes; and they refuse what the loader refuses."""
    toolgate, toolspec = (jsonschema_rs.validator_for(published(name)) for name in ("toolgate", "toolspec"))
    for root in (ROOT, project):
        toolgate.validate(yaml.safe_load((root / "toolgate.yaml").read_text()))
        for file in root.glob("toolspecs/*/tool.yaml"):
            toolspec.validate(yaml.safe_load(file.read_text()))
    cases = jsonschema_rs.validator_for(published("cases"))
    for file in ROOT.glob("policies/tests/*.yaml"):
        written = yaml.safe_load(file.read_text())
        cases.validate(written if "cases" in written else {**written, "cases": []})
    assert not cases.is_valid({"cases": [{"note": "n", "call": {"operaton": "t.o"}, "want": {"permit": True}}]})
    assert not toolgate.is_valid({"environment": "prod", "listn": {}})
    assert not toolgate.is_valid({"environment": "prod", "journal": {"keep": {"age": []}}})
    assert toolgate.is_valid(
        {"environment": "prod", "identity": {"anonymous": "digest"}, "journal": {"keep": {"age": "30d"}}}
    )


def test_schemas_are_listed(toolgate: Toolgate) -> None:
    """And an unknown one is usage."""
    assert [each["name"] for each in json.loads(toolgate("schema", "--json").stdout)["schemas"]] == sorted(FILES)
    assert toolgate("schema", "x").exit_code == 2


def test_the_main_path_as_processes(process: Process, folder: Path) -> None:
    """init, check, explain, serve --check: nothing on standard error, nothing but results on standard output."""
    for words in (
        ("init", "--openapi", "openapi.yaml", "--tool", "shop"),
        ("check", "--set", "listen.admin=off"),
        ("explain", "shop.listOrders"),
        ("serve", "--check", "--listen-admin", "off"),
    ):
        shown = process(*words)
        assert (shown.returncode, shown.stderr) == (0, ""), words
        assert shown.stdout
    assert json.loads(process("serve", "--check", "--json").stdout)["allowed"] == 2
    assert folder.is_dir()


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A gate in its own process. It is killed after a time, so that a test that waits for it fails instead of hanging."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "proxy")}
    command = [sys.executable, "-m", "toolgate.cli", "serve", *words]
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(DEADLINE_S, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_serve_runs_until_it_is_told_to_stop(project: Path, sent: signal.Signals) -> None:
    """The first line on standard error says what runs and where; the end is in order."""
    ports = ("--listen-agent", "127.0.0.1:0", "--listen-admin", "off", "--listen-health", "127.0.0.1:0")
    with serving(project, *ports) as process:
        assert process.stderr is not None
        started = json.loads(process.stderr.readline())
        process.send_signal(sent)
        journal, _ = process.communicate(timeout=20)

    assert (started["event"], started["environment"], started["allowed"]) == ("gate_started", "dev", 2)
    assert sorted(started["listeners"]) == ["agent", "health"]
    assert not started["listeners"]["agent"].endswith(":0")
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in journal.splitlines()][-2:] == ["WriterStopped", "Head"]


def test_serve_names_the_setting_of_a_taken_port(project: Path) -> None:
    """One problem, the setting that moves it, and 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(project, "--listen-agent", f"127.0.0.1:{port}") as process:
            _, error = process.communicate(timeout=20)

    assert process.returncode == 2
    assert f"`listen.agent` (127.0.0.1:{port}) cannot be opened: address already in use; choose another" in error
    assert "with `listen.agent`, `--listen-agent` or TOOLGATE_LISTEN__AGENT" in error
    assert "Traceback" not in error


def test_serve_does_not_start_on_problems(project: Path) -> None:
    """All of them, and 2."""
    (project / "toolspecs/shop/openapi.yaml").write_text("openapi: 9\n")
    with serving(project) as process:
        output, error = process.communicate(timeout=20)

    assert (process.returncode, output) == (2, "")
    assert error.startswith("toolspecs/shop/openapi.yaml") or "/toolspecs/shop/openapi.yaml" in error


def until(process: subprocess.Popen[str], event: str) -> dict[str, object]:
    """The next line of the operations log that tells of the event."""
    assert process.stderr is not None
    for line in process.stderr:
        told: dict[str, object] = json.loads(line)
        if told["event"] == event:
            return told
    raise AssertionError(f"the gate ended without `{event}`")


def test_serve_reloads_on_change_and_on_sighup_and_keeps_the_last_good(project: Path) -> None:
    """A broken bundle is refused whole with its problems in the log, and the repaired one is taken by itself."""
    spec = project / "toolspecs/shop/tool.yaml"
    good = spec.read_text()
    ports = ("--listen-agent", "127.0.0.1:0", "--listen-admin", "off", "--listen-health", "off")
    with serving(project, *ports) as process:
        first = until(process, "gate_started")["revision"]
        spec.write_text(good.replace("getOrder", "getOrdr"))
        process.send_signal(signal.SIGHUP)
        refused = until(process, "bundle_refused")
        spec.write_text(good.replace("# - createOrder", "- createOrder"))
        reloaded = until(process, "bundle_reloaded")
        spec.write_text("tool: [")
        again = until(process, "bundle_refused")
        spec.write_text(good.replace("# - createOrder", "- createOrder"))
        over = until(process, "bundle_unchanged")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)

    assert refused["serving"] == reloaded["previous"] == first
    assert "did you mean `getOrder`" in str(refused["problems"])
    assert again["serving"] == reloaded["revision"] == over["revision"]
    assert process.returncode == 0


def test_serve_warns_of_a_credential_it_cannot_read_yet(project: Path) -> None:
    """The gate starts, so that a secret may come later; the operator need not wait for the first refused call to learn."""
    spec = project / "toolspecs/shop/tool.yaml"
    credential = '    credentials: {header: X-Key, value: "${file:key}"}\n    allow:'
    spec.write_text(spec.read_text().replace("    allow:", credential))
    ports = ("--listen-agent", "127.0.0.1:0", "--listen-admin", "off", "--listen-health", "off")
    with serving(project, *ports) as process:
        told = until(process, "tool_not_ready")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)

    assert (told["level"], told["tool"]) == ("warning", "shop")
    assert str(told["why"]).endswith("toolspecs/shop/key}` cannot be read: no such file or directory")


def test_an_environment_without_a_tool_is_a_warning(toolgate: Toolgate, project: Path) -> None:
    """It loads, and every call would be refused: `check` and `serve` say so, and how to change it."""
    file = project / "toolgate.yaml"
    file.write_text(file.read_text().replace("environments: [dev]", "environments: [dev, prod]"))
    for words in (("check",), ("serve", "--check")):
        here, there = toolgate(*words), toolgate(*words, "--environment", "prod")
        assert (here.exit_code, here.stderr) == (0, "")
        assert there.exit_code == 0
        assert "warning: no tool has an entry for `prod`, so every call would be refused; add" in there.stderr


@pytest.mark.parametrize(
    ("secret", "code", "told"),
    [
        ("${file:none}", 2, "`webhook.secret`: `${file:"),
        ("${env:SHORT}", 3, "`webhook.secret`"),
    ],
)
def test_serve_check_reads_the_secrets_a_start_would(
    toolgate: Toolgate, project: Path, secret: str, code: int, told: str
) -> None:
    """What passes here starts: a secret that is missing, or too short, is told now."""
    file = project / "toolgate.yaml"
    file.write_text(file.read_text() + f'webhook: {{url: "https://hooks.example/x", secret: "{secret}"}}\n')
    done = toolgate("serve", "--check", SHORT="c2hvcnQ=")

    assert done.exit_code == code
    assert told in done.stderr + done.stdout
