"""Answers that a model could write, by accident or not, and on which graders hang, crash or guess."""

from __future__ import annotations

POLYNOMIAL = "+".join(f"{(7 * k) % 97 + 1}x^{{{k}}}" for k in range(400))
TOWERS = [
    "9^{9^{9^{9}}}",
    "9^9^9^9",
    r"2^{2^{2^{2^{2^{2}}}}}",
    "10^{10^{10}}",
    r"\frac{1}{9^{9^{9^{9}}}}",
    "x^{9^{9^{9}}}",
]
GIANT = [
    "10^7!",
    "(10^7)!",
    "10^{7}!!",
    r"\binom{10^9}{5 \cdot 10^8}",
    r"(x+1)^{10^9}",
    "1" * 4000,
    "1" * 400 + "/" + "7" * 400,
    "1e999999999",
    r"10^{99999999}",
    r"\gamma(10^9)",
    r"2^{10^7} - 2^{10^7}",
    r"\log_{2}{9^{9^{9}}}",
    r"e^{e^{e^{100}}}",
]
ENDLESS = [
    r"\sum_{k=1}^{1000000000} \frac{1}{k^2 + \sin k}",
    r"\prod_{k=1}^{10^8} (1 + \frac{1}{k^3})",
    r"\int_0^1 x^{x^x} dx",
    r"\lim_{n \to \infty} \sum_{k=1}^{n} \frac{\sin k}{k}",
    POLYNOMIAL,
    f"({POLYNOMIAL})^{{2}}",
    f"({POLYNOMIAL})({POLYNOMIAL})",
    r"\sqrt{" * 60 + "2" + "}" * 60,
    r"\sin(" * 60 + "1" + ")" * 60,
]
NESTED = [
    "(" * 300 + "5" + ")" * 300,
    "{" * 300 + "5" + "}" * 300,
    "[" * 300 + "5" + "]" * 300,
    "(" * 300 + "x+1" + ")" * 300,
    r"\frac{1}{" * 200 + "2" + "}" * 200,
    "-" * 500 + "5",
    "(" * 5000,
    "{" * 2000 + "}" * 1000,
    r"\boxed{" * 500,
]
FLOODS = [
    "\u222b" * 3000,
    "∑" * 100_000,
    "\U0001d7d8" * 2000,
    "e\u0301" * 1000,
    "\x00" * 1000,
    "5\x00",
    "5\x00\x00x",
    "\ufffd" * 50,
    "}" * 400,
    r"\right)" * 300,
    "$" * 999,
    "\\" * 999,
    "%" * 999,
    "=" * 999,
    "," * 999,
    "1," * 600,
    "a and " * 300,
    "x" * 1400,
    "٣",
    "五",
    "\u202e5",
    r"\text{" * 100,
    r"\begin{pmatrix}" * 50,
    r"\begin{pmatrix}1&2\\3&4",
    "0." + "3" * 1000,
    "_^_^_^",
]
CODE = [
    "__import__('os').system('touch /tmp/bakeoff-was-here')",
    "exec('1/0')",
    "lambda: 0",
    "().__class__",
    r"\input{/etc/passwd}",
]
ALL = TOWERS + GIANT + ENDLESS + NESTED + FLOODS + CODE
