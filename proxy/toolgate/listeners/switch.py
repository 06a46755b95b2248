"""Operators freeze and thaw over HTTP, and read what is frozen (DESIGN §14): on the admin listener only.

RULE: exactly one thing is named, and somebody says why. What this gate does not know by that name is frozen all the
same, and the answer says so: a slip in a name must not look like a stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from toolgate.core.bundle import Bundle
from toolgate.core.journal import Filter, timestamp
from toolgate.core.model import Freeze, Json, Refusal
from toolgate.core.runs import Action
from toolgate.core.suggest import near
from toolgate.killswitch import KillSwitch, Target, Thrown, target_of
from toolgate.listeners.answers import Answer
from toolgate.listeners.roles import requiring
from toolgate.listeners.routes import Respond, Visit, invalid, json_of, unknown_key
from toolgate.listeners.voice import Voice
from toolgate.ports import Journal, LedgerError

_NAMED: Final = ("run", "principal", "tool")
_KEYS: Final = (*_NAMED, "everything", "why")
_MAX_WHY: Final = 512
_MAX_NAME: Final = 1024
_AS_JSON: Final = 'Send one JSON object such as {"run": "run_…", "why": "…"}, as `Content-Type: application/json`.'
_ONE_OF: Final = "name exactly one of `run`, `principal`, `tool` and `everything`"


class SwitchApi:
    """Answers `/-/freeze`, `/-/thaw` and `/-/freezes`."""

    def __init__(self, switch: KillSwitch, bundle: Callable[[], Bundle], journal: Journal, voice: Voice) -> None:
        self._switch = switch
        self._bundle = bundle
        self._journal = journal
        self._voice = voice
        self.routes: Mapping[str, Respond] = {
            "POST /-/freeze": requiring("admin", self._freeze, voice),
            "POST /-/thaw": requiring("admin", self._thaw, voice),
            "GET /-/freezes": requiring("viewer", self._freezes, voice),
        }

    async def _freeze(self, visit: Visit) -> Answer:
        return await self._throw("freeze", visit)

    async def _thaw(self, visit: Visit) -> Answer:
        return await self._throw("thaw", visit)

    async def _freezes(self, visit: Visit) -> Answer:
        frozen = sorted(self._switch.frozen().items(), key=lambda item: -item[1].at_ms)
        return visit.json({"freezes": [_freeze_json(target_of(key), freeze) for key, freeze in frozen]})

    async def _throw(self, action: Action, visit: Visit) -> Answer:
        asked = _asked(visit)
        if isinstance(asked, Refusal):
            return self._voice.refused(asked, bodiless=visit.bodiless)
        target, why = asked
        unknown = _unknown_tool(target, self._bundle(), self._switch.frozen())
        if unknown is not None:
            return self._voice.refused(unknown, bodiless=visit.bodiless)
        try:
            thrown = await self._switch.throw(action, target, who=visit.principal.id, why=why)
        except LedgerError as error:
            detail = f"the {action} cannot be recorded: {error}; no call is permitted until it can"
            return self._voice.failed("gateway.unavailable", detail, "no", bodiless=visit.bodiless)
        known = await asyncio.to_thread(self._is_known, target)
        return visit.json(_thrown_json(thrown, known=known))

    def _is_known(self, target: Target) -> bool:
        """Whether the journal has ever heard of it, as far as it can be read; blocks."""
        if target.kind not in {"run", "principal"}:
            return True
        by_run = Filter(run=target.name, kind="RunStarted", limit=1)
        by_principal = Filter(principal=target.name, limit=1)
        try:
            return bool(self._journal.events(by_run if target.kind == "run" else by_principal))
        except LedgerError:  # it is frozen or thawed all the same
            return True


def _asked(visit: Visit) -> tuple[Target, str] | Refusal:
    value = json_of(visit.request, "what is frozen or thawed", _AS_JSON)
    if isinstance(value, Refusal):
        return value
    if not isinstance(value, dict):
        return invalid("", "type", "what is frozen or thawed is an object with one name and `why`")
    unknown = unknown_key(value, _KEYS, f"{_ONE_OF}, and say `why`")
    if unknown is not None:
        return unknown
    target = _target(value)
    if isinstance(target, Refusal):
        return target
    why = value.get("why")
    if not isinstance(why, str) or not why.strip() or len(why) > _MAX_WHY:
        return invalid(
            "/why", "required", f"say `why` in 1 to {_MAX_WHY} characters: the journal keeps it, and agents read it"
        )
    return target, why.strip()


def _target(value: Mapping[str, Json]) -> Target | Refusal:
    given = [key for key in (*_NAMED, "everything") if key in value]
    if len(given) != 1:
        return invalid("", "oneOf", _ONE_OF)
    (kind,) = given
    name = value[kind]
    if kind == "everything":
        return Target("everything", None) if name is True else invalid("/everything", "const", "`everything` is true")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        return invalid(f"/{kind}", "type", f"`{kind}` is the name of one, as the journal has it")
    return target_of(f"{kind}:{name}")


def _unknown_tool(target: Target, bundle: Bundle, frozen: Mapping[str, Freeze]) -> Refusal | None:
    """A tool of no bundle; one that is frozen still can be thawed after it has gone."""
    name = target.name or ""
    if target.kind != "tool" or name in bundle.tools or target.key in frozen:
        return None
    nearest = near(name, bundle.tools, 1)
    known = "" if nearest else f": there are {', '.join(f'`{each}`' for each in sorted(bundle.tools))}"
    return invalid("/tool", "enum", f"there is no such tool here{known}", nearest)


def _thrown_json(thrown: Thrown, *, known: bool) -> Json:
    told = _freeze_json(thrown.target, thrown.freeze)
    return {"action": thrown.action, **told, "changed": thrown.changed, "known": known}


def _freeze_json(target: Target, freeze: Freeze) -> dict[str, Json]:
    return {
        "kind": target.kind,
        "name": target.name,
        "who": freeze.who,
        "why": freeze.why,
        "at": timestamp(freeze.at_ms),
    }
