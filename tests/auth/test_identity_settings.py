"""The settings of identity: what is written, what is refused, each problem on its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolgate.auth.issuer import FromFile, FromSecret, FromUrl, Identity, Issuer, RoleRule
from toolgate.core.bundle import BundleError
from toolgate.core.catalog import Secret
from toolgate.core.model import Principal
from toolgate.settings import Loaded, keys, load
from toolgate.settings.identity import development_key, identity_of
from toolgate.settings.keys import elements
from toolgate.settings.reference import as_markdown

FULL = """\
environment: dev
identity:
  anonymous: {id: digest, roles: [reader]}
  issuers:
    - name: corp
      issuer: https://id.example/
      audience: toolgate
      other_audiences: [account]
      jwks: {url: "https://id.example:8443/keys?v=1", ca_file: ca.pem, token_file: /run/token, max_stale_s: 60}
      algorithms: [RS256, ES256]
      roles: {claim: groups, map: {sre: oncall, dev: [digest, reader]}, separator: " "}
      max_age_s: 7200
      leeway_s: 5
    - {name: mesh, issuer: spire, audience: toolgate, jwks: {file: svid/bundle.json}, trust_domain: prod.example}
    - {name: old, issuer: legacy, audience: toolgate, secret: "${file:hs.key}", algorithms: HS512}
"""


def loaded(folder: Path, text: str, **environ: str) -> Loaded:
    (folder / "toolgate.yaml").write_text(text)
    return load(environ=environ, cwd=folder)


def identity(folder: Path, text: str, **environ: str) -> Identity:
    return identity_of(loaded(folder, text, **environ).settings)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(BundleError) as broken:
        loaded(folder, text, **environ)
    return [str(problem).removeprefix("toolgate.yaml:") for problem in broken.value.problems]


def issuer(**changes: object) -> str:
    """A file with one issuer, on line 3."""
    said = {
        "name": "corp",
        "issuer": "https://id.example",
        "audience": "toolgate",
        "jwks": {"file": "k.json"},
    } | changes
    kept = {name: value for name, value in said.items() if value is not ...}
    return f"environment: dev\nidentity:\n  issuers: [{json.dumps(kept)}]\n"


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    """Paths are relative to the file, secrets are references."""
    assert identity(tmp_path, FULL) == Identity(
        Principal("digest", ("reader",)),
        (
            Issuer(
                "corp", "https://id.example/", "toolgate",
                FromUrl("https://id.example:8443/keys?v=1", tmp_path / "ca.pem", Path("/run/token")),
                ("RS256", "ES256"), frozenset({"account"}),
                RoleRule("groups", {"sre": ("oncall",), "dev": ("digest", "reader")}, " "),
                max_age_s=7200, leeway_s=5, max_stale_s=60,
            ),
            Issuer("mesh", "spire", "toolgate", FromFile(tmp_path / "svid/bundle.json"), trust_domain="prod.example"),
            Issuer("old", "legacy", "toolgate", FromSecret(Secret("file", str(tmp_path / "hs.key"))), ("HS512",)),
        ),
    )  # fmt: skip


def test_who_calls_without_a_token(tmp_path: Path) -> None:
    """Without issuers the workload; with them nobody, unless it is written."""
    said = issuer()
    assert identity(tmp_path, "environment: dev\n").anonymous == Principal("agent")
    assert identity(tmp_path, said).anonymous is None
    assert identity(tmp_path, f"{said}  anonymous: agent\n").anonymous == Principal("agent")
    assert identity(tmp_path, said, TOOLGATE_IDENTITY__ANONYMOUS__ROLES="a").anonymous == Principal("agent", ("a",))
    assert identity(tmp_path, "environment: dev\nidentity: {development: true}\n").anonymous is None


def test_a_variable_writes_issuers_as_json(tmp_path: Path) -> None:
    """The whole list; it stands instead of the file's."""
    value = '[{"name": "ci", "issuer": "https://ci.example", "audience": "gate", "jwks": {"file": "k.json"}}]'
    found = identity(tmp_path, issuer(), TOOLGATE_IDENTITY__ISSUERS=value)

    assert [each.name for each in found.issuers] == ["ci"]
    assert problems(tmp_path, issuer(), TOOLGATE_IDENTITY__ISSUERS="corp") == [
        "TOOLGATE_IDENTITY__ISSUERS: settings.invalid: `identity.issuers` must be a list of issuers; a variable or a flag writes it as JSON: `[{…}]`"
    ]


