"""The shape of workflows: checks before a graph is submitted, and who is downstream of whom.

There is no workflow engine: a workflow is jobs with parents, and the store releases a child in
the commit that ends its last parent.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from stoker.core.errors import InvalidWorkflow

MAX_NODES = 100_000
"""The most jobs in one workflow."""


def check_graph(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Check a graph and return its nodes, parents before children.

    Args:
        parents: Node to the nodes it waits for.

    Raises:
        InvalidWorkflow: It has no node, too many, an unknown parent, or a cycle, which is named.
    """
    if not parents:
        raise InvalidWorkflow("the workflow has no job; add one before it is submitted")
    if len(parents) > MAX_NODES:
        raise InvalidWorkflow(f"the workflow has {len(parents):,} jobs; the limit is {MAX_NODES:,}")
    for node, wanted in parents.items():
        for parent in wanted:
            if parent not in parents:
                raise InvalidWorkflow(
                    f"{node!r} waits for {parent!r}, which is not in the workflow"
                )
    order = _sort(parents)
    if len(order) < len(parents):
        raise InvalidWorkflow(f"the workflow has a cycle: {' -> '.join(_cycle(parents, order))}")
    return order


def children_of(parents: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Turn a graph around: node to the nodes that wait for it."""
    children: dict[str, list[str]] = {node: [] for node in parents}
    for node, wanted in parents.items():
        for parent in dict.fromkeys(wanted):
            children.setdefault(parent, []).append(node)
    return children


def descendants(children: Mapping[str, Iterable[str]], roots: Iterable[str]) -> list[str]:
    """Return all nodes downstream of the roots, the roots themselves left out, nearest first."""
    start = set(roots)
    seen = dict.fromkeys(start)
    queue = deque(seen)
    while queue:
        for child in children.get(queue.popleft(), ()):
            if child not in seen:
                seen[child] = None
                queue.append(child)
    return [node for node in seen if node not in start]


def _sort(parents: Mapping[str, Sequence[str]]) -> list[str]:
    waits = {node: len(set(wanted)) for node, wanted in parents.items()}
    children = children_of(parents)
    ready = deque(node for node, count in waits.items() if count == 0)
    order: list[str] = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for child in children[node]:
            waits[child] -= 1
            if waits[child] == 0:
                ready.append(child)
    return order


def _cycle(parents: Mapping[str, Sequence[str]], order: Iterable[str]) -> list[str]:
    left = set(parents) - set(order)
    node = min(left)
    path: list[str] = []
    while node not in path:
        path.append(node)
        node = next(p for p in parents[node] if p in left)
    return [*path[path.index(node) :], node]
