"""The values settings are written as: addresses, sizes, durations, references to secrets.

RULE: each parser takes what the file, a variable or a flag says and answers the value or a ValueError whose message
says what to write instead; a message never repeats a secret.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import orjson
from pydantic import ValidationInfo

from toolgate.core.catalog import Secret


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP address; port 0 lets the system choose."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    """A Unix socket, reached only through the file system's permissions."""

    path: Path

    @property
    def loopback(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address: TypeAlias = Tcp | Unix

_BYTES: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(|B|KiB|MiB|GiB|TiB)")
_DURATION: Final = re.compile(r"([0-9]{1,12}) ?([smhd])")  # never without its unit: `30` may have meant days
_TCP: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]*):([0-9]{1,5})")
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]")
_ORIGIN: Final = re.compile(r"(?:https?|[a-z][a-z0-9+.-]*)://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?|null")
_SECRET: Final = re.compile(r"\$\{(file|env):([^{}\n]+)\}")
_HTTPS: Final = re.compile(r"https://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(?:[/?](?!.*#)[!-~]*)?")
_REDIS: Final = re.compile(
    r"rediss?://(?:[A-Za-z0-9._~-]*(?P<password>:[^@/]*)?@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/[0-9]{0,4})?"
)
_SEVERAL: Final = re.compile(r"rediss?[+-](?:sentinel|cluster):.*|rediss?://[^/]*,.*", re.DOTALL)
_UNIX_PATH_BYTES: Final = 107  # sun_path of Linux, less its final NUL
_PORT_LIMIT: Final = 65_536


def path(given: Any, info: ValidationInfo) -> Path:
    if not isinstance(given, str | Path) or not str(given):
        raise ValueError("must be a path")
    if "\0" in str(given):
        raise ValueError("must be a path without a NUL")
    try:
        return _base(info) / Path(given).expanduser()
    except RuntimeError:  # pathlib's word for a home that nobody has
        raise ValueError("begins with `~` and a user this host does not know; write the whole path") from None


def address(given: Any, info: ValidationInfo | None = None) -> Address:
    if isinstance(given, Tcp | Unix):
        return given
    if not isinstance(given, str):
        raise ValueError("must be an address such as `127.0.0.1:8400` or `unix:/run/toolgate/agent.sock`")  # noqa: TRY004 - pydantic reports ValueError
    if given.startswith("unix:"):
        return _unix(given.removeprefix("unix:"), info)
    return _tcp(given)


def optional_address(given: Any, info: ValidationInfo) -> Address | None:
    # YAML 1.2 reads `off` as text; a variable or a flag says it as text too.
    return None if given is None or given == "off" else address(given, info)


def ledger(given: Any, info: ValidationInfo) -> str:
    if isinstance(given, str) and _SEVERAL.fullmatch(given):
        raise ValueError(
            "names a Sentinel, a Cluster or several servers, which the gate does not ask who the primary is; name the primary, "
            "or an address that follows it, as `redis://host:port/db`: docs/redis.md says what then holds"
        )
    if isinstance(given, str) and given.startswith(("redis:", "rediss:")):
        return _shared_ledger(given)
    if not isinstance(given, str) or not given.startswith(("memory:", "sqlite:")):
        raise ValueError(
            "must be `memory:`, `sqlite:///absolute/path`, `sqlite:relative/path`, `redis://host:port/db` or `rediss://…`"
        )
    return own_ledger(given, info)


def own_ledger(given: Any, info: ValidationInfo) -> str:
    if given == "memory:":
        return "memory:"
    scheme, _, rest = given.partition(":") if isinstance(given, str) else ("", "", "")
    if scheme != "sqlite" or not rest or "?" in rest or "#" in rest or "\0" in rest:
        raise ValueError("must be `memory:`, `sqlite:///absolute/path` or `sqlite:relative/path`")
    if rest.startswith("//") and not rest.startswith("///"):
        raise ValueError("has a host; write `sqlite:///absolute/path` with three slashes or `sqlite:relative/path`")
    location = _base(info) / Path(rest.removeprefix("//"))
    return f"sqlite://{location}" if location.is_absolute() else f"sqlite:{location}"


def _shared_ledger(given: str) -> str:
    # SECURITY: the URL is shown in the banner and in the process list, so a password never stands in it.
    found = _REDIS.fullmatch(given)
    if found is None or int(found["port"] or 1) not in range(1, _PORT_LIMIT):
        raise ValueError("must be `redis://host:port/db` or `rediss://user@host:port/db`; options stand under `redis`")
    if found["password"]:
        raise ValueError("holds a password; name it with `redis.password: ${file:PATH}` instead")
    return given


def secret(given: Any, info: ValidationInfo) -> Secret:
    # SECURITY: whatever was written here may be a secret by mistake; it is not repeated.
    found = _SECRET.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError("must be `${file:PATH}` or `${env:NAME}`; a secret never stands in the settings themselves")
    source: Literal["file", "env"] = "file" if found[1] == "file" else "env"
    return Secret(source, str(_base(info) / found[2]) if source == "file" else found[2])


