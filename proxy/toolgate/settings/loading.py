"""Settings out of flags, variables, the file and the defaults, with every problem at once.

RULE: nothing is guessed: an unknown key, a wrong type and a contradiction are problems that name where they were
written and what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from toolgate.core.bundle import BundleError, Problem
from toolgate.load.yaml import Parsed, strict_load
from toolgate.settings.judging import FILE_NAME, judge
from toolgate.settings.keys import keys, sections
from toolgate.settings.layers import Layers, Origin, dotted, from_variables, scalar, variable
from toolgate.settings.model import Settings
from toolgate.settings.sense import warnings

_DEFAULT: Final = Origin("default", "default")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, where each key's value came from, and what is allowed but unwise."""

    settings: Settings
    file: Path | None
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...]

    def origin(self, key: str) -> Origin:
        while key:
            if (found := self.origins.get(key)) is not None:
                return found
            key = key.rpartition(".")[0]
        return _DEFAULT


def load(
    *,
    config: Path | None = None,
    flags: Mapping[str, tuple[str, str]] | None = None,
    environ: Mapping[str, str],
    cwd: Path,
) -> Loaded:
    """Load the settings. `flags`: dotted key → (the flag's name, its text). Raises BundleError with every problem."""
    file = _find(config, environ, cwd)
    layers = Layers()
    problems: list[Problem] = []
    if file is not None:
        problems += _add_file(layers, file, cwd)
    problems += _add_variables(layers, environ)
    for key, (flag, text) in (flags or {}).items():
        problems += _add_text(layers, key, text, Origin("flag", flag))
    _complete(layers)
    name = _shown(file, cwd) if file else None
    settings, found = judge(layers, name, (file.parent if file else cwd).absolute())
    problems += found
    if settings is None or problems:
        raise BundleError(problems)
    return Loaded(settings, file, layers.origins, _advice(settings, environ))


def _find(config: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The settings file: the flag's, the variable's, or the one in the working directory; None when there is none."""
    named = [(config, "--config")] if config else []
    if environ.get("TOOLGATE_CONFIG"):
        named.append((Path(environ["TOOLGATE_CONFIG"]), "TOOLGATE_CONFIG"))
    if not named:
        return cwd / FILE_NAME if (cwd / FILE_NAME).is_file() else None
    path, by = named[0]
    if not (cwd / path).is_file():
        message = f"there is no such file; `{by}` names it"
        raise BundleError([Problem(str(path), 0, "settings.not_found", message)])
    return cwd / path


def _add_file(layers: Layers, file: Path, cwd: Path) -> Iterator[Problem]:
    """Add what the file says. A file that cannot be read raises: nothing else can be judged without it."""
    name = _shown(file, cwd)
    parsed = strict_load(file, name)
    if parsed.value is None:
        return
    if not isinstance(parsed.value, dict):
        message = "must be a mapping of settings, such as `environment: prod`"
        raise BundleError([Problem(name, 1, "settings.invalid", message)])
    for path, value in _leaves(parsed.value, ()):
        yield from _add(layers, ".".join(path), value, Origin("file", name, parsed.line(path)))
        _locate_entries(layers, parsed, path, name)


def _locate_entries(layers: Layers, parsed: Parsed, path: tuple[str, ...], name: str) -> None:
    """Remember the line of every setting inside a list of sections."""
    key = keys().get(".".join(path))
    if key is None or key.entries is None:
        return
    for steps, line in parsed.lines.items():
        if len(steps) > len(path) and steps[: len(path)] == path:
            layers.origins[dotted(steps)] = Origin("file", name, line)


def _shown(file: Path, cwd: Path) -> str:
    return str(file.relative_to(cwd)) if file.is_relative_to(cwd) else str(file)


def _leaves(tree: Mapping[Any, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each key with its value, as deep as settings have sections."""
    for name, value in tree.items():
        here = (*path, str(name))
        if ".".join(here) in sections() and isinstance(value, dict):
            yield from _leaves(value, here)
        else:
            yield here, value


def _add_variables(layers: Layers, environ: Mapping[str, str]) -> Iterator[Problem]:
    for key, (name, text) in sorted(from_variables(environ).items()):
        if not _is_stray(key):
            yield from _add_text(layers, key, text, Origin("variable", name))


def _add_text(layers: Layers, key: str, text: str, origin: Origin) -> Iterator[Problem]:
    found = keys().get(key)
    yield from _add(layers, key, scalar(text) if found is not None and found.scalar else text, origin)


def _name_anew(layers: Layers, name: str, origin: Origin) -> None:
    """SECURITY: whoever is named by a bare id does not keep the roles that a layer below gave somebody else."""
    roles = layers.origins.get("identity.anonymous.roles")
    if roles is not None and roles.kind != origin.kind:
        layers.put("identity.anonymous.roles", [], origin)
    layers.put("identity.anonymous.id", name, origin)


def _add(layers: Layers, key: str, value: Any, origin: Origin) -> Iterator[Problem]:
    """Put one value in its place, or say why it has none."""
    if key == "identity.anonymous" and isinstance(value, str):
        _name_anew(layers, value, origin)
    elif key in sections() and value is None:
        return
    elif key in sections():
        yield Problem(origin.name, origin.line, "settings.invalid", f"`{key}` must be a mapping of settings")
    elif key in keys():
        layers.put(key, value, origin)
    else:
        yield Problem(origin.name, origin.line, "settings.unknown_key", _unknown(key, origin))


def _known(key: str) -> bool:
    return key in keys() or key in sections()


def _unknown(key: str, origin: Origin) -> str:
    name = origin.name if origin.kind == "variable" else key
    near = _near(key)
    if near is None:
        return f"`{name}` is not a setting; `toolgate settings --reference` lists them"
    return f"`{name}` is not a setting; did you mean `{variable(near) if origin.kind == 'variable' else near}`?"


def _near(key: str) -> str | None:
    """The setting whose name was most likely meant: among its neighbours first, then by its last part anywhere."""
    names = [*keys(), *sections()]
    if close := get_close_matches(key, names, n=1, cutoff=0.75):
        return close[0]
    last = key.rpartition(".")[2]
    return next((name for name in names if name.rpartition(".")[2] == last), None)


def _complete(layers: Layers) -> None:
    """Fill `environment` from a single `environments`, and `environments` from `environment`."""
    one, listed = layers.tree.get("environment"), layers.tree.get("environments")
    if one is None and isinstance(listed, list) and len(listed) == 1:
        layers.put("environment", listed[0], layers.origins["environments"])
    if listed is None and isinstance(one, str):
        layers.put("environments", [one], layers.origins["environment"])


def _advice(settings: Settings, environ: Mapping[str, str]) -> tuple[str, ...]:
    stray = sorted(name for key, (name, _) in from_variables(environ).items() if _is_stray(key))
    ignored = [f"the variable `{name}` is not a setting and is ignored" for name in stray]
    return (*warnings(settings), *ignored)


def _is_stray(key: str) -> bool:
    """Whether a variable is someone else's (TOOLGATE_IMAGE), rather than a setting with a slip in it."""
    return "." not in key and not _known(key) and _near(key) is None
