"""Judging the judges: agreement with gold, biases, calibration, and means that a small gold set puts right."""

from atlas.judges.calibration.agreement import Agreement, agreement_of, cohen_kappa
from atlas.judges.calibration.bias import length_bias, position_bias, self_preference
from atlas.judges.calibration.drift import Drift, drift_of
from atlas.judges.calibration.powered import powered_mean
from atlas.judges.calibration.report import JudgeReport, report_of

__all__ = [
    "Agreement",
    "Drift",
    "JudgeReport",
    "agreement_of",
    "cohen_kappa",
    "drift_of",
    "length_bias",
    "position_bias",
    "powered_mean",
    "report_of",
    "self_preference",
]
