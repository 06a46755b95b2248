"""The chart: what it accepts, and what it renders.

RULE: what can be said without helm is said without it; the rest needs `helm` (3.8 or newer) on PATH and is reported as
skipped where it is absent. No cluster is needed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from toolgate.settings import load

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "toolgate"
EXAMPLE = CHART / "ci" / "example-values.yaml"
HELM = shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not on PATH: the chart's templates were not rendered")

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: mine}
spec:
  selector: {matchLabels: {app: mine}}
  template:
    metadata:
      labels: {app: mine}
      annotations:
        {{- include "toolgate.podAnnotations" .Subcharts.toolgate | nindent 8 }}
    spec:
      initContainers:
        {{- include "toolgate.sidecar" .Subcharts.toolgate | nindent 8 }}
      containers: [{name: agent, image: mine}]
      volumes:
        {{- include "toolgate.volumes" .Subcharts.toolgate | nindent 8 }}
"""


def values(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def problems(given: Any) -> list[str]:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(given)]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False, timeout=60)


def rendered(*arguments: str, chart: Path = CHART) -> list[Any]:
    done = helm("template", "t", str(chart), "--namespace", "agents", *arguments)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(documents: list[Any], kind: str, name: str) -> Any:
    return next(d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)


@pytest.mark.parametrize("path", [CHART / "values.yaml", EXAMPLE], ids=lambda path: path.name)
def test_the_values_in_the_repository_are_valid(path: Path) -> None:
    """The defaults and the example fit the schema."""
    given = values(path)

    assert problems(values(CHART / "values.yaml") | given) == []


