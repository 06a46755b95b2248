"""What is taken of everything that guards guard: amounts, amounts by bucket, paces and places.

RULE: belongs to the event loop. Amounts are whole and never below zero, and what is taken is given back exactly once: at the
settlement of its call, or when its record could not be written. Whether a guard holds is for `core.guards` to say.

INVARIANT: taken in memory ≥ taken on disk, so two calls never share the last unit.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from toolgate.core.guards import US_PER_MS, charge_short, next_arrival_us, pace_short, place_short
from toolgate.core.model import Charge, Guard, Pace, Place, Rolling, Settlement, Short, new
from toolgate.core.window import CALENDARS, period

PLAIN: Final = -1  # the bucket of an amount that is in none
_DAY_MS: Final = 86_400_000
_LOOKS: Final = 2  # keys looked at for each new one: forgetting keeps up with remembering, and never pauses a call
_RUN: Final = re.compile(
    r"(?<![^:,])(?:(?:run|apr)_[0-9A-HJKMNP-TV-Z]{26}(?![^:,])|plan_[0-9A-HJKMNP-TV-Z]{26}(?![^:,/]))"
)
_OF_PLAN: Final = ("p:", "s:")
_LONGEST_MS: Final = 33 * _DAY_MS  # no calendar window lasts longer
_COLONS: Final = (
    4  # of `b:<budget>:<dimension>:<scope>:<period>`; a key without a period has fewer, and no part holds one
)


class Change(NamedTuple):
    """An amount added to a balance; below zero: given back."""

    key: str
    bucket: int  # of a rolling window, or PLAIN
    amount: int
    until_ms: int | None = None  # when nobody asks for it any more, where time alone brings that


class Slot(NamedTuple):
    """One call let through by a pace."""

    pace: Pace
    before_us: int | None  # the pace's theoretical arrival time before this call, and after it
    after_us: int


class Taken(NamedTuple):
    """What one record took, as a store keeps it and as it is given back; or what a settlement changed."""

    changes: tuple[Change, ...] = ()
    guards: Sequence[Guard] = ()
    at_ms: int = 0
    slots: Sequence[Slot] = ()


class Settled(NamedTuple):
    """What became of a settlement: the changes, and what was not left for its extra charges."""

    taken: Taken
    overrun: tuple[tuple[Charge, int], ...] = ()


NOTHING: Final = Taken()
UNCHANGED: Final = Settled(NOTHING)


class Window:
    """The amounts of a rolling window, by bucket: the newest one apart, for most windows are of calls that came once."""

    __slots__ = ("_amount", "_bucket", "_earlier", "_oldest", "_total", "until_ms")

    def __init__(self) -> None:
        self._bucket = -1  # the newest, and its amount
        self._amount = 0
        self._earlier: list[int] | None = None  # bucket, amount, bucket, amount …: lighter than a dictionary
        self.until_ms = 0  # when the last of them leaves the window
        self._oldest = -1  # the last bucket that has left the window, when it was last asked for
        self._total = 0  # of all buckets since

    def sum(self) -> int:
        """Of all that is remembered."""
        return self._amount + sum((self._earlier or ())[1::2])

    def amount(self, bucket: int) -> int:
        if bucket == self._bucket:
            return self._amount
        return next((amount for each, amount in self._pairs() if each == bucket), 0)

    def total(self, rolling: Rolling) -> int:
        bucket, buckets = rolling
        if bucket - buckets != self._oldest:
            self._look_from(bucket - buckets, buckets)
        return self._total

    def take(self, rolling: Rolling, amount: int, given: int) -> bool:
        """Take at once where that is an addition to the newest bucket and no more than is given."""
        if self.total(rolling) + amount > given or amount <= 0 or self._bucket != rolling.bucket:
            return False
        self._amount += amount
        self._total += amount
        return True

    def add(self, bucket: int, amount: int, until_ms: int | None) -> None:
        before = self.amount(bucket)
        after = max(before + amount, 0)
        self._put(bucket, after)
        if bucket > self._oldest:
            self._total += after - before
        if until_ms is not None and until_ms > self.until_ms:
            self.until_ms = until_ms

    def _put(self, bucket: int, amount: int) -> None:
        if bucket < self._bucket:
            others = [each for pair in self._pairs() if pair[0] != bucket for each in pair]
            self._earlier = [*others, bucket, amount]
            return
        if bucket > self._bucket >= 0:
            self._earlier = self._earlier or []
            self._earlier += self._bucket, self._amount
        self._bucket, self._amount = bucket, amount

    def _look_from(self, oldest: int, buckets: int) -> None:
        if self._earlier and len(self._earlier) >= 2 * buckets:
            # what has left the window of this call is in that of no later one
            self._earlier = [each for pair in self._pairs() if pair[0] > oldest for each in pair] or None
        self._oldest = oldest
        self._total = sum([amount for bucket, amount in self._pairs() if bucket > oldest])
        if self._bucket > oldest:
            self._total += self._amount

    def _pairs(self) -> Iterable[tuple[int, int]]:
        earlier = self._earlier or ()
        return zip(earlier[::2], earlier[1::2], strict=True)


class Balances:
    """Implements `core.model.Levels`."""

    __slots__ = (
        "_arrivals", "_is_run_over", "_keys", "_now_ms", "_of_plans", "_periods", "_places", "_plain", "_windows",
    )  # fmt: skip

    def __init__(self, is_run_over: Callable[[str, int], bool]) -> None:
        self._is_run_over = is_run_over
        self._periods = Periods()
        self._plain: dict[str, int] = {}
        self._windows: dict[str, Window] = {}
        self._arrivals: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._keys: deque[str] = deque()  # what may be forgotten one day, each once
        self._of_plans: dict[str, set[str]] = {}  # keys that are forgotten together: `p:PLAN` → those that begin so
        self._now_ms = 0

    # -- Levels ----------------------------------------------------------------------------------------------

    def taken(self, charge: Charge) -> int:
        rolling = charge.rolling
        if rolling is None:
            return self._plain.get(charge.key, 0)
        window = self._windows.get(charge.key)
        return 0 if window is None else window.total(rolling)

    def arrival_us(self, pace: Pace) -> int:
        return self._arrivals.get(pace.key, 0)

    def held(self, place: Place) -> int:
        return self._places.get(place.key, 0)

    # -- taking and giving back ------------------------------------------------------------------------------

    def take(self, guards: Sequence[Guard], at_ms: int) -> Taken | Short:
        """Take all or nothing: each guard is asked after what those before it took."""
        self._now_ms = max(self._now_ms, at_ms)
        slots: list[Slot] = []
        plain, windows = self._plain, self._windows
        for number, guard in enumerate(guards):
            if type(guard) is Charge:
                key, amount, given, rolling = guard
                if rolling is None:
                    taken = plain.get(key)
                    if taken is not None and 0 < amount <= given - taken:
                        plain[key] = taken + amount  # nearly always, and nothing else is to be done then
                        continue
                elif key in windows and windows[key].take(rolling, amount, given):
                    continue
                short = self._charge(guard, at_ms)
            elif type(guard) is Pace:
                short = self._pass(guard, at_ms, slots)
            else:
                short = self._enter(guard)
            if short is not None:
                self._undo(guards[:number], slots, at_ms)
                return short
        return new(Taken, ((), guards, at_ms, slots))

    def count(self, charges: Sequence[Charge], at_ms: int) -> Taken:
        """Take what is left of each, up to its amount: of calls that are refused already."""
        return self._extra(charges, at_ms).taken

    def settle(self, settlement: Settlement, at_ms: int) -> Settled:
        """Give back what was not used, take more of what is left, and say what was not."""
        unused, more, places, _ = settlement
        for place in places:
            self._leave(place.key)
        if not unused and not more:
            return UNCHANGED
        refunds = tuple([self._refund(charge, at_ms) for charge in unused])
        extra = self._extra(more, at_ms)
        return Settled(Taken(refunds + extra.taken.changes), extra.overrun)

    def give_back(self, taken: Taken) -> None:
        """Undo what a record took that was not written."""
        for change in changes_of(taken):
            self._add(change._replace(amount=-change.amount))
        for slot in taken.slots:
            self._free(slot)
        for guard in taken.guards:
            if isinstance(guard, Place):
                self._leave(guard.key)

    def restore(self, changes: Iterable[Change], arrivals: Mapping[str, int]) -> None:
        """Begin where the journal ends; places are held by nobody then."""
        for change in changes:
            if change.bucket == PLAIN:
                self._plain[change.key] = change.amount
            else:
                self._windows.setdefault(change.key, Window()).add(change.bucket, change.amount, change.until_ms)
        self._arrivals.update(arrivals)
        for known in (self._plain, self._windows, self._arrivals):
            self._keys.extend(name for key in known if (name := self._noted(key)) is not None)

    def amounts(self) -> dict[str, int]:
        """What is taken of every key; of rolling ones the sum of all that is remembered."""
        rolling = {key: window.sum() for key, window in self._windows.items()}
        return {**self._plain, **rolling}

    def places(self) -> dict[str, int]:
        return dict(self._places)

    # -- one kind at a time ----------------------------------------------------------------------------------

    def _charge(self, charge: Charge, at_ms: int) -> Short | None:
        key, amount, _, rolling = charge
        if rolling is not None:
            return self._charge_window(charge, rolling, at_ms)
        known = self._plain.get(key)
        taken = known or 0
        short = charge_short(charge, taken)
        if short is None and amount > 0:  # SECURITY: no charge is a refund
            if known is None:
                self._remember(key)
            self._plain[key] = taken + amount
        return short

    def _charge_window(self, charge: Charge, rolling: Rolling, at_ms: int) -> Short | None:
        key, amount = charge.key, charge.amount
        window = self._windows.get(key)
        short = charge_short(charge, 0 if window is None else window.total(rolling))
        if short is None and amount > 0:
            if window is None:
                self._remember(key)
                window = self._windows[key] = Window()
            window.add(rolling.bucket, amount, _left_ms(rolling, at_ms))
        return short

    def _pass(self, pace: Pace, at_ms: int, slots: list[Slot]) -> Short | None:
        key, every_us, _ = pace
        before_us, now_us = self._arrivals.get(key), at_ms * US_PER_MS
        if before_us is None or before_us > now_us:
            return self._pass_after(pace, before_us, at_ms, slots)
        after_us = self._arrivals[key] = now_us + every_us  # its slots are all free
        slots.append(new(Slot, (pace, before_us, after_us)))
        return None

    def _pass_after(self, pace: Pace, before_us: int | None, at_ms: int, slots: list[Slot]) -> Short | None:
        """Take a slot of those that are left, or the first of all."""
        short = pace_short(pace, before_us or 0, at_ms)
        if short is None:
            if before_us is None:
                self._remember(pace.key)
            after_us = self._arrivals[pace.key] = next_arrival_us(pace, before_us or 0, at_ms)
            slots.append(new(Slot, (pace, before_us, after_us)))
        return short

    def _enter(self, place: Place) -> Short | None:
        key, given = place
        held = self._places.get(key, 0)
        if held >= given:
            return place_short(place, held)
        self._places[key] = held + 1
        return None

    def _undo(self, guards: Sequence[Guard], slots: Sequence[Slot], at_ms: int) -> None:
        """Give back what was taken before a guard that did not hold, as if it had not been taken."""
        for slot in reversed(slots):
            if slot.before_us is None:
                del self._arrivals[slot.pace.key]
            else:
                self._arrivals[slot.pace.key] = slot.before_us
        self.give_back(Taken((), guards, at_ms))
        for guard in guards:
            if isinstance(guard, Charge):
                self._drop_empty(guard.key)

    def _drop_empty(self, key: str) -> None:
        if not self._plain.get(key, 1):
            del self._plain[key]
        window = self._windows.get(key)
        if window is not None and not window.sum():
            del self._windows[key]

    def _extra(self, charges: Sequence[Charge], at_ms: int) -> Settled:
        changes: list[Change] = []
        overrun: list[tuple[Charge, int]] = []
        for charge in charges:
            wanted = max(charge.amount, 0)
            more = min(wanted, max(charge.given - self.taken(charge), 0))
            change = _change(charge, more, at_ms)
            self._add(change)
            changes.append(change)
            if more < wanted:
                overrun.append((charge, wanted - more))
        return Settled(Taken(tuple(changes)), tuple(overrun))

    def _refund(self, charge: Charge, at_ms: int) -> Change:
        change = _change(charge, -min(max(charge.amount, 0), self._held_of(charge)), at_ms)
        self._add(change)
        return change

    def _held_of(self, charge: Charge) -> int:
        if charge.rolling is None:
            return self._plain.get(charge.key, 0)
        window = self._windows.get(charge.key)
        return 0 if window is None else window.amount(charge.rolling.bucket)

    def _add(self, change: Change) -> None:
        key, bucket, amount, until_ms = change
        if bucket == PLAIN:
            taken = self._plain.get(key)
            if taken is None:
                self._remember(key)
                taken = 0
            self._plain[key] = max(taken + amount, 0)
            return
        window = self._windows.get(key)
        if window is None:
            self._remember(key)
            window = self._windows[key] = Window()
        window.add(bucket, amount, until_ms)

    def _free(self, slot: Slot) -> None:
        """Give a slot back, unless its time has passed: then it would be one too many."""
        pace = slot.pace
        if slot.after_us > self._now_ms * US_PER_MS and pace.key in self._arrivals:
            self._arrivals[pace.key] -= pace.every_us

    def _leave(self, key: str) -> None:
        held = self._places.get(key, 0)
        if held > 1:
            self._places[key] = held - 1
        else:
            self._places.pop(key, None)

    # -- forgetting ------------------------------------------------------------------------------------------

    def _remember(self, key: str) -> None:
        """Note a new key, and look whether the oldest ones still mean anything."""
        name = self._noted(key)
        if name is None:
            return
        keys = self._keys
        for _ in range(min(_LOOKS, len(keys))):
            oldest = keys.popleft()
            if not self._forget(oldest):
                keys.append(oldest)
        keys.append(name)

    def _noted(self, key: str) -> str | None:
        """What stands for a new key among those that may be forgotten; None: it stands there already."""
        if not key.startswith(_OF_PLAN):
            return key
        name = ":".join(key.split(":", 2)[:2])
        known = self._of_plans.get(name)
        if known is None:
            self._of_plans[name] = {key}
            return name
        known.add(key)
        return None

    def _forget(self, key: str) -> bool:
        if key in self._of_plans:
            return self._forget_plan(key)
        if key in self._plain:
            if not self._periods.is_over(key, self._now_ms) and not self._is_of_run_over(key):
                return False
            del self._plain[key]
        elif key in self._windows:
            if self._windows[key].until_ms >= self._now_ms:
                return False
            del self._windows[key]
        elif key in self._arrivals:
            if self._arrivals[key] >= self._now_ms * US_PER_MS:
                return False
            del self._arrivals[key]
        return True

    def _forget_plan(self, name: str) -> bool:
        if not self._is_of_run_over(name):
            return False
        for key in self._of_plans.pop(name):
            self._plain.pop(key, None)
        return True

    def _is_of_run_over(self, key: str) -> bool:
        run = run_in(key)
        return run is not None and self._is_run_over(run, self._now_ms)


def changes_of(taken: Taken) -> list[Change]:
    """What a record or a settlement changed, one by one."""
    charged = [_change(guard, max(guard.amount, 0), taken.at_ms) for guard in taken.guards if isinstance(guard, Charge)]
    return [*taken.changes, *charged]


def sum_of(taken: Sequence[Taken]) -> list[Change]:
    """What several records and settlements come to, by key and bucket."""
    amounts: dict[tuple[str, int], int] = {}
    ends: dict[tuple[str, int], int | None] = {}
    for key, bucket, amount, until_ms in _one_by_one(taken):
        at = key, bucket
        amounts[at] = amounts.get(at, 0) + amount
        ends[at] = until_ms
    return [new(Change, (*at, amount, ends[at])) for at, amount in amounts.items() if amount]


def _one_by_one(taken: Sequence[Taken]) -> Iterator[Change]:
    """Calls that take alike are counted first: of those that are written together, most do, but for a loop's guard."""
    last_ms = max([at_ms for _, _, at_ms, _ in taken], default=0)
    charged = [tuple(guards) for _, guards, _, _ in taken if guards]
    counted = [*Counter([guards[0] for guards in charged]).items()]  # a loop's stands first
    for others, count in Counter([guards[1:] for guards in charged]).items():
        counted += [(guard, count) for guard in others]
    for guard, count in counted:
        if type(guard) is Charge and guard.amount > 0:
            yield _change(guard, guard.amount * count, last_ms)
    for changes, _, _, _ in taken:
        yield from changes


