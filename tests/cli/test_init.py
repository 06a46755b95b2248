"""`toolgate init`: what it writes can be checked and served, and it never overwrites unasked."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cedarpy
import pytest
import yaml
from click.testing import Result

from toolgate.cli import source
from toolgate.cli.guess import Guessed
from toolgate.cli.scaffold import Draft, policy_text, toolspec_text
from toolgate.core.bundle import BundleError

Toolgate = Callable[..., Result]
BOTH = ("init", "--openapi", "openapi.yaml", "--tool", "shop")


def test_it_writes_what_a_first_gate_needs(toolgate: Toolgate, folder: Path) -> None:
    """Settings, toolspec, document and policy; and it says what to do next."""
    shown = toolgate(*BOTH)

    assert shown.exit_code == 0
    assert shown.output == (
        "wrote policies/budgets.yaml\nwrote policies/shop.cedar\nwrote toolgate.yaml\nwrote toolspecs/shop/openapi.yaml\nwrote toolspecs/shop/tool.yaml\n"
        "\n6 operations: 2 read, 2 write, 2 destructive; allowed in dev: the reads\n"
        "\nNext:\n  toolgate check\n  toolgate serve\n  curl http://127.0.0.1:8400/-/tools\n"
    )
    assert (folder / "toolspecs/shop/openapi.yaml").read_bytes() == (folder / "openapi.yaml").read_bytes()


def test_the_budgets_it_proposes_are_budgets(toolgate: Toolgate, project: Path) -> None:
    """They wait in comments; whoever takes the `#` away has a file that loads."""
    file = project / "policies/budgets.yaml"
    assert yaml.safe_load(file.read_text()) == {"apiVersion": "toolgate/v1"}
    head, *rest = file.read_text().splitlines()
    file.write_text("\n".join((head, *(line.removeprefix("# ") for line in rest))))
    shown = toolgate("check")

    assert shown.exit_code == 0
    assert "budgets: 2 budgets (calls), 2 limits; loops are looked for" in shown.output


def test_reads_are_allowed_and_the_rest_waits_in_comments(project: Path) -> None:
    """Uncommenting is the operator's decision; a POST that looks like a read is proposed, not taken."""
    text = (project / "toolspecs/shop/tool.yaml").read_text()
    spec = yaml.safe_load(text)

    assert spec["environments"]["dev"]["allow"] == ["getOrder", "listOrders"]
    assert spec["environments"]["dev"]["upstream"] == "https://shop.example/v1"
    assert spec["operations"] == {"purgeRefunds": {"effect": "destructive"}}
    for line in ("# - createOrder", "# - deleteOrder", "# searchOrders: {effect: read}"):
        assert f"{line}\n" in text


def test_the_policy_permits_the_reads_and_the_rest_waits_in_comments(toolgate: Toolgate, project: Path) -> None:
    """It stands as it is, and so does everything that waits in it once it is uncommented."""
    file = project / "policies/shop.cedar"
    text = file.read_text()
    waiting = text.index("// Keep")
    uncommented = re.sub(r"^// (?!Keep)", "", text[waiting:], flags=re.MULTILINE)

    assert ["shop-reads"] == [policy["annotations"]["id"] for policy in statements(text)]
    assert 'permit (principal in Role::"agent", action in Action::"shop", resource)' in text
    assert "policies: 1 statement (1 permit, 0 forbids)\n" in toolgate("check").stdout
    file.write_text(text[:waiting] + uncommented)
    assert "policies: 3 statements (3 permits, 0 forbids)\n" in toolgate("check").stdout
    assert "  match nothing in any environment: 2\n" in toolgate("check").stdout  # the toolspec allows the reads only


def test_a_call_that_only_reads_is_permitted_and_any_other_is_not(toolgate: Toolgate, project: Path) -> None:
    """A new user's first calls do what the files say, without a change."""
    spec = project / "toolspecs/shop/tool.yaml"
    spec.write_text(spec.read_text().replace("# - createOrder", "- createOrder"))

    assert toolgate("explain", "shop.listOrders").exit_code == 0
    refused = toolgate("explain", "shop.createOrder", "--args", '{"body": {}}')
    assert (refused.exit_code, "refused: policy.not_allowed" in refused.output) == (1, True)


