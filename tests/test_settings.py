"""Settings: flag before variable before file before default, nothing guessed, every problem where it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.bundle import BundleError
from toolgate.core.catalog import Secret
from toolgate.settings import Loaded, Tcp, Unix, keys, load, shown
from toolgate.settings.layers import variable
from toolgate.settings.reference import as_markdown, as_rows


def loaded(folder: Path, text: str | None = None, *, flags: dict[str, str] | None = None, **environ: str) -> Loaded:
    if text is not None:
        (folder / "toolgate.yaml").write_text(text)
    named = {key: (f"--{key}", value) for key, value in (flags or {}).items()}
    return load(flags=named, environ=environ, cwd=folder)


def problems(
    folder: Path, text: str | None = None, *, flags: dict[str, str] | None = None, **environ: str
) -> list[str]:
    with pytest.raises(BundleError) as broken:
        loaded(folder, text, flags=flags, **environ)
    return [str(problem) for problem in broken.value.problems]


def test_an_environment_is_all_that_must_be_said(tmp_path: Path) -> None:
    """Every other setting has a default that is safe: loopback, effects flushed, refusals explained."""
    settings = loaded(tmp_path, "environment: prod\n").settings

    assert settings.environments == ("prod",)
    assert settings.listen.agent == Tcp("127.0.0.1", 8400)
    assert settings.listen.admin == Tcp("127.0.0.1", 8401)
    assert settings.listen.health == Tcp("127.0.0.1", 8402)
    assert settings.ledger == f"sqlite://{tmp_path}/.toolgate/ledger.db"
    assert settings.toolspecs == tmp_path / "toolspecs"
    assert (settings.journal.sync, settings.disclosure) == ("effects", "explain")


def test_one_environment_in_the_list_is_the_environment(tmp_path: Path) -> None:
    """`environment` may be left out only where there is nothing to choose."""
    assert loaded(tmp_path, "environments: [prod]\n").settings.environment == "prod"
    assert problems(tmp_path, "environments: [dev, prod]\n") == [
        "toolgate.yaml:1: settings.missing: `environment` is missing, and `environments` lists 2; say which one this process enforces"
    ]


@pytest.mark.parametrize(("given", "meant"), [("prd", "; did you mean `prod`?"), ("qa", "")])
def test_an_environment_that_is_none_is_told_the_near_one(tmp_path: Path, given: str, meant: str) -> None:
    """Whoever asks with `-e`, in whichever command, hears what there is and which of it was meant."""
    said = f"`environment` is `{given}`, which `environments` does not list: it has `dev`, `prod`{meant}"
    assert problems(tmp_path, f"environment: {given}\nenvironments: [dev, prod]\n") == [
        f"toolgate.yaml:1: settings.invalid: {said}"
    ]


def test_without_a_file_the_missing_environment_says_how_to_begin(tmp_path: Path) -> None:
    """Someone in the wrong folder learns that there is no file and what to do."""
    assert problems(tmp_path) == [
        "toolgate.yaml: settings.missing: `environment` is missing; write `environment: prod`, set `TOOLGATE_ENVIRONMENT` or pass `--environment`; there is no `toolgate.yaml` here: name one with `--config` or write one with `toolgate init`"
    ]


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    """And each key says where its value came from."""
    text = "environment: prod\nlimits:\n  queue: 1\n  in_flight: 1\n  connections: 1\n"
    found = loaded(
        tmp_path,
        text,
        flags={"limits.queue": "3"},
        TOOLGATE_LIMITS__QUEUE="2",
        TOOLGATE_LIMITS__IN_FLIGHT="2",
    )
    limits = found.settings.limits

    assert (limits.queue, limits.in_flight, limits.connections, limits.body_timeout_s) == (3, 2, 1, 15.0)
    names = [f"limits.{name}" for name in ("queue", "in_flight", "connections", "body_timeout_s")]
    assert [str(found.origin(name)) for name in names] == [
        "--limits.queue",
        "TOOLGATE_LIMITS__IN_FLIGHT",
        "toolgate.yaml:5",
        "default",
    ]


def test_the_file_is_found_by_flag_then_variable_then_folder(tmp_path: Path) -> None:
    """Relative paths are relative to the file, wherever the process was started."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "gate.yaml").write_text("environment: a\nledger: sqlite:x.db\nlisten: {admin: unix:admin.sock}\n")
    (tmp_path / "b.yaml").write_text("environment: b\n")
    environ = {"TOOLGATE_CONFIG": "b.yaml"}
    by_flag = load(config=Path("a/gate.yaml"), environ=environ, cwd=tmp_path).settings
    by_variable = load(environ=environ, cwd=tmp_path).settings

    assert by_flag.environment == "a"
    assert by_flag.toolspecs == tmp_path / "a" / "toolspecs"
    assert by_flag.ledger == f"sqlite://{tmp_path}/a/x.db"
    assert by_flag.listen.admin == Unix(tmp_path / "a" / "admin.sock")
    assert by_variable.environment == "b"