def size(given: Any) -> Any:
    return _quantity(given, _SIZE, _BYTES, "a size such as `512MiB` or `10GiB`")


def duration(given: Any) -> Any:
    return _quantity(given, _DURATION, _SECONDS, "a time such as `30d`, `12h` or `900s`")


def shown_size(count: int) -> str:
    return _in_largest(_BYTES, count)


def shown_duration(seconds: int) -> str:
    return _in_largest(_SECONDS, seconds)


def _in_largest(units: dict[str, int], count: int) -> str:
    """In the largest unit that says it exactly."""
    unit = next(unit for unit, size in sorted(units.items(), key=lambda pair: -pair[1]) if count % size == 0)
    return f"{count // units[unit]}{unit}"


def sequence(given: Any) -> Any:
    """A list; a variable or a flag writes it with commas, and one name alone may stand without brackets."""
    match given:
        case str():
            return tuple(part.strip() for part in given.strip("[] ").split(",") if part.strip())
        case list():
            return tuple(given)
        case _:
            return given


def entries(given: Any) -> Any:
    """A list of sections; a variable or a flag writes it as JSON."""
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError:
            raise ValueError("must be a list of issuers; a variable or a flag writes it as JSON: `[{…}]`") from None
    return tuple(given) if isinstance(given, list) else given


def role_map(given: Any) -> Any:
    """What a claim says → roles; one role may stand without brackets."""
    if not isinstance(given, dict):
        return given
    return {name: (roles,) if isinstance(roles, str) else sequence(roles) for name, roles in given.items()}


def https_url(given: Any) -> str:
    found = _HTTPS.fullmatch(given) if isinstance(given, str) else None
    if found is None or not _HOST.fullmatch(found[1]) or int(found[2] or 1) not in range(1, _PORT_LIMIT):
        raise ValueError(
            "must be an `https://` URL without user, password and fragment, such as `https://id.example/jwks`"
        )
    return str(given)


def webhook_url(given: Any) -> str:
    # SECURITY: elsewhere than on this host, who ran what and why does not travel in the clear.
    if isinstance(given, str) and given.startswith("http://") and _is_near(given):
        return given
    try:
        return https_url(given)
    except ValueError:
        raise ValueError(
            "must be an `https://` URL (or `http://` on the loopback) without user, password and fragment, "
            "such as `https://hooks.example/toolgate`"
        ) from None


def _is_near(url: str) -> bool:
    found = _HTTPS.fullmatch(f"https://{url.removeprefix('http://')}")
    return found is not None and Tcp(found[1].strip("[]"), 1).loopback and int(found[2] or 1) in range(1, _PORT_LIMIT)


def host(given: Any) -> str:
    if not isinstance(given, str) or not _HOST.fullmatch(given):
        raise ValueError("must be a host name or address without port, such as `toolgate.internal`")
    return given.lower()


def origin(given: Any) -> str:
    if not isinstance(given, str) or not _ORIGIN.fullmatch(given) or given == "null":
        raise ValueError("must be an origin in lower case without path, such as `https://console.example`")
    return given


def _base(info: ValidationInfo | None) -> Path:
    return info.context["base"] if info is not None and info.context else Path()


def _unix(text: str, info: ValidationInfo | None) -> Unix:
    if not text or "\0" in text:
        raise ValueError("must name a socket, such as `unix:/run/toolgate/admin.sock`")
    location = _base(info) / Path(text)
    if len(str(location).encode()) > _UNIX_PATH_BYTES:
        raise ValueError(f"names a socket with a path longer than {_UNIX_PATH_BYTES} bytes; choose a shorter one")
    return Unix(location)


def _tcp(text: str) -> Tcp:
    found = _TCP.fullmatch(text)
    if found is None:
        raise ValueError("must be an address such as `127.0.0.1:8400` or `unix:/run/toolgate/agent.sock`")
    name, port = found[1].strip("[]"), int(found[2])
    if port >= _PORT_LIMIT:
        raise ValueError("has a port above 65535")
    if not name:
        raise ValueError(f"names no host; write `127.0.0.1:{port}`, or `0.0.0.0:{port}` for every interface")
    if not _is_host(name):
        raise ValueError("has a host that is neither a name nor an address in its plain form")
    return Tcp(name.lower(), port)


def _is_host(name: str) -> bool:
    """Whether it is an address in plain form, or a name; `127.1` and `0x7f.1` are neither."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(_HOST.fullmatch(name)) and not re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+)", name.rpartition(".")[2])
    return True


def _quantity(given: Any, pattern: re.Pattern[str], units: dict[str, int], wanted: str) -> Any:
    match given:
        case None | "none":
            return None
        case bool():
            raise ValueError(f"must be {wanted}")
        case int() if "" in units:
            return given
        case str() if found := pattern.fullmatch(given):
            return int(found[1]) * units[found[2]]
        case _:
            raise ValueError(f"must be {wanted}")
