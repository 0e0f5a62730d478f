"""Relays one checked call to Notion and returns the response for the client."""

from __future__ import annotations

import logging
from dataclasses import replace as with_changes

from msgspec import Struct
from msgspec.structs import replace

from cloud_broker.audit import Audit
from cloud_broker.clock import Clock, rfc3339
from cloud_broker.errors import BrokerError
from cloud_broker.identity.connections import OpenToken, Tokens
from cloud_broker.monitoring.metrics import Metrics
from cloud_broker.proxy import databases, responses
from cloud_broker.proxy.admission import Charge, Party
from cloud_broker.proxy.attempts import Attempts, Job, facts_of
from cloud_broker.proxy.bodies import encode
from cloud_broker.proxy.call import Call
from cloud_broker.proxy.errors import (
    InProgress,
    InternalError,
    NotSent,
    OutcomeUnknown,
    ProxyError,
)
from cloud_broker.proxy.outcome import Outcome, Verdict
from cloud_broker.proxy.responses import ProxyResponse
from cloud_broker.proxy.routes import BY_NAME, parse_uuid
from cloud_broker.proxy.writes import ASK_AGAIN_S, Replay, Writes

log = logging.getLogger(__name__)

# A read before a write failed with one of these: the client may send the write again.
_RETRYABLE = frozenset({500, 502, 503, 504})


