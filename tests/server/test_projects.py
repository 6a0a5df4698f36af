"""Projects and keys: shared between processes, never shown, never lost."""

from __future__ import annotations

import json
import pickle
import re
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from journaling import descriptors

from connect_logging.server.projects import DamagedProjectsError, Project, ProjectFile, UnknownProjectError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "projects.json"


def test_ids_and_keys_have_the_form_that_the_protocol_needs(path: Path) -> None:
    project = ProjectFile(path).create()
    keys = [project.keys.push, project.keys.query, project.keys.push_query, project.keys.master]
    assert re.fullmatch("[0-9a-f]{24}", project.id)
    assert all(re.fullmatch("[0-9A-Za-z]{32}", key) for key in keys)
    assert len(set(keys)) == 4
    assert [stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()] == [0o600, 0o600], "its lock, too"
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]


def test_no_key_is_shown(path: Path) -> None:
    project = ProjectFile(path).create()
    shown = repr(project) + str(project) + repr(project.keys) + f"{project}"
    for key in (project.keys.push, project.keys.query, project.keys.push_query, project.keys.master):
        assert key not in shown
    assert pickle.loads(pickle.dumps(project)) == project


def test_each_key_has_its_role_and_no_other_key_has_one(path: Path) -> None:
    project = ProjectFile(path).create()
    assert project.role_of(project.keys.push) == "push"
    assert project.role_of(project.keys.query) == "query"
    assert project.role_of(project.keys.push_query) == "push_query"
    assert project.role_of(project.keys.master) == "master"
    for wrong in ("", "x" * 32, project.keys.master.swapcase(), project.keys.push + " ", "é", "\ud800"):
        assert project.role_of(wrong) is None


def test_a_reset_replaces_all_four_keys_of_one_project(path: Path) -> None:
    file = ProjectFile(path)
    first, second = file.create(), file.create()
    reset = file.reset_keys(first.id)
    assert {reset.role_of(getattr(first.keys, role)) for role in ("push", "query", "push_query", "master")} == {None}
    assert file.list() == [reset, second]
    with pytest.raises(UnknownProjectError, match="nope"):
        file.reset_keys("nope")


def test_a_setting_is_changed_in_one_project_and_outlives_a_reset(path: Path) -> None:
    file = ProjectFile(path)
    first, second = file.create(), file.create()
    assert first.legacy_filtered_keys
    changed = file.configure(first.id, legacy_filtered_keys=False)
    assert (changed.keys, changed.legacy_filtered_keys) == (first.keys, False)
    assert ProjectFile(path).list() == [changed, second]
    assert not file.reset_keys(first.id).legacy_filtered_keys
    with pytest.raises(UnknownProjectError, match="nope"):
        file.configure("nope", legacy_filtered_keys=True)


def test_a_file_from_before_there_were_settings_is_read(path: Path) -> None:
    project = ProjectFile(path).create()
    document = json.loads(path.read_bytes())
    assert document["projects"][0].pop("legacyFilteredKeys") is True
    path.write_text(json.dumps(document))
    assert ProjectFile(path).list() == [project]


def test_the_first_project_is_made_once(path: Path) -> None:
    file = ProjectFile(path)
    assert file.list() == []
    assert file.get("x") is None
    first = file.create_first()
    assert first is not None
    assert file.create_first() is None
    assert file.get(first.id) == first


def test_of_several_that_want_to_make_the_first_project_one_does(path: Path) -> None:
    begun = threading.Barrier(4)

    def create() -> Project | None:
        begun.wait(9)
        return ProjectFile(path).create_first()

    with ThreadPoolExecutor(4) as threads:
        made = [threads.submit(create) for _ in range(4)]
    assert [project for each in made if (project := each.result())] == ProjectFile(path).list()


def test_a_project_is_added_as_it_is_and_one_that_is_there_stays(path: Path) -> None:
    file = ProjectFile(path)
    project = Project.new()
    assert file.add(project) == project
    reset = file.reset_keys(project.id)
    assert file.add(project) == reset
    assert file.list() == [reset]


def test_what_changes_nothing_writes_nothing(path: Path) -> None:
    file = ProjectFile(path)
    project = file.create()
    before = path.stat().st_ino
    file.create_first()
    file.add(project)
    assert path.stat().st_ino == before


def test_what_a_killed_writer_left_is_removed_by_the_next(path: Path) -> None:
    half = path.with_name(".projects.json.4321")
    half.write_bytes(b'{"projects": [')
    ProjectFile(path).create_first()
    assert sorted(each.name for each in path.parent.iterdir()) == ["projects.json", "projects.json.lock"]


def test_a_damaged_file_is_said_to_be_one_and_left_alone(path: Path) -> None:
    path.write_bytes(b'{"projects": [')
    for use in (ProjectFile(path).list, ProjectFile(path).create):
        with pytest.raises(DamagedProjectsError, match=r"projects\.json is damaged"):
            use()
    assert path.read_bytes() == b'{"projects": ['


def test_a_directory_in_its_place_is_named_and_nothing_stays_open(path: Path) -> None:
    path.mkdir()
    before = descriptors()
    for use in (ProjectFile(path).list, ProjectFile(path).create):
        with pytest.raises(IsADirectoryError, match=re.escape(str(path))):
            use()
    assert ProjectFile(path).get("any") is None
    assert descriptors() == before


def test_who_knew_the_projects_before_the_file_was_damaged_goes_on_and_tells_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = ProjectFile(path)
    project = file.create()
    assert file.get(project.id) == project
    content = path.read_bytes()
    path.write_bytes(content[:50])
    assert [file.get(project.id) for _ in range(3)] == [project] * 3
    path.unlink()
    path.symlink_to("elsewhere")
    path.with_name("elsewhere").write_bytes(content)
    assert file.get(project.id) == project
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged: restore it from a backup; until then projects and keys are as they were"
    ]
    path.unlink()
    path.write_bytes(content)
    file.reset_keys(project.id)
    assert file.get(project.id) != project


def test_another_process_is_seen_at_once(path: Path) -> None:
    here, there = ProjectFile(path), ProjectFile(path)
    project = here.create()
    assert there.get(project.id) == project
    reset = here.reset_keys(project.id)
    assert there.get(project.id) == reset


def test_writers_in_several_processes_and_threads_lose_nothing(path: Path) -> None:
    program = "import sys, pathlib; from connect_logging.server.projects import ProjectFile\n"
    program += "for _ in range(10): ProjectFile(pathlib.Path(sys.argv[1])).create()"
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path)]) for _ in range(2)]
    file = ProjectFile(path)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: file.create(), range(20)))
    assert [process.wait() for process in processes] == [0, 0]
    assert len(file.list()) == 40
    assert {project.id for project in made} <= {project.id for project in file.list()}
