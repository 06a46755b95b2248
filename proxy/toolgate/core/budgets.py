"""Everything of budgets.yaml: which budgets and limits cover a call, and what it takes of each (DESIGN §11).

RULE: nothing is added up here. A call's guards are named; whoever records the call takes all of them or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Final, NamedTuple

from toolgate.core.budget import SECONDS, Budget, Charging, Uncounted, amount_of, charging, fixed_amount, is_open
from toolgate.core.catalog import Operation
from toolgate.core.guards import lasting_of
from toolgate.core.lasting import Lasting, lasting_from
from toolgate.core.limit import Limit, Limiting, limiting
from toolgate.core.loop import NO_LOOPS, Loops, repetition
from toolgate.core.model import OWN, Charge, Guard, Levels, ValidCall, new
from toolgate.core.quota import Rule, Told, rule_of_budget, rule_of_limit
from toolgate.core.recent import Recent
from toolgate.core.scope import Scope, Subject, fixed_of
from toolgate.core.window import NEVER_MS, again_s, unmoved

_OF_A_CALLER: Final[frozenset[Scope]] = frozenset({"run", "principal", "environment"})
_REMEMBERED: Final = 1024  # accounts, and what is told of them: about 3 MB


class Covering(NamedTuple):
    """What covers one operation."""

    charges: tuple[Charging, ...]
    limits: tuple[Limiting, ...]
    deadlines: tuple[Budget, ...]


class Claim(NamedTuple):
    """What a call takes, and what follows from it where that is known before the call."""

    guards: tuple[Guard, ...]
    lasting: Lasting | None = None


_NO_CLAIM: Final = Claim(())


class _Account(NamedTuple):
    """What one subject's calls of one operation take, until a window moves on."""

    since_ms: int
    until_ms: int
    guards: tuple[Guard, ...]
    open: Mapping[int, tuple[Charge, str]]  # by place in them: those whose amounts, in what dimension, each call says
    lasting: Lasting | None  # what follows from them; None: the calls say how much they take


class Balance(NamedTuple):
    """How a budget stands for somebody; amounts as in `Budget`."""

    budget: Budget
    key: str
    taken: int
    left: int
    again_s: float | None  # until something is given again, where time brings that


