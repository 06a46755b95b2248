"""How the demo's calls are printed: a few lines each for a person, one line of JSON each for a program.

RULE: it prints what was asked and what came back; whether that is right was said beforehand, by the ask.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from toolgate.cli import console

if TYPE_CHECKING:
    from toolgate.demo.agent import Answer, Ask

_SHOWN: Final = 150  # characters of a body
_CPU: Final = '{"cluster": "eu-1", "metric": "node_cpu"}'
_NO_METRIC: Final = '{"cluster": "eu-1", "metric": "node_network_saturation_score"}'


@dataclass(slots=True)
class Output:
    gate: str
    upstream: str
    calls: int = 0
    refused: int = 0
    passed: bool = True
    last: Any = None

    def begin(self) -> None:
        if not console.wants_json():
            console.say(
                f"upstream  {self.upstream}  this machine's own figures; it asks for a token the agent never sees"
            )
            console.say(f"sidecar   {self.gate}  `toolgate serve`, environment prod")

    def call(self, ask: Ask, answer: Answer) -> bool:
        """Print one call; whether it ended as it must."""
        self.last = answer
        self.calls += 1
        self.refused += bool(answer.refusal)
        wrong = answer.problem(ask)
        self.passed = self.passed and wrong is None
        if console.wants_json():
            console.line(orjson.dumps(_as_json(self.calls, ask, answer, wrong)))
        else:
            self._print(ask, answer, wrong)
        return wrong is None

    def _print(self, ask: Ask, answer: Answer, wrong: str | None) -> None:
        console.say()
        ruling = console.paint("refused", "yellow") if answer.refusal else console.paint("allowed", "green")
        console.say(f"{self.calls:>2}  {console.paint(ask.title, 'bold')}  {ruling}")
        if ask.reason:
            _line("reason", f"“{ask.reason}”")
        _line("asked", _asked(ask))
        if answer.refusal:
            _print_refusal(answer)
        else:
            gist = ask.gist(answer.body) if ask.gist else answer.body
            _line("answer", f"{answer.status} from the {answer.source} in {answer.took_ms:.1f} ms  {_short(gist)}")
        if wrong:
            _line("wrong", console.paint(wrong, "red"))

    def end(self, *, health: str | None, home: Path, ledger: str) -> None:
        """Print the sum, and what to try next if it stays: `health` is where its metrics are."""
        if console.wants_json():
            counts = {"calls": self.calls, "allowed": self.calls - self.refused, "refused": self.refused}
            console.line(orjson.dumps({"passed": self.passed, **counts, "gate": self.gate}))
            return
        console.say()
        verdict = "all as expected" if self.passed else console.paint("the last one not as expected", "red")
        console.say(f"{self.calls} calls, {self.calls - self.refused} allowed, {self.refused} refused: {verdict}.")
        if health and self.passed:
            self._invite(health, home, ledger)

    def _invite(self, health: str, home: Path, ledger: str) -> None:
        post = f"curl -s {self.gate}/metrics/metrics/v1/cluster -H 'Content-Type: application/json' -d"
        toolgate = _program()
        config = "" if home == Path.cwd() else f" --config {home / 'toolgate.yaml'}"
        journal = f"{config} --set ledger={ledger}"
        console.say("It stays until Ctrl-C. Try next, in another terminal:\n")
        for command, why in (
            (f"curl -s {self.gate}/-/environment", "where the agent is, and what exists"),
            (f"{post} '{_CPU}'", "allowed"),
            (f"{post} '{_NO_METRIC}'", "refused, with a way forward"),
            (f"curl -si {self.upstream}/metrics", "without the gate there is no token: 401"),
            (f"{toolgate} test{config}", "the policies' own tests"),
            (f"{toolgate} runs list{journal}", "the runs; `runs show RUN` prints one call by call"),
            (f"{toolgate} journal verify{journal}", "the journal is whole"),
            (f"curl -s {health}/metrics", "for Prometheus"),
        ):
            console.say(f"  {console.paint(f'# {why}', 'dim')}\n  {command}")


def _program() -> str:
    """What to type for `toolgate` in the shell the demo was started from."""
    beside = Path(sys.executable).with_name("toolgate")
    if shutil.which("toolgate") or not beside.exists():
        return "toolgate"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _print_refusal(answer: Answer) -> None:
    refusal = answer.refusal
    title = console.paint(str(refusal.get("title")), "yellow")
    detail = console.printable(str(refusal.get("detail", "")))
    _line("answer", f"{answer.status} {title} ({refusal['code']}) in {answer.took_ms:.1f} ms: {detail}")
    for violation in refusal.get("violations", ()):
        _line("", console.printable(f"{violation['path']}: {violation['message']}"))
    if refusal.get("statements"):
        _line("by", ", ".join(f"`{statement}`" for statement in refusal["statements"]))
    _line("hint", console.paint(console.printable(answer.hint), "cyan"))
    _line("sent", f"{refusal.get('sent')}; call {refusal.get('call') or 'none: the bytes never became one'}")


def _line(name: str, text: str) -> None:
    console.say(f"    {console.paint(f'{name:<7}', 'dim')} {text}")


def _asked(ask: Ask) -> str:
    if ask.raw is not None:
        return _short(ask.raw.decode("latin-1"))
    body = f"  {_short(ask.body)}" if ask.body is not None else ""
    return f"{ask.method} {ask.path}{body}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    text = console.printable(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _as_json(number: int, ask: Ask, answer: Answer, wrong: str | None) -> dict[str, Any]:
    asked = {"method": ask.method, "path": ask.path, "body": ask.body, "reason": ask.reason}
    answered = {"status": answer.status, "source": answer.source, "call": answer.call, "body": answer.body}
    return {
        "number": number,
        "title": ask.title,
        "asked": asked,
        "answer": answered,
        "hint": answer.hint or None,
        "took_ms": round(answer.took_ms, 3),
        "problem": wrong,
    }