def test_a_named_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """The default file may be absent, a named one may not."""
    assert problems(tmp_path, TOOLGATE_CONFIG="nowhere.yaml") == [
        "nowhere.yaml: settings.not_found: there is no such file; `TOOLGATE_CONFIG` names it"
    ]


def test_every_problem_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    """Unknown keys come with a did-you-mean, wrong values with what to write."""
    text = """\
environment: prod
listen:
  agnt: 127.0.0.1:1
  agent: "127.1:80"
journal:
  sync: effect
  keep: {age: 3 weeks, sise: 1GiB}
limits: {connections: 0, in_flight: "3", queue: true, header_timeout_s: .5, call_timeout_s: 100000}
ledger: redis://:secret@cache
identity: {anonymous: [a], issuers: []}
polices: p/
disclosure: 3
"""
    assert problems(tmp_path, text) == [
        "toolgate.yaml:3: settings.unknown_key: `listen.agnt` is not a setting; did you mean `listen.agent`?",
        "toolgate.yaml:4: settings.invalid: `listen.agent` has a host that is neither a name nor an address in its plain form",
        "toolgate.yaml:6: settings.invalid: `journal.sync` must be `effects`, `all` or `off`",
        "toolgate.yaml:7: settings.invalid: `journal.keep.age` must be a time such as `30d`, `12h` or `900s`",
        "toolgate.yaml:7: settings.unknown_key: `journal.keep.sise` is not a setting; did you mean `journal.keep.size`?",
        "toolgate.yaml:8: settings.invalid: `limits.call_timeout_s` must be at most 86400",
        "toolgate.yaml:8: settings.invalid: `limits.connections` must be at least 1",
        "toolgate.yaml:8: settings.invalid: `limits.in_flight` must be a whole number",
        "toolgate.yaml:8: settings.invalid: `limits.queue` must be a whole number",
        "toolgate.yaml:9: settings.invalid: `ledger` holds a password; name it with `redis.password: ${file:PATH}` instead",
        "toolgate.yaml:10: settings.invalid: `identity.anonymous` must be a mapping of settings",
        "toolgate.yaml:11: settings.unknown_key: `polices` is not a setting; did you mean `policies`?",
        "toolgate.yaml:12: settings.invalid: `disclosure` must be `explain` or `hide`",
    ]


@pytest.mark.parametrize("text", ["- environment\n", "prod\n"])
def test_a_file_that_is_no_mapping_is_one_problem(tmp_path: Path, text: str) -> None:
    """What follows from it is not told as well."""
    assert problems(tmp_path, text) == [
        "toolgate.yaml:1: settings.invalid: must be a mapping of settings, such as `environment: prod`"
    ]


