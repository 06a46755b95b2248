"""Every setting: its name, its default, what it is for.

RULE: a setting is read once, at start; what an agent may do stands in the bundle, never here. Every field has a
description, because `docs/settings.md` is generated from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from toolgate.core.catalog import Secret
from toolgate.settings import values
from toolgate.settings.descriptions import descriptions
from toolgate.settings.values import Address

_BYTE_UNITS = "a whole number of bytes, or one with KiB, MiB or GiB"
_TIME_UNITS = "a whole number with s, m, h or d"


def _text(pattern: str | None, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description} | ({"pattern": pattern} if pattern else {}))


FilePath = Annotated[Path, BeforeValidator(values.path), _text(None, "a path, relative to the settings file")]
Listener = Annotated[Address, BeforeValidator(values.address), _text(None, "`host:port` or `unix:path`")]
OptionalListener = Annotated[
    Address | None, BeforeValidator(values.optional_address), _text(None, "`host:port`, `unix:path` or `off`")
]
Ledger = Annotated[
    str,
    BeforeValidator(values.ledger),
    _text(None, "`memory:`, `sqlite:///absolute`, `sqlite:relative`, `redis://host:port/db`, `rediss://host:port/db`"),
]
OwnLedger = Annotated[
    str, BeforeValidator(values.own_ledger), _text(None, "`memory:`, `sqlite:///absolute`, `sqlite:relative`")
]
SecretRef = Annotated[
    Secret, BeforeValidator(values.secret), _text(r"^\$\{(file|env):.+\}$", "`${file:PATH}` or `${env:NAME}`")
]
Size = Annotated[
    Annotated[int, Field(gt=0)] | None,
    BeforeValidator(values.size),
    WithJsonSchema({"type": ["integer", "string", "null"], "description": _BYTE_UNITS}),
]
Duration = Annotated[
    Annotated[int, Field(gt=0)] | None,
    BeforeValidator(values.duration),
    WithJsonSchema({"type": ["string", "null"], "description": _TIME_UNITS}),
]
EnvironmentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Names = Annotated[tuple[str, ...], BeforeValidator(values.sequence)]
Environments = Annotated[
    tuple[EnvironmentName, ...],
    Field(min_length=1),
    BeforeValidator(values.sequence),
]
Hosts = Annotated[tuple[Annotated[str, BeforeValidator(values.host)], ...], BeforeValidator(values.sequence)]
Origins = Annotated[tuple[Annotated[str, BeforeValidator(values.origin)], ...], BeforeValidator(values.sequence)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


Claim = Annotated[str, Field(min_length=1, max_length=256)]
RoleMap = Annotated[
    dict[str, tuple[str, ...]],
    BeforeValidator(values.role_map),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        }
    ),
]
HttpsUrl = Annotated[str, BeforeValidator(values.https_url), _text("^https://", "an `https://` URL")]
WebhookUrl = Annotated[
    str, BeforeValidator(values.webhook_url), _text("^https?://", "an `https://` URL, or `http://` on the loopback")
]
Algorithms = Annotated[
    tuple[
        Literal[
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
            "HS256", "HS384", "HS512",
        ],
        ...,
    ],
    BeforeValidator(values.sequence),
]  # fmt: skip


def _described(schema: dict[str, Any], model: type[BaseModel]) -> None:
    for attribute, text in descriptions(model).items():
        schema["properties"][model.model_fields[attribute].alias or attribute]["description"] = text


def _defaults() -> Any:
    """A section that is not written: judged with the whole, for which it needs nothing of its own."""
    return Field(default={}, validate_default=True)


class _Section(BaseModel):
    """Unknown keys refused, nothing converted, nothing changed afterwards.

    What validates it is built at its first use, and of a section as a part of the whole: each alone would take as long
    again, and as much memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True, json_schema_extra=_described)


class Tls(_Section):
    cert: FilePath
    """PEM file with the listener's certificate chain."""
    key: FilePath
    """PEM file with the certificate's private key."""
    client_ca: FilePath | None = None
    """PEM file with the authorities whose client certificates are required; without it no client certificate is asked for."""


