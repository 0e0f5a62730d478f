"""Stripe's signature of a webhook: is it genuine, and when was it made (pure).

``Stripe-Signature: t=…,v1=…[,v1=…]``: each ``v1`` is the hex HMAC-SHA256 of ``t.body`` under one of
the endpoint's secrets; two hold while one is being replaced
(https://docs.stripe.com/webhooks#verify-manually). Every attempt is signed anew, so an old ``t``
is a replay.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from cloud_broker.secret import Secret

HEADER = "Stripe-Signature"
TOLERANCE_S = 300  # what Stripe's own libraries allow; here either way
_TIME = re.compile(r"\A[0-9]{1,12}\Z", re.ASCII)


def signed_at(secrets: Sequence[Secret], body: bytes, header: str | None) -> int | None:
    """When ``body`` was signed (epoch seconds) by one of ``secrets``; None when by none of them.

    Every signature is compared with every secret, in constant time, whichever fits first.
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
