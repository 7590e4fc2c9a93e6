"""Model-written code run against unit tests: Grader, Item, Verdict, and the code found in a completion."""

from bakeoff.grading.code.extract import defines, extract
from bakeoff.grading.code.grader import Grader, Item, Label, Verdict

__all__ = ["Grader", "Item", "Label", "Verdict", "defines", "extract"]
