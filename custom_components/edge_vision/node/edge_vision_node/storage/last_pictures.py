"""The annotated picture of each pipeline's last event, one file per pipeline."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ..errors import NoPictureError
from .event_log import DEFAULT_MAX_AGE
from .files import Deleter, make_folder, read_jpeg, sizes_and_times, write_whole


class PictureStore:
    """Keeps one JPEG per pipeline. The file's time is the picture's. Methods raise `OSError`."""

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        make_folder(folder)
        self._folder = folder
        self._deleter = Deleter()

    def _path(self, pipeline_id: str) -> Path:
        return self._folder / f"{pipeline_id}.jpg"

    def write(self, pipeline_id: str, jpeg: bytes, captured_at: datetime) -> None:
        """Replace a pipeline's picture; a reader or a crash finds the old or the new one, whole."""
        write_whole(self._path(pipeline_id), jpeg, captured_at)

    def read(self, pipeline_id: str) -> tuple[bytes, datetime]:
        """Return a pipeline's picture and when it was taken. Raises `NoPictureError`."""
        found = read_jpeg(self._path(pipeline_id))
        if found is None:
            raise NoPictureError("This pipeline has had no event yet")
        return found

    def taken_at(self, pipeline_id: str) -> datetime | None:
        """Return when a pipeline's picture was taken; None where there is none."""
        try:
            return datetime.fromtimestamp(self._path(pipeline_id).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def delete(self, pipeline_id: str) -> None:
        """Delete a pipeline's picture."""
        self._path(pipeline_id).unlink(missing_ok=True)

    def delete_old(self, keep: set[str], now: datetime) -> None:
        """Delete pictures of other pipelines than `keep`, once they are 30 days old."""
        oldest = (now - DEFAULT_MAX_AGE).timestamp()
        for path, _, taken_at in sizes_and_times(self._folder, (".jpg",)):
            if path.stem not in keep and taken_at < oldest:
                self._deleter.delete(path)