def test_a_section_that_is_no_mapping_says_so(tmp_path: Path) -> None:
    """An empty section is no section."""
    assert loaded(tmp_path, "environment: prod\nlisten:\n").settings.listen.agent == Tcp("127.0.0.1", 8400)
    assert problems(tmp_path, "environment: prod\nlisten: 3\n") == [
        "toolgate.yaml:2: settings.invalid: `listen` must be a mapping of settings"
    ]


def test_a_slip_in_a_variable_is_an_error_and_a_strangers_is_not(tmp_path: Path) -> None:
    """TOOLGATE_ENVIRONMNET must not silently leave the default; a Service named `toolgate` must not stop the pod."""
    assert problems(tmp_path, "environment: prod\n", TOOLGATE_ENVIRONMNET="dev", TOOLGATE_LIMITS__QUEU="3") == [
        "TOOLGATE_ENVIRONMNET: settings.unknown_key: `TOOLGATE_ENVIRONMNET` is not a setting; did you mean `TOOLGATE_ENVIRONMENT`?",
        "TOOLGATE_LIMITS__QUEU: settings.unknown_key: `TOOLGATE_LIMITS__QUEU` is not a setting; did you mean `TOOLGATE_LIMITS__QUEUE`?",
    ]
    links = {
        "TOOLGATE_SERVICE_HOST": "10.0.0.1",
        "TOOLGATE_SERVICE_PORT": "8400",
        "TOOLGATE_SERVICE_PORT_AGENT": "8400",
        "TOOLGATE_PORT": "tcp://10.0.0.1:8400",
        "TOOLGATE_PORT_8400_TCP": "tcp://10.0.0.1:8400",
        "TOOLGATE_PORT_8400_TCP_ADDR": "10.0.0.1",
        "TOOLGATE_ADMIN_SERVICE_HOST": "10.0.0.2",
    }
    links["TOOLGATE_LISTEN__ADMIN"] = "off"
    assert loaded(tmp_path, **links, TOOLGATE_DEBUG="1").warnings == ()
    assert loaded(tmp_path, TOOLGATE_LISTEN__ADMIN="off", TOOLGATE_IMAGE="x").warnings == (
        "the variable `TOOLGATE_IMAGE` is not a setting and is ignored",
    )


def test_a_home_nobody_has_is_a_problem(tmp_path: Path) -> None:
    """`~name` is looked up at load; a name that is no user's is not a defect of ours."""
    (problem,) = problems(tmp_path, "environment: prod\ntoolspecs: ~nosuchuser/specs\n")
    assert problem == (
        "toolgate.yaml:2: settings.invalid: `toolspecs` begins with `~` and a user this host does not know; write the whole path"
    )


def test_an_age_has_its_unit(tmp_path: Path) -> None:
    """`age: 30` could mean days; read as seconds it would prune nearly the whole journal."""
    for age in ("30", "0", "30w"):
        with pytest.raises(BundleError) as caught:
            loaded(tmp_path, TOOLGATE_ENVIRONMENT="prod", TOOLGATE_JOURNAL__KEEP__AGE=age)
        assert [each.message for each in caught.value.problems] == [
            "`journal.keep.age` must be a time such as `30d`, `12h` or `900s`"
        ]


@pytest.mark.parametrize("age", ["30d", "36h", "90m", "61s"])
def test_an_age_is_shown_as_one_writes_it(tmp_path: Path, age: str) -> None:
    """What `settings` prints can be written into the file."""
    settings = loaded(tmp_path, TOOLGATE_ENVIRONMENT="prod", TOOLGATE_JOURNAL__KEEP__AGE=age).settings
    key = keys()["journal.keep.age"]
    assert key.shown(key.value(settings)) == age