def test_a_tool_is_not_called_like_a_group_of_policies(toolgate: Toolgate, folder: Path) -> None:
    """`Action::"read"` means every read operation, whatever the tool."""
    assert folder.is_dir()
    assert toolgate("init", "--openapi", "openapi.yaml", "--tool", "read").exit_code == 2


def statements(text: str) -> list[dict[str, dict[str, str]]]:
    return list(json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values())


def test_what_it_wrote_passes_check_and_can_be_served(toolgate: Toolgate, project: Path) -> None:
    """The next commands it names work as they are."""
    assert project.is_dir()
    assert toolgate("check").exit_code == 0
    assert "2 of 6 operations allowed" in toolgate("serve", "--check").output


def test_nothing_is_overwritten_without_force(toolgate: Toolgate, project: Path) -> None:
    """It says what stands in the way, and then nothing at all is written."""
    file = project / "toolspecs/shop/tool.yaml"
    file.write_text("mine")
    (project / "policies/shop.cedar").unlink()
    refused = toolgate(*BOTH)

    assert refused.exit_code == 3
    assert "`toolspecs/shop/tool.yaml` already exist; nothing was written" in refused.output
    assert file.read_text() == "mine"
    assert not (project / "policies/shop.cedar").exists()
    assert toolgate(*BOTH, "--force").exit_code == 0
    assert file.read_text() != "mine"


def test_a_second_tool_joins_the_settings_that_are_there(toolgate: Toolgate, project: Path) -> None:
    """Their folders, environments and principal; settings are never rewritten."""
    settings = "environment: prod\nenvironments: [dev, prod]\ntoolspecs: specs/\nidentity: {anonymous: digest}\n"
    (project / "toolgate.yaml").write_text(settings)
    shown = toolgate("init", "--openapi", "openapi.yaml", "--tool", "crm", "-e", "dev", "-e", "prod")

    assert shown.exit_code == 0, shown.output
    assert (project / "toolgate.yaml").read_text() == settings
    assert list(yaml.safe_load((project / "specs/crm/tool.yaml").read_text())["environments"]) == ["dev", "prod"]
    assert 'Agent::"digest"' in (project / "policies/crm.cedar").read_text()
    assert toolgate("init", "--openapi", "openapi.yaml", "--tool", "x", "-e", "stging").exit_code == 2


def test_another_folder_and_json(toolgate: Toolgate, folder: Path) -> None:
    """The next commands name the settings there."""
    shown = json.loads(toolgate(*BOTH, "--json", "gate").stdout)

    assert shown["operations"] == {"total": 6, "read": 2, "write": 2, "destructive": 2}
    assert shown["written"] == [
        "gate/policies/budgets.yaml",
        "gate/policies/shop.cedar",
        "gate/toolgate.yaml",
        "gate/toolspecs/shop/openapi.yaml",
        "gate/toolspecs/shop/tool.yaml",
    ]
    assert shown["next"][0] == "toolgate check --config gate/toolgate.yaml"
    assert (folder / "gate/toolgate.yaml").is_file()


