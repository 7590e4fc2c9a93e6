"""Choose: a plan that tunes, as far as stored results take it: further rounds, then trials with what is chosen."""

from __future__ import annotations

from dataclasses import replace

from bakeoff.analysis.tuning import Tried, best, next_round, outcome
from bakeoff.run.plan import Plan
from bakeoff.store.store import Store
from bakeoff.study.expand import tuned, tuning
from bakeoff.study.spec import Trial

Place = tuple[str, str]  # model and task


def advanced(plan: Plan, store: Store) -> Plan:
    """The plan with every round that stored results call for, and its trials once nothing is left to be tried.

    A function of the study and of stored records alone. A plan that does not tune stays as it is.
    """
    if not plan.study.tune or not plan.rounds:
        return plan
    rounds = [plan.rounds[0]]
    while all(store.has(trial.key()) for trial in rounds[-1]):
        tried = _tried(store, [trial for one in rounds for trial in one])
        more = _round(plan, tried) if len(rounds) <= plan.study.tune.extend else ()
        if not more:
            trials = tuple(_chosen(trial, tried) for trial in plan.trials)
            return replace(plan, rounds=tuple(rounds), trials=trials, decided=True).grouped()
        rounds.append(more)
    return replace(plan, rounds=tuple(rounds), decided=False).grouped()


def _tried(store: Store, trials: list[Trial]) -> dict[Place, dict[str, list[Tried]]]:
    """What became of stored tuning trials, by model and task, and by method."""
    tried: dict[Place, dict[str, list[Tried]]] = {}
    for trial in trials:
        assert trial.training
        own = tried.setdefault((trial.model, trial.task), {}).setdefault(trial.method, [])
        own.append(outcome(trial.training.learning_rate, store.record(trial.key())))
    return tried


def _chosen(trial: Trial, tried: dict[Place, dict[str, list[Tried]]]) -> Trial:
    """A trial of the comparison with its method's best learning rate; one that trains nothing as it is."""
    return trial if trial.training is None else tuned(trial, best(tried[trial.model, trial.task][trial.method]).rate)


def _round(plan: Plan, tried: dict[Place, dict[str, list[Tried]]]) -> tuple[Trial, ...]:
    """One trial more for every method of each model and task where a best rate lies at its edge, in study order."""
    assert plan.study.tune
    rates = {(*place, name): rate for place, own in tried.items() for name, rate in next_round(own).items()}
    return tuple(
        tuning(trial, plan.study.tune, rates[trial.model, trial.task, trial.method], plan.held[trial.task].fingerprint)
        for trial in plan.trials
        if trial.seed == plan.study.seeds[0] and (trial.model, trial.task, trial.method) in rates
    )