def test_variables_say_lists_numbers_and_truth_values(tmp_path: Path) -> None:
    """Text stays text, also where it looks like a number."""
    settings = loaded(
        tmp_path,
        TOOLGATE_ENVIRONMENT="prod",
        TOOLGATE_ENVIRONMENTS="dev, prod",
        TOOLGATE_LISTEN__HOSTS="[gate.internal, localhost]",
        TOOLGATE_LISTEN__HEALTH="off",
        TOOLGATE_JOURNAL__STDOUT="false",
        TOOLGATE_JOURNAL__KEEP__AGE="30d",
        TOOLGATE_JOURNAL__KEEP__SIZE="none",
        TOOLGATE_RUNS__IDLE_S="0.5",
        TOOLGATE_IDENTITY__ANONYMOUS="007",
    ).settings

    assert settings.environments == ("dev", "prod")
    assert settings.listen.hosts == ("gate.internal", "localhost")
    assert settings.listen.health is None
    assert settings.journal.stdout is False
    assert (settings.journal.keep.age_s, settings.journal.keep.size_bytes) == (30 * 86_400, None)
    assert settings.runs.idle_s == 0.5
    assert settings.identity.anonymous.id == "007"


def test_a_bare_id_takes_no_roles_from_a_layer_below(tmp_path: Path) -> None:
    """Whoever is named anew does not keep the power of who was named in the file."""
    text = "environment: prod\nidentity: {anonymous: {id: digest, roles: [digest]}}\n"
    settings = loaded(tmp_path, text, TOOLGATE_IDENTITY__ANONYMOUS="nobody").settings

    assert ("nobody", ()) == (settings.identity.anonymous.id, settings.identity.anonymous.roles)


def test_an_anonymous_principal_may_be_a_bare_id(tmp_path: Path) -> None:
    """A string is `{id: …}`; a variable may still add to it."""
    settings = loaded(
        tmp_path, "environment: prod\nidentity: {anonymous: digest}\n", TOOLGATE_IDENTITY__ANONYMOUS__ROLES="a,b"
    ).settings

    assert (settings.identity.anonymous.id, settings.identity.anonymous.roles) == ("digest", ("a", "b"))


def test_keys_are_references_and_an_inline_one_is_never_repeated(tmp_path: Path) -> None:
    """A secret written by mistake must not travel into a log with its own error."""
    text = "environment: prod\nkeys: {mask: '${file:mask.key}'}\n"
    assert loaded(tmp_path, text).settings.keys.mask == Secret("file", str(tmp_path / "mask.key"))
    assert shown(loaded(tmp_path, text).settings.keys.mask) == f"${{file:{tmp_path}/mask.key}}"
    assert problems(tmp_path, "environment: prod\nkeys: {mask: hunter2hunter2}\n") == [
        "toolgate.yaml:2: settings.invalid: `keys.mask` must be `${file:PATH}` or `${env:NAME}`; a secret never stands in the settings themselves"
    ]


def test_admin_beyond_loopback_needs_client_certificates(tmp_path: Path) -> None:
    """Whoever reaches the admin listener reads the journal."""
    text = "environment: prod\nlisten:\n  admin: 0.0.0.0:8401\n"
    assert problems(tmp_path, text) == [
        "toolgate.yaml:3: settings.invalid: `listen.admin` is `0.0.0.0:8401`, beyond loopback, where anyone could reload and read the journal; use a `unix:` socket or `127.0.0.1`, or require client certificates with `listen.tls.admin.client_ca`"
    ]
    tls = "  tls: {admin: {cert: a.pem, key: a.key, client_ca: ca.pem}}\n"
    assert loaded(tmp_path, text + tls).settings.listen.admin == Tcp("0.0.0.0", 8401)


def test_what_is_allowed_but_unwise_is_warned_about(tmp_path: Path) -> None:
    """An agent listener for everyone, a journal that forgets, a journal that is not flushed."""
    text = "environment: prod\nlisten: {agent: '0.0.0.0:8400'}\nledger: 'memory:'\njournal: {sync: off}\n"
    warned = loaded(tmp_path, text).warnings

    named = ["`listen.agent`", "`listen.admin`", "`ledger`", "`journal.sync`"]
    assert sorted(named) == sorted(warning.split(" ")[0] for warning in warned)


