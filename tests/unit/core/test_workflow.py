"""Graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core import workflow
from stoker.core.errors import InvalidWorkflow
from stoker.core.workflow import check_graph, children_of, descendants

DIAMOND: dict[str, list[str]] = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}


def test_parents_come_before_children() -> None:
    order = check_graph(DIAMOND)
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order.index("a") < order.index("b") < order.index("d")
    assert order.index("a") < order.index("c") < order.index("d")


def test_a_parent_named_twice_counts_once() -> None:
    assert check_graph({"a": [], "b": ["a", "a"]}) == ["a", "b"]


def test_a_graph_without_nodes_is_refused() -> None:
    with pytest.raises(InvalidWorkflow, match="has no job"):
        check_graph({})


def test_an_unknown_parent_is_named() -> None:
    with pytest.raises(InvalidWorkflow, match="'b' waits for 'x', which is not"):
        check_graph({"b": ["x"]})


@pytest.mark.parametrize(
    ("graph", "shown"),
    [
        ({"a": ["a"]}, "a -> a"),
        ({"a": ["b"], "b": ["a"]}, "a -> b -> a"),
        ({"s": [], "a": ["s", "c"], "b": ["a"], "c": ["b"], "t": ["c"]}, "a -> c -> b -> a"),
    ],
)
def test_a_cycle_is_named(graph: dict[str, list[str]], shown: str) -> None:
    with pytest.raises(InvalidWorkflow, match=shown):
        check_graph(graph)


def test_too_many_nodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "MAX_NODES", 3)
    with pytest.raises(InvalidWorkflow, match="4 jobs; the limit is 3"):
        check_graph(DIAMOND)


def test_ten_thousand_parents_are_no_matter() -> None:
    parents: dict[str, list[str]] = {str(n): [] for n in range(10_000)}
    assert check_graph({**parents, "end": list(parents)})[-1] == "end"


def test_a_chain_of_ten_thousand_is_no_matter() -> None:
    chain = {str(n): [str(n - 1)] if n else [] for n in range(10_000)}
    assert check_graph(chain) == list(chain)


def test_children_are_the_graph_turned_around() -> None:
    assert children_of(DIAMOND) == {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}
    assert children_of({"b": ["a", "a"]}) == {"a": ["b"], "b": []}


def test_descendants_are_named_nearest_first_and_once() -> None:
    children = children_of(DIAMOND)
    assert descendants(children, ["a"]) == ["b", "c", "d"]
    assert descendants(children, ["b", "c"]) == ["d"]
    assert descendants(children, ["d"]) == []
    assert descendants(children, ["unknown"]) == []


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Make graphs whose nodes wait for earlier ones only: without a cycle, by construction."""
    size = draw(st.integers(1, 12))
    graph = {
        str(n): [str(p) for p in draw(st.lists(st.integers(0, max(n - 1, 0)), max_size=4)) if p < n]
        for n in range(size)
    }
    return {node: graph[node] for node in draw(st.permutations(sorted(graph)))}


@given(graphs())
def test_every_graph_without_a_cycle_is_sorted(graph: dict[str, list[str]]) -> None:
    place = {node: index for index, node in enumerate(check_graph(graph))}
    assert len(place) == len(graph)
    assert all(place[parent] < place[node] for node in graph for parent in graph[node])


@given(graphs(), st.data())
def test_an_edge_back_makes_a_cycle_that_is_found(
    graph: dict[str, list[str]], data: st.DataObject
) -> None:
    root = data.draw(st.sampled_from(sorted(graph)))
    below = descendants(children_of(graph), [root])
    if below:
        graph[root] = [*graph[root], data.draw(st.sampled_from(below))]
        with pytest.raises(InvalidWorkflow, match="has a cycle"):
            check_graph(graph)
