"""The manifests, by the schemas of Kubernetes and by rules of our own. No cluster is asked."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest

from stoker.app.demand import Demand
from stoker.app.stoker import Stoker
from stoker.core.duration import seconds
from stoker.server.http import make_server_app
from tests.deploy.files import MANIFESTS, documents


def _title(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


VERSIONS = ("1.29", "1.31", "1.33")
ALL = [(file, document) for file in MANIFESTS for document in documents(file)]
OWN = [document for _, document in ALL if not document["apiVersion"].startswith("keda.sh/")]
PODS = [
    (document["metadata"]["name"], document["spec"]["template"], document)
    for _, document in ALL
    if document["kind"] in {"Deployment", "Job"}
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", OWN, ids=_title)
def test_kubernetes_knows_each_field(document: dict[str, Any], version: str) -> None:
    # It raises where it does not.
    assert kubernetes_validate.validate(document, version, strict=True)


def test_there_is_what_a_system_needs() -> None:
    kinds = {(document["kind"], document["metadata"]["name"]) for _, document in ALL}
    assert kinds >= {
        ("Deployment", "server"),
        ("Deployment", "worker"),
        ("Deployment", "keeper"),
        ("Job", "migrate"),
        ("PodDisruptionBudget", "worker"),
        ("NetworkPolicy", "closed"),
        ("ScaledObject", "worker"),
    }
    spaces = {d["metadata"].get("namespace") for _, d in ALL if d["kind"] != "Namespace"}
    assert spaces == {"stoker"}


@pytest.mark.parametrize(("name", "pod"), [(name, pod) for name, pod, _ in PODS])
def test_a_pod_may_do_no_more_than_it_needs(name: str, pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert re.search(r":\d+\.\d+\.\d+$", container["image"])
        assert container["resources"]["requests"]["cpu"]
        assert container["resources"]["limits"]["memory"]
        # No manifest holds a URL: it would hold a password, too.
        [store] = [v for v in container["env"] if v["name"] == "STOKER_STORE"]
        assert "secretKeyRef" in store["valueFrom"]


def test_a_pod_has_time_to_drain() -> None:
    [settings] = [d["data"] for _, d in ALL if d["kind"] == "ConfigMap"]
    [worker] = [pod["spec"] for name, pod, _ in PODS if name == "worker"]
    drain = seconds(settings["STOKER_WORKER__DRAIN"])
    assert worker["terminationGracePeriodSeconds"] >= drain + 15


def test_probes_ask_for_what_there_is() -> None:
    routes = set(make_server_app(Stoker("memory://")).openapi()["paths"])
    [server] = [pod["spec"]["containers"][0] for name, pod, _ in PODS if name == "server"]
    asked = {kind: server[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness")}
    assert asked == {"liveness": "/health", "readiness": "/ready"}
    assert set(asked.values()) <= routes
    [worker] = [pod["spec"]["containers"][0] for name, pod, _ in PODS if name == "worker"]
    assert worker["livenessProbe"]["exec"]["command"][:3] == ["stoker", "workers", "check"]


def test_selectors_find_pods() -> None:
    labels = [pod["metadata"]["labels"] for _, pod, _ in PODS]
    selectors = list(_selectors())
    assert len(selectors) >= 6
    for selector in selectors:
        assert any(selector.items() <= label.items() for label in labels), selector


def test_everything_is_closed_that_is_not_opened() -> None:
    [closed] = [d for _, d in ALL if d["metadata"]["name"] == "closed"]
    assert closed["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_scaler_asks_for_what_the_server_answers() -> None:
    [scaled] = [d["spec"] for _, d in ALL if d["kind"] == "ScaledObject"]
    [trigger] = scaled["triggers"]
    url = urlsplit(trigger["metadata"]["url"])
    assert url.path in make_server_app(Stoker("memory://")).openapi()["paths"]
    assert trigger["metadata"]["valueLocation"] in Demand.__struct_fields__
    [service] = [d for _, d in ALL if d["kind"] == "Service"]
    assert url.hostname == f"{service['metadata']['name']}.stoker.svc"
    assert url.port == service["spec"]["ports"][0]["port"]
    [access] = [d for _, d in ALL if d["kind"] == "TriggerAuthentication"]
    assert trigger["authenticationRef"]["name"] == access["metadata"]["name"]
    assert scaled["scaleTargetRef"]["name"] in {name for name, _, _ in PODS}


def _selectors() -> Iterator[dict[str, str]]:
    for _, document in ALL:
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            yield spec["selector"]
        for key in ("selector", "podSelector"):
            if isinstance(spec.get(key), dict) and "matchLabels" in spec[key]:
                yield spec[key]["matchLabels"]