@pytest.mark.parametrize(
    "text",
    [
        "listen: {admin: 'unix:admin.sock'}",
        "listen: {admin: off}",
        "identity: {issuers: [{name: corp, issuer: 'https://a', audience: toolgate, jwks: {file: keys.json}}]}",
    ],
)
def test_an_admin_port_without_tokens_is_warned_about(tmp_path: Path, text: str) -> None:
    """An agent on the same host could thaw what was stopped; a socket, no listener or an issuer ends that."""
    (warned,) = loaded(tmp_path, "environment: prod\n").warnings
    assert warned.startswith("`listen.admin` is `127.0.0.1:8401` and asks for no token: whatever runs on this host")
    assert loaded(tmp_path, f"environment: prod\n{text}\n").warnings == ()


def test_an_admin_port_of_a_trial_is_not_warned_about(tmp_path: Path) -> None:
    """Whoever tries it out alone is the operator; once agents come from elsewhere, they are not alone."""
    text = "environment: dev\nenvironments: [dev, prod]\n"
    assert loaded(tmp_path, text).warnings == ()
    told = loaded(tmp_path, f"{text}listen: {{agent: '0.0.0.0:8400'}}\n").warnings
    assert [each.split(" ")[0] for each in told] == ["`listen.agent`", "`listen.admin`"]


def test_contradictions_are_problems(tmp_path: Path) -> None:
    """An environment that is not listed, one listed twice, two listeners on one address, half a TLS."""
    text = "environment: prod\nenvironments: [dev, dev]\nlisten: {agent: 127.0.0.1:1, admin: 127.0.0.1:1}\n"
    assert problems(tmp_path, text) == [
        "toolgate.yaml:1: settings.invalid: `environment` is `prod`, which `environments` does not list: it has `dev`, `dev`",
        "toolgate.yaml:2: settings.invalid: `environments` lists `dev` more than once",
        "toolgate.yaml:3: settings.invalid: `listen.admin` and `listen.agent` are both `127.0.0.1:1`; give each its own",
    ]
    assert problems(tmp_path, "environment: prod\nlisten: {tls: {agent: {cert: a.pem}}}\n") == [
        "toolgate.yaml:2: settings.missing: `listen.tls.agent.key` is missing"
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("127.0.0.1:0", Tcp("127.0.0.1", 0)),
        ("[::1]:8400", Tcp("::1", 8400)),
        ("Gate.Internal:8400", Tcp("gate.internal", 8400)),
    ],
)
def test_addresses_are_read(tmp_path: Path, written: str, expected: Tcp) -> None:
    """IPv6 in brackets, names in lower case, port 0 for a free one."""
    assert loaded(tmp_path, f"environment: prod\nlisten: {{agent: '{written}'}}\n").settings.listen.agent == expected
    assert str(expected) == written.lower()


@pytest.mark.parametrize(
    "written",
    [
        *("8400", ":8400", "127.1:80", "0x7f.1:80", "2130706433:80", "::1:80", "127.0.0.1", "127.0.0.1:65536"),
        *(
            "127.0.0.1:-1",
            "a b:80",
            "[::1]",
            "unix:",
            "http://127.0.0.1:80",
            "127.0.0.1:80/",
            "\u0661.0.0.1:80",
            "",
            "off",
        ),
    ],
)
def test_odd_addresses_are_refused(tmp_path: Path, written: str) -> None:
    """Nothing that two readers could resolve differently; and the agent listener cannot be off."""
    found = problems(tmp_path, flags={"environment": "prod", "listen.agent": written})

    assert [problem.partition(": ")[2].partition(":")[0] for problem in found] == ["settings.invalid"]


