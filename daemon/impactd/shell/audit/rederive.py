"""Derives a live run again from its captured inputs and its journal, and writes the outputs.

The settings are the journal's, formats included, and each commit takes in
exactly what its record names, so that the same release gives the bytes that
the run published.
"""

from __future__ import annotations

import time
from pathlib import Path

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.core.engine import Engine
from impactd.core.inputs.ticks import Refused
from impactd.shell.audit.capture import capture_file, read_partitions
from impactd.shell.audit.derive import derive
from impactd.shell.lines import InputFileError
from impactd.shell.outputs import OutputFiles
from impactd.shell.replay import Progress, Reading, ReplaySummary, summarise
from impactd.shell.tally import Tally
from impactd.wire.codec import Decoded, Limits
from impactd.wire.message_types import Timestamps
from impactd.wire.records import encode_line


def rederive(
    directory: Path,
    settings: Settings,
    out: Path,
    *,
    limits: Limits | None = None,
    learned: str = "",
    progress: Progress | None = None,
) -> ReplaySummary:
    """Derive the run that `directory` holds again.

    Parameters
    ----------
    directory : Path
        Made by ``impactd capture``: the journal and the input topics.
    settings : Settings
        Formats are the journal's, where it has them.
    limits : Limits, optional
        Bounds on input records; those that the journal has are the journal's.
    learned : str, optional
        The trained file, where the run's forecasts were made with one.
    progress : callable, optional
        Called after each commit with the rows so far and the event time.
    """
    started = time.monotonic()
    tally, reading = Tally(), Reading()
    engines: dict[int, Engine] = {}
    journal = capture_file(directory, Topic.JOURNAL)
    partitions = max(read_partitions(directory, Topic.JOURNAL), default=-1) + 1
    if not partitions:
        raise InputFileError(f"{journal}: holds no commit; capture the run again")
    timestamps: Timestamps = "int"
    with OutputFiles(out, lambda output: encode_line(output, timestamps), partitions) as files:
        for derived in derive(directory, settings, limits, learned=learned):
            timestamps = derived.settings.wire.timestamps
            tally.fills = derived.engine.settings.plans.fills
            tally.count(derived.commit.outputs)
            files.write(derived.partition, derived.commit.outputs)
            engines[derived.partition] = derived.engine
            if derived.inputs is None:
                continue
            refused = [pending.item for pending in derived.inputs.events if isinstance(pending.item, Refused)]
            reading.add(Decoded(derived.inputs.ticks, refused))
            if progress is not None:
                progress(reading.ticks, reading.last_ns or 0)
        written = files.finish()
    # Books are not read a second time: orders are priced by their fills alone.
    orders, seconds = tally.orders(), time.monotonic() - started
    return summarise(tally, orders, reading, list(engines.values()), written, out, seconds)
