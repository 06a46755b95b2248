"""A revision of a git repository as a folder of its own, for as long as it is looked at.

RULE: the repository is only read: its index, its work tree and its hooks are left alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

_TIMEOUT_S: Final = 120
# SECURITY: neither the hooks nor the monitor a repository configures are run by looking at it.
_QUIET: Final = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """Give the folder as it was at a revision: a copy, removed afterwards."""
    top = Path(_top(folder))
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise click.BadParameter(f"`{revision}` names no commit of the repository of `{folder}`", param_hint="--git")
    with TemporaryDirectory(prefix="toolgate-diff-") as made:
        copy = Path(made).resolve() / "tree"
        index = {"GIT_INDEX_FILE": f"{made}/index"}
        read = _git(top, "read-tree", commit, **index)
        if read is None or _git(top, "checkout-index", "--all", "--quiet", f"--prefix={copy}/", **index) is None:
            raise click.BadParameter(f"`{revision}` cannot be read from the repository", param_hint="--git")
        yield copy / folder.resolve().relative_to(top.resolve())


def _top(folder: Path) -> str:
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None:
        raise click.BadParameter(
            f"`{folder}` lies in no git repository; give the old side as a folder: `toolgate diff OLD NEW`",
            param_hint="--git",
        )
    return top


def _git(folder: Path, *words: str, **environ: str) -> str | None:
    """Return what git prints, or None when it says no."""
    git = shutil.which("git")
    if git is None:
        raise click.UsageError("`--git` needs git on the PATH; give a folder instead: `toolgate diff OLD NEW`")
    done = subprocess.run(  # noqa: S603 - no shell; the revision was resolved to a commit behind --end-of-options
        [git, *_QUIET, *words],
        cwd=folder,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None