class Periods:
    """Knows which keys are of a calendar window that has passed: what was taken in it is never asked for again."""

    __slots__ = ("_current", "_day")

    def __init__(self) -> None:
        self._day = -1
        self._current: dict[int, str] = {}  # the names of this day, week and month, each of a length of its own

    def is_over(self, key: str, now_ms: int) -> bool:
        if not has_period(key):
            return False
        day = now_ms // _DAY_MS - 1  # a day later: calls of the last minute settle in this one
        if day != self._day:
            names = [period(window, day * _DAY_MS) for window in CALENDARS]
            self._current = {len(name): name for name in names}
            self._day = day
        of_key = key.rpartition(":")[2]
        return of_key < self._current.get(len(of_key), "")


def has_period(key: str) -> bool:
    """Whether a key is of a calendar window (`core.scope`)."""
    return key.count(":") == _COLONS


@lru_cache(maxsize=1024)  # INVARIANT: bounded, and follows from the key alone
def run_in(key: str) -> str | None:
    """The run a key is of, or the plan or the approval of one, where it is of one."""
    if key.startswith(_OF_PLAN):
        return key.split(":", 2)[1]
    found = _RUN.search(key)
    return found[0] if found else None


def _change(charge: Charge, amount: int, at_ms: int) -> Change:
    key, _, _, rolling = charge
    if rolling is None:
        return new(Change, (key, PLAIN, amount, at_ms + _LONGEST_MS if key.count(":") == _COLONS else None))
    return new(Change, (key, rolling.bucket, amount, _left_ms(rolling, at_ms)))


def _left_ms(rolling: Rolling, at_ms: int) -> int:
    """When what is taken now has left its window."""
    bucket, buckets = rolling
    # The bucket is `at_ms // its length`, so `at_ms / bucket` is its length, or a little more.
    return at_ms * (bucket + buckets + 1) // bucket + 1 if bucket > 0 else _DAY_MS
