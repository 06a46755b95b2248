"""Every order in which two workers, a person, the clock, the writer and a crash can come between one another.

One budget of two calls, one approval, one plan of two steps: `fetch`, which may be tried twice, and `publish`, which is not
idempotent, depends on it and needs the approval. What is taken, followed, kept and restored is the ledger's own code; only
the disk (a list of what was committed, poured into SQLite when the gate begins again) and the decision are the model's.

RULE: breadth first, each state once. A state is the history that led to it; what tells two apart is what can be seen of
them. Whatever was sent must have been committed, paid for, ready and approved (INV1, INV7, INV11, INV17).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from tests.ledger.agreed import (
    APPROVAL,
    LOST,
    RUN,
    UNSENT,
    a_plan,
    ask,
    attempt,
    decline,
    end,
    grant,
    guards_of,
    lock,
)
from tests.ledger.world import START_MS

from toolgate.core import runs as told
from toolgate.core.approval import PENDING_MS
from toolgate.core.mask import mask_key
from toolgate.core.model import Charge, Event, Guard, Settlement, Short
from toolgate.core.plan import Attempted
from toolgate.ledger.agreements import NOTHING_AGREED, Agreed, Agreements
from toolgate.ledger.balances import Balances
from toolgate.ledger.kept import close_attempts, keep
from toolgate.ledger.lapse import OF_TURN
from toolgate.ledger.moves import Kept, Move
from toolgate.ledger.redo import redo_of, redone
from toolgate.ledger.schema import _SCHEMA  # the model's disk has the file's own tables
from toolgate.ledger.states import States, add
from toolgate.ledger.taken import Change, Taken
from toolgate.ledger.tally import apply

KEY: Final = mask_key(b"k" * 32)
BUDGET: Final = Charge("b:run-calls:calls:run_1", 1, 2)
USE: Final = Charge(f"a:{APPROVAL}", 1, 1)
ATTEMPTS: Final = {"fetch": 2, "publish": 1}
ENDS: Final[dict[str, dict[str, Any]]] = {"done": {}, "lost": LOST, "unsent": UNSENT}
MOST_CRASHES: Final = 1


class Work(NamedTuple):
    """What a worker is about: a call that was decided, recorded, or sent."""

    at: str = "idle"
    call: str = ""
    step: str = ""
    number: int = 0  # which attempt at the step it is


class Send(NamedTuple):
    """A request on the wire, and what came of it."""

    call: str
    step: str
    how: str = "open"


class State(NamedTuple):
    """`acts` led to it: what the ledger was asked to do since it began, and what it began with."""

    begun: tuple[Agreed, tuple[Change, ...]] = (NOTHING_AGREED, ())
    acts: tuple[Act, ...] = ()
    workers: tuple[Work, ...] = (Work(), Work())
    sends: tuple[Send, ...] = ()
    now_ms: int = START_MS + 2
    calls: int = 0
    crashes: int = 0
    answers: frozenset[str] = frozenset()


class Act(NamedTuple):
    """`queue` an event with what it takes or settles, `commit` or `fail` the first that is queued."""

    kind: str
    event: Event | None = None
    guards: tuple[Guard, ...] = ()
    settlement: Settlement | None = None


class Entry(NamedTuple):
    event: Event
    taken: Taken
    moves: tuple[Move, ...]


class Gate:
    """The ledger's memory and its disk, by its acts."""

    def __init__(self, state: State) -> None:
        agreed, changes = state.begun
        self.agreements = Agreements(KEY)
        self.agreements.restore(agreed)
        self.balances = Balances(lambda _run, _now_ms: False)
        self.balances.restore(changes, {})
        self.queued: list[Entry] = []
        self.kept: list[Entry] = []
        for act in state.acts:
            self._do(act)

    def _do(self, act: Act) -> None:
        match act:
            case Act("queue", Event() as event, guards, None):
                taken = self.balances.take(guards, event.at_ms)
                assert isinstance(taken, Taken)
                self.queued.append(Entry(event, taken, self.agreements.follow(event)))
            case Act("queue", Event() as event, _, Settlement() as settlement):
                settled = self.balances.settle(settlement, event.at_ms)
                self.queued.append(Entry(event, settled.taken, self.agreements.follow(event)))
            case Act("commit"):
                entry = self.queued.pop(0)
                self.kept.append(entry)
                self.agreements.commit(entry.moves)
            case _:
                entry = self.queued.pop(0)
                self.balances.give_back(entry.taken)
                self.agreements.take_back(entry.moves)

    def seen(self, now_ms: int) -> tuple[object, ...]:
        """What can be told of it."""
        turns = {key: amount for key, amount in self.balances.amounts().items() if amount and key.startswith(OF_TURN)}
        return *self.lasting(now_ms), _frozen(turns)

    def lasting(self, now_ms: int) -> tuple[object, ...]:
        """What a gate that begins again knows: all but which turns of steps were taken."""
        plan = self.agreements.plans.of(RUN.id)
        steps = {} if plan is None else {step: each[:2] for step, each in plan.steps.items() if each.attempts}
        approval = self.agreements.requests.by_id(APPROVAL, now_ms)
        amounts = {
            key: amount for key, amount in self.balances.amounts().items() if amount and not key.startswith(OF_TURN)
        }
        return _frozen(steps), approval and approval.state, _frozen(amounts)

    def key(self, state: State) -> tuple[object, ...]:
        """What tells a state apart: not which worker does something, nor what its call is named."""
        queued = tuple((entry.event.kind, entry.event.data.get("step")) for entry in self.queued)
        workers = tuple(sorted((work.at, work.step, work.number) for work in state.workers))
        sends = tuple(sorted((send.step, send.how) for send in state.sends if send.how != "unsent"))
        of_others = state.now_ms, state.crashes, state.answers
        return self.seen(state.now_ms), queued, workers, sends, of_others