@pytest.mark.parametrize(
    "written", ["https://console.example", "http://localhost:3000", "http://[::1]:3000", "vscode-webview://abc"]
)
def test_origins_are_read(tmp_path: Path, written: str) -> None:
    """As browsers send them."""
    assert loaded(tmp_path, flags={"environment": "prod", "listen.origins": written}).settings.listen.origins == (
        written,
    )


@pytest.mark.parametrize("written", ["null", "*", "https://*.example", "https://a/", "https://A", "a.example"])
def test_odd_origins_are_refused(tmp_path: Path, written: str) -> None:
    """`null` is every sandboxed frame, a wildcard is everyone."""
    assert problems(tmp_path, flags={"environment": "prod", "listen.origins": written})


ODD_FILES = ["sqlite:", "sqlite://host/x.db", "postgres://x", "memory:x", "ledger.db", "sqlite:a?mode=ro"]
ODD_STORES = ["redis:", "redis://", "redis://h:0", "redis://h:70000", "redis://h/x", "redis://h?db=1", "redis://u:p@h"]


@pytest.mark.parametrize("written", [*ODD_FILES, *ODD_STORES, "rediss://h#x", "redis://h,i"])
def test_odd_ledgers_are_refused(tmp_path: Path, written: str) -> None:
    """Only what can be opened."""
    assert problems(tmp_path, flags={"environment": "prod", "ledger": written})


@pytest.mark.parametrize(
    "written",
    [
        "redis+sentinel://:p@one.example:26379/main/0",
        "rediss+cluster://one.example",
        "redis://a:1,b:2/0",
        "redis://u:p@a,b",
    ],
)
def test_a_sentinel_or_a_cluster_is_told_from_a_slip(tmp_path: Path, written: str) -> None:
    """Whoever has one learns what to write; nothing of the URL is repeated."""
    (said,) = problems(tmp_path, flags={"environment": "prod", "ledger": written})
    assert "names a Sentinel, a Cluster or several servers" in said
    assert written.partition("://")[2] not in said


SHARED = """\
environment: prod
ledger: rediss://gate@cache.internal:6380/2
keys: {mask: "${env:MASK}", run: "${env:RUN}"}
"""


def test_a_shared_ledger_keeps_its_journal_in_a_file(tmp_path: Path) -> None:
    """What is taken is in the store, the journal is the gate's own, and every tool finds it there."""
    settings = loaded(
        tmp_path, SHARED + "redis: {journal: sqlite:own.db, prefix: prod, password: '${env:P}'}\n"
    ).settings
    assert settings.ledger == "rediss://gate@cache.internal:6380/2"
    assert settings.journal_url == f"sqlite://{tmp_path}/own.db"


def test_gates_that_share_state_share_keys(tmp_path: Path) -> None:
    """A run opened at one gate is named at another, so the key is given, not made; and TLS is spoken or not named."""
    text = "environment: prod\nledger: redis://cache/0\nredis: {ca_file: ca.pem, cert: c.pem}\n"
    said = {problem.partition("settings.invalid: ")[2] for problem in problems(tmp_path, text)}
    assert said == {
        "`ledger` is shared with other gates, so `keys.mask` must be given: the same to all of them",
        "`ledger` is shared with other gates, so `keys.run` must be given: the same to all of them",
        "`redis` names certificates, and `ledger` speaks no TLS; write `rediss:` instead of `redis:`",
        "`redis` has either `cert` or `key`; a client certificate needs both",
    }
    text = "environment: prod\nredis: {prefix: x}\n"
    assert "is of use with `ledger: redis:…` only" in problems(tmp_path, text)[0]


def test_a_store_in_the_clear_is_warned_about(tmp_path: Path) -> None:
    """Beyond loopback, who is on the way could give a budget back."""
    plain = SHARED.replace("rediss://gate@cache.internal:6380", "redis://cache.internal")
    off = {"TOOLGATE_LISTEN__ADMIN": "off"}
    warned = loaded(tmp_path, plain, **off).warnings
    assert ["beyond loopback and without TLS" in warning for warning in warned] == [True]
    assert loaded(tmp_path, SHARED, **off).warnings == ()


