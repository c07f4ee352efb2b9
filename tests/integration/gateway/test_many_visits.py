"""Hundreds and thousands of short connections to a real stt-serve process."""

from __future__ import annotations

import pytest

from tests.integration.gateway.visits import VISITS, doors_of, visit_often
from tests.integration.gateway.watched import WARM_DESCRIPTORS, WatchedService, read_metrics
from tests.interleaving import QUIET_S

QUICK = 200
MANY = 2_000
# The documented bound; the quick test allows for a busy machine.
FREE_WITHIN_S = {QUICK: QUIET_S, MANY: 1.0}


@pytest.mark.parametrize(
    "count", [QUICK, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_many_visits_leave_nothing_behind(watched: WatchedService, count: int):
    doors = doors_of(watched.service.http, watched.service.grpc)
    # The first visits create what stays: connections, threads, caches.
    await visit_often(doors, len(VISITS))
    await watched.nothing_is_left([WARM_DESCRIPTORS] * 2)
    before = watched.descriptors
    counted = await read_metrics(watched.service.http)
    await visit_often(doors, count)
    await watched.nothing_is_left(before, FREE_WITHIN_S[count])
    ended = await read_metrics(watched.service.http)
    changed = {name for name in ended if ended[name] != counted.get(name)}
    assert {name for name in changed if name.startswith("stt_gateway_sessions_total")} == {
        'stt_gateway_sessions_total{close_code="none",outcome="client_gone"}'
    }
