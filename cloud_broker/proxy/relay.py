"""The proxy's use case: one checked call of one signed-in user, from here to Notion and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cloud_broker.audit import Audit
from cloud_broker.clock import Clock, rfc3339
from cloud_broker.errors import BrokerError
from cloud_broker.identity.connections import OpenToken
from cloud_broker.identity.sessions import Claims
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy import databases, versions
from cloud_broker.proxy.admission import Charge, Party
from cloud_broker.proxy.attempts import Attempts, Job, facts_of
from cloud_broker.proxy.bodies import encode
from cloud_broker.proxy.errors import (
    Broken,
    NotSent,
    OutcomeUnknown,
    ProxyError,
    UpstreamGarbled,
    UpstreamSilent,
)
from cloud_broker.proxy.keys import fingerprint
from cloud_broker.proxy.outcome import Outcome, Verdict
from cloud_broker.proxy.ports import Tokens, Upload
from cloud_broker.proxy.responses import (
    ProxyResponse,
    from_notion,
    from_refusal,
    limit_headers,
    receipt,
    where_to_look,
)
from cloud_broker.proxy.routes import BY_NAME, Match, parse_uuid
from cloud_broker.proxy.writes import Keyed, Replay, Writes
from cloud_broker.storage.idempotency import KeyId
from cloud_broker.transport import ConnectFailed

log = logging.getLogger(__name__)

_JSON = "application/json"
_DOUBTFUL = frozenset({500, 502, 503, 504})  # of a read before a write: nothing was written
_ERROR_CODES = {403: "restricted_resource", 404: "object_not_found", 429: "rate_limited"}


class Call(Struct, frozen=True):
    """A call whose path, query, headers and body have passed the table.

    ``body`` is in the upstream's version; ``stream`` goes through as it comes, with its
    ``content_type`` and, when it is known, its ``length``. ``version`` is the one the client wants
    to read, ``within_s`` the seconds after which it listens no more. With ``once`` the
    ``key`` is spent by a refusal, too.
    """

    match: Match
    version: str
    request_id: str
    body: Mapping[str, Any] | None = None
    stream: Upload | None = None
    content_type: str = _JSON
    length: int | None = None
    workspace: str | None = None
    key: str | None = None
    once: bool = False
    within_s: float | None = None


class _Trace(Struct):
    """What is learnt on the way, for the audit row."""

    token: OpenToken | None = None
    job: Job | None = None
    outcome: Outcome | None = None
    has_answered: bool = False


class Relay:
    """Relays calls to Notion."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        attempts: Attempts,
        writes: Writes,
        audit: Audit,
        metrics: Metrics,
        clock: Clock,
        answer_within_s: float,
        pinned: str,
    ) -> None:
        """Answer within ``answer_within_s``; ``pinned`` is the version spoken upstream."""
        self._tokens = tokens
        self._attempts = attempts
        self._writes = writes
        self._audit = audit
        self._metrics = metrics
        self._clock = clock
        self._answer_within_s = answer_within_s
        self._pinned = pinned

    async def answer(self, claims: Claims, call: Call) -> ProxyResponse:
        """Return what the caller gets; refusals are answers. Raises BrokerError otherwise."""
        begun = self._clock.monotonic()
        until = begun + min(self._answer_within_s, call.within_s or self._answer_within_s)
        trace = _Trace()
        self._metrics.called.add()
        sign = "failed"
        try:
            answer = await self._relay(claims, call, until, trace)
            sign = f"{answer.status // 100}xx"
        except ProxyError as refusal:
            answer = self._refused(refusal, call)
            sign = refusal.broker_code
        except BrokerError:
            raise
        except Exception as error:  # the proxy's boundary: this too takes Notion's shape
            log.error("a call failed", exc_info=error)
            failure = self._failed(call)
            answer = self._refused(failure, call)
            sign = failure.broker_code
        finally:
            took = self._clock.monotonic() - begun
            trace.has_answered = True
            self._note("relayed", claims, call, trace, sign, took)
        route = call.match.route.name
        self._metrics.requests.add(route, sign)
        self._metrics.latency.observe(took, route)
        if sign == "write_outcome_unknown":
            self._metrics.unknown.add(route)
        if trace.job is not None and "RateLimit" not in answer.headers:
            answer = answer.plus(limit_headers(trace.job.quotas))
        return answer

    def _refused(self, refusal: ProxyError, call: Call) -> ProxyResponse:
        if isinstance(refusal, OutcomeUnknown):
            read = where_to_look(call.match.route, call.match.ids, call.body)
            refusal.data.update({"read": read} if read else {})
        return from_refusal(refusal, call.request_id)

    def _failed(self, call: Call) -> ProxyError:
        """After an error that nobody foresaw, a write may have been sent."""
        if call.match.route.kind == "read":
            return Broken()
        latest = rfc3339(self._clock.now())
        return OutcomeUnknown(data={"answered": "false", "latest_sent_at": latest})

    async def _relay(
        self, claims: Claims, call: Call, until: float, trace: _Trace
    ) -> ProxyResponse:
        if call.match.route.kind == "write":
            return await self._write(claims, call, until, trace)
        trace.token = await self._open(claims, call)
        trace.job = job = self._job(claims, call, trace.token, until)
        if _is_of_a_table(call):
            return await self._read_table(call, job, trace)
        trace.outcome = await self._attempts.run(job)
        return self._read_answer(call, trace.outcome)

    async def _open(self, claims: Claims, call: Call) -> OpenToken:
        route = call.match.route
        return await self._tokens.open(
            claims.user_id, call.workspace, f"proxy:{route.name}", fresh=route.kind == "write"
        )

    async def _write(
        self, claims: Claims, call: Call, until: float, trace: _Trace
    ) -> ProxyResponse:
        keyed = self._keyed(claims, call, call.workspace)
        if keyed is not None:  # before the token: a stored outcome needs none
            replay = await self._writes.replay(keyed)
            if replay is not None:
                return self._replayed(call, replay)
        try:
            trace.token = await self._open(claims, call)
        except (ProxyError, BrokerError):
            await self._writes.refuse(keyed)
            raise
        if keyed is None:
            keyed = self._keyed(claims, call, _canonical(trace.token.workspace_id))
            replay = await self._writes.replay(keyed) if keyed is not None else None
            if replay is not None:
                return self._replayed(call, replay)
        trace.job = job = self._job(claims, call, trace.token, until)
        if call.match.route.creates == "page":
            try:
                refused = await self._name_source(call, job, trace)
            except ProxyError:
                await self._writes.refuse(keyed)
                raise
            if refused is not None:
                await self._writes.refuse(keyed)
                return refused

        def finished(outcome: Outcome | None) -> None:
            trace.outcome = outcome
            if trace.has_answered:  # the caller heard something else; the log has the end
                verdict = outcome.verdict.value if outcome else "failed"
                self._note("write_ended", claims, call, trace, verdict, None)

        result = await self._writes.run(job, keyed, finished)
        if isinstance(result, Replay):
            return self._replayed(call, result)
        trace.outcome = result
        return self._write_answer(call, result)

    def _job(self, claims: Claims, call: Call, token: OpenToken, until: float) -> Job:
        children = (call.body or {}).get("children")
        return Job(
            route=call.match.route,
            ids=call.match.ids,
            query=call.match.query,
            body=call.stream or (None if call.body is None else encode(call.body)),
            content_type=call.content_type if call.stream or call.body is not None else None,
            length=call.length if call.stream else None,
            party=Party(claims.user_id, claims.tier, token.connection_id, token.workspace_id),
            token=token,
            until=until,
            children=len(children) if isinstance(children, list) else 0,
            # What is stored instead of a token that was kept may have expired with it.
            refreshes=2 if token.kept else 1,
        )

    def _keyed(self, claims: Claims, call: Call, workspace: str | None) -> Keyed | None:
        """The key's identity, once the workspace is known. A streamed body cannot have one."""
        if call.key is None or workspace is None or call.match.route.streams:
            return None
        route = call.match.route
        path, query = route.path(call.match.ids), urlencode(call.match.query)
        print_ = fingerprint(route.method, path, query, call.body)
        return Keyed(KeyId(claims.user_id, workspace, call.key), print_, call.once)

    async def _read_table(self, call: Call, job: Job, trace: _Trace) -> ProxyResponse:
        """Read a database, or its rows, as before 2025-09-03: of its only data source."""
        found, source = await self._source_of(job, call.match.ids[0], trace)
        if source is None:
            return self._read_answer(call, found)
        is_query = call.match.route.name == "databases.query"
        route = BY_NAME["data_sources.query" if is_query else "data_sources.get"]
        trace.job = read = replace(job, route=route, ids=(source,))
        trace.outcome = outcome = await self._attempts.run(read)
        if not is_query and outcome.verdict is Verdict.DONE:
            outcome = replace(outcome, value=databases.joined(_decoded(found), _decoded(outcome)))
        return self._read_answer(call, outcome)

    async def _name_source(self, call: Call, job: Job, trace: _Trace) -> ProxyResponse | None:
        """Put a new page under the only data source of the database that was named.

        Notion answers 404 to a database as parent (reported in public for 2026-03-11, though its
        SDK's types allow it). Returns an answer when nothing can be written.
        """
        parent = databases.parent_database(call.body)
        if parent is None:
            return None
        found, source = await self._source_of(job, parent, trace)
        if source is not None and call.body is not None:
            job.body = encode(databases.under_source(call.body, source))
            return None
        if found.response is None or (found.status or 0) in _DOUBTFUL:
            raise NotSent(retry_after_s=found.retry_after_s)
        return self._read_answer(call, found)

    async def _source_of(
        self, job: Job, database_id: str, trace: _Trace
    ) -> tuple[Outcome, str | None]:
        """Look a database up; the id of its only data source, or None when it was not found.

        What follows counts as one request with this one. Raises InvalidRequest.
        """
        row = BY_NAME["databases.get"]
        route = replace(row, name=job.route.name, per_minute=job.route.per_minute)
        look = replace(
            job, route=route, ids=(database_id,), query=(), body=None, content_type=None, children=0
        )
        trace.outcome = found = await self._attempts.run(look)
        job.token, job.quotas, job.charge = look.token, look.quotas, Charge.CONNECTION
        job.attempts = look.attempts
        if found.verdict is not Verdict.DONE:
            return found, None
        return found, databases.only_source(_decoded(found), database_id)

    def _read_answer(self, call: Call, outcome: Outcome) -> ProxyResponse:
        if outcome.verdict is Verdict.GARBLED:
            raise UpstreamGarbled
        if outcome.verdict is not Verdict.DONE or outcome.response is None:
            return self._passed_on(call, outcome)
        if call.version == self._pinned:
            return from_notion(outcome.response)
        value = _decoded(outcome) if outcome.value is None else outcome.value
        value = versions.to_client(value, call.version, self._pinned)
        return from_notion(outcome.response, body=value)

    def _write_answer(self, call: Call, outcome: Outcome) -> ProxyResponse:
        if outcome.verdict is Verdict.DONE and outcome.receipt_only and outcome.response:
            body = receipt(call.match.route, call.match.ids, outcome.created, call.body)
            value = versions.to_client(body, call.version, self._pinned)
            return from_notion(outcome.response, status=200, body=value, retry_after=False)
        return self._passed_on(call, outcome)

    def _passed_on(self, call: Call, outcome: Outcome) -> ProxyResponse:
        response = outcome.response
        if response is None:
            if isinstance(outcome.result, ConnectFailed):
                raise NotSent
            raise UpstreamSilent
        if outcome.value is None:
            if response.status >= 500 and response.status != NotSent.status:
                raise UpstreamGarbled
            return from_notion(response, body=_shaped(response.status, call.request_id))
        if call.version == self._pinned:
            return from_notion(response)
        value = versions.to_client(outcome.value, call.version, self._pinned)
        return from_notion(response, body=value)

    def _replayed(self, call: Call, replay: Replay) -> ProxyResponse:
        self._metrics.replayed.add(call.match.route.name)
        body = receipt(call.match.route, call.match.ids, replay.created, call.body)
        value = versions.to_client(body, call.version, self._pinned)
        return ProxyResponse.of(200, value).plus({"Idempotency-Replayed": "true"})

    def _note(
        self,
        event: str,
        claims: Claims,
        call: Call,
        trace: _Trace,
        decision: str,
        took_s: float | None,
    ) -> None:
        token, job = trace.token, trace.job
        self._audit.record(
            event,
            claims.user_id,
            facts={
                "route": call.match.route.name,
                "decision": decision,
                "attempts": job.attempts if job else 0,
                "latency_ms": None if took_s is None else round(took_s * 1000),
                **facts_of(trace.outcome),
            },
            subject={
                "session": claims.session_id,
                "connection": token.connection_id if token else None,
                "workspace": token.workspace_id if token else call.workspace,
                "object": call.match.ids[0] if call.match.ids else None,
                "key": call.key,
                "request": call.request_id,
            },
        )


def _decoded(outcome: Outcome) -> Any:
    """The object that a read was answered with. Raises UpstreamGarbled."""
    assert outcome.response is not None
    try:
        return msgspec.json.decode(outcome.response.body)
    except msgspec.DecodeError:  # a number beyond all reason: well-formed, and of no use here
        raise UpstreamGarbled from None


def _canonical(workspace_id: str) -> str:
    """The form in which a caller's X-Workspace-Id arrives here: one workspace, one key."""
    return parse_uuid(workspace_id) or workspace_id


def _is_of_a_table(call: Call) -> bool:
    """Whether the call is for a database as a table: its query always, itself to old clients."""
    name = call.match.route.name
    return name == "databases.query" or (
        name == "databases.get" and versions.knows_tables(call.version)
    )


def _shaped(status: int, request_id: str) -> dict[str, Any]:
    """An error in Notion's form in place of one that was not JSON (a gateway's page)."""
    fallback = "service_overload" if status == NotSent.status else "invalid_request"
    return {
        "object": "error",
        "status": status,
        "code": _ERROR_CODES.get(status, fallback),
        "message": f"The request was refused on its way to Notion (status {status}).",
        "request_id": request_id,
    }
