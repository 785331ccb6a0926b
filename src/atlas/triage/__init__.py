"""What is known before the run, and the lane that follows from it."""

from atlas.triage.dossier import TriageAdapter, adapted_dossier, default_dossier
from atlas.triage.history import HistoryRule, Known, Thresholds, route_by_history
from atlas.triage.probe import Probe
from atlas.triage.router import Router, RoutingRules

__all__ = [
    "HistoryRule",
    "Known",
    "Probe",
    "Router",
    "RoutingRules",
    "Thresholds",
    "TriageAdapter",
    "adapted_dossier",
    "default_dossier",
    "route_by_history",
]