def test_a_split_document_comes_with_its_files(toolgate: Toolgate, folder: Path) -> None:
    """Those below its folder; one outside is refused by the loader, by name."""
    (folder / "api" / "parts").mkdir(parents=True)
    (folder / "api/parts/order.yaml").write_text("type: object\nproperties: {next: {$ref: 'order.yaml'}}\n")
    (folder / "api/api.yaml").write_text(
        (folder / "openapi.yaml").read_text().replace("{type: object}", "{$ref: 'parts/order.yaml'}")
    )

    assert toolgate("init", "--openapi", "api/api.yaml", "--tool", "shop").exit_code == 0
    assert (folder / "toolspecs/shop/parts/order.yaml").is_file()
    assert toolgate("check").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--openapi", "nowhere.yaml", "--tool", "shop"), 3, "`nowhere.yaml`: no such file or directory"),
        (("--openapi", "openapi.yaml", "--tool", "mcp"), 2, "and not `mcp`"),
        (("--openapi", "openapi.yaml", "--tool", "Shop"), 2, "use a name such as `metrics`"),
        (("--openapi", "file:///etc/passwd", "--tool", "shop"), 2, "is not an http or https URL"),
        (("--openapi", "ftp://x/openapi.yaml", "--tool", "shop"), 2, "is not an http or https URL"),
        (("--openapi", "https://u:hunter2@x/", "--tool", "shop"), 2, "with a user and password in its URL"),
        (("--openapi", "empty.yaml", "--tool", "shop"), 2, "document.empty"),
        (("--openapi", "text.yaml", "--tool", "shop"), 2, "document."),
        (
            ("--openapi", "noserver.yaml", "--tool", "shop"),
            2,
            "names no server: say where the API is with `--upstream URL`",
        ),
        (
            ("--openapi", "openapi.yaml", "--tool", "shop", "--upstream", "http://127.1"),
            2,
            "--upstream has a numeric host",
        ),
        (("--openapi", "openapi.yaml", "--tool", "shop", "-e", "Prod"), 2, "use a name such as `prod`"),
    ],
)
def test_what_it_cannot_use_is_told_and_nothing_is_written(
    toolgate: Toolgate, folder: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    """One sentence, and an empty folder stays empty."""
    (folder / "empty.yaml").write_text("openapi: 3.1.0\ninfo: {title: x, version: '1'}\npaths: {}\n")
    (folder / "text.yaml").write_text("hello")
    (folder / "noserver.yaml").write_text((folder / "openapi.yaml").read_text().replace("servers:", "x-servers:"))
    shown = toolgate("init", *words)

    assert (shown.exit_code, said in shown.output) == (code, True), shown.output
    assert "hunter2" not in shown.output
    assert not (folder / "toolspecs").exists()


def test_names_of_a_document_cannot_break_out_of_a_comment(folder: Path) -> None:
    """A vendor's operation id with a line break or a quote stays text, in YAML and in Cedar."""
    names = [
        "evil\nenvironments: {prod: {}}",
        'a"];permit(principal,action,resource);//',
        "é*[",
        "line\u2028separator",
        "off",
        "1",
    ]
    for effect in ("read", "write", "destructive"):
        draft = Draft(
            "shop",
            "openapi.yaml",
            "https://x",
            ("dev",),
            tuple(Guessed(name, effect, effect, effect == "write") for name in names),
            "{}",
        )
        spec = yaml.safe_load(toolspec_text(draft))

        assert list(spec["environments"]) == ["dev"]
        assert all(isinstance(pattern, str) for pattern in spec["environments"]["dev"]["allow"] or [])
        assert len(
            statements(
                policy_text(draft, 'principal in Role::"agent"') + 'permit(principal == Agent::"x", action, resource);'
            )
        ) == (2 if effect == "read" else 1)
    assert folder.is_dir()


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"openapi: 3.1.0\n" if self.path == "/small" else b"x" * 2048
        moved = {"/moved": "/small", "/file": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/x", "/loop": "/loop"}
        if self.path in moved:
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if self.path != "/gone" else 410)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_url_is_fetched_within_bounds() -> None:
    """Redirects are followed on http and https only, and not for ever; errors name the URL."""
    with site() as base:
        assert source.read_source(f"{base}/moved").content == b"openapi: 3.1.0\n"
        assert source.read_source(f"{base}/moved").url == f"{base}/small"
        for path in ("/file", "/ftp", "/loop", "/gone"):
            with pytest.raises(OSError, match="cannot be fetched") as broken:
                source.read_source(base + path)
            assert broken.value.filename == base + path


def test_a_url_that_nobody_answers_is_told_in_words() -> None:
    """No number of the system's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/openapi.yaml"
    with pytest.raises(OSError, match="cannot be fetched") as broken:
        source.read_source(url)

    assert "cannot be fetched: connection refused; save the document and name the file" == broken.value.strerror


def test_a_document_that_is_too_large_is_refused(folder: Path) -> None:
    """Before it fills the memory."""
    with (folder / "huge.json").open("wb") as file:
        file.truncate(source.MAX_BYTES + 1)
    with pytest.raises(BundleError, match="is larger than 64 MiB"):
        source.read_source("huge.json")


def test_a_document_that_cannot_be_read_is_named_as_it_was_given(toolgate: Toolgate, folder: Path) -> None:
    """Not by the name it would have been written under."""
    (folder / "notes.txt").write_text("a: 1\n---\nb: 2\n")
    shown = toolgate("init", "--openapi", "notes.txt", "--tool", "shop")

    assert shown.exit_code == 2
    assert "notes.txt: document.syntax: is not YAML" in shown.stderr
    assert not (folder / "toolspecs").exists()
