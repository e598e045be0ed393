"""How long it took until work went on after each fault, from the ledger and the store."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.integration.combinations.faults import Incident
from tests.integration.combinations.ledger import Line
from tests.integration.combinations.play import Evidence


def recovery(evidence: Evidence) -> dict[str, dict[str, list[float]]]:
    """Return kind of fault to seconds: ``alone``, and with other faults ``among others``.

    For a killed worker: from its death until a job that it was running began anew, a number for
    each such job. For a server: from the moment it was ready (or went on) again until the first
    job that was leased after it was completed.
    """
    found: dict[str, dict[str, list[float]]] = {}
    completed = list(_completed(evidence))
    begins = _begins(evidence)
    for incident in evidence.incidents:
        if incident.kind == "kill worker":
            cases, since = _anew(evidence, incident, begins), incident.began_at
        elif not incident.worker:
            cases, since = _goes_on(incident, completed), incident.mended_at
        else:
            continue
        lists = found.setdefault(incident.kind, {"alone": [], "among others": []})
        for seconds in cases:
            alone = _is_alone(evidence, incident, since + seconds)
            lists["alone" if alone else "among others"].append(round(seconds, 3))
    return found


def _is_alone(evidence: Evidence, incident: Incident, until: float) -> bool:
    """Whether nothing else was broken from the fault until then."""
    return not any(
        other is not incident and other.began_at < until and other.mended_at > incident.began_at
        for other in evidence.incidents
    )


def _goes_on(incident: Incident, completed: list[tuple[float, float]]) -> Iterator[float]:
    ends = [end for leased, end in completed if leased >= incident.mended_wall]
    if ends:
        yield min(ends) - incident.mended_wall


def meanwhile(evidence: Evidence) -> dict[str, list[int]]:
    """Return kind of fault of a server to how many jobs were completed while it was away."""
    found: dict[str, list[int]] = defaultdict(list)
    ends = [end for _, end in _completed(evidence)]
    for incident in evidence.incidents:
        if not incident.worker:
            began = incident.mended_wall - (incident.mended_at - incident.began_at)
            found[incident.kind].append(sum(began <= end < incident.mended_wall for end in ends))
    return dict(found)


def away(evidence: Evidence) -> dict[str, list[float]]:
    """Return kind of fault to the seconds for which its victim was away."""
    found: dict[str, list[float]] = defaultdict(list)
    for incident in evidence.incidents:
        found[incident.kind].append(round(incident.mended_at - incident.began_at, 3))
    return dict(found)


def _completed(evidence: Evidence) -> Iterator[tuple[float, float]]:
    for record in evidence.records.values():
        for attempt in record.attempts if record else ():
            if attempt.outcome == "completed" and attempt.finished_at is not None:
                yield attempt.leased_at.timestamp(), attempt.finished_at.timestamp()


def _begins(evidence: Evidence) -> dict[str, list[Line]]:
    begins: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.ledger.lines:
        if line.what == "begin":
            begins[line.job].append(line)
    return begins


def _anew(evidence: Evidence, incident: Incident, begins: dict[str, list[Line]]) -> Iterator[float]:
    """Yield the seconds until each job that died with the worker began again."""
    ended = {(line.job, line.epoch) for line in evidence.ledger.lines if line.what != "begin"}
    for job, lines in begins.items():
        for line, again in pairwise(lines):
            if line.worker == incident.worker and (job, line.epoch) not in ended:
                yield again.at - incident.began_at
