"""What an app of a test stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connect_logging.server.backing import Backing
from connect_logging.server.projects import ProjectFile, Projects
from connect_logging.server.transfers.job_files import JobFiles
from connect_logging.server.transfers.jobs import Jobs


def backed(directory: Path, store: Any, projects: Projects | None = None) -> Backing:
    """``store``, which may be anything that a test needs, beside projects and jobs in ``directory``."""
    projects = projects or ProjectFile(directory / "projects.json")
    return Backing(store, projects, Jobs(JobFiles(directory / "jobs")), directory)
