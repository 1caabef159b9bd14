"""Stages, their keys, a content-addressed store and processes that fill it; knows nothing of models.

A study is a set of stages. A stage is a versioned function with parameters and inputs; its key is a hash of the four,
its result a folder of files in a store under that key. A finished folder is read, never made again, so a run that was
killed goes on where it stopped, and two studies that share a stage share its result.
"""

from overopt.workflow.address import open_store
from overopt.workflow.cluster import RayCluster
from overopt.workflow.executor import run
from overopt.workflow.schedule import Event
from overopt.workflow.stage import Needs, Stage, StageContext, plan, stage_function
from overopt.workflow.store import Store

__all__ = [
    "Event",
    "Needs",
    "RayCluster",
    "Stage",
    "StageContext",
    "Store",
    "open_store",
    "plan",
    "run",
    "stage_function",
]
