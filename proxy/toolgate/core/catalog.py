"""What can be called here: operations, and finding the one a request means.

RULE: built at load, immutable, nothing compiled or parsed on the path of a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from toolgate.core.cost import Cost, Terms, terms_of
from toolgate.core.judgements import Judgements
from toolgate.core.matching import Found, Matcher, parse_key, read_early
from toolgate.core.model import Effect
from toolgate.core.nearby import Nearby, fold

__all__ = ["Absent", "Catalog", "Credential", "Found", "Limits", "Operation", "ResourceAt", "Secret", "Target", "Way"]

if TYPE_CHECKING:
    from toolgate.core.covers import Cover
    from toolgate.core.expressions import Expression
    from toolgate.core.responses import Responses
    from toolgate.core.signature import Signature


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is read, never what it is: `${file:PATH}` or `${env:NAME}`."""

    source: Literal["file", "env"]
    name: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A header (or query parameter) the gate adds on the way up: literal text and secrets, concatenated."""

    location: Literal["header", "query"]
    name: str
    value: tuple[str | Secret, ...]
    basic: bool = False  # HTTP basic: `value` is `user:password`, encoded when sent


@dataclass(frozen=True, slots=True)
class Target:
    """Where an upstream is. Fixed at load from the toolspec: no byte of a call can change it."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    base_path: str = ""  # no trailing slash
    credentials: tuple[Credential, ...] = ()
    ca_file: str | None = None

    @property
    def url(self) -> str:
        """The base URL, as one writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.base_path}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds; operation beats environment beats tool."""

    max_body: int = 1 << 20
    max_response: int = 1 << 20  # the largest reply that is held in memory to be validated
    timeout_s: float = 30.0  # to the response head
    idle_timeout_s: float = 15.0  # then for each read


@dataclass(frozen=True, slots=True)
class Way:
    """A recovery the operator wrote for one code of one operation."""

    hint: str | None
    use: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceAt:
    """Which resource a call is about: its type, and where its id stands in the arguments."""

    type: str
    at: Expression
    catalogue: str | None = None  # the tool whose catalogue lists this type here


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One thing that can be called, as one environment sees it."""

    tool: str
    id: str
    method: str
    template: str  # the document's path, e.g. /metrics/{name}
    effect: Effect
    allowed: bool  # by the environment's allow and deny lists
    signature: Signature
    responses: Responses
    target: Target | None  # None when not allowed: there is nowhere to send it
    key: str  # `tool.id`
    name: str  # the model's name: `tool__id`, [A-Za-z0-9_-]{1,64}
    description: str = ""
    limits: Limits = field(default_factory=Limits)
    forward_headers: frozenset[str] = frozenset()
    validate_responses: Literal["refuse", "report", "off"] = "report"
    resources: tuple[ResourceAt, ...] = ()
    covers: tuple[Cover, ...] = ()
    awaits: tuple[tuple[str, str], ...] = ()  # live catalogues (tool, type) without which its calls cannot be judged
    recovery: Mapping[str, Way] = field(default_factory=dict)
    cost: Mapping[str, Cost] = field(default_factory=dict)
    environments: tuple[str, ...] = ()  # those whose document has it, widest first
    terms: Terms = field(init=False, repr=False)  # of its costs

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", terms_of(self.cost))

    @property
    def path(self) -> str:
        """The path on the agent listener: the tool, then the document's template."""
        return f"/{self.tool}{self.template}"


_K = TypeVar("_K", bound=Hashable)

AbsentKind: TypeAlias = Literal["unknown_tool", "unknown_operation", "wrong_method"]

