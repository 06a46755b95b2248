"""What a setting is for: read from the source when it is asked for."""

from __future__ import annotations

import subprocess
import sys

from toolgate.settings import Settings
from toolgate.settings.descriptions import descriptions
from toolgate.settings.model import Keep


def test_it_is_the_text_below_the_field():
    """Whole, and by the attribute's name."""
    assert {"age_s", "size_bytes"} == set(descriptions(Keep))
    assert descriptions(Keep)["age_s"].startswith("Prune journal segments older than")


def test_the_schema_says_it_by_the_key_one_writes():
    """Editors show it beside the key."""
    keep = Settings.model_json_schema(by_alias=True)["$defs"]["Keep"]["properties"]

    assert descriptions(Keep)["size_bytes"] == keep["size"]["description"]


def test_a_gate_does_not_read_its_own_source():
    """It would take longer than all the rest of the settings."""
    loaded = "import linecache; from toolgate.settings import Settings, keys; keys(); print(*linecache.cache)"
    done = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)

    assert not [name for name in done.stdout.split() if "toolgate" in name]
