"""Finds out whether a product checks what it must, by asking it wrongly at its real endpoint."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from application.execute import Done, execute
from application.ports import CanonicalJSON, Clock, EventLog, IdSource, RateLimiter
from application.ports.probes import ProbeAnswer, ProbeFailed, ProbeSigner, ProductProbes
from application.principals import Caller
from application.tenants import certification_cases as cases
from application.tenants.certification_probes import Probes, curl
from application.tenants.linked_services import LinkedServices
from domain import certification as c
from domain import linked_service as ls
from domain.errors import Invalid, NotFound, TooMany
from domain.ids import LinkedServiceId, TenantId

RUN_S: Final = 90.0
CALL_MAX_S: Final = 5.0
RUNS_AN_HOUR: Final = 12
"""Of one service; and four times as many of a tenant."""

Interrupted = Callable[[TenantId, UUID, BaseException], None]


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is shown. `curls` has, for each case that failed, the requests as lines for a
    shell, with assertions of this moment that are good for a minute."""

    service: ls.LinkedService
    runs: Sequence[c.Run]
    curls: Mapping[c.CaseName, Sequence[str]]


class Certifications:
    def __init__(
        self,
        log: EventLog,
        services: LinkedServices,
        products: ProductProbes,
        signer: ProbeSigner,
        canonical: CanonicalJSON,
        limiter: RateLimiter,
        issuer: str,
        clock: Clock,
        ids: IdSource,
        interrupted: Interrupted,
    ) -> None:
        """`interrupted` is told of a run that failed by our own fault; it may only take note."""
        self._log = log
        self._services = services
        self._products = products
        self._signer = signer
        self._canonical = canonical
        self._limiter = limiter
        self._issuer = issuer
        self._clock = clock
        self._ids = ids
        self._interrupted = interrupted
        self._running: set[asyncio.Task[None]] = set()

    async def start(
        self, caller: Caller, service_id: UUID, action: str, context: Mapping[str, Any]
    ) -> tuple[ls.LinkedService, Done]:
        """Begin a run, which goes on by itself for at most 90 s.

        `context` is what the product is asked with; what it may cost is the product's to bound, by
        what the test person has there. Raises NotFound, Invalid (`action_not_allowed`),
        Conflict (`certification_running`), TooMany (`rate_limited`).
        """
        service = await self._services.get(caller.tenant_id, service_id)
        if not ls.allows(service, action):
            raise Invalid("action_not_allowed", "the service does not list this action")
        ls.check_action(action)
        await self._within_budget(service)
        started = c.LinkedServiceCertificationStarted(
            service_id=service.id,
            service_version=service.version,
            action=action,
            started_at=self._clock.now(),
        )
        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            c.certification_id(service.id),
            c.rebuild,
            lambda runs: c.start(runs, started),
        )
        probes = self._probes(service, action, context)
        task = asyncio.create_task(
            self._go(caller, probes, started), name=f"certification {service.id}"
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return service, done

    async def report(self, tenant_id: TenantId, service_id: UUID) -> Reported:
        """The runs so far, the newest last. Raises NotFound (`linked_service_not_found`,
        `certification_not_found`)."""
        service = await self._services.get(tenant_id, service_id)
        found = c.rebuild(await self._log.load(tenant_id, c.certification_id(service.id)))
        if found is None:
            raise NotFound("certification_not_found", "it was never tried")
        last = found.runs[-1]
        failed: list[c.CaseName] = []
        if last.certified is not None:
            failed = [each.case for each in last.certified.results if each.verdict == "failed"]
        probes = self._probes(service, last.started.action, {})
        return Reported(
            service=service,
            runs=found.runs,
            curls={
                case: [curl(each) for each in cases.requests(case, probes, probes.fresh_key())]
                for case in failed
                if probes.missing(case) is None
            },
        )

    async def close(self) -> None:
        """End what runs here; it is shown as interrupted."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _within_budget(self, service: ls.LinkedService) -> None:
        of_service = await self._limiter.hit(
            "certification", str(service.id), limit=RUNS_AN_HOUR, per_s=3600
        )
        of_tenant = of_service and await self._limiter.hit(
            "certification.tenant", str(service.tenant_id), limit=4 * RUNS_AN_HOUR, per_s=3600
        )
        if not of_tenant:
            raise TooMany("rate_limited", "too many runs in this hour", retry_after_s=300)

    def _probes(self, service: ls.LinkedService, action: str, context: Mapping[str, Any]) -> Probes:
        return Probes(
            service,
            action,
            context,
            self._issuer,
            self._signer,
            self._canonical,
            self._clock,
            self._ids,
        )

    async def _go(
        self, caller: Caller, probes: Probes, started: c.LinkedServiceCertificationStarted
    ) -> None:
        try:
            results = await self._tried(probes)
            certified = c.LinkedServiceCertified(
                service_id=started.service_id,
                service_version=started.service_version,
                grade=c.grade(results),
                results=tuple(results),
                finished_at=self._clock.now(),
            )
            stream = c.certification_id(started.service_id)
            await execute(
                self._log,
                caller.origin(uuid5(stream, f"certified:{started.started_at.isoformat()}")),
                caller.tenant_id,
                stream,
                c.rebuild,
                lambda runs: c.certify(runs, certified, started),
            )
        except Exception as error:
            # Nobody awaits a run; it shows as interrupted, and the reason is told here.
            self._interrupted(caller.tenant_id, LinkedServiceId(started.service_id), error)

    async def _tried(self, probes: Probes) -> list[c.CaseResult]:
        """Every case in its order, one request after the other."""
        found: list[c.CaseResult] = []
        to_void: list[UUID] = []
        give_up_at = self._clock.monotonic() + RUN_S
        for case in c.CASES:
            missing = probes.missing(case)
            if missing is not None:
                result = c.CaseResult(case=case, verdict="not_applicable", found=missing)
            elif self._clock.monotonic() > give_up_at:
                result = c.CaseResult(case=case, verdict="failed", found="out_of_time")
            else:
                result = await self._try(case, probes, to_void)
            found.append(result)
        await self._undo(probes, to_void)
        return found

    async def _try(self, case: c.CaseName, probes: Probes, to_void: list[UUID]) -> c.CaseResult:
        key = probes.fresh_key()
        answers: list[ProbeAnswer] = []
        timeout_s = probes.service.routing.timeout_ms / 1000
        try:
            for probe in cases.requests(case, probes, key):
                answer = await self._products.send(probe, min(2 * timeout_s, CALL_MAX_S))
                answers.append(answer)
                if cases.took_effect(answer) and key not in to_void:
                    to_void.append(key)
        except ProbeFailed as failed:
            return c.CaseResult(case=case, verdict="failed", found=failed.kind)
        return cases.judged(case, answers, timeout_s)

    async def _undo(self, probes: Probes, keys: Sequence[UUID]) -> None:
        """Give back what the product allowed to be tried, as far as it has a void endpoint."""
        if probes.service.routing.void_path is None:
            return
        for key in keys:
            try:
                await self._products.send(probes.ask(key, door="void"), CALL_MAX_S)
            except ProbeFailed:
                return  # a product that does not answer is not waited for, key by key
