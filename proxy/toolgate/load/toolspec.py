"""tool.yaml as it is written (DESIGN §5): the models, and what the same words mean as `x-toolgate-…` annotations.

RULE: only the shape is judged here; what a pattern matches and where an upstream is, is judged where it is lowered.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from toolgate.core.amounts import COUNTED, MOST, exactly
from toolgate.core.codes import CODES
from toolgate.core.cost import Cost
from toolgate.core.expressions import Expression, parse_expression
from toolgate.core.model import Effect
from toolgate.load.models import Fits, Seconds, Size, Strict, did_you_mean

_TOLD_COST: Final = (
    "must be an amount with at most six digits after the point such as `0.002`, an argument such as `$args.body.max_tokens`, "
    "or `{reserve: 0.05, settle: $response.body#/usage/cost}`"
)
_BUDGET_KEYS: Final = frozenset({"name", "scope", "window", "match"})
_COST_KEYS: Final = ("reserve", "settle", "unpriced")
_AMOUNT_SCHEMA: Final = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^(?:\d+(?:\.\d{1,6})?|\$args.+)$"}]
}
ANNOTATION: Final = "x-toolgate-"
# Keys of later issues: named, so that nobody looks for a spelling mistake, and refused, so that nobody relies on them.
NOT_YET: Final[Mapping[str, str]] = dict.fromkeys(
    ("expect", "errors", "mode", "faults", "mocks", "idempotent"), "is not supported by this version yet; remove it"
)
# Framing, routing and identity are the gate's own; nobody else sets these.
RESERVED_HEADERS: Final = frozenset(
    (
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "content-length",
        "content-type",
        "content-encoding",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "expect",
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-real-ip",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    )
)
_NEVER_FORWARDED: Final = RESERVED_HEADERS | {"authorization", "proxy-authorization", "cookie", "set-cookie", "origin"}


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or "://" in value or "\\" in value or not path.parts:
        raise ValueError("must be a relative path, beside this file")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _expression(value: str) -> str:
    if parse_expression(value).root != "args":
        raise ValueError(f"`{value}` must name an argument: `$args.name` or `$args#/body/name`")
    return value


def _settled(value: str) -> str:
    if parse_expression(value).root == "args":
        raise ValueError(f"`{value}` must name a part of the reply: `$response.body#/usage/cost`")
    return value


def _in_body(value: str) -> str:
    if parse_expression(value).root != "response.body":
        raise ValueError(f"`{value}` must name a place in the reply's body: `$response.body#/metrics`")
    return value


def _in_reply(value: str) -> str:
    if parse_expression(value).root == "args":
        raise ValueError(
            f"`{value}` must name a part of the reply: `$response.body#/next_cursor` or `$response.header.Link`"
        )
    return value


def _choices(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str | int | float | bool) for each in values):
        raise ValueError("must be a value such as `critical`, or a list of them")
    return values


def _settable(value: str) -> str:
    spoken = value.lower().replace("_", "-")  # SECURITY: many servers read the one as the other
    if spoken in RESERVED_HEADERS or spoken.startswith("toolgate-"):
        raise ValueError("names a header that the gate itself sets; choose another")
    return value


def _forwardable(value: str) -> str:
    spoken = value.lower().replace("_", "-")
    if spoken in _NEVER_FORWARDED or spoken.startswith(("toolgate-", "x-forwarded-")):
        raise ValueError(f"`{value}` is a header that is never forwarded; remove it")
    return value


def _known_code(value: str) -> str:
    if value not in CODES:
        raise ValueError(f"is not a code of this version{did_you_mean(value, CODES)}")
    return value


def _costing(value: Any) -> Cost:
    if not isinstance(value, dict):
        return Cost(_held(value))
    unknown = next((name for name in value if name not in _COST_KEYS), None)
    if unknown is not None:
        raise ValueError(f"has the key `{unknown}`, which is not known{did_you_mean(str(unknown), _COST_KEYS)}")
    if not {"reserve", "settle"} <= set(value) or not isinstance(value["settle"], str):
        raise ValueError(_TOLD_COST)
    held, unpriced = _held(value["reserve"]), value.get("unpriced")
    return Cost(held, parse_expression(_settled(value["settle"])), _unpriced(unpriced, held))


def _unpriced(value: Any, held: int | Expression) -> int | None:
    """SECURITY: whoever can keep a reply from saying what it cost must not pay less for it than was held."""
    if value is None:
        return None
    amount = exactly(value)
    if amount is None or amount > MOST:
        raise ValueError("has an `unpriced` that is no amount such as `0.10`")
    if isinstance(held, int) and amount < held:
        raise ValueError("has an `unpriced` below its `reserve`; it is what a call costs at most")
    return amount


def _no_other_word(value: str) -> str:
    """`cost: {calls: 5}` would be a cost that no budget counts: there the word means something else."""
    if value in COUNTED:
        raise ValueError(f"is no cost: every budget of `{value}` counts them by itself; name another or remove it")
    if value in _BUDGET_KEYS:
        raise ValueError(f"is a key of a budget, so no budget could count it; choose another name than `{value}`")
    return value


def _held(value: Any) -> int | Expression:
    """What is held: an amount, or where the arguments say it."""
    if isinstance(value, str) and value.startswith("$"):
        return parse_expression(_expression(value))
    amount = exactly(value)
    if amount is None or amount > MOST:
        raise ValueError(_TOLD_COST)
    return amount


_HEADER_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}"
_NOT_A_HEADER: Final = "must be a header name such as `X-Api-Key`"
RelativePath = Annotated[str, AfterValidator(_inside)]
SetHeader = Annotated[str, Fits(_HEADER_NAME, _NOT_A_HEADER), AfterValidator(_settable)]
ForwardedHeader = Annotated[str, Fits(_HEADER_NAME, _NOT_A_HEADER), AfterValidator(_forwardable)]
EnvironmentName = Annotated[str, Fits(r"[a-z][a-z0-9_-]{0,31}", "must be an environment's name such as `prod`")]
# A policy says `resource is Metric`, so what Cedar and the gate call their own cannot be a type of resources.
_TAKEN_TYPES: Final = (
    "Agent|Role|Action|Tool|true|false|if|then|else|in|is|like|has|__cedar"
    "|Bool|Boolean|Long|String|Set|Record|Entity|Extension|decimal|datetime|duration|ipaddr"
)
TypeName = Annotated[
    str,
    Fits(
        rf"(?!(?:{_TAKEN_TYPES})\Z)[A-Za-z_][A-Za-z0-9_]{{0,63}}",
        "must be a type's name such as `Metric`, and not a word of Cedar or of the gate (`Agent`, `Role`, `Action`, `Tool`)",
    ),
]
CostName = Annotated[
    str,
    Fits(r"[a-z][a-z0-9_]{0,31}", "must be a cost's name such as `usd` or `tokens`"),
    AfterValidator(_no_other_word),
]
ToolName = Annotated[
    str,
    Fits(r"(?!mcp\Z)[a-z][a-z0-9_-]{0,31}", "must be a name such as `metrics`: `[a-z][a-z0-9_-]{0,31}`, and not `mcp`"),
]
GLOB: Final = r"[!-~](?:[ -~]{0,254}[!-~])?"
Glob = Annotated[str, Fits(GLOB, "must be an operation's id or a glob such as `delete*`")]
Key = Annotated[str, Fits(r"[a-z][a-z0-9_-]{0,31}\.[!-~](?:[ -~]{0,254}[!-~])?", "must be `tool.operationId`")]
CostEntry = Annotated[
    Any,
    BeforeValidator(_costing),
    WithJsonSchema(
        {
            "anyOf": [
                *_AMOUNT_SCHEMA["anyOf"],
                {
                    "type": "object",
                    "properties": {
                        "reserve": {"description": "What is held before the call is sent.", **_AMOUNT_SCHEMA},
                        "settle": {
                            "description": "Where the reply says what was billed: `$response.body#/usage/cost`.",
                            "type": "string",
                            "pattern": r"^\$response\.",
                        },
                        "unpriced": {
                            "description": "What a call costs whose reply does not say it: the most it can; left out: `reserve`.",
                            "anyOf": [
                                {"type": "number", "minimum": 0},
                                {"type": "string", "pattern": r"^\d+(?:\.\d{1,6})?$"},
                            ],
                        },
                    },
                    "required": ["reserve", "settle"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
ItemKey = Annotated[str, Field(min_length=1, max_length=128)]
Choices = Annotated[
    Any,
    BeforeValidator(_choices),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number", "boolean"]},
                {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
            ]
        }
    ),
]
Hint = Annotated[str, Field(min_length=1, max_length=512)]


class Sizes(Strict):
    """Limits that may stand at the tool, an environment or an operation; the inner one wins."""

    max_body: Size | None = Field(None, description="The largest body a call may carry; default 1MiB.")
    max_response: Size | None = Field(
        None, description="The largest reply held in memory to be validated; default 1MiB."
    )
    timeout_s: Seconds | None = Field(None, description="Seconds to the head of the reply; default 30.")
    idle_timeout_s: Seconds | None = Field(None, description="Seconds each further read may take; default 15.")
    validate_responses: Literal["refuse", "report", "off"] | None = Field(
        None, description="What happens to a reply that does not fit its declared schema; default report."
    )


class ResourceAtEntry(Strict):
    """Which resource a call is about."""

    type: TypeName = Field(description="The resource's type, as the catalogue names it.")
    at: Annotated[str, AfterValidator(_expression)] = Field(description="Where its id stands: `$args.body.metric`.")

    @property
    def expression(self) -> Expression:
        return parse_expression(self.at)


class CoverEntry(Strict):
    """Resources a call may not leave out."""

    type: TypeName = Field(description="The resources' type, as the catalogue names it.")
    where: dict[Annotated[str, Field(min_length=1)], Choices] = Field(
        default_factory=dict,
        description="Attributes and the value, or list of values, they have; left out: every resource.",
    )
    at: Annotated[str, AfterValidator(_expression)] = Field(
        description="Where the call names them: `$args#/body/metrics/*/name`."
    )

    @property
    def expression(self) -> Expression:
        return parse_expression(self.at)


class WayEntry(Strict):
    """A way forward the operator writes for one code."""

    hint: Hint | None = Field(None, description="One imperative sentence an agent can act on.")
    use: list[Key] = Field(default_factory=list, description="Operations to use instead: `tool.operationId`.")


class OperationEntry(Sizes):
    """What holds for the operations a pattern matches."""

    effect: Effect | None = Field(None, description="read, write or destructive; default from the HTTP method.")
    resources: list[ResourceAtEntry] | None = Field(None, description="The resources a call names.")
    covers: list[CoverEntry] | None = Field(
        None, description="The resources a call may not leave out; a call that does is refused."
    )
    cost: dict[CostName, CostEntry] | None = Field(
        None, description="What a call costs, by name: held before it is sent; budgets count it."
    )
    recovery: dict[Annotated[str, AfterValidator(_known_code)], WayEntry] | None = Field(
        None, description="By error code: what the agent should do instead."
    )


class CredentialEntry(Strict):
    """A credential the gate adds on the way up. The agent never sees it."""

    header: SetHeader | None = Field(None, description="The header that carries it.")
    query: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="The query parameter that carries it."
    )
    basic: str | None = Field(None, description="HTTP basic: `user:${file:…}`.")
    value: str | None = Field(None, description="`Bearer ${file:/path}`; secrets only as `${file:…}` or `${env:…}`.")

    @model_validator(mode="after")
    def _one_kind(self) -> CredentialEntry:
        kinds = [kind for kind in (self.header, self.query, self.basic) if kind is not None]
        if len(kinds) != 1:
            raise ValueError("must have exactly one of `header`, `query` and `basic`")
        if (self.basic is None) == (self.value is None):
            raise ValueError("needs `value` beside `header` or `query`, and none beside `basic`")
        return self


class ReadingEntry(Strict):
    """An operation of the same tool whose reply lists the resources."""

    model_config = ConfigDict(populate_by_name=False)  # `as`, and nothing else

    operation: Annotated[str, Field(min_length=1)] = Field(description="The operation's id; it must read.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="What it is called with, but for the page.")
    items: Annotated[str, AfterValidator(_in_body)] = Field(
        description="Where in the reply the array stands: `$response.body#/metrics`."
    )
    id: ItemKey = Field("id", description="The key of each item that holds its id; the other keys are attributes.")
    next: Annotated[str, AfterValidator(_in_reply)] | None = Field(
        None,
        description="Where the reply says what to ask next: a cursor, a URL, or `$response.header.Link` (its `rel=next`).",
    )
    page: Annotated[str, Field(min_length=1)] | None = Field(
        None, alias="as", description="The parameter that asks for it; without `next`, pages are counted from 1."
    )
    max_items: int = Field(10_000, ge=1, le=100_000, description="More items than this fail the reading.")

    @model_validator(mode="after")
    def _asked_for(self) -> ReadingEntry:
        if self.next is not None and self.page is None:
            raise ValueError("has `next` without `as`: name the parameter that asks for the next page")
        return self


class CatalogueEntry(Strict):
    """The resources of one type that exist in an environment."""

    model_config = ConfigDict(populate_by_name=False)  # `from`, and nothing else

    file: RelativePath | None = Field(None, description="A YAML list of objects, each with its id and its attributes.")
    id: ItemKey | None = Field(None, description="The key of each object of the file that holds its id; default `id`.")
    reading: ReadingEntry | None = Field(
        None, alias="from", description="Instead of a file: the operation that lists them, read in the background."
    )
    ttl_s: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] | None = Field(
        None, description="Seconds between two readings; default 30."
    )
    stale_s: Annotated[float, Field(ge=0.1, le=604_800, allow_inf_nan=False)] | None = Field(
        None, description="Older than this, it is not relied on; default ten times `ttl_s`, and 300 at least."
    )

    @model_validator(mode="after")
    def _one_source(self) -> CatalogueEntry:
        if (self.file is None) == (self.reading is None):
            raise ValueError("must have exactly one of `file` and `from`")
        if self.reading is not None and self.id is not None:
            raise ValueError("has `id` beside `from`; write it inside: `from: {operation: …, items: …, id: name}`")
        if self.reading is None and (self.ttl_s is not None or self.stale_s is not None):
            raise ValueError(
                "has `ttl_s` or `stale_s` beside `file`; they belong to `from`: a file is as fresh as the bundle"
            )
        if self.stale_s is not None and self.stale_s <= self.every_s:
            raise ValueError(f"has `stale_s: {self.stale_s:g}`, which is not longer than its `ttl_s: {self.every_s:g}`")
        return self

    @property
    def every_s(self) -> float:
        return 30.0 if self.ttl_s is None else self.ttl_s

    @property
    def relied_on_s(self) -> float:
        return max(10 * self.every_s, 300.0) if self.stale_s is None else self.stale_s


class EnvironmentEntry(Sizes):
    """A tool as one environment has it."""

    openapi: RelativePath | None = Field(
        None, description="Replaces the tool's own document here; its overlays no longer apply."
    )
    overlays: list[RelativePath] | None = Field(None, description="Replaces the tool's own overlays here.")
    upstream: str | None = Field(None, description="Replaces the document's whole server URL.")
    ca_file: str | None = Field(
        None, description="A PEM file of the authorities that may sign the upstream's certificate."
    )
    allow: list[Glob] = Field(
        default_factory=list, description="Operation ids or globs. Nothing listed: nothing allowed."
    )
    deny: list[Glob] = Field(default_factory=list, description="Operation ids or globs; beats allow.")
    credentials: Annotated[list[CredentialEntry], BeforeValidator(_listed)] = Field(
        default_factory=list, description="One credential or a list of them."
    )
    resources: dict[TypeName, CatalogueEntry] = Field(default_factory=dict, description="By type: what exists here.")


class ToolFile(Sizes):
    """toolspecs/NAME/tool.yaml: an OpenAPI document and what holds for it."""

    api_version: Literal["toolgate/v1"] = Field("toolgate/v1", alias="apiVersion", description="May be left out.")
    tool: ToolName = Field(description="The tool's name, and the first segment of its paths on the gate.")
    openapi: RelativePath | None = Field(None, description="OpenAPI 3.0, 3.1, 3.2 or Swagger 2.0, YAML or JSON.")
    overlays: list[RelativePath] = Field(
        default_factory=list, description="OpenAPI Overlays 1.0 or 1.1, applied in order."
    )
    unknown_parameters: Literal["refuse", "drop"] = Field(
        "refuse", description="What happens to query, cookie and form fields the document does not declare."
    )
    closed_bodies: bool = Field(False, description="true: every object schema without additionalProperties is closed.")  # noqa: FBT003 - pydantic's default
    forward_headers: list[ForwardedHeader] = Field(
        default_factory=list, description="Undeclared request headers that are passed on."
    )
    environments: dict[EnvironmentName, EnvironmentEntry] = Field(
        description="A tool with no entry for an environment does not exist there."
    )
    operations: dict[Glob, OperationEntry] = Field(default_factory=dict, description="By operation id or glob.")

    @model_validator(mode="after")
    def _documented(self) -> ToolFile:
        without = [name for name, entry in self.environments.items() if entry.openapi is None]
        if self.openapi is None and (without or not self.environments):
            raise ValueError("needs `openapi`, for the tool or for each environment")
        return self