class _Trace(Struct):
    """Collects the facts of one call for its audit row."""

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
    ) -> None:
        """Answer every call within ``answer_within_s`` seconds."""
        self._tokens = tokens
        self._attempts = attempts
        self._writes = writes
        self._audit = audit
        self._metrics = metrics
        self._clock = clock
        self._answer_within_s = answer_within_s

    async def answer(self, call: Call) -> ProxyResponse:
        """Return the client's response; refusals are responses. Raises BrokerError otherwise."""
        begun = self._clock.monotonic()
        until = begun + min(self._answer_within_s, call.within_s or self._answer_within_s)
        trace = _Trace()
        self._metrics.called.add()
        decision = "failed"
        try:
            response = await self._relay(call, until, trace)
            decision = f"{response.status // 100}xx"
        except ProxyError as refusal:
            response = self._refused(refusal, call)
            decision = refusal.broker_code
        except BrokerError:
            raise
        except Exception as error:  # the proxy's boundary: clients expect Notion's error shape
            log.error("A call failed.", exc_info=error)
            failure = self._failed(call, trace.job)
            response = self._refused(failure, call)
            decision = failure.broker_code
        finally:
            took_s = self._clock.monotonic() - begun
            trace.has_answered = True
            self._record("relayed", call, trace, decision, took_s)
        route = call.route.name
        self._metrics.requests.add(route, decision)
        self._metrics.latency.observe(took_s, route)
        if decision == OutcomeUnknown.broker_code:
            self._metrics.unknown.add(route)
        if trace.job is not None and "RateLimit" not in response.headers:
            response = response.plus(responses.limit_headers(trace.job.quotas))
        return response

    def _refused(self, refusal: ProxyError, call: Call) -> ProxyResponse:
        if isinstance(refusal, OutcomeUnknown):
            read = responses.read_to_verify(call)
            refusal.data.update({"read": read} if read else {})
        return responses.from_refusal(refusal, call.request_id)

    def _failed(self, call: Call, job: Job | None) -> ProxyError:
        """Return the refusal after an unexpected error: did it come before a write was sent?"""
        if call.route.kind == "read":
            return InternalError()
        if job is None or job.sent_at is None:
            if call.is_single_use:  # a repetition finds out if its key could be spent
                return InProgress(retry_after_s=ASK_AGAIN_S)
            text = "The broker failed on this request. Nothing was sent."
            return NotSent(text, broker_code=InternalError.broker_code)
        latest = rfc3339(self._clock.now())
        return OutcomeUnknown(data={"answered": "false", "latest_sent_at": latest})

    async def _relay(self, call: Call, until: float, trace: _Trace) -> ProxyResponse:
        if call.route.kind == "write":
            return await self._write(call, until, trace)
        token = await self._open(call, trace)
        trace.job = job = self._job(call, token, until)
        if call.is_of_a_table:
            return await self._read_table(call, job, trace)
        trace.outcome = await self._attempts.run(job)
        return responses.of_read(call, trace.outcome)

    async def _open(self, call: Call, trace: _Trace) -> OpenToken:
        is_write = call.route.kind == "write"
        purpose = f"proxy:{call.route.name}"
        user_id, workspace = call.claims.user_id, call.workspace
        trace.token = await self._tokens.open(user_id, workspace, purpose, fresh=is_write)
        return trace.token

    async def _write(self, call: Call, until: float, trace: _Trace) -> ProxyResponse:
        replay = await self._writes.replay(call)  # a stored outcome needs no token
        if replay is not None:
            return self._replayed(call, replay)
        try:
            token = await self._open(call, trace)
        except Exception:
            await self._writes.refuse(call)
            raise
        if call.workspace is None:  # only now is the key's identity known
            workspace = parse_uuid(token.workspace_id) or token.workspace_id
            call = with_changes(call, workspace=workspace)
            replay = await self._writes.replay(call)
            if replay is not None:
                return self._replayed(call, replay)
        trace.job = job = self._job(call, token, until)
        if call.route.creates == "page":
            try:
                refused = await self._name_source(call, job, trace)
            except Exception:
                await self._writes.refuse(call)
                raise
            if refused is not None:
                await self._writes.refuse(call)
                return refused

        def finished(outcome: Outcome | None) -> None:
            trace.outcome = outcome
            if trace.has_answered:  # the client got an earlier answer: the log keeps the outcome
                verdict = outcome.verdict.value if outcome else "failed"
                self._record("write_ended", call, trace, verdict, None)

        result = await self._writes.run(job, call, finished)
        if isinstance(result, Replay):
            return self._replayed(call, result)
        trace.outcome = result
        return responses.of_write(call, result)

    def _job(self, call: Call, token: OpenToken, until: float) -> Job:
        children = (call.body or {}).get("children")
        claims = call.claims
        return Job(
            route=call.route,
            ids=call.ids,
            query=call.query,
            body=call.upload or (None if call.body is None else encode(call.body)),
            content_type=call.content_type if call.upload or call.body is not None else None,
            length=call.length if call.upload else None,
            party=Party(claims.user_id, claims.tier, token.connection_id, token.workspace_id),
            token=token,
            until=until,
            children=len(children) if isinstance(children, list) else 0,
            # The token stored in place of a cached one may have expired, too.
            refreshes=2 if token.kept else 1,
        )

    async def _read_table(self, call: Call, job: Job, trace: _Trace) -> ProxyResponse:
        """Read a database or its rows as before 2025-09-03: from its only data source."""
        found, source = await self._source_of(job, call.ids[0], trace)
        if source is None:
            return responses.of_read(call, found)
        is_query = call.route.name == "databases.query"
        route = BY_NAME["data_sources.query" if is_query else "data_sources.get"]
        trace.job = read = replace(job, route=route, ids=(source,))
        trace.outcome = outcome = await self._attempts.run(read)
        if not is_query and outcome.verdict is Verdict.DONE:
            table = databases.joined(responses.decoded(found), responses.decoded(outcome))
            outcome = replace(outcome, value=table)
        return responses.of_read(call, outcome)

    async def _name_source(self, call: Call, job: Job, trace: _Trace) -> ProxyResponse | None:
        """Put a new page under the only data source of the database that the client named.

        Notion answers 404 to a database as parent (reported in public for 2026-03-11, though its
        SDK's types allow it). Returns a response when nothing can be written.
        """
        parent = databases.parent_database(call.body)
        if parent is None:
            return None
        found, source = await self._source_of(job, parent, trace)
        if source is not None and call.body is not None:
            job.body = encode(databases.under_source(call.body, source))
            return None
        if found.response is None or (found.status or 0) in _RETRYABLE:
            raise NotSent(retry_after_s=found.retry_after_s)
        return responses.of_read(call, found)

    async def _source_of(
        self, job: Job, database_id: str, trace: _Trace
    ) -> tuple[Outcome, str | None]:
        """Look a database up; return the id of its only data source, None if it was not found.

        The limits count this request and the one that follows as one. Raises InvalidRequest.
        """
        row = BY_NAME["databases.get"]
        route = replace(row, name=job.route.name, per_minute=job.route.per_minute)
        lookup = replace(
            job, route=route, ids=(database_id,), query=(), body=None, content_type=None, children=0
        )
        trace.outcome = found = await self._attempts.run(lookup)
        job.token, job.quotas, job.charge = lookup.token, lookup.quotas, Charge.CONNECTION
        job.attempts = lookup.attempts
        if found.verdict is not Verdict.DONE:
            return found, None
        return found, databases.only_source(responses.decoded(found), database_id)

    def _replayed(self, call: Call, replay: Replay) -> ProxyResponse:
        self._metrics.replayed.add(call.route.name)
        return responses.of_replay(call, replay.created)

    def _record(
        self, event: str, call: Call, trace: _Trace, decision: str, took_s: float | None
    ) -> None:
        token, job = trace.token, trace.job
        self._audit.record(
            event,
            call.claims.user_id,
            facts={
                "route": call.route.name,
                "decision": decision,
                "attempts": job.attempts if job else 0,
                "latency_ms": None if took_s is None else round(took_s * 1000),
                **facts_of(trace.outcome),
            },
            subject={
                "session": call.claims.session_id,
                "connection": token.connection_id if token else None,
                "workspace": token.workspace_id if token else call.workspace,
                "object": call.ids[0] if call.ids else None,
                "key": call.key,
                "request": call.request_id,
            },
        )
