"""Every refusal and failure, one table (DESIGN §13).

Documentation, metric labels, our own OpenAPI document and the tests all come from here. A code is
`category.reason`; its title is the class name the agent's developer would catch; `action` is the
default kind of way forward and `hint` one imperative sentence a model can act on.

RULE: a code is added with the issue that brings it, and each one occurs in a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Who: TypeAlias = Literal["agent", "operator", "nobody"]
TYPE_BASE: Final = "https://toolgate.dev/errors/"


@dataclass(frozen=True, slots=True)
class Code:
    """A reason the answer was no. `retryable`: the same call may succeed later, unchanged."""

    code: str
    title: str
    status: int
    who: Who  # who can fix it
    action: str
    hint: str
    meaning: str
    retryable: bool = False

    @property
    def type(self) -> str:
        return TYPE_BASE + self.code


_ROWS: Final = (
    # -- the wire: no Call exists yet; the connection is closed -------------------------------------------
    Code(
        "request.framing",
        "FramingError",
        400,
        "agent",
        "fix_arguments",
        "Send one well-formed HTTP/1.1 request with exactly one valid Content-Length or `Transfer-Encoding: chunked`.",
        "the bytes are not one unambiguous HTTP/1.1 request",
    ),
    Code(
        "request.target",
        "TargetError",
        400,
        "agent",
        "fix_arguments",
        "Send the path in its plain form: no dot segments, double or encoded slashes, backslashes or fragments.",
        "the request target is not in canonical form; it is refused, not repaired",
    ),
    Code(
        "request.header",
        "HeaderError",
        400,
        "agent",
        "fix_arguments",
        "Remove the named header and send the call again.",
        "a header is malformed, repeated, reserved or not accepted here",
    ),
    Code(
        "request.method",
        "MethodError",
        405,
        "agent",
        "fix_arguments",
        "Use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS in upper case.",
        "the method is not one an operation can have",
    ),
    Code(
        "request.timeout",
        "TimeoutError",
        408,
        "agent",
        "retry",
        "Send the whole request without pauses.",
        "the headers or the body did not arrive within their deadline",
        retryable=True,
    ),
    Code(
        "request.target_too_long",
        "TargetTooLongError",
        414,
        "agent",
        "fix_arguments",
        "Shorten the path and the query.",
        "the request line is longer than the gate accepts",
    ),
    Code(
        "request.host",
        "HostError",
        421,
        "agent",
        "fix_arguments",
        "Send the Host header of the address you connect to.",
        "the Host header names no host this listener answers for (`listen.hosts`)",
    ),
    Code(
        "request.headers_too_large",
        "HeadersTooLargeError",
        431,
        "agent",
        "fix_arguments",
        "Send fewer or shorter headers.",
        "more headers, or larger ones, than the gate accepts",
    ),
    # -- authentication --------------------------------------------------------------------------------
    Code(
        "auth.missing",
        "Unauthenticated",
        401,
        "agent",
        "fix_arguments",
        "Send a token of a configured issuer as `Authorization: Bearer TOKEN` or `Toolgate-Token: TOKEN`.",
        "no token was presented, and nobody is served without one here",
    ),
    Code(
        "auth.invalid",
        "InvalidToken",
        401,
        "agent",
        "fix_arguments",
        "Get a token this gate can verify, or send none where it serves without.",
        "a token was presented that cannot be verified; the gate never falls back to anonymous",
    ),
    Code(
        "auth.expired",
        "ExpiredToken",
        401,
        "agent",
        "fix_arguments",
        "Get a fresh token from the same issuer, then repeat the same call.",
        "the token verified and its time is over",
    ),
    # -- the kill switch: before anything else is looked at ------------------------------------------------
    Code(
        "gateway.frozen",
        "Frozen",
        403,
        "operator",
        "stop",
        "Stop and tell a person; no call is taken until somebody thaws this.",
        "an operator froze everything, or this principal; the reason is in the detail",
    ),
    Code(
        "run.stopped",
        "RunStopped",
        403,
        "operator",
        "stop",
        "Stop and tell a person; no call of this run is taken any more.",
        "the run was stopped by the gate or by an operator, or the agent itself finished it",
    ),
    Code(
        "tool.disabled",
        "ToolDisabled",
        403,
        "operator",
        "stop",
        "Stop using this tool and tell a person; other tools can still be called.",
        "an operator froze this tool; the reason is in the detail",
    ),
    # -- what exists here ------------------------------------------------------------------------------
    Code(
        "tool.unknown",
        "UnknownTool",
        404,
        "agent",
        "use_alternative",
        "List what exists with GET /-/tools and use one of those operations.",
        "no tool and no operation has this name, or no operation has this method and path",
    ),
    Code(
        "tool.disallowed",
        "DisallowedToolError",
        403,
        "agent",
        "use_alternative",
        "List what is allowed with GET /-/tools and use one of those operations.",
        "the operation exists, and the environment's allow-list does not allow it here",
    ),
    Code(
        "environment.not_ready",
        "EnvironmentNotReady",
        503,
        "operator",
        "wait",
        "Wait, then repeat the same call; report the call id if it persists.",
        "something this environment needs, such as an upstream credential or the list of its resources, is missing or too old",
        retryable=True,
    ),
    Code(
        "environment.resource_not_found",
        "ResourceNotFound",
        404,
        "agent",
        "use_alternative",
        "Use a resource that exists in this environment; GET /-/environment shows some.",
        "the arguments name a resource that the environment's catalogue does not hold (the title names its type: `MetricNotFound`)",
    ),
    Code(
        "environment.resource_omitted",
        "ResourceOmitted",
        422,
        "agent",
        "fix_arguments",
        "Include the named resources and send the call again.",
        "the arguments leave out a resource that a call of this operation must cover (the title names its type: `MetricOmitted`)",
    ),
    # -- arguments -------------------------------------------------------------------------------------
    Code(
        "arguments.malformed",
        "MalformedArguments",
        400,
        "agent",
        "fix_arguments",
        "Send the arguments in the encoding the operation declares.",
        "the arguments cannot be decoded, so they cannot be judged",
    ),
    Code(
        "arguments.invalid",
        "InvalidArguments",
        422,
        "agent",
        "fix_arguments",
        "Fix the named arguments and send the call again.",
        "the arguments were decoded and do not fit the operation's schema",
    ),
    Code(
        "arguments.too_large",
        "ArgumentsTooLarge",
        413,
        "agent",
        "fix_arguments",
        "Send a smaller body, or split the work into several calls.",
        "the body is larger than `max_body` of the operation",
    ),
    Code(
        "arguments.media_type",
        "UnsupportedMediaType",
        415,
        "agent",
        "fix_arguments",
        "Send the body in a media type the operation declares.",
        "the body's media type, charset or content coding is not one the operation declares",
    ),
    # -- policy ----------------------------------------------------------------------------------------
    Code(
        "policy.denied",
        "PolicyViolation",
        403,
        "agent",
        "use_alternative",
        "Do not repeat this call; choose another operation from GET /-/tools.",
        "a forbid statement holds for this call (`statements` names it)",
    ),
    Code(
        "policy.not_allowed",
        "NotAllowed",
        403,
        "agent",
        "use_alternative",
        "Choose another operation from GET /-/tools, or ask POST /-/explain what would have to be different.",
        "no permit statement holds for this call; what no statement permits is refused",
    ),
    Code(
        "policy.error",
        "PolicyError",
        403,
        "operator",
        "escalate",
        "Where the detail names an argument, send a value the policy can hold; otherwise report the call id to the operator.",
        "a statement could not be evaluated for this call, so it is refused (a value Cedar cannot hold, an attribute that is missing)",
    ),
    Code(
        "approval.required",
        "ApprovalRequired",
        403,
        "nobody",
        "request_approval",
        "Ask a person with the named role; this version cannot take an approval, so choose another operation.",
        "a forbid statement with `@approval` holds: a person must agree (granting approvals comes with a later version)",
    ),
    Code(
        "plan.recursion",
        "RecursionNotApproved",
        403,
        "operator",
        "escalate",
        "Do the work in this run; do not open another run within it.",
        "a run would have more runs above it than `runs.max_depth` allows",
    ),
    # -- loops, budgets and limits -----------------------------------------------------------------------
    Code(
        "loop.repeated_call",
        "LoopDetected",
        403,
        "agent",
        "finish",
        "Finish with what you have; the same call gives the same answer.",
        "the same operation was called with the same arguments too often within the window of `loops`",
    ),
    Code(
        "loop.repeated_refusal",
        "LoopDetected",
        403,
        "operator",
        "stop",
        "Stop and tell a person; this run is stopped.",
        "the run got the same refusal too often in a row, so it was stopped",
    ),
    Code(
        "budget.exhausted",
        "BudgetExceeded",
        403,
        "agent",
        "finish",
        "Finish with what you have and report it; do not repeat this call.",
        "a budget that covers this call has less left than the call takes",
    ),
    Code(
        "budget.deadline",
        "DeadlineExceeded",
        403,
        "agent",
        "finish",
        "Finish with what you have and report it; no further call of this run is taken.",
        "the run has lasted longer than a budget in `seconds` gives it",
    ),
    Code(
        "limit.rate",
        "RateLimited",
        429,
        "agent",
        "wait",
        "Wait the named time, then repeat the same call.",
        "more calls per time than a limit allows",
        retryable=True,
    ),
    Code(
        "limit.concurrency",
        "TooManyConcurrentCalls",
        429,
        "agent",
        "wait",
        "Wait until one of your calls has ended, then repeat this one.",
        "more calls at once than a limit allows",
        retryable=True,
    ),
    # -- upstream: permitted and recorded; `sent` says whether it may have acted --------------------------
    Code(
        "upstream.unreachable",
        "UpstreamUnreachable",
        502,
        "operator",
        "retry",
        "Retry later; nothing was sent.",
        "no connection to the upstream; nothing was sent",
        retryable=True,
    ),
    Code(
        "upstream.timeout",
        "UpstreamTimeout",
        504,
        "nobody",
        "use_alternative",
        "Find out whether the call took effect before you repeat it.",
        "the upstream did not answer within the operation's timeout; it may have acted",
    ),
    Code(
        "upstream.broken",
        "OutcomeUnknown",
        502,
        "nobody",
        "use_alternative",
        "Find out whether the call took effect before you repeat it.",
        "the upstream's answer was cut short or not HTTP; it may have acted",
    ),
    Code(
        "upstream.off_schema",
        "ResponseContractViolation",
        502,
        "operator",
        "use_alternative",
        "Do not rely on this answer; use another source.",
        "the upstream acted, and its answer does not fit the declared response (`validate_responses: refuse`)",
    ),
    # -- the gate itself -------------------------------------------------------------------------------
    Code(
        "gateway.unavailable",
        "Unavailable",
        503,
        "operator",
        "retry",
        "Retry later; report the call id if it persists.",
        "the journal or the store of balances cannot be written, so nothing is sent",
        retryable=True,
    ),
    Code(
        "gateway.overloaded",
        "Overloaded",
        503,
        "operator",
        "retry",
        "Retry after the named time, with fewer calls at once.",
        "more connections or calls at once than the gate takes",
        retryable=True,
    ),
    Code(
        "gateway.draining",
        "Draining",
        503,
        "nobody",
        "retry",
        "Retry after the named time.",
        "the gate is shutting down and takes no new calls",
        retryable=True,
    ),
    Code(
        "internal.error",
        "InternalError",
        500,
        "operator",
        "escalate",
        "Report the call id to the operator.",
        "a defect of the gate; nothing was sent unless `sent` says otherwise",
    ),
)

CODES: Final[dict[str, Code]] = {row.code: row for row in _ROWS}
