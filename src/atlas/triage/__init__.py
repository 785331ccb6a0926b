"""What is known before the run, and the lane that follows from it."""

from atlas.triage.arms import Arms, Routes, Tried, Worth, load_routes
from atlas.triage.dossier import TriageAdapter, adapted_dossier, default_dossier
from atlas.triage.fitting import fit_arms, fit_routes
from atlas.triage.foreseeing import past_of, second_look, tried_of
from atlas.triage.foresight import Foresight
from atlas.triage.history import HistoryRule, Known, Thresholds, route_by_history
from atlas.triage.probe import Probe
from atlas.triage.router import Router, RoutingRules
from atlas.triage.signals import Look, Signals

__all__ = [
    "Arms",
    "Foresight",
    "HistoryRule",
    "Known",
    "Look",
    "Probe",
    "Router",
    "Routes",
    "RoutingRules",
    "Signals",
    "Thresholds",
    "TriageAdapter",
    "Tried",
    "Worth",
    "adapted_dossier",
    "default_dossier",
    "fit_arms",
    "fit_routes",
    "load_routes",
    "past_of",
    "route_by_history",
    "second_look",
    "tried_of",
]
