"""What follows from the guards that call after call takes alike: how it is written, given back and told.

RULE: everything here follows from the guards alone, so it is made once for an account and never on the path of a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import orjson

from toolgate.core.budget import BYTES
from toolgate.core.guards import lasting_of, taken_json
from toolgate.core.model import Charge, Guard, Place
from toolgate.core.quota import Told

if TYPE_CHECKING:
    from toolgate.core.model import Permit

_OF_BYTES: Final = f":{BYTES}:"
_NOTHING_TOLD: Final = Told(())


@dataclass(frozen=True, slots=True, eq=False)
class Lasting:
    """Guards that lie in one account, and what follows from them."""

    count: int  # how many guards these are
    written: orjson.Fragment  # as the journal says what was taken: all of them, with a comma between
    places: tuple[Place, ...]  # what every call gives back that ends
    of_bytes: tuple[Charge, ...]  # what its bytes settle; most charges are final when they are taken
    told: Told  # what callers are told of them


def lasting_from(guards: tuple[Guard, ...], told: Told = _NOTHING_TOLD) -> Lasting:
    return Lasting(
        len(guards),
        _written(guards),
        tuple([guard for guard in guards if isinstance(guard, Place)]),
        tuple([guard for guard in guards if isinstance(guard, Charge) and _OF_BYTES in guard.key]),
        told,
    )


def lasting_in(permit: Permit) -> Lasting:
    """What follows from a permit's guards; of those that say for themselves how much they take it is looked up."""
    return permit.lasting or _lasting(lasting_of(permit.guards))


def _written(guards: tuple[Guard, ...]) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(taken_json(guards))[1:-1])


@lru_cache(maxsize=1024)  # INVARIANT: bounded, and follows from the guards alone
def _lasting(guards: tuple[Guard, ...]) -> Lasting:
    return lasting_from(guards)


NOTHING_LASTING: Final = lasting_from(())