class ListenTls(_Section):
    agent: Tls | None = None
    """TLS on the agent listener."""
    admin: Tls | None = None
    """TLS on the admin listener."""
    health: Tls | None = None
    """TLS on the health listener."""


class Listen(_Section):
    agent: Listener = Field(default="127.0.0.1:8400", validate_default=True)
    """Where agents call tools: `host:port` or `unix:path`. Anything but loopback is warned about."""
    admin: OptionalListener = Field(default="127.0.0.1:8401", validate_default=True)
    """Reload, journal queries and runs: `host:port`, `unix:path` or `off`. Beyond loopback only with `listen.tls.admin.client_ca`."""
    health: OptionalListener = Field(default="127.0.0.1:8402", validate_default=True)
    """`/-/live`, `/-/ready` and `/metrics`: `host:port`, `unix:path` or `off`. In Kubernetes `0.0.0.0:8402`, since the kubelet and Prometheus come from outside."""
    hosts: Hosts = ("localhost", "127.0.0.1")
    """Host headers accepted beside the listen address, without port."""
    origins: Origins = ()
    """Values of `Origin` accepted on the agent listener; requests of a browser page are otherwise refused."""
    tls: ListenTls = _defaults()
    """TLS per listener; a listener without an entry speaks plain HTTP."""


class Keys(_Section):
    mask: SecretRef | None = None
    """The key that masks and seals values in the journal, as `${file:PATH}` or `${env:NAME}`; made beside the ledger when absent."""
    run: SecretRef | None = None
    """The key that signs run tokens (`POST /-/runs`), as `${file:PATH}` or `${env:NAME}`; made beside the ledger when absent. Whoever has it can name any run."""


class Redis(_Section):
    journal: OwnLedger = Field(default="sqlite:.toolgate/ledger.db", validate_default=True)
    """Where this gate's own journal is, which is never in Redis: `memory:`, `sqlite:///absolute` or `sqlite:relative`. Each gate needs a file of its own."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] = "toolgate"
    """What every key begins with, as `{prefix}:`. Gates with the same one share their budgets, limits, runs and freezes: give each environment its own."""
    password: SecretRef | None = None
    """The password of the user in the URL, or of the default user, as `${file:PATH}` or `${env:NAME}`; read again at each connection."""
    ca_file: FilePath | None = None
    """PEM file with the authorities that vouch for a `rediss:` server, instead of the system's."""
    cert: FilePath | None = None
    """PEM file with a client certificate for a `rediss:` server."""
    key: FilePath | None = None
    """PEM file with that certificate's private key."""


class Anonymous(_Section):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")] = "agent"
    """The principal every call without a token is made as: the sidecar serves one workload."""
    roles: Names = ()
    """Roles of that principal."""


class Jwks(_Section):
    url: HttpsUrl | None = None
    """Where the issuer publishes its keys. Read in the background, every five minutes and when a token names a key not known yet; redirects are not followed."""
    ca_file: FilePath | None = None
    """PEM file with the authorities that vouch for that server, instead of the system's."""
    token_file: FilePath | None = None
    """File with a bearer token for that server, read anew each time; the Kubernetes API wants one."""
    file: FilePath | None = None
    """A file with the keys, instead of `url`; read again when it changes."""
    max_stale_s: Annotated[float, Field(gt=0, le=2_592_000)] = 86_400.0
    """How long keys serve that cannot be read again. After that, the issuer's tokens are refused."""


class IssuerRoles(_Section):
    claim: Claim
    """The claim that holds roles: text or a list of texts. One inside another is named with dots, as in `realm_access.roles`."""
    map: RoleMap | None = None
    """What the claim says → the role, or list of roles, here. What is not named is no role. Left out: whatever the claim says is a role."""
    separator: Literal[" ", ","] | None = None
    """What stands between roles where the claim is one text, such as a blank in `scope`. Left out: a text is one role."""