@pytest.mark.parametrize(
    "change",
    [
        {"environmnet": "prod"},
        {"environment": "Prod"},
        {"toolspecs": {"../tool.yaml": ""}},
        {"toolspecs": {"metrics/..data": "", "/etc/passwd": ""}},
        {"policies": {"a__b.cedar": ""}},
        {"settings": {"environment": "dev"}},
        {"user": 0},
        {"image": {"repository": "toolgate", "digest": "latest"}},
        {"credentials": [{"name": "../x", "secretName": "x"}]},
        {"serviceAccountToken": {"enabled": True, "expirationSeconds": 60}},
        {"example": {"enabled": True, "image": ""}},
        {"redis": {"url": "redis://gate:hunter2@redis:6379/0"}},
        {"redis": {"url": "redis+sentinel://redis:26379/main"}},
        {"redis": {"url": "redis://redis:6379/0", "secretName": "r", "useCa": True}},
        {"redis": {"url": "rediss://redis:6379/0", "secretName": "", "useCa": True}},
        {"keys": {"secretName": "../x"}},
        {"webhook": {"url": "https://hooks.example"}},
        {"webhook": {"url": "https://hooks.example", "secretName": ""}},
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused(change: dict[str, Any]) -> None:
    """A misspelt key, a path out of its folder, root, an environment from the wrong place: refused before anything is applied."""
    assert problems(values(CHART / "values.yaml") | change) != []


def test_the_chart_and_the_product_have_one_version() -> None:
    """The chart installs the version of the tree it stands in."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)

    assert version is not None
    assert version[1] == values(CHART / "Chart.yaml")["appVersion"]


@needs_helm
@pytest.mark.parametrize("arguments", [(), ("-f", str(EXAMPLE))], ids=["defaults", "example"])
def test_helm_lint_has_nothing_to_say(arguments: tuple[str, ...]) -> None:
    """`helm lint --strict` passes."""
    done = helm("lint", "--strict", str(CHART), *arguments)

    assert done.returncode == 0, done.stdout


@needs_helm
def test_the_settings_file_is_one_the_product_reads() -> None:
    """What the ConfigMap holds is the chart's addresses and folders with the operator's settings merged in."""
    text = one(rendered("-f", str(EXAMPLE)), "ConfigMap", "t-toolgate-settings")["data"]["toolgate.yaml"]

    assert {
        "environment": "prod",
        "environments": ["dev", "staging", "prod"],
        "identity": {"anonymous": {"id": "metrics-digest", "roles": ["digest"]}},
        "keys": {"mask": "${file:/etc/toolgate/keys/mask}", "run": "${file:/etc/toolgate/keys/run}"},
        "ledger": "rediss://gate@redis.example:6379/0",
        "listen": {
            "agent": "127.0.0.1:8400",
            "admin": "unix:/run/toolgate/admin.sock",
            "health": "0.0.0.0:8402",
            "hosts": ["localhost", "127.0.0.1"],
        },
        "policies": "/etc/toolgate/policies",
        "redis": {
            "ca_file": "/etc/toolgate/redis/ca.crt",
            "journal": "sqlite:///var/lib/toolgate/ledger.db",
            "password": "${file:/etc/toolgate/redis/password}",
            "prefix": "agents-prod",
        },
        "toolspecs": "/etc/toolgate/toolspecs",
        "webhook": {"secret": "${file:/etc/toolgate/webhook/secret}", "url": "https://hooks.example/toolgate"},
    } == yaml.safe_load(text)


@needs_helm
@pytest.mark.parametrize("arguments", [(), ("-f", str(EXAMPLE))], ids=["defaults", "example"])
def test_the_product_takes_the_settings_file(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """The settings the chart writes have no problem and nothing to warn about but the health listener's address."""
    text = one(rendered(*arguments), "ConfigMap", "t-toolgate-settings")["data"]["toolgate.yaml"]
    (tmp_path / "toolgate.yaml").write_text(text, encoding="utf-8")

    loaded = load(config=tmp_path / "toolgate.yaml", environ={}, cwd=tmp_path)

    assert str(loaded.settings.listen.admin) == "unix:/run/toolgate/admin.sock"
    assert loaded.settings.journal_url == "sqlite:///var/lib/toolgate/ledger.db"
    assert [warning for warning in loaded.warnings if "health" not in warning] == []


@needs_helm
def test_the_sidecar_starts_before_the_agent_and_outlives_it() -> None:
    """It is a native sidecar: an init container that restarts, with a startup probe that holds the agent back."""
    sidecar = pod(rendered("-f", str(EXAMPLE)))["initContainers"][0]

    assert sidecar["restartPolicy"] == "Always"
    assert {"/-/ready", "/-/live"} == {
        sidecar[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }


@needs_helm
def test_every_container_is_hardened() -> None:
    """No root, no capability, no writable root file system, no new privilege; agent and sidecar are different users."""
    spec = pod(rendered("-f", str(EXAMPLE)))
    contexts = [container["securityContext"] for container in spec["initContainers"] + spec["containers"]]

    for context in contexts:
        assert (True, True, False, ["ALL"], "RuntimeDefault") == (
            context["runAsNonRoot"],
            context["readOnlyRootFilesystem"],
            context["allowPrivilegeEscalation"],
            context["capabilities"]["drop"],
            context["seccompProfile"]["type"],
        )
    assert len({context["runAsUser"] for context in contexts}) == len(contexts)
    assert spec["automountServiceAccountToken"] is False
    assert spec["shareProcessNamespace"] is False


@needs_helm
def test_the_agent_mounts_nothing_of_the_sidecar() -> None:
    """Credentials, journal and admin socket are in the sidecar only."""
    agent = pod(rendered("-f", str(EXAMPLE)))["containers"][0]

    assert "volumeMounts" not in agent


@needs_helm
def test_the_sidecars_own_token_lies_where_the_documentation_says() -> None:
    """With `serviceAccountToken`, the sidecar has the token and the authority an issuer's `jwks` names; else it has none."""
    spec = pod(rendered("-f", str(EXAMPLE)))
    (mounted,) = [m for m in spec["initContainers"][0]["volumeMounts"] if m["mountPath"] == "/var/run/secrets/toolgate"]
    projected = next(v for v in spec["volumes"] if v["name"] == mounted["name"])["projected"]
    token, authority = projected["sources"]

    assert mounted["readOnly"] is True
    assert ("token", ["ca.crt"]) == (
        token["serviceAccountToken"]["path"],
        [item["path"] for item in authority["configMap"]["items"]],
    )


@needs_helm
def test_the_sidecars_own_secrets_lie_where_its_settings_look_for_them() -> None:
    """The store's password, the keys and the webhook's secret: mounted where in use, in the sidecar only, and nowhere else."""
    spec = pod(rendered("-f", str(EXAMPLE)))
    names = {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    mounted = {
        m["mountPath"]: names[m["name"]] for m in spec["initContainers"][0]["volumeMounts"] if m["name"] in names
    }

    assert mounted == {
        "/etc/toolgate/keys": "toolgate-keys",
        "/etc/toolgate/redis": "toolgate-redis",
        "/etc/toolgate/webhook": "toolgate-webhook",
        "/var/run/secrets/metrics": "metrics-upstream",
    }
    none = "redis.url=,redis.useCa=false,keys.secretName=,webhook.url="
    plain = pod(rendered("-f", str(EXAMPLE), "--set", none))
    assert [v["secret"]["secretName"] for v in plain["volumes"] if "secret" in v] == ["metrics-upstream"]


@needs_helm
def test_files_come_back_to_their_folders() -> None:
    """Each toolspec file's key in the ConfigMap is given its path by the volume."""
    documents = rendered("-f", str(EXAMPLE))
    held = one(documents, "ConfigMap", "t-toolgate-toolspecs")["data"]
    volume = next(v for v in pod(documents)["volumes"] if v["name"] == "toolgate-toolspecs")

    assert values(EXAMPLE)["toolspecs"] == {item["path"]: held[item["key"]] for item in volume["configMap"]["items"]}


@needs_helm
def test_existing_config_maps_are_mounted_one_per_tool() -> None:
    """`toolspecConfigMaps` mounts each at its tool's folder, and excludes `toolspecs`."""
    spec = pod(rendered("-f", str(EXAMPLE), "--set", "toolspecs=null", "--set", "toolspecConfigMaps.metrics=mine"))

    assert "/etc/toolgate/toolspecs/metrics" in {m["mountPath"] for m in spec["initContainers"][0]["volumeMounts"]}
    assert "not both" in helm("template", str(CHART), "-f", str(EXAMPLE), "--set", "toolspecConfigMaps.a=b").stderr


@needs_helm
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("environment=qa", "`qa` is not one of environments"),
        ("example.user=1337", "must differ from user"),
        ("keys.secretName=", "set keys.secretName"),
    ],
)
def test_contradictions_stop_the_rendering(setting: str, message: str) -> None:
    """What the schema cannot see is refused by the templates, in a sentence."""
    done = helm("template", str(CHART), "-f", str(EXAMPLE), "--set", setting)

    assert done.returncode != 0
    assert message in done.stderr


@needs_helm
def test_another_chart_includes_the_sidecar(tmp_path: Path) -> None:
    """As a dependency, the named templates put the sidecar into the parent's own Deployment."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 1.0.0\n")
    (tmp_path / "templates" / "deployment.yaml").write_text(DEPLOYMENT)
    (tmp_path / "values.yaml").write_text("toolgate: {environment: dev, toolspecs: {metrics/tool.yaml: x}}\n")
    shutil.copytree(CHART, tmp_path / "charts" / "toolgate")

    spec = one(rendered(chart=tmp_path), "Deployment", "mine")["spec"]["template"]["spec"]

    assert [c["name"] for c in spec["initContainers"]] == ["toolgate"]
    assert "toolgate-toolspecs" in {volume["name"] for volume in spec["volumes"]}


def pod(documents: list[Any]) -> Any:
    return one(documents, "Deployment", "t-toolgate-example")["spec"]["template"]["spec"]
