"""What Cedar would let through in silence, found at load (CEDAR.md §0)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cedarpy
import pytest

from toolgate.core.bundle import Bundle, BundleError
from toolgate.core.model import Principal, Resource, RunFacts
from toolgate.core.policy import Question
from toolgate.load.bundle import Sources, load
from toolgate.load.policies import Judged

from .conftest import ENVIRONMENTS

AGENT = Principal("a", ("digest",))


@pytest.fixture
def with_policies(toolspecs: Path, tmp_path: Path) -> Callable[[str], Bundle]:
    def make(text: str) -> Bundle:
        policies = tmp_path / "policies"
        policies.mkdir(exist_ok=True)
        (policies / "a.cedar").write_text(text)
        return load(Sources(toolspecs, policies, "prod", ENVIRONMENTS))

    return make


def ruling(bundle: Bundle, key: str) -> str:
    operation = bundle.catalog.operations[key]
    resource = Resource("Metric", "cpu", {"tier": "critical", "weight": 3})
    return bundle.policies.rule(Question(AGENT, operation, resource, "prod", {"name": "cpu"}, RunFacts(), 0)).kind


def test_t4_a_forbid_of_a_group_fires(with_policies: Callable[[str], Bundle]) -> None:
    """Cedar itself does not know that an action is in a group unless it is told with every call."""
    text = 'permit (principal, action, resource);\nforbid (principal, action in Action::"destructive", resource);'
    bundle = with_policies(text)
    request = {
        "principal": 'Agent::"a"',
        "action": 'Action::"metrics.removeMetric"',
        "resource": 'Metric::"cpu"',
        "context": {},
    }

    assert cedarpy.is_authorized(request, text, []).allowed  # the trap
    assert "denied" == ruling(bundle, "metrics.removeMetric")
    assert "allowed" == ruling(bundle, "metrics.flagMetric")


@pytest.mark.parametrize(
    "scope",
    [
        'principal, action == Action::"metrics.removeMetrc", resource',
        'principal, action in Action::"destrutive", resource',
        'principal == User::"a", action, resource',
        "principal, action, resource is Metrics",
        'principal, action, resource == Tool::"metric"',
    ],
)
def test_t5_a_name_with_a_slip_does_not_load(with_policies: Callable[[str], Bundle], scope: str) -> None:
    """Cedar takes it for something that matches nothing: a forbid would be switched off by a typing error."""
    text = f"forbid ({scope});"
    assert 1 == len(cedarpy.PolicySet.from_str(text))  # the trap
    with pytest.raises(BundleError) as refused:
        with_policies(text)

    assert ["policy.unknown"] == [each.code for each in refused.value.problems]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "permit (principal, action, resource) when { " + " && ".join(["context.run.calls < 3"] * 120) + " };",
            "policy.too_deep",
        ),
        ('permit (principal, action, resource) when { unknown("x") };', "policy.syntax"),
        ("permit (principal == ?principal, action, resource);", "policy.template"),
        ("permit (principal, action, resource in ?resource);", "policy.template"),
    ],
)
def test_t9_what_cannot_be_looked_into_does_not_load(judged: Callable[..., Judged], text: str, code: str) -> None:
    """Nested too deeply, undecidable, or a template, of which Cedar makes no policy at all and says nothing."""
    assert [code] == [each.code for each in judged(text).problems]


def test_a_has_with_a_slip_does_not_load(judged: Callable[..., Judged]) -> None:
    """Cedar's strict types take it for always absent: the forbid it guards would never fire, and nothing would say so."""
    text = 'forbid (principal, action == Action::"metrics.removeMetric", resource) when { context.args has nme && context.args.nme == "cpu" };'

    assert ["policy.unknown"] == [each.code for each in judged(text).problems]


@pytest.mark.parametrize(
    ("first", "link"),
    [
        *(
            ("", each)
            for each in ("(", "[", '{"a": ', "true && ", "true || ", "1 + ", "if true then true else ", "!", "-")
        ),
        ("context == context", ".a"),
        ("context has a", ".a"),
    ],
)
def test_t11_no_depth_ends_the_process(first: str, link: str) -> None:
    """Cedar's parser recurses: a thousand parentheses overflow the stack, and a reload would kill a serving gate."""
    script = (
        "import sys\nfrom toolgate.load.policies import CedarFile, judge\n"
        "for count in (120, 300, 1_000, 3_000, 8_000):\n"
        "    text = 'permit (principal, action, resource) when { ' + sys.argv[1] + sys.argv[2] * count + ' };'\n"
        "    assert judge([CedarFile('a.cedar', 'a.cedar', text.encode())], None).problems\n"
    )
    proxy = Path(__file__).resolve().parents[3] / "proxy"
    done = subprocess.run(
        [sys.executable, "-c", script, first, link],
        env={"PYTHONPATH": str(proxy), "PATH": ""},
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (0, b"") == (done.returncode, done.stderr)


def test_cedar_is_not_loaded_without_policies(toolspecs: Path) -> None:
    """16 MB and its import belong to those who have statements."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom toolgate.load.bundle import Sources, load\n"
        "load(Sources(Path(sys.argv[1]), None, 'prod', ('dev', 'prod')))\nprint('cedarpy' in sys.modules)\n"
    )
    proxy = Path(__file__).resolve().parents[3] / "proxy"
    done = subprocess.run(
        [sys.executable, "-c", script, str(toolspecs)],
        env={"PYTHONPATH": str(proxy), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "False" == done.stdout.strip()
