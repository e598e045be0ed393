import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stoker.core import codec
from stoker.core.errors import DuplicateTask, InvalidArguments, MissingExtra
from stoker.core.retry import RetryPolicy, exception_names
from stoker.core.task import Registry, Task, TaskOptions
from stoker.settings import TaskSettings
from stoker.tasks import ALIASES, register, standard_tasks
from stoker.tasks.encryption import encrypt
from stoker.tasks.errors import BadInput, DeliveryFailed, DeliveryRefused, FetchFailed, FetchRefused
from stoker.tasks.image import process_image
from stoker.tasks.scrape import scrape_website

NAMES = [
    "analysis.batch",
    "checksum",
    "compress",
    "csv.statistics",
    "decompress",
    "decrypt",
    "encrypt",
    "image.blur",
    "image.process",
    "image.resize",
    "scrape_website",
    "send_email",
    "trial",
    "video.process",
]


@pytest.fixture
def registry(settings: TaskSettings) -> Registry:
    known = Registry()
    register(known, settings)
    return known


def run(task: Task[..., Any], payload: bytes) -> Any:
    """Call a task as a worker does, and read its result as a caller does."""
    args, kwargs = task.arguments(task.check(payload))
    return codec.decode_result(codec.encode(task.fn(*args, **kwargs), what="result"), task.returns)


def test_every_standard_task_is_known_by_its_name(registry: Registry) -> None:
    assert sorted({*registry} - {alias for alias, _ in ALIASES}) == NAMES


def test_an_alias_is_the_same_task(registry: Registry) -> None:
    assert registry.get("process_video") is registry.get("video.process")


def own() -> None:
    """A task of the user."""


def test_registering_beside_a_task_of_the_users_own_name_is_refused() -> None:
    known = Registry()
    known.add(Task(own, name="compress", options=TaskOptions()))
    with pytest.raises(DuplicateTask, match="compress"):
        register(known, TaskSettings())


def test_what_belongs_to_the_worker_is_no_part_of_any_payload(registry: Registry) -> None:
    """Else a payload could bring its own folder, key or rules."""
    for name in registry:
        task = registry.get(name)
        fields = task.json_schema()["$defs"]["Arguments"]["properties"]
        assert not {"settings", "clock", "guard"} & set(fields)
        for field in ("settings", "clock", "guard"):
            with pytest.raises(InvalidArguments, match=f"unknown field `{field}`"):
                task.check(_payload(fields, field))


def _payload(fields: dict[str, Any], extra: str) -> bytes:
    texts = {name: "x" for name in ("to", "url", "file") if name in fields}
    return codec.encode(texts | {extra: {}})


