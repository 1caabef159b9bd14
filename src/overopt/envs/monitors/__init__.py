"""Monitors: what watches an episode, through the channels it is given, and says how alarming it is.

They are held against outcomes and never trained on unless a study says so: what is optimised against a monitor learns
to look harmless to it (Baker et al. 2025, arXiv:2503.11926).
"""

from overopt.envs.monitors.evaluation import Evaluation, Labelled, evaluate, labelled
from overopt.envs.monitors.judged import JudgeMonitor
from overopt.envs.monitors.ngrams import NgramMonitor, fit_ngrams
from overopt.envs.monitors.rules import CommandMonitor, CotWordMonitor, DiffMonitor, Highest
from overopt.envs.monitors.view import CHANNELS, Channel, Monitor, View, view_of

__all__ = [
    "CHANNELS",
    "Channel",
    "CommandMonitor",
    "CotWordMonitor",
    "DiffMonitor",
    "Evaluation",
    "Highest",
    "JudgeMonitor",
    "Labelled",
    "Monitor",
    "NgramMonitor",
    "View",
    "evaluate",
    "fit_ngrams",
    "labelled",
    "view_of",
]
