"""Model-written code run against unit tests in a sandbox: Grader, Item, Verdict, a completion's code, its scores."""

from bakeoff.grading.code.extract import defines, extract
from bakeoff.grading.code.grader import Grader, check
from bakeoff.grading.code.score import grade_code, judge
from bakeoff.grading.code.slot import Item, Label, Verdict

__all__ = ["Grader", "Item", "Label", "Verdict", "check", "defines", "extract", "grade_code", "judge"]