class Budgets:
    """Every budget and limit of a bundle, and how often is too often."""

    __slots__ = (
        "_accounts", "_budgets", "_covering", "_environment", "_limits", "_of_runs", "_standing", "_told",
        "bounds_nothing", "budgets", "has_deadlines", "limits", "loops", "tells_steps",
    )  # fmt: skip

    def __init__(
        self,
        budgets: tuple[Budget, ...] = (),
        limits: tuple[Limit, ...] = (),
        loops: Loops = NO_LOOPS,
        environment: str = "",
    ) -> None:
        self.budgets = budgets
        self.limits = limits
        self.loops = loops
        self.bounds_nothing = not budgets and not limits and loops.identical_calls is None
        self.has_deadlines = any(each.dimension == SECONDS for each in budgets)
        self.tells_steps = _tells_steps(budgets, limits)
        self._environment = environment
        # INVARIANT: bounded, and what is remembered can be made again from the bundle alone.
        self._accounts: Recent[tuple[str, Subject], _Account] = Recent(_REMEMBERED)
        self._told: Recent[tuple[Guard, ...], Told] = Recent(_REMEMBERED)
        self._budgets = {(each.name, each.dimension): each for each in budgets}
        self._limits = {each.name: each for each in limits}
        self._covering: dict[str, Covering] = {}  # built when an operation is first called, as slices of policies are
        self._standing = tuple(
            charging(each, {"environment": environment})
            for each in budgets
            if each.dimension != SECONDS and _OF_A_CALLER.issuperset(each.scope)
        )
        self._of_runs = tuple(each for each in self._standing if each.budget.counts_runs)

    @property
    def dimensions(self) -> frozenset[str]:
        return frozenset(each.dimension for each in self.budgets)

    def covering(self, operation: Operation) -> Covering:
        known = self._covering.get(operation.key)
        if known is None:
            known = self._covering[operation.key] = self._compiled(operation)
        return known

    def guards(self, valid: ValidCall, subject: Subject) -> tuple[Guard, ...] | Uncounted:
        """What a call takes, in the order of precedence; of several operations at once the most of each key."""
        claim = self.claim(valid, subject)
        return claim if isinstance(claim, Uncounted) else claim.guards

    def claim(self, valid: ValidCall, subject: Subject) -> Claim | Uncounted:
        """The same, with what follows from it where that is known before the call."""
        if self.bounds_nothing or valid.call.principal is OWN:
            return _NO_CLAIM
        if not valid.also:
            return self._claim(valid, subject)
        guards = self._together((valid, *valid.also), subject)
        return guards if isinstance(guards, Uncounted) else Claim(guards)

    def budget_of(self, guard: Guard) -> Budget | None:
        """The budget a guard is of; None where it is of something else."""
        kind, name, rest, *_ = (*guard.key.split(":", 3), "", "")
        return self._budgets.get((name, rest)) if kind == "b" else None

    def limit_of(self, guard: Guard) -> Limit | None:
        kind, name, *_ = (*guard.key.split(":", 2), "")
        return self._limits.get(name) if kind in {"r", "c"} else None

    def told(self, guards: tuple[Guard, ...]) -> Told:
        """Those of a call's guards that callers are told of, and what is told of each however it stands."""
        standing = lasting_of(guards)
        known = self._told.get(standing)
        if known is None:
            known = self._told.keep(standing, Told(tuple(self._ruled(standing))))
        return known

    def _ruled(self, guards: Iterable[Guard]) -> Iterator[tuple[Rule, Guard]]:
        for guard in guards:
            limit, budget = self.limit_of(guard), self.budget_of(guard)
            rule = rule_of_limit(limit) if limit is not None else None
            if budget is not None:
                rule = rule_of_budget(budget, self.budgets)
            if rule is not None:
                yield rule, guard

    def balances(self, subject: Subject, levels: Levels, at_ms: int) -> tuple[Balance, ...]:
        """How every budget stands that asks for nothing but the run, the principal and the environment."""
        return tuple(_balance(each, subject, levels, at_ms) for each in self._standing)

    @property
    def counted_by_run(self) -> frozenset[str]:
        """The dimensions of which it is known what a run has spent."""
        return frozenset(each.budget.dimension for each in self._of_runs)

    def spent(self, dimension: str, subject: Subject, levels: Levels) -> tuple[str, int]:
        """What a run has spent of a dimension, and under which key: of several budgets the one that counted longest."""
        charges = (each.charge(0, subject, 0) for each in self._of_runs if each.budget.dimension == dimension)
        return max(((each.key, levels.taken(each)) for each in charges), key=itemgetter(1), default=("", 0))

    def deadline_ms(self, started_ms: int) -> int | None:
        """When a run that began then has outlasted the shortest of the budgets in seconds that cover every call."""
        given = [each.given for each in self.budgets if each.dimension == SECONDS and each.match.operations is None]
        return started_ms + min(given) * 1000 if given else None

    def _compiled(self, operation: Operation) -> Covering:
        fixed = fixed_of(operation, self._environment)
        budgets = [each for each in self.budgets if each.match.covers(operation)]
        return Covering(
            tuple(charging(each, fixed) for each in budgets if each.dimension != SECONDS),
            tuple(limiting(each, fixed) for each in self.limits if each.match.covers(operation)),
            tuple(each for each in budgets if each.dimension == SECONDS),
        )

    def _together(self, meant: Iterable[ValidCall], subject: Subject) -> tuple[Guard, ...] | Uncounted:
        together: dict[str, Guard] = {}
        for each in meant:
            claim = self._claim(each, subject)
            if isinstance(claim, Uncounted):
                return claim
            for guard in claim.guards:
                together[guard.key] = _most(together.get(guard.key), guard)
        return tuple(together.values())

    def _claim(self, valid: ValidCall, subject: Subject) -> Claim | Uncounted:
        account = self._account(valid, subject)
        guards = account.guards if account.lasting is not None else _filled(account, valid)
        if isinstance(guards, Uncounted):
            return guards
        if self.loops.identical_calls is not None:
            guards = (repetition(valid, subject, self.loops), *guards)
        return new(Claim, (guards, account.lasting))

    def _account(self, valid: ValidCall, subject: Subject) -> _Account:
        key, at_ms = (valid.operation.key, subject), valid.call.at_ms
        known = self._accounts.get(key)
        if known is not None and known.since_ms <= at_ms < known.until_ms:
            return known
        return self._accounts.keep(key, self._opened(valid, subject))

    def _opened(self, valid: ValidCall, subject: Subject) -> _Account:
        operation, at_ms, is_step = valid.operation, valid.call.at_ms, bool(subject.plan)
        covering = self.covering(operation)
        guards = [each.guard(subject) for each in covering.limits if is_step or not each.limit.is_of_steps]
        open_: dict[int, tuple[Charge, str]] = {}
        for each in covering.charges:
            dimension = each.budget.dimension
            if each.budget.is_of_steps and not is_step:
                continue
            if is_open(dimension, operation):
                charge = each.charge(0, subject, at_ms)
                open_[len(guards)] = charge, dimension
                guards.append(charge)
            elif amount := fixed_amount(dimension, operation):
                guards.append(each.charge(amount, subject, at_ms))
        spans = [unmoved(each.budget.window, at_ms) for each in covering.charges]
        since_ms = max((since for since, _ in spans), default=0)
        until_ms = min((until for _, until in spans), default=NEVER_MS)
        follows = None if open_ else lasting_from(tuple(guards), Told(tuple(self._ruled(guards))))
        return _Account(since_ms, until_ms, tuple(guards), open_, follows)


def _tells_steps(budgets: Iterable[Budget], limits: Iterable[Limit]) -> bool:
    """Whether anything is counted by step; else a step is a call like any other."""
    return any(each.is_of_steps for each in budgets) or any(each.is_of_steps for each in limits)


def _most(before: Guard | None, guard: Guard) -> Guard:
    if isinstance(before, Charge) and isinstance(guard, Charge):
        return max(before, guard, key=lambda charge: charge.amount)
    return guard


def _filled(account: _Account, valid: ValidCall) -> tuple[Guard, ...] | Uncounted:
    """What is taken by a call that says for itself how much."""
    guards: list[Guard] = []
    for number, guard in enumerate(account.guards):
        if number not in account.open:
            guards.append(guard)
            continue
        charge, dimension = account.open[number]
        amount = amount_of(dimension, valid)
        if isinstance(amount, Uncounted):
            return amount
        if amount:
            guards.append(charge._replace(amount=amount))
    return tuple(guards)


def _balance(each: Charging, subject: Subject, levels: Levels, at_ms: int) -> Balance:
    charge = each.charge(0, subject, at_ms)
    taken = levels.taken(charge)
    return Balance(each.budget, charge.key, taken, max(charge.given - taken, 0), again_s(each.budget.window, at_ms))
