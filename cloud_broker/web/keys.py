"""Keys of the parts that handlers find in the application, and of a request's id."""

from __future__ import annotations

from aiohttp import web

from cloud_broker.clock import Clock
from cloud_broker.cluster.cluster import Cluster
from cloud_broker.crypto.signing import Signer
from cloud_broker.identity.accounts import Accounts
from cloud_broker.identity.connections import Tokens
from cloud_broker.identity.sessions import Sessions
from cloud_broker.identity.signin import SignIn
from cloud_broker.proxy.admission import Budgets
from cloud_broker.randomness import Randomness
from cloud_broker.settings.config import Settings
from cloud_broker.storage.database import Database
from cloud_broker.web.drain import Drain
from cloud_broker.web.rate_limit import RateLimit

SETTINGS: web.AppKey[Settings] = web.AppKey("settings")
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
DATABASE: web.AppKey[Database] = web.AppKey("database")
SIGNER: web.AppKey[Signer] = web.AppKey("signer")
SIGN_IN: web.AppKey[SignIn] = web.AppKey("sign_in")
SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions")
ACCOUNTS: web.AppKey[Accounts] = web.AppKey("accounts")
TOKENS: web.AppKey[Tokens] = web.AppKey("tokens")
RANDOMNESS: web.AppKey[Randomness] = web.AppKey("randomness")
BUDGETS: web.AppKey[Budgets] = web.AppKey("budgets")
DRAIN: web.AppKey[Drain] = web.AppKey("drain")
CLUSTER: web.AppKey[Cluster] = web.AppKey("cluster")
RATE_LIMIT: web.AppKey[RateLimit] = web.AppKey("rate_limit")

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id")
