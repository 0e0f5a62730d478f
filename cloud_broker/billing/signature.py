"""Verifies Stripe's signature of a webhook (pure).

``Stripe-Signature: t=…,v1=…[,v1=…]``: each ``v1`` is the hex HMAC-SHA256 of ``t.body`` under one of
the endpoint's secrets; two are valid while one is being replaced
(https://docs.stripe.com/webhooks#verify-manually). Stripe signs every attempt again, so an old
``t`` means a replay.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from cloud_broker.secret import Secret

HEADER = "Stripe-Signature"
TOLERANCE_S = 300  # seconds, past or future; Stripe's own libraries allow the same
_TIME = re.compile(r"\A[0-9]{1,12}\Z", re.ASCII)


def signed_at(secrets: Sequence[Secret], body: bytes, header: str | None) -> int | None:
    """Return the time (epoch seconds) of a valid signature of ``body``, else None.

    Every signature is compared with every secret, in constant time.
    """
    parts = [part.partition("=") for part in (header or "").split(",")]
    times = [value for name, _, value in parts if name.strip() == "t"]
    given = [value.encode("utf-8", "replace") for name, _, value in parts if name.strip() == "v1"]
    if len(times) != 1 or not _TIME.match(times[0]):
        return None
    signed = b"%s.%s" % (times[0].encode(), body)
    is_genuine = False
    for secret in secrets:
        digest = hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest().encode()
        for signature in given:
            is_genuine |= hmac.compare_digest(digest, signature)
    return int(times[0]) if is_genuine else None
