from pathlib import Path

import pytest

from stoker.app.loading import all_tasks, jobs_folder, load_app, load_jobs, load_registry, source_of
from stoker.app.stoker import Stoker
from stoker.core.errors import InvalidConfig, InvalidTask
from stoker.core.job import Priority
from stoker.core.task import Registry, TaskOptions
from stoker.settings import Secret, Settings, TaskSettings

PLAIN = "def run(payload):\n    return payload['file']\n"


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def load(folder: Path) -> Registry:
    registry = Registry()
    load_jobs(folder, registry, defaults=TaskOptions())
    return registry


def test_a_plain_file_is_a_task_named_by_its_path(tmp_path: Path) -> None:
    write(tmp_path, "video_encoder.py", PLAIN)
    write(tmp_path, "video/process.py", PLAIN)
    write(tmp_path, "_shared.py", "x = 1\n")
    registry = load(tmp_path)
    assert registry.names() == ("video.process", "video_encoder")
    args, _ = registry.get("video.process").arguments(b'{"file": "movie.mp4"}')
    assert registry.get("video.process").fn(*args) == "movie.mp4"


def test_module_variables_are_options(tmp_path: Path) -> None:
    variables = "task = 'enc'\nqueue = 'q'\nmax_retries = 7\ntimeout = '2m'\npriority = 'low'\n"
    write(tmp_path, "a.py", variables + PLAIN)
    options = load(tmp_path).get("enc").options
    assert (options.queue, options.retry.max_retries) == ("q", 7)
    assert (options.timeout, options.priority) == (120.0, Priority.LOW)


def test_the_payload_is_checked_by_its_hint(tmp_path: Path) -> None:
    text = (
        "from typing import TypedDict\n"
        "class Job(TypedDict):\n    file: str\n"
        "def run(payload: Job) -> str:\n    return payload['file']\n"
    )
    write(tmp_path, "a.py", text)
    task = load(tmp_path).get("a")
    with pytest.raises(Exception, match="missing required field `file`"):
        task.check(b"{}")


def test_a_broken_or_empty_module_says_which_file(tmp_path: Path) -> None:
    file = write(tmp_path, "a.py", "raise RuntimeError('no luck')\n")
    with pytest.raises(InvalidTask, match=r"a\.py fails when it is imported.*no luck"):
        load(tmp_path)
    file.write_text("x = 1\n")
    with pytest.raises(InvalidTask, match=r"a\.py has no function run"):
        load(tmp_path)
    file.write_text("queue = 'not a name'\n" + PLAIN)
    with pytest.raises(InvalidTask, match=r"a\.py: the queue is 'not a name'"):
        load(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = write(tmp_path, "outside.py", PLAIN)
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "inside.py").symlink_to(outside)
    with pytest.raises(InvalidTask, match="leads out of the jobs folder"):
        load(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="does not exist"):
        load(tmp_path / "nowhere")


def test_the_folder_named_jobs_is_used_if_it_exists(tmp_path: Path) -> None:
    assert jobs_folder(Settings(), folder=tmp_path) is None
    (tmp_path / "jobs").mkdir()
    assert jobs_folder(Settings(), folder=tmp_path) == tmp_path / "jobs"


def test_an_app_is_loaded_by_name_and_wrong_names_are_explained(tmp_path: Path) -> None:
    write(tmp_path, "shop_one.py", "from stoker.app.stoker import Stoker\napp = Stoker()\nx = 1\n")
    assert isinstance(load_app("shop_one:app", folder=tmp_path), Stoker)
    assert isinstance(load_app("shop_one", folder=tmp_path), Stoker)
    with pytest.raises(InvalidConfig, match=r"shop_one\.y is missing"):
        load_app("shop_one:y", folder=tmp_path)
    with pytest.raises(InvalidConfig, match=r"shop_one\.x is a int"):
        load_app("shop_one:x", folder=tmp_path)
    with pytest.raises(InvalidConfig, match="names the module 'nowhere'"):
        load_app("nowhere:app", folder=tmp_path)
    write(tmp_path, "shop_two.py", "import shop_missing\n")
    with pytest.raises(InvalidConfig, match="cannot be imported"):
        load_app("shop_two:app", folder=tmp_path)


@pytest.mark.parametrize("written", ["queue.py", "queue/__init__.py"])
def test_a_module_with_a_name_of_pythons_own_is_told_to_be_renamed(
    tmp_path: Path, written: str
) -> None:
    file = write(tmp_path, written, "from stoker.app.stoker import Stoker\napp = Stoker()\n")
    with pytest.raises(InvalidConfig, match=r"has another one .*queue\.py; rename") as said:
        load_app("queue:app", folder=tmp_path)
    assert said.value.message.endswith(f"rename {file}")


def test_a_namesake_that_was_loaded_from_another_folder_is_noticed(tmp_path: Path) -> None:
    text = "from stoker.app.stoker import Stoker\napp = Stoker()\n"
    write(tmp_path, "one/shop_four.py", text)
    write(tmp_path, "two/shop_four.py", text)
    load_app("shop_four:app", folder=tmp_path / "one")
    with pytest.raises(InvalidConfig, match=r"has another one .*one/shop_four"):
        load_app("shop_four:app", folder=tmp_path / "two")


def test_a_module_behind_a_link_is_the_one_that_was_written(tmp_path: Path) -> None:
    text = "from stoker.app.stoker import Stoker\napp = Stoker()\n"
    write(tmp_path, "real/shop_five.py", text)
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert isinstance(load_app("shop_five:app", folder=tmp_path / "link"), Stoker)
    (tmp_path / "shop_five.py").symlink_to(tmp_path / "real" / "shop_five.py")
    assert isinstance(load_app("shop_five:app", folder=tmp_path), Stoker)


def test_a_child_rebuilds_the_same_tasks_from_the_source(tmp_path: Path) -> None:
    text = (
        "from stoker.app.stoker import Stoker\napp = Stoker()\n"
        "@app.task('mine')\ndef mine() -> int:\n    return 1\n"
    )
    write(tmp_path, "shop_three.py", text)
    write(tmp_path, "jobs/plain.py", PLAIN)
    app = load_app("shop_three:app", folder=tmp_path)
    key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
    app.configure(Settings(store="memory://", tasks=TaskSettings(encryption_key=Secret(key))))
    source = source_of(app, reference="shop_three:app", folder=tmp_path)
    rebuilt = load_registry(source)
    assert rebuilt.names() == all_tasks(app, folder=tmp_path).names()
    assert {"mine", "plain", "compress", "process_video"} <= set(rebuilt.names())
    assert key not in repr(app.settings)


def test_an_own_task_wins_over_a_standard_one_of_the_same_name(tmp_path: Path) -> None:
    app = Stoker(settings=Settings(store="memory://"))
    app.task("compress")(lambda: "mine")
    assert all_tasks(app, folder=tmp_path).get("compress").fn() == "mine"
