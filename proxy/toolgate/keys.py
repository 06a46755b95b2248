"""Keys that are given in the settings, or made once beside the ledger.

RULE: a key is read and checked at start, never shown, and a file that others can read is refused. A new file is
written whole under another name and then linked, so that two starts at once agree on one key.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from toolgate.core.bundle import BundleError, Problem
from toolgate.core.catalog import Secret
from toolgate.ports import LedgerError

KEY_BYTES: Final = 32
_MAX_FILE: Final = 4096


def mask_secret(given: str | None, beside: Path | None, entropy: Callable[[int], bytes] = os.urandom) -> bytes:
    """The secret of `keys.mask`: as given; else of the file beside the ledger, made when absent; else for this process only.

    `beside` is the ledger's file (`ledger.file_of(url)`). Raises LedgerError when the key is unusable.
    """
    return _secret("`keys.mask`", given, mask_file(beside) if beside else None, entropy)


def run_secret(given: str | None, beside: Path | None, entropy: Callable[[int], bytes] = os.urandom) -> bytes:
    """The secret of `keys.run`, found as that of `keys.mask` is. Raises LedgerError when the key is unusable."""
    return _secret("`keys.run`", given, run_file(beside) if beside else None, entropy)


def webhook_secret(given: str) -> bytes:
    """The secret of `webhook.secret`; `whsec_` before it is how Standard Webhooks writes one. Raises LedgerError."""
    return _decoded(given.strip().removeprefix("whsec_"), "`webhook.secret`")


def kept_mask_secret(given: str | None, beside: Path) -> bytes:
    """The secret a journal's values were sealed with: as given, else of the file beside it. Raises LedgerError; none is made."""
    if given is not None:
        return _decoded(given, "`keys.mask`")
    file = mask_file(beside)
    try:
        kept = read_private(file)
    except FileNotFoundError as error:
        raise LedgerError(
            f"there is no key file `{file}`; name the key with `--set keys.mask='${{file:PATH}}'`"
        ) from error
    return _decoded(kept.decode("ascii", "replace"), f"the key file `{file}`")


def secret_text(secret: Secret, setting: str = "keys.mask") -> str:
    """What a setting such as `keys.mask` names. Raises BundleError when it cannot be read."""
    try:
        return Path(secret.name).read_text() if secret.source == "file" else os.environ[secret.name]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        message = f"`{setting}`: `${{{secret.source}:{secret.name}}}` cannot be read"
        raise BundleError([Problem("settings", 0, "keys.unreadable", message)]) from error


def mask_file(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.mask-key")


def run_file(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.run-key")


def read_or_make(path: Path, entropy: Callable[[int], bytes]) -> bytes:
    """Read a file with a random key, or make it for this user alone."""
    made = private_file(path, lambda: base64.urlsafe_b64encode(entropy(KEY_BYTES)) + b"\n", entropy)
    return _decoded(made.decode("ascii", "replace"), f"the key file `{path}`")


def private_file(path: Path, make: Callable[[], bytes], entropy: Callable[[int], bytes] = os.urandom) -> bytes:
    """What a file for this user alone holds; where there is none, it is made to hold what `make` answers. Raises LedgerError."""
    try:
        return read_private(path)
    except FileNotFoundError:
        _make(path, make(), entropy)
    try:
        return read_private(path)
    except FileNotFoundError as error:
        raise LedgerError(f"the key file `{path}` vanished while it was made") from error


def read_private(path: Path) -> bytes:
    """What a file holds that is for this user alone. Raises FileNotFoundError, and LedgerError where it is not private."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LedgerError(f"the key file `{path}` cannot be read: {_reason(error)}") from error
    try:
        _check(os.fstat(descriptor), path)
        return os.read(descriptor, _MAX_FILE)
    finally:
        os.close(descriptor)


def regular_file(path: Path, most: int) -> bytes:
    """A regular file's bytes; one more than `most` where it is longer. Never waits: a pipe or a device is not a secret.

    Raises OSError, without an errno where it is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError
        return file.read(most + 1)


def _secret(name: str, given: str | None, file: Path | None, entropy: Callable[[int], bytes]) -> bytes:
    if given is not None:
        return _decoded(given, name)
    return entropy(KEY_BYTES) if file is None else read_or_make(file, entropy)


def _check(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise LedgerError(f"the key file `{path}` is not a regular file")
    if found.st_uid != os.geteuid():
        raise LedgerError(
            f"the key file `{path}` belongs to user {found.st_uid}, not to the gate's own ({os.geteuid()})"
        )
    if found.st_mode & 0o077:
        raise LedgerError(f"the key file `{path}` can be read by others; run `chmod 600` on it, or make a new key")


def _make(path: Path, text: bytes, entropy: Callable[[int], bytes]) -> None:
    draft = path.with_name(f".{path.name}.{entropy(8).hex()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, text)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _link(draft, path)
    except OSError as error:
        raise LedgerError(f"the key file `{path}` cannot be made: {_reason(error)}") from error


def _link(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # another start was first: its key is the key
    finally:
        draft.unlink()


def _decoded(text: str, name: str) -> bytes:
    """Read a key from text: 64 hexadecimal digits or base64 of at least 32 bytes."""
    text = text.strip()
    try:
        if len(text) == 2 * KEY_BYTES and all(character in "0123456789abcdefABCDEF" for character in text):
            return bytes.fromhex(text)
        key = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < KEY_BYTES:
        raise LedgerError(
            f"{name} is not a key: at least 32 random bytes in base64, or 64 hexadecimal digits, are needed"
        )
    return key


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
