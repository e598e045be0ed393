import importlib
import pkgutil

import stoker
from stoker.core import errors as core_errors
from stoker.core.errors import NotFound, OutcomeUnknown, Refused, StokerError, Unavailable
from stoker.server.errors import STATUSES, error_response, response_of, status_of
from stoker.settings import Bytes

DOCUMENTED = {400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503}


def every_class(root: type[StokerError] = StokerError) -> list[type[StokerError]]:
    for module in pkgutil.walk_packages(stoker.core.__path__, "stoker.core."):
        importlib.import_module(module.name)
    return [root, *(found for child in root.__subclasses__() for found in every_class(child))]


def test_every_code_has_a_status_and_every_status_a_meaning() -> None:
    missing = {cls.code for cls in every_class() if cls.__module__ == core_errors.__name__}
    assert missing - set(STATUSES) == set()
    assert set(STATUSES.values()) <= DOCUMENTED


def test_only_bugs_are_500() -> None:
    assert {code for code, status in STATUSES.items() if status == 500} == {"error", "internal"}


def test_the_family_of_an_error_decides_its_status() -> None:
    for family, expected in ((NotFound, 404), (Refused, 409), (Unavailable, 503)):
        wrong = [cls.code for cls in every_class(family) if STATUSES[cls.code] != expected]
        assert wrong == []
    assert STATUSES[OutcomeUnknown.code] == 503


def test_an_error_that_the_table_does_not_know_counts_as_a_bug() -> None:
    class Strange(StokerError):
        code = "strange"

    assert status_of(Strange("?")) == 500


def test_details_of_any_kind_have_a_json_form() -> None:
    error = core_errors.PayloadTooLarge("too big", limit=Bytes(7), path=object)
    body = bytes(response_of(error).body)
    assert b'"limit":7' in body
    assert b'"path":"<class' in body


def test_a_retryable_error_says_when_to_come_back() -> None:
    assert response_of(core_errors.Unavailable("down")).headers["retry-after"] == "1"
    assert "retry-after" not in response_of(core_errors.JobNotFound("no")).headers
    assert error_response("internal", "oh").status_code == 500
