"""TLS as a client: what the gate verifies of a server it connects to, and how it says that it could not.

RULE: the chain and the host name are verified, TLS is 1.2 or newer, and nothing in the environment loosens that.
"""

from __future__ import annotations

import ssl
from typing import Final

# X.509 verification results (OpenSSL's x509_vfy.h) as an operator would say them.
_VERIFY: Final = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed and not trusted",
    19: "its certificate chain ends in a root that is not trusted",
    20: "its certificate is signed by an authority that is not trusted",
    21: "its certificate is signed by an authority that is not trusted",
    23: "its certificate has been revoked",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """A context that trusts the authorities of `ca_file`, or the system's. Raises OSError when there are none."""
    # SECURITY: not ssl.create_default_context, which writes session keys where $SSLKEYLOGFILE points.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the chain and the host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs()
    return context


def connection_fault(error: OSError) -> str:
    """Why there is no connection, as the end of a sentence that began with the server's name."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"cannot be trusted: {_VERIFY.get(error.verify_code, 'its certificate does not verify')}"
        case ssl.SSLError():
            return f"did not complete the TLS handshake (`{error.reason or 'closed'}`); check its scheme and port"
        case TimeoutError():
            return "did not accept a connection in time"
        case ConnectionRefusedError():
            return "refused the connection"
        case ConnectionError():
            return "closed the connection while it was made"
        case _:
            return "cannot be reached from here"