def test_settings_hold_for_the_tasks_of_a_worker(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert run(registry.get("compress"), b'{"file": "a.txt"}').file == str(tmp_path / "a.txt.gz")
    with pytest.raises(InvalidArguments, match="outside"):
        run(registry.get("compress"), b'{"file": "/etc/passwd"}')


def test_bytes_travel_as_base64_and_come_back_as_bytes(registry: Registry) -> None:
    packed = run(registry.get("compress"), b'{"data": "aGVsbG8="}')
    payload = codec.encode({"data": packed.data})
    assert run(registry.get("decompress"), payload).data == b"hello"
    with pytest.raises(InvalidArguments, match=r"base64.*\$\.data"):
        registry.get("compress").check(b'{"data": "hello!"}')


@pytest.mark.parametrize(
    ("name", "texts", "payload"),
    [
        ("video.process", {"file": "movie.mp4"}, b'{"file":"movie.mp4"}'),
        (
            "process_video",
            {"height": "360", "duration": "1.5"},
            b'{"height":360,"duration":1.5}',
        ),
        (
            "send_email",
            {"to": "a@b.org", "failure_rate": "0.8"},
            b'{"to":"a@b.org","failure_rate":0.8}',
        ),
        ("compress", {"data": "aGVsbG8=", "level": "3"}, b'{"data":"aGVsbG8=","level":3}'),
    ],
)
def test_a_shell_can_send_them(
    registry: Registry, name: str, texts: dict[str, str], payload: bytes
) -> None:
    assert registry.get(name).from_text(texts) == payload


def test_a_number_without_a_fraction_is_a_duration_too(registry: Registry) -> None:
    registry.get("video.process").check(b'{"duration": 3, "height": 720}')
    registry.get("scrape_website").check(b'{"url": "http://x", "timeout": 10}')


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("send_email", b"{}"),
        ("send_email", b'{"to": 5}'),
        ("scrape_website", b"{}"),
        ("scrape_website", b'{"url": "http://x", "timeout": "soon"}'),
        ("image.process", b'{"file": "a.png", "operation": "explode"}'),
        ("video.process", b'{"output_format": "exe"}'),
        ("video.process", b'{"height": 720.5}'),
        ("analysis.batch", b'{"columns": "a"}'),
        ("compress", b'{"algorithm": "rar"}'),
        ("checksum", b'{"algorithm": "md5"}'),
        ("csv.statistics", b'{"data": "a", "delimiter": "x"}'),
        ("image.blur", b'{"file": "a.png", "radius": 1.5}'),
        ("image.resize", b'{"file": "a.png", "width": 5, "filter": "lanczos"}'),
    ],
)
def test_a_payload_of_the_wrong_shape_is_refused_when_it_is_submitted(
    registry: Registry, name: str, payload: bytes
) -> None:
    with pytest.raises(InvalidArguments, match=f"does not fit task '{name}'"):
        registry.get(name).check(payload)


def test_what_no_retry_can_mend_is_not_retried(registry: Registry) -> None:
    policy = registry.get("send_email").options.retry
    for error in (
        InvalidArguments("x"),
        MissingExtra("x"),
        BadInput("x"),
        DeliveryRefused("x"),
        FetchRefused("x"),
        FileNotFoundError("x"),
    ):
        assert policy.decide(1, exception_names(error), lambda: 0.5) is None
    for passing in (DeliveryFailed("x"), FetchFailed("x"), OSError(28, "disk full")):
        assert policy.decide(1, exception_names(passing), lambda: 0.5) is not None


def test_the_given_policy_holds_otherwise() -> None:
    given = RetryPolicy(7, backoff="linear", base=3, cap=4, jitter=False)
    for task in standard_tasks(TaskSettings(), retry=given):
        policy = task.options.retry
        assert (policy.max_retries, policy.backoff) == (7, "linear")
        assert (policy.base, policy.cap, policy.jitter) == (3.0, 4.0, False)


def test_what_decodes_strange_bytes_runs_where_it_can_be_killed(registry: Registry) -> None:
    places = {name: registry.get(name).options.run_in for name in NAMES}
    assert {name for name, place in places.items() if place == "thread"} == {
        "checksum",
        "scrape_website",
        "send_email",
        "trial",
    }
    assert all(place in {"thread", "process"} for place in places.values())
    assert all(registry.get(name).options.timeout for name in NAMES)


def test_each_task_has_words_for_people(registry: Registry) -> None:
    for name in registry:
        doc = registry.get(name).fn.__doc__
        assert doc
        assert "Returns:" in doc
        assert "Raises:" in doc


@pytest.mark.parametrize("library", ["httpx2", "selectolax.lexbor"])
def test_scraping_without_its_libraries_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "stoker.tasks.web", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'stoker\[tasks\]'"):
        scrape_website("http://127.0.0.1:9/")


def test_encrypting_without_cryptography_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, settings: TaskSettings
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(MissingExtra, match="the task encrypt needs cryptography"):
        encrypt(data=b"x", settings=settings)


def test_pictures_without_pillow_say_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match=r"the task image\.process needs Pillow"):
        process_image("a.png", width=1)


def test_knowing_the_tasks_imports_none_of_their_libraries() -> None:
    code = (
        "import sys\n"
        "from stoker.settings import TaskSettings\n"
        "from stoker.tasks import standard_tasks\n"
        "standard_tasks(TaskSettings())\n"
        "heavy = {'PIL', 'httpx2', 'httpcore2', 'selectolax', 'cryptography', 'imageio_ffmpeg'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
