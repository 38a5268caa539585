"""What surrounds a plan: other layouts and why they lost, other caps, what inputs are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencolossus.plan.fleet import Fleet
from opencolossus.plan.plan import Plan
from opencolossus.specs.document import Description

if TYPE_CHECKING:
    from opencolossus.plan.search import Found


def detailed(plan: Plan, description: Description, fleet: Fleet, found: Found) -> Plan:
    """The plan with its surroundings."""
    return plan