@given(text=st.text(max_size=40), key=st.sampled_from(sorted(keys())))
def test_any_text_for_any_setting_is_a_value_or_a_problem(text: str, key: str) -> None:
    """Never a traceback, and a problem always fits on one line."""
    told: list[str] = []
    try:
        load(flags={"environment": ("-e", "prod"), key: ("--set", text)}, environ={}, cwd=Path("/nonexistent"))
    except BundleError as broken:
        told = [str(problem) for problem in broken.problems]

    assert [line for line in told if "\n" in line or not line.startswith(("--set: ", "-e: ", "toolgate.yaml: "))] == []


def test_the_reference_has_every_setting_and_each_is_described() -> None:
    """`docs/settings.md` is this text."""
    rows, text = as_rows(), as_markdown()

    assert [row["key"] for row in rows] == list(keys())
    assert [key.name for key in keys().values() if not key.description.endswith(".")] == []
    assert [name for name in keys() if f"### `{name}`" not in text or variable(name) not in text] == []


HOOK = "environment: prod\nwebhook:\n  url: {}\n  secret: ${{env:HOOK}}\n"


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example/x?y=1", "https://hooks.example:8443/", "http://127.0.0.1:9000/hooks", "http://[::1]:9/",
     "http://localhost/"],
)  # fmt: skip
def test_people_are_told_over_tls_or_on_this_host(tmp_path: Path, url: str) -> None:
    """What was stopped and why does not travel in the clear."""
    webhook = loaded(tmp_path, HOOK.format(url)).settings.webhook

    assert webhook is not None
    assert (webhook.url, webhook.secret) == (url, Secret("env", "HOOK"))


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example/", "http://10.0.0.7/", "https://user:pass@hooks.example/", "https://hooks.example/#x",
     "http://127.0.0.1.evil.example/", "http://127.0.0.1:99999/", "ftp://127.0.0.1/", "hooks.example", "7"],
)  # fmt: skip
def test_a_webhook_that_would_tell_everybody_is_refused(tmp_path: Path, url: str) -> None:
    """And the message does not repeat it: a URL may hold a secret."""
    (problem,) = problems(tmp_path, HOOK.format(url))

    assert problem.startswith("toolgate.yaml:3: settings.invalid: `webhook.url` must be an `https://` URL")
    assert not any(part in problem for part in ("user:pass", "evil", "10.0.0.7", "ftp:"))


def test_a_webhook_is_signed(tmp_path: Path) -> None:
    """Half a webhook is none: without a secret nobody could tell its messages from another's."""
    assert problems(tmp_path, "environment: prod\nwebhook: {url: 'https://hooks.example/'}\n") == [
        "toolgate.yaml:2: settings.missing: `webhook.secret` is missing"
    ]
    assert loaded(tmp_path, "environment: prod\n").settings.webhook is None


def test_the_run_key_is_named_and_never_written(tmp_path: Path) -> None:
    """As the mask key: a reference, or made beside the ledger."""
    keys_of = loaded(tmp_path, "environment: prod\nkeys: {run: '${file:run.key}'}\n").settings.keys
    assert keys_of.run == Secret("file", str(tmp_path / "run.key"))
    (problem,) = problems(tmp_path, "environment: prod\nkeys: {run: hunter2}\n")
    assert "hunter2" not in problem


def test_an_operators_token_is_no_setting(tmp_path: Path) -> None:
    """Commands read it from `TOOLGATE_TOKEN`; nobody is warned of a stray variable, and nothing shows it."""
    found = loaded(tmp_path, "environment: prod\n", TOOLGATE_TOKEN="eyJ.secret")
    assert not any("TOKEN" in warning for warning in found.warnings)
