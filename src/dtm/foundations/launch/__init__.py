"""Work that runs in other processes: jobs go in as JSON, results come back as JSON.

A `Job` names a function as `package.module:function`; it is called with the job's arguments and a
`progress` callback. Every launcher has one verb, `map`, so a stage does not know where it runs.
"""

from __future__ import annotations

from dtm.foundations.launch.jobs import Event, Job, Launcher
from dtm.foundations.launch.local import LocalLauncher

__all__ = ["Event", "Job", "Launcher", "LocalLauncher"]
