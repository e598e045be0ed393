"""Random operations on the store under test and on the reference store, step by step.

Both live by clocks that tell the same time. After each step they must have given the same answer,
and must show the same jobs, counts, queues and sessions. What hypothesis finds it shrinks to the
shortest story that still tells the two apart.

``STOKER_MODEL_EXAMPLES`` raises the number of stories through the setting of the same name in
`Model`; a subclass may also say it.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from stoker.connect import open_store
from stoker.core.errors import LeaseLost, StokerError
from stoker.core.job import (
    HeldJob,
    JobSpec,
    Leased,
    Outcome,
    Priority,
    SessionSpec,
    SessionState,
    Settlement,
    WorkflowSpec,
)
from stoker.core.lifecycle import State
from stoker.core.records import JobQuery
from stoker.core.retry import RetryPolicy
from stoker.core.store import Store
from stoker.testing.clock import FakeClock
from stoker.testing.conformance.hand import BOOM
from stoker.testing.conformance.hygiene import check_hygiene
from stoker.testing.conformance.suite import StoreSuite

T = TypeVar("T")
