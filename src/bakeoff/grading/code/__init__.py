"""Model-written code run against unit tests in a sandbox: Grader, Item, Verdict, and the code found in a completion."""

from bakeoff.grading.code.extract import defines, extract
from bakeoff.grading.code.grader import Grader, check
from bakeoff.grading.code.slot import Item, Label, Verdict

__all__ = ["Grader", "Item", "Label", "Verdict", "check", "defines", "extract"]