class Issuer(_Section):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    """How principals of this issuer begin: `corp` makes `corp/alice`."""
    issuer: Annotated[str, Field(pattern=r"^[!-~]{1,512}$")]
    """The `iss` claim of its tokens, exactly."""
    audience: Annotated[str, Field(pattern=r"^[!-~]{1,512}$")]
    """The `aud` claim that means this gate."""
    other_audiences: Names = ()
    """Audiences a token may have beside `audience`. Any other beside it refuses the token: who else it is for could present it here."""
    jwks: Jwks | None = None
    """Where the issuer's public keys are: either `url` or `file`."""
    secret: SecretRef | None = None
    """A secret shared with the issuer instead of public keys, for HS256, HS384 and HS512: at least 32, 48 or 64 random bytes, as `${file:PATH}` or `${env:NAME}`."""
    algorithms: Algorithms = ()
    """The signature algorithms taken. Left out: those of each key's own type; with `secret`, HS256."""
    roles: IssuerRoles | None = None
    """Which claim says what roles a principal has. Left out: none."""
    trust_domain: Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,255}$")] | None = None
    """SPIFFE: the subject must be an ID of this trust domain, `spiffe://TRUST_DOMAIN/…`."""
    max_age_s: Annotated[float, Field(gt=0, le=2_592_000)] = 3600.0
    """The longest life a token may be given (`exp` less `iat`)."""
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    """How far the issuer's clock may be off."""


class Identity(_Section):
    anonymous: Anonymous = _defaults()
    """Who calls when no token is presented; a bare string is `{id: …}`. With issuers, a call without a token is refused unless this is written."""
    issuers: Annotated[tuple[Issuer, ...], BeforeValidator(values.entries)] = ()
    """Whose tokens say who calls: OpenID Connect providers, Kubernetes ServiceAccounts, SPIFFE trust domains. A variable or a flag writes the list as JSON."""
    development: bool = False
    """Take the tokens that `toolgate token` mints, as principals `dev/…`. Refused in production: the narrowest of several environments, or one called so."""

    @property
    def takes_tokens(self) -> bool:
        """Whether a caller's token is read at all."""
        return self.development or bool(self.issuers)

    @property
    def serves_anonymous(self) -> bool:
        """Whether a call without a token is taken: always where tokens are not, else only where it was written."""
        return not self.takes_tokens or "anonymous" in self.model_fields_set


class Keep(_Section):
    model_config = ConfigDict(populate_by_name=True)

    age_s: Duration = Field(default=None, alias="age")
    """Prune journal segments older than this (`30d`); none: age does not matter."""
    size_bytes: Size = Field(default=10 << 30, alias="size")
    """Prune the oldest journal segments beyond this size (`10GiB`); none: size does not matter."""


class Journal(_Section):
    sync: Literal["effects", "all", "off"] = "effects"
    """Which commits are flushed to disk before a call is sent: those with a write or destructive call, all, or none."""
    keep: Keep = _defaults()
    """How much of the journal is kept; pruning is journaled itself."""
    stdout: bool = True
    """Also write every journal event to standard output as one JSON line."""


class Runs(_Section):
    idle_s: Seconds = 1800.0
    """Idle time after which a principal's next call begins a new implicit run."""
    token_s: Seconds = 14_400.0
    """How long the token of a run opened with `POST /-/runs` names it; a sub-run's ends with its parent's."""
    max_open: Count = 10_000
    """How many runs a principal may have opened whose tokens have not ended; each takes about a kilobyte until then."""
    max_depth: Annotated[int, Field(ge=0, le=100)] = 3
    """How many runs may be above a run: an agent's sub-agents, their sub-agents, …. With 0, no run has a parent."""


class Webhook(_Section):
    url: WebhookUrl
    """Where people are told that a run was stopped, or that the kill switch was used: `https://…`, or `http://` on the loopback. POST, JSON."""
    secret: SecretRef
    """The secret each message is signed with, as Standard Webhooks does (`webhook-signature`), as `${file:PATH}` or `${env:NAME}`; at least 32 random bytes in base64."""
    ca_file: FilePath | None = None
    """PEM file with the authorities that vouch for that server, instead of the system's."""


