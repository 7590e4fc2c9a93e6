"""tables.tex: it compiles, hostile names stay text, and what is bold is the winner set."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic_store import bernoulli, make_store
from whole import poisoned, whole

from bakeoff.analysis.table import results
from bakeoff.report import latex, write

RATE = {"base": 0.5, "lora": 0.9, "prompt": 0.7}
NASTY = r"50%_of#a&b$c~d^e{f}\g<h>|\input{/etc/passwd}`'" + '"[x]\N{GREEK SMALL LETTER ALPHA}\N{MINUS SIGN}\N{SNOWMAN}'
DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}\usepackage{textcomp}\usepackage{booktabs}
\begin{document}
\input{tables.tex}
\end{document}
"""


def made(directory: Path, rate: dict[str, float] = RATE, **how):
    return make_store(directory, bernoulli(rate, 300), tuple(rate), **how)


def test_bold_is_the_winner_set_and_the_dagger_a_tie(tmp_path: Path) -> None:
    won = latex.render(results(made(tmp_path / "won")))
    assert r"\textbf{lora}" in won and won.count(r"\textbf") == 2 and r"\textsuperscript{\textdagger}" not in won
    found = results(made(tmp_path / "tied", {"base": 0.5, "lora": 0.9, "prefix": 0.9, "prompt": 0.6}))
    tied, members = latex.render(found), found.verdicts[0].winner_set
    assert len(members) > 1 and tied.count(r"\textbf") == 2 * len(members)
    assert tied.count(r"\textsuperscript{\textdagger}") == len(members)
    for text in (won, tied):
        captions = re.findall(r"\\caption\{(.*)\}", text)
        assert all("n = 300~items" in told and "Holm" in told and "two-way t" in told for told in captions)
        assert "k = 3~seeds each" in captions[0] and "family of" in captions[1]


def test_one_seed_is_never_bold(tmp_path: Path) -> None:
    text = latex.render(results(made(tmp_path, seeds=(0,))))
    assert r"\textbf" not in text and "Nothing is ranked" in text and r"\textsuperscript{*}" in text


def test_lint_stands_in_comments(tmp_path: Path) -> None:
    store = made(tmp_path, {"lora": 0.9, "a\n\\input{x}": 0.7}, seeds=(0,))
    text = latex.render(results(store))
    (line,) = (line for line in text.splitlines() if line.startswith("% Lint: "))
    assert line.endswith("1 found: winner's seeds.")
    assert "% winner's seeds: Named highest from one seed: lora on sst2." in text.splitlines()
    write(store, ["tex"])


def test_names_are_escaped(tmp_path: Path) -> None:
    text = latex.render(results(made(tmp_path, {"base": 0.5, NASTY: 0.9}))).replace(r"\allowbreak{}", "")
    assert r"50\%\_of\#a\&b\$c\textasciitilde{}d\textasciicircum{}e\{f\}\textbackslash{}g" in text
    assert r"\input{/" not in text and "U+2603" in text
    assert text.isascii()
    body = re.sub(r"^%.*$", "", text, flags=re.M)
    bare = re.sub(r"\\[\\{}%#&_$]", "", body)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0 and "#" not in bare and "%" not in bare
    for row in re.findall(r"\\midrule\n(.*?)\\bottomrule", body, re.S):
        assert {line.replace(r"\&", "").count("&") for line in row.strip().splitlines()} == {5}
    assert body.count(r"\begin{tabular}") == body.count(r"\end{tabular}") == 2


def test_a_table_fits_a_page(tmp_path: Path) -> None:
    """Beyond 35 pairs: those with the best mean of what is ranked."""
    many = {"base": 0.4, **{f"lora[r={i}]": 0.5 + 0.04 * i for i in range(9)}}
    found = results(made(tmp_path, many))
    text, (best,) = latex.render(found), [v.winner_set for v in found.verdicts]
    _, scores, pairs = text.split(r"\begin{table}")
    assert scores.count(r"\\") == 11 and pairs.count(r"\\") == 10
    assert "results.json has all 45" in pairs and f"Here b = {best[0]};" in pairs


def compiled(directory: Path) -> str:
    """What LaTeX says of the tables there."""
    (directory / "paper.tex").write_text(DOCUMENT)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]
    return ran.stdout.replace("\n", "")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_it_compiles(tmp_path: Path) -> None:
    """Nothing is wider than the page, however long names are."""
    long = "prefix_and_lora[r=16,lora_alpha=32,learning_rate=0.0001]"
    write(made(tmp_path, {"base": 0.5, "lora[r=4]": 0.8, NASTY: 0.9, long: 0.7}), ["tex"])
    assert "Overfull" not in compiled(tmp_path)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_it_compiles_with_hostile_text_in_every_place(tmp_path: Path) -> None:
    text = latex.render(poisoned(whole(tmp_path / "store")))
    assert text.isascii() and "window.hit" in text
    (tmp_path / "tables.tex").write_text(text)
    compiled(tmp_path)
