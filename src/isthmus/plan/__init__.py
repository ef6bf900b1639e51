"""Where to cut: the price of any choice, and the planners that search for the cheapest."""

from isthmus.plan.build import candidates_for, cost_table, problem_for
from isthmus.plan.cost import CostTable, Option, price
from isthmus.plan.planners import PLANNERS, planner_called
from isthmus.plan.planners.edgent_map import configuration_map
from isthmus.plan.retime import retime
from isthmus.plan.switch import switch_table
from isthmus.plan.switch_types import SwitchRow, SwitchTable
from isthmus.plan.types import Candidate, Cost, CostRow, Limits, Plan, Problem, Promise, plan_json

__all__ = [
    "PLANNERS",
    "Candidate",
    "Cost",
    "CostRow",
    "CostTable",
    "Limits",
    "Option",
    "Plan",
    "Problem",
    "Promise",
    "SwitchRow",
    "SwitchTable",
    "candidates_for",
    "configuration_map",
    "cost_table",
    "plan_json",
    "planner_called",
    "price",
    "problem_for",
    "retime",
    "switch_table",
]