class Limits(_Section):
    connections: Count = 256
    """Connections open at once on the agent listener; more are answered with `gateway.overloaded`."""
    in_flight: Count = 64
    """Calls worked on at once."""
    queue: Annotated[int, Field(ge=0, le=1_000_000)] = 128
    """Calls waiting for their turn; more are answered with `gateway.overloaded`."""
    header_timeout_s: Seconds = 10.0
    """Time for a request's whole header, and for an idle connection."""
    body_timeout_s: Seconds = 15.0
    """Time for a request's whole body."""
    call_timeout_s: Seconds = 300.0
    """Time for a whole call, a streamed reply included."""
    write_timeout_s: Seconds = 30.0
    """Time an agent may leave a reply unread before the connection is closed."""
    drain_grace_s: Seconds = 20.0
    """Time calls in flight are given after SIGTERM; keep it below the pod's grace period."""


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity of the operations log on standard error."""
    format: Literal["auto", "json", "text"] = "auto"
    """Form of the operations log: `auto` is text on a terminal, JSON otherwise."""


class Settings(_Section):
    """What a process is told once, at start."""

    apiVersion: Literal["toolgate/v1"] = "toolgate/v1"  # noqa: N815 - the published key
    """Version of this file's format; may be left out."""
    environment: EnvironmentName
    """The environment this process enforces. It comes from the deployment, never from a caller. May be left out only when `environments` has exactly one."""
    environments: Environments
    """Every environment there is, widest first; an effectful operation allowed in a narrower one must be allowed in the wider ones. Left out: only `environment`."""
    toolspecs: FilePath = Field(default=Path("toolspecs"), validate_default=True)
    """Folder with one toolspec folder per tool."""
    policies: FilePath = Field(default=Path("policies"), validate_default=True)
    """Folder with the policies."""
    listen: Listen = _defaults()
    """The doors this process listens on."""
    ledger: Ledger = Field(default="sqlite:.toolgate/ledger.db", validate_default=True)
    """Journal and balances: `memory:` (lost at exit), `sqlite:///absolute` or `sqlite:relative`. With `redis://[user@]host:port/db`, or `rediss:` with TLS, gates share what is taken and frozen, and the journal is where `redis.journal` says."""
    redis: Redis = _defaults()
    """The store that gates share, with `ledger: redis:…`."""
    keys: Keys = _defaults()
    """Keys of the gate itself; only references, never the keys."""
    identity: Identity = _defaults()
    """Who calls."""
    mode: Literal["enforce", "audit"] = "enforce"
    """`audit` sends what policies refuse, and journals what would have been refused; what is unknown, disallowed or invalid is refused all the same."""
    audit_in_production: bool = False
    """Said together with `mode: audit`, it makes the narrowest environment audit too; without it, production refuses to start in that mode."""
    journal: Journal = _defaults()
    """The record of every decision."""
    runs: Runs = _defaults()
    """One task of an agent."""
    webhook: Webhook | None = None
    """Who is told when a run was stopped; without it, the journal, the log and the metrics say so."""
    limits: Limits = _defaults()
    """Bounds of the agent listener, in number and time."""
    disclosure: Literal["explain", "hide"] = "explain"
    """What a refusal tells the agent: with `hide`, whatever this caller may never call answers like what does not exist, with `tool.unknown`."""
    log: Log = _defaults()
    """The operations log on standard error."""

    @property
    def shares_state(self) -> bool:
        """Whether what is taken and frozen is in a store beside the journal."""
        return self.ledger.startswith(("redis:", "rediss:"))

    @property
    def journal_url(self) -> str:
        """Where this process keeps its journal."""
        return self.redis.journal if self.shares_state else self.ledger

    @property
    def asks_operators_for_nothing(self) -> bool:
        """Whether the admin listener is a port that needs no token: an agent beside it reaches it as an operator does."""
        return isinstance(self.listen.admin, values.Tcp) and not self.identity.takes_tokens

    @property
    def is_production(self) -> bool:
        """The narrowest of several environments, or one that is called so: what is risky must be said twice there."""
        names = self.environments
        return self.environment in {"prod", "production"} or (len(names) > 1 and self.environment == names[-1])
