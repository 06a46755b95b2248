"""What is taken of everything that guards guard: amounts, amounts by bucket, paces and places.

RULE: belongs to the event loop. Amounts are whole and never below zero, and what is taken is given back exactly once: at the
settlement of its call, or when its record could not be written. Whether a guard holds is for `core.guards` to say.

INVARIANT: taken in memory ≥ taken on disk, so two calls never share the last unit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from toolgate.core.guards import US_PER_MS, charge_short, next_arrival_us, pace_short, place_short
from toolgate.core.model import Charge, Guard, Pace, Place, Rolling, Settlement, Short, new
from toolgate.ledger.lapse import OF_PLAN, Periods, left_ms, run_in
from toolgate.ledger.taken import PLAIN, UNCHANGED, Change, Settled, Slot, Taken, change_of, changes_of

_LOOKS: Final = 2  # keys looked at for each new one: forgetting keeps up with remembering, and never pauses a call


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
        bucket, buckets = rolling
        total = self._total + amount
        if bucket != self._bucket or bucket - buckets != self._oldest or total > given or amount <= 0:
            return False
        self._amount += amount
        self._total = total
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
            window.add(rolling.bucket, amount, left_ms(rolling, at_ms))
        return short

    def _pass(self, pace: Pace, at_ms: int, slots: list[Slot]) -> Short | None:
        key, every_us, burst = pace
        known_us, now_us = self._arrivals.get(key), at_ms * US_PER_MS
        from_us = now_us if known_us is None or known_us < now_us else known_us
        if from_us - now_us > (burst - 1) * every_us:  # so far ahead that it may be asked of the one arithmetic
            short = pace_short(pace, from_us, at_ms)
            if short is not None:
                return short
        if known_us is None:
            self._remember(key)
        after_us = self._arrivals[key] = next_arrival_us(pace, from_us, at_ms)
        slots.append(new(Slot, (pace, known_us, after_us)))
        return None

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
            change = change_of(charge, more, at_ms)
            self._add(change)
            changes.append(change)
            if more < wanted:
                overrun.append((charge, wanted - more))
        return Settled(Taken(tuple(changes)), tuple(overrun))

    def _refund(self, charge: Charge, at_ms: int) -> Change:
        change = change_of(charge, -min(max(charge.amount, 0), self._held_of(charge)), at_ms)
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
        if not key.startswith(OF_PLAN):
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