def _frozen(values: dict[str, Any]) -> tuple[object, ...]:
    return tuple(sorted(values.items(), key=str))


def restarted(begun: tuple[Agreed, tuple[Change, ...]], kept: list[Entry]) -> tuple[Agreed, tuple[Change, ...]]:
    """What a gate finds that begins with what was committed: all of it poured into the tables of a file, and read."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(_SCHEMA)
    db.execute(
        "insert into runs (run, principal, started_ms, last_ms) values (?, 'ann', ?, ?)", (RUN.id, *[START_MS] * 2)
    )
    _pour_again(db, begun)
    for entry in kept:
        _keep(db, entry.moves)
        redo = redo_of([entry.taken], entry.moves)
        apply(db, redone([] if redo is None else [redo]))
    close_attempts(db)
    states = States(db, START_MS, 10**9)
    found = states.agreed(), tuple(states.changes())
    db.close()
    return found


def _pour_again(db: sqlite3.Connection, begun: tuple[Agreed, tuple[Change, ...]]) -> None:
    """What an earlier gate had found."""
    agreed, changes = begun
    agreements = Agreements(KEY)
    for event in agreed.events:
        moves = agreements.follow(event)
        _keep(db, moves)
        agreements.commit(moves)
    for plan, steps in agreed.steps.items():
        rows = [(plan, step, each.state, each.attempts) for step, each in steps.items()]
        db.executemany("insert into steps (plan, step, state, attempts, outputs) values (?, ?, ?, ?, '{}')", rows)
    db.executemany("insert or ignore into uses values (?, ?)", agreed.used.items())
    add(db, changes, {})


def _keep(db: sqlite3.Connection, moves: Iterable[Move]) -> None:
    for move in moves:
        if isinstance(move, Kept):
            keep(db, move)


# -- what can happen -----------------------------------------------------------------------------------------------


def following(state: State, gate: Gate) -> Iterator[State]:
    yield from _of_workers(state, gate)
    yield from _of_people(state, gate)
    if gate.queued:
        yield _act(state, Act("commit"))
        if gate.queued[0].event.kind == "Decided":
            yield _failed(state, gate.queued[0])
    if state.crashes < MOST_CRASHES:
        yield _crashed(state, gate)


def _crashed(state: State, gate: Gate) -> State:
    """A gate begins again; of what was sent, it knows the ends that were written."""
    told_of = {entry.event.call for entry in gate.kept if entry.event.kind == "Finished"}
    sends = tuple(send if send.call in told_of else send._replace(how="lost") for send in state.sends)
    begun = restarted(state.begun, gate.kept)
    return state._replace(begun=begun, acts=(), workers=(Work(), Work()), sends=sends, crashes=state.crashes + 1)


def _of_workers(state: State, gate: Gate) -> Iterator[State]:
    for at, work in enumerate(state.workers):
        match work:
            case Work("idle"):
                yield from _decided(state, gate, at)
            case Work("decided"):
                yield _recorded(state, gate, at, work)
            case Work("recorded", call, step, number):
                if all(entry.event.call != call for entry in gate.queued):
                    sent = state._replace(sends=(*state.sends, Send(call, step)))
                    yield _turn(sent, at, Work("sent", call, step, number))
            case _:
                for how in ENDS:
                    yield _ended(state, at, work, how)


def _of_people(state: State, gate: Gate) -> Iterator[State]:
    approval = gate.agreements.requests.by_id(APPROVAL, state.now_ms)
    if approval is None:
        return
    for name, answer in (("grant", grant), ("decline", decline)):
        if name not in state.answers and approval.state == "pending":
            answered = _act(state, Act("queue", answer(approval, at_ms=state.now_ms)))
            yield answered._replace(answers=state.answers | {name})
    if state.now_ms < START_MS + 2 * PENDING_MS and state.answers:
        yield state._replace(now_ms=START_MS + 2 * PENDING_MS)


def may_begin(step: str, state: State, gate: Gate) -> bool:
    """The decision, by what the gate knows just now."""
    plan = gate.agreements.plans.of(RUN.id)
    if plan is None:
        return False
    own = plan.steps.get(step, Attempted())
    if own.state in {"running", "done"} or own.attempts >= ATTEMPTS[step]:
        return False
    if step == "fetch":
        return True
    approval = gate.agreements.requests.by_id(APPROVAL, state.now_ms)
    is_granted = approval is not None and approval.state == "granted"
    return is_granted and own.state != "unknown" and plan.steps.get("fetch", Attempted()).state == "done"


def _decided(state: State, gate: Gate, at: int) -> Iterator[State]:
    for step in ATTEMPTS:
        if may_begin(step, state, gate):
            begun = state._replace(calls=state.calls + 1)
            yield _turn(begun, at, Work("decided", f"c{state.calls}", step, _attempts(gate, step) + 1))


def _attempts(gate: Gate, step: str) -> int:
    plan = gate.agreements.plans.of(RUN.id)
    return 0 if plan is None else plan.steps.get(step, Attempted()).attempts


def guards(work: Work) -> tuple[Charge, ...]:
    return (BUDGET, *guards_of(work.step, work.number), *((USE,) if work.step == "publish" else ()))


def _recorded(state: State, gate: Gate, at: int, work: Work) -> State:
    """What was decided is taken, or found short; in between others may have come."""
    _, call, step, number = work
    found = gate.balances.take(guards(work), state.now_ms)
    if isinstance(found, Short):
        return _turn(state, at, Work())
    gate.balances.give_back(found)
    said = {"approval": APPROVAL} if step == "publish" else {}
    queued = _act(state, Act("queue", attempt(call, step, **said), guards(work)))
    return _turn(queued, at, Work("recorded", call, step, number))


def _ended(state: State, at: int, work: Work, how: str) -> State:
    call, step = work.call, work.step
    settlement = Settlement(guards(work) if how == "unsent" else ())
    sends = tuple(send._replace(how=how) if send.call == call else send for send in state.sends)
    done = _act(state, Act("queue", end(call, step, **ENDS[how]), (), settlement))
    return _turn(done._replace(sends=sends), at, Work())


def _failed(state: State, entry: Entry) -> State:
    """The record could not be written: its caller is told so, and nothing is sent."""
    at = next(n for n, work in enumerate(state.workers) if work.call == entry.event.call)
    return _turn(_act(state, Act("fail")), at, Work())


def _act(state: State, act: Act) -> State:
    return state._replace(acts=(*state.acts, act))


def _turn(state: State, at: int, work: Work) -> State:
    return state._replace(workers=tuple(work if n == at else each for n, each in enumerate(state.workers)))


# -- what must hold ------------------------------------------------------------------------------------------------


def first() -> State:
    """A run with its plan, and somebody asked."""
    events = (told.opened(RUN, "ann", {}, START_MS), lock(a_plan()), ask())
    acts = [act for event in events for act in (Act("queue", event), Act("commit"))]
    return State(acts=tuple(acts))


def check(state: State, gate: Gate) -> None:
    sends = [send for send in state.sends if send.how != "unsent"]
    of = {step: [send.how for send in sends if send.step == step] for step in ATTEMPTS}
    amounts = gate.balances.amounts()
    calls = [send.call for send in state.sends]
    assert len(set(calls)) == len(calls), "a decision was sent twice"
    assert len(sends) <= amounts.get(BUDGET.key, 0) <= BUDGET.given, "something was sent that was not paid for"
    assert all(len(of[step]) <= ATTEMPTS[step] for step in of), "a step was sent too often"
    assert all("done" not in hows[:-1] for hows in of.values()), "a step was sent again after it was done"
    assert all("open" not in hows[:-1] for hows in of.values()), "a step was sent twice at a time"
    if of["publish"]:
        assert "done" in of["fetch"], "a step was sent before what it depends on"
        assert "grant" in state.answers, "a step was sent that nobody agreed to"
        assert amounts.get(USE.key) == 1, "a yes that was used can be used again"


def is_quiet(state: State, gate: Gate) -> bool:
    return not gate.queued and all(work.at in {"idle", "decided"} for work in state.workers)


def test_in_every_order_of_events_nothing_is_sent_that_may_not_be() -> None:
    """And whenever nothing is under way, a gate that begins again knows what this one knows."""
    seen: set[object] = set()
    front = [first()]
    reached: set[Send] = set()
    compared = 0
    while front:
        following_: list[State] = []
        for state in front:
            gate = Gate(state)
            key = gate.key(state)
            if key in seen:
                continue
            seen.add(key)
            check(state, gate)
            reached |= {send._replace(call="") for send in state.sends}
            following_ += following(state, gate)
            if is_quiet(state, gate):
                compared += 1
                again = Gate(State(begun=restarted(state.begun, gate.kept)))
                assert again.lasting(state.now_ms) == gate.lasting(state.now_ms)
        front = following_
    assert len(seen) > 4_000
    assert compared > 100
    assert {Send("", "fetch", "done"), Send("", "publish", "done"), Send("", "publish", "lost")} <= reached