def test_problems_inside_an_issuer_are_told_where_they_stand(tmp_path: Path) -> None:
    """All at once, each with its line, its place in the list and what was meant."""
    text = """\
environment: dev
identity:
  anonymous: {id: toolgate}
  issuers:
    - name: corp
      issuer: https://id.example
      audiences: toolgate
      jwks:
        ulr: https://id.example/keys
      roles: {clam: groups}
    - name: Corp
      issuer: https://id.example
      audience: toolgate
      jwks: {url: http://id.example/keys}
      algorithms: [RS256, none]
      leeway_s: 3000
      max_age_s: "1h"
      secret: hunter2hunter2hunter2hunter2hunter2
"""
    assert problems(tmp_path, text) == [
        "5: settings.missing: `identity.issuers[0].audience` is missing",
        "7: settings.unknown_key: `identity.issuers[0].audiences` is not a setting; did you mean `audience`?",
        "9: settings.unknown_key: `identity.issuers[0].jwks.ulr` is not a setting; did you mean `url`?",
        "10: settings.missing: `identity.issuers[0].roles.claim` is missing",
        "10: settings.unknown_key: `identity.issuers[0].roles.clam` is not a setting; did you mean `claim`?",
        "11: settings.invalid: `identity.issuers[1].name` must be a name that matches `^[a-z][a-z0-9-]{0,31}$`",
        "14: settings.invalid: `identity.issuers[1].jwks.url` must be an `https://` URL without user, password and fragment, such as `https://id.example/jwks`",
        "15: settings.invalid: `identity.issuers[1].algorithms[1]` must be `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `ES512`, `EdDSA`, `HS256`, `HS384` or `HS512`",
        "16: settings.invalid: `identity.issuers[1].leeway_s` must be at most 300",
        "17: settings.invalid: `identity.issuers[1].max_age_s` must be a number",
        "18: settings.invalid: `identity.issuers[1].secret` must be `${file:PATH}` or `${env:NAME}`; a secret never stands in the settings themselves",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (issuer(name="dev"), "`identity.issuers[0].name` is `dev`, which is the issuer of development tokens"),
        (issuer(issuer="toolgate-development"), "`identity.issuers[0].issuer` is `toolgate-development`, which development tokens say"),
        (issuer(jwks=...), "needs either `jwks`, where its public keys are, or `secret`"),
        (issuer(secret="${env:S}"), "needs either `jwks`, where its public keys are, or `secret`"),
        (issuer(jwks={}), "has a `jwks` that needs either `url` or `file`"),
        (issuer(jwks={"url": "https://a/", "file": "b"}), "has a `jwks` that needs either `url` or `file`"),
        (issuer(jwks={"file": "b", "token_file": "t"}), "which are of use with `url` only"),
        (issuer(algorithms=["HS256"]), "lists `HS256` in `algorithms`, which needs a `secret`"),
        (issuer(algorithms=["RS256", "HS256"]), "lists `HS256` in `algorithms`, which needs a `secret`"),  # J02
        (issuer(jwks=..., secret="${env:S}", algorithms=["HS256", "RS256"]), "lists `RS256` in `algorithms`, which needs public keys in `jwks`"),
        ("environment: dev\nidentity: {anonymous: toolgate}\n", "`identity.anonymous.id` is `toolgate`, which is the gate itself"),
        ("environment: prod\nidentity: {development: true}\n", "`prod` is production"),
        ("environment: production\nenvironments: [production, x]\nidentity: {development: true}\n", "`production` is production"),
        ("environment: live\nenvironments: [dev, live]\nidentity: {development: true}\n", "`live` is production"),
        ("environment: dev\nidentity: {anonymous: corp/alice}\n", "`identity.anonymous.id` must be a name"),
        (issuer(issuer=""), "`identity.issuers[0].issuer` must be a name that matches"),
        (issuer(audience=["a"]), "`identity.issuers[0].audience` must be text"),
        (issuer(roles={"claim": "", "map": []}), "`identity.issuers[0].roles.claim` must not be empty"),
        (issuer(roles={"claim": "g", "map": {"a": 7}}), "`identity.issuers[0].roles.map.a` must be a list"),
        ("environment: dev\nidentity: {issuers: {name: corp}}\n", "`identity.issuers` must be a list"),
        ("environment: dev\nidentity: {issuers: [corp]}\n", "`identity.issuers[0]` must be a mapping of settings"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """At start and at `check` alike, since both load the settings."""
    assert [problem for problem in problems(tmp_path, text) if why in problem] != []


def test_two_issuers_are_told_apart(tmp_path: Path) -> None:
    """By name, or principals of both would be mixed up; by `iss`, or a token would be held against one of them only."""
    one = '{name: corp, issuer: "https://id.example", audience: a, jwks: {file: k}}'
    text = f"environment: dev\nidentity:\n  issuers:\n    - {one}\n    - {one}\n"

    assert problems(tmp_path, text) == [
        "5: settings.invalid: `identity.issuers[1].issuer` is `https://id.example`, as another issuer's is; its tokens would be held against only one",
        "5: settings.invalid: `identity.issuers[1].name` is `corp`, as another issuer's is; principals of both would be mixed up",
    ]


@pytest.mark.parametrize(
    "url",
    ["http://id.example/", "https://", "https://u:p@id.example/", "https://id.example/#k", "https://id.example:99999/",
     "https://id.example:0/", "https://id example/", "ftp://id.example/", "https://id.example\\k", "//id.example/", "", 7],
)  # fmt: skip
def test_odd_urls_are_refused(tmp_path: Path, url: object) -> None:
    """HTTPS, one host, no credentials: nothing that two readers could read differently."""
    assert problems(tmp_path, issuer(jwks={"url": url}))


@pytest.mark.parametrize(
    "url", ["https://id.example", "https://id.example:8443/a/b?c=d", "https://[::1]/keys", "https://10.0.0.1"]
)
def test_plain_urls_are_taken(tmp_path: Path, url: str) -> None:
    """Names and addresses, with port, path and query."""
    (found,) = identity(tmp_path, issuer(jwks={"url": url})).issuers
    assert found.source == FromUrl(url)


def test_development_and_an_open_door_are_warned_about(tmp_path: Path) -> None:
    """And the warning about anonymous callers is for where there are any."""
    said = "environment: dev\nlisten: {agent: '0.0.0.0:1'}\nidentity: {development: true}\n"
    first, second = loaded(tmp_path, said).warnings

    assert "tokens travel in the clear" in first
    assert first.count("`agent`") == 0
    assert second.startswith("`identity.development` is on")


def test_the_development_key_lies_beside_the_ledger(tmp_path: Path) -> None:
    """With `memory:`, where a ledger would be by default."""
    where = {"sqlite:state/l.db": "state", "sqlite:.toolgate/ledger.db": ".toolgate", "memory:": ".toolgate"}
    for ledger, folder in where.items():
        settings = loaded(tmp_path, f"environment: dev\nledger: '{ledger}'\n").settings
        assert development_key(settings) == tmp_path / folder / "development.jwk"


def test_what_stands_in_an_issuer_is_in_the_reference(tmp_path: Path) -> None:
    """Every key inside, with its description; and `toolgate settings` shows issuers as one writes them."""
    reference = as_markdown()
    assert {"identity.issuers[].jwks.url", "identity.issuers[].roles.claim", "identity.issuers[].name"} <= set(
        elements()
    )
    assert [name for name in elements() if f"### `{name}`\n" not in reference] == []
    assert [key.name for key in elements().values() if not key.description.endswith(".")] == []
    key = keys()["identity.issuers"]
    shown = key.shown(key.value(loaded(tmp_path, issuer(secret="${env:S}", jwks=...)).settings))
    assert shown == "[{name: corp, issuer: https://id.example, audience: toolgate, secret: ${env:S}}]"
