"""The settings of the webhook as the value its sender takes."""

from __future__ import annotations

import ssl

from toolgate.core.bundle import BundleError, Problem
from toolgate.keys import secret_text, webhook_secret
from toolgate.settings import model
from toolgate.tls import client_context
from toolgate.webhook import Hook


def hook_of(settings: model.Settings) -> Hook | None:
    """Where people are told; None where nobody is. Raises BundleError, and LedgerError for a secret that is none."""
    webhook = settings.webhook
    if webhook is None:
        return None
    secret = webhook_secret(secret_text(webhook.secret, "webhook.secret"))
    return Hook(webhook.url, secret, _context(webhook))


def _context(webhook: model.Webhook) -> ssl.SSLContext | None:
    if webhook.url.startswith("http://"):
        return None
    try:
        return client_context(str(webhook.ca_file) if webhook.ca_file else None)
    except OSError as error:
        message = f"`webhook.ca_file` is missing or holds no certificates: `{webhook.ca_file}`"
        raise BundleError([Problem("settings", 0, "webhook.ca_file", message)]) from error
