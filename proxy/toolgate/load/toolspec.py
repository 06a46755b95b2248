"""tool.yaml as it is written (DESIGN §5): the models, and what the same words mean as `x-toolgate-…` annotations.

RULE: only the shape is judged here; what a pattern matches and where an upstream is, is judged where it is lowered.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from toolgate.core.codes import CODES
from toolgate.core.expressions import Expression, parse_expression
from toolgate.core.model import Effect
from toolgate.load.models import Fits, Seconds, Size, Strict, did_you_mean

_LARGEST_AMOUNT: Final = 1_000_000
ANNOTATION: Final = "x-toolgate-"
# Keys of later issues: named, so that nobody looks for a spelling mistake, and refused, so that nobody relies on them.
NOT_YET: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("covers", "expect", "errors", "mode", "faults", "mocks", "idempotent"),
        "is not supported by this version yet; remove it",
    ),
    **dict.fromkeys(
        ("from", "ttl_s", "next", "as", "max_items"),
        "belongs to live catalogues, which this version does not read yet; list the resources in a file: `{file: …}`",
    ),
}
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


def _costing(value: Any) -> Any:
    told = "must be an amount such as `0.002`, or `{reserve: 0.05, settle: $response.body#/usage/cost}`"
    if isinstance(value, dict):
        if set(value) != {"reserve", "settle"} or not isinstance(value["settle"], str):
            raise ValueError(told)
        return {"reserve": _amount(value["reserve"], told), "settle": _settled(value["settle"])}
    return _amount(value, told)


def _amount(value: Any, told: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST_AMOUNT:
        raise ValueError(told)
    return value


_HEADER_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}"
_NOT_A_HEADER: Final = "must be a header name such as `X-Api-Key`"
RelativePath = Annotated[str, AfterValidator(_inside)]
SetHeader = Annotated[str, Fits(_HEADER_NAME, _NOT_A_HEADER), AfterValidator(_settable)]
ForwardedHeader = Annotated[str, Fits(_HEADER_NAME, _NOT_A_HEADER), AfterValidator(_forwardable)]
EnvironmentName = Annotated[str, Fits(r"[a-z][a-z0-9_-]{0,31}", "must be an environment's name such as `prod`")]
TypeName = Annotated[str, Fits(r"[A-Za-z_][A-Za-z0-9_]{0,63}", "must be a type's name such as `Metric`")]
CostName = Annotated[str, Fits(r"[a-z][a-z0-9_]{0,31}", "must be a cost's name such as `usd` or `tokens`")]
ToolName = Annotated[
    str,
    Fits(r"(?!mcp\Z)[a-z][a-z0-9_-]{0,31}", "must be a name such as `metrics`: `[a-z][a-z0-9_-]{0,31}`, and not `mcp`"),
]
Glob = Annotated[str, Fits(r"[!-~](?:[ -~]{0,254}[!-~])?", "must be an operation's id or a glob such as `delete*`")]
Key = Annotated[str, Fits(r"[a-z][a-z0-9_-]{0,31}\.[!-~](?:[ -~]{0,254}[!-~])?", "must be `tool.operationId`")]
Cost = Annotated[
    Any,
    BeforeValidator(_costing),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1_000_000},
                {
                    "type": "object",
                    "properties": {"reserve": {"type": "number", "minimum": 0}, "settle": {"type": "string"}},
                    "required": ["reserve", "settle"],
                    "additionalProperties": False,
                },
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


class WayEntry(Strict):
    """A way forward the operator writes for one code."""

    hint: Hint | None = Field(None, description="One imperative sentence an agent can act on.")
    use: list[Key] = Field(default_factory=list, description="Operations to use instead: `tool.operationId`.")


class OperationEntry(Sizes):
    """What holds for the operations a pattern matches."""

    effect: Effect | None = Field(None, description="read, write or destructive; default from the HTTP method.")
    resources: list[ResourceAtEntry] | None = Field(None, description="The resources a call names.")
    cost: dict[CostName, Cost] | None = Field(None, description="What a call costs. Kept; not enforced yet.")
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


class CatalogueEntry(Strict):
    """The resources of one type that exist in an environment."""

    file: RelativePath = Field(description="A YAML list of objects, each with its id and its attributes.")
    id: Annotated[str, Field(min_length=1)] = Field("id", description="The key of each object that holds its id.")


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
