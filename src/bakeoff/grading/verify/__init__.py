"""Verify: formulas compared by math-verify's grammar and sympy, in processes of their own that can be killed."""