_NEAR: Final = 3
_LIKE: Final = 0.45  # a name below this likeness is another word, not a slip
_ALIKE: Final = 0.8  # an equivalent is proposed as a replacement: it must be much the same path
_RANK: Final[Mapping[Effect, int]] = {"read": 0, "write": 1, "destructive": 2}
_VERSION_SEGMENT: Final = re.compile(r"/v\d+(?:\.\d+)*(?:(?:alpha|beta|rc)\d*)?(?=/|\Z)", re.ASCII)
_VERSION_SUFFIX: Final = re.compile(r"[-_.]?v\d+\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing here is meant by that. `near` are keys of allowed operations; `methods` those the path does take."""

    kind: AbsentKind
    near: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


class Catalog:
    """Every operation this environment knows, and those only others know (never allowed here)."""

    __slots__ = (
        "_by_path",
        "_by_version",
        "_elsewhere_paths",
        "_names",
        "_near_names",
        "_near_paths",
        "_near_tools",
        "_paths",
        "_tools",
        "allowed",
        "by_name",
        "elsewhere",
        "judgements",
        "max_body",
        "operations",
    )

    def __init__(self, operations: Iterable[Operation], elsewhere: Iterable[Operation] = ()) -> None:
        here = tuple(operations)
        self.elsewhere: tuple[Operation, ...] = tuple(elsewhere)
        self.operations: Mapping[str, Operation] = {operation.key: operation for operation in here}
        self.by_name: Mapping[str, Operation] = {operation.name: operation for operation in here}
        self.allowed: tuple[Operation, ...] = tuple(operation for operation in here if operation.allowed)
        self.max_body: int = max((operation.limits.max_body for operation in self.allowed), default=0)
        self._names = {**_both_names(self.elsewhere), **_both_names(here)}
        self._paths = Matcher(here)
        self._elsewhere_paths = Matcher(self.elsewhere)
        self._tools = tuple(sorted({operation.tool for operation in (*here, *self.elsewhere)}))
        self._near_tools = Nearby(self._tools)
        self._near_names = Nearby(operation.key for operation in self.allowed)
        self._near_paths = Nearby(_asked(operation.method, operation.path) for operation in self.allowed)
        self._by_version = _first_by(self.allowed, _without_version)
        self._by_path = _first_by(self.allowed, _shape_without_version)
        self.judgements = Judgements()

    def find(self, method: str, path: str, query: str = "") -> Found | Absent:
        """Return what a request means. `path` is raw: `/{tool}` and then the path on the upstream."""
        return self._known(method, path, query) or self._absent(method, path, query)

    def declaring(self, method: str, path: str, query: str) -> tuple[Operation, ...]:
        """Return what a path means if that declares its encoded slashes (`allowReserved`), else ()."""
        found = self._known(method, path, query)
        return found.operations if found is not None and found.is_declared else ()

    def named(self, name: str) -> Operation | Absent:
        """Return the operation of this key (`tool.operationId`) or model's name (`tool__operationId`), exactly."""
        operation = self._names.get(name)
        if operation is not None:
            return operation
        tool, separator, _ = name.partition("__" if "__" in name else ".")
        kind: AbsentKind = "unknown_operation" if separator and tool in self._tools else "unknown_tool"
        found = self._near_names.search(name, count=_NEAR, least=_LIKE)
        return Absent(kind, tuple(self.allowed[at].key for at, _ in found))

    def equivalent(self, operation: Operation) -> Operation | None:
        """Return the allowed operation to use instead: the same id, the same but for a version, or a very near path.

        It never has a stronger effect, and one that destroys is not proposed on mere likeness.
        """
        choices = (
            self.operations.get(operation.key),
            self._by_version.get(_without_version(operation)),
            self._by_path.get(_shape_without_version(operation)),
        )
        for choice in choices:
            if choice is not None and choice.allowed and _RANK[choice.effect] <= _RANK[operation.effect]:
                return choice
        return None if operation.effect == "destructive" else self._alike(operation)

    def _known(self, method: str, path: str, query: str) -> Found | None:
        found = self._at(method, path, query)
        if found is None or "%" not in path or (early := read_early(path)) == path:
            return found
        # SECURITY: `/files/a%2Fraw` is no way around the rules of `/files/{dir}/raw`, where an upstream decodes early.
        other = self._at(method, early, query)
        return found if other is None or other.operations == found.operations else None

    def _at(self, method: str, path: str, query: str) -> Found | None:
        return self._paths.find(method, path, query) or self._elsewhere_paths.find(method, path, query)

    def _alike(self, operation: Operation) -> Operation | None:
        asked = _asked(operation.method, operation.path)
        for at, _ in self._near_paths.search(asked, count=_NEAR, least=_ALIKE):
            choice = self.allowed[at]
            same = choice.tool == operation.tool and choice.method == operation.method
            if same and _RANK[choice.effect] <= _RANK[operation.effect]:
                return choice
        return None

    def _absent(self, method: str, path: str, query: str) -> Absent:
        tool, _, rest = path.removeprefix("/").partition("/")
        if tool not in self._tools:
            return Absent("unknown_tool", self._under_near_tool(method, tool, rest, query))
        there = self._on_path(path, query)
        if there:
            return Absent("wrong_method", tuple(op.key for op in there[:_NEAR]), tuple(op.method for op in there))
        return Absent("unknown_operation", self._near_path(method, path))

    def _on_path(self, path: str, query: str) -> list[Operation]:
        found = (self._paths.find(method, path, query) for method in _METHODS)
        return [operation for one in found if one for operation in one.operations if operation.allowed]

    def _under_near_tool(self, method: str, tool: str, rest: str, query: str) -> tuple[str, ...]:
        for at, _ in self._near_tools.search(tool, count=1, least=_LIKE):
            path = f"/{self._tools[at]}/{rest}"
            found = self._paths.find(method, path, query)
            if found:
                return tuple(operation.key for operation in found.operations if operation.allowed)
            return self._near_path(method, path)
        return self._near_path(method, f"/{tool}/{rest}")

    def _near_path(self, method: str, path: str) -> tuple[str, ...]:
        found = self._near_paths.search(_asked(method, path), count=_NEAR, least=_LIKE)
        return tuple(self.allowed[at].key for at, _ in found)


_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _both_names(operations: Iterable[Operation]) -> dict[str, Operation]:
    """By model's name and by key; a key is never hidden by another operation's name (names hold no dot)."""
    named = {operation.name: operation for operation in operations}
    return named | {operation.key: operation for operation in operations}


def _first_by(operations: Iterable[Operation], key: Callable[[Operation], _K]) -> dict[_K, Operation]:
    first: dict[_K, Operation] = {}
    for operation in operations:
        first.setdefault(key(operation), operation)
    return first


def _without_version(operation: Operation) -> tuple[str, str]:
    return operation.tool, fold(_VERSION_SUFFIX.sub("", operation.id))


def _shape_without_version(operation: Operation) -> tuple[str, str, str, object]:
    key = parse_key(operation.template)
    return operation.tool, operation.method, _VERSION_SEGMENT.sub("", key.shape), key.fixed_query


def _asked(method: str, path: str) -> str:
    return f"{method} {path}"
