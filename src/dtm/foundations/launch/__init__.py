"""Work that runs in other processes: jobs go in as JSON, results come back as JSON.

A `Job` names a function as `package.module:function`; it is called with the job's arguments and a
`progress` callback. Every launcher has one verb, `map`, so a stage does not know where it runs.

    jobs      what all share: Job, Event, Share, the protocol Launcher
    places    `map` itself: places take jobs in turn, one that dies is replaced
    process   a kept worker process: JSON lines in, JSON lines out
    local     places on this machine;  on_ray  places of a Ray cluster;  on_slurm  places that are Slurm jobs
    worker    what a worker process runs;  gang, rank  one job in several processes
"""

from __future__ import annotations

from dtm.foundations.launch.jobs import Event, Job, Launcher, Share
from dtm.foundations.launch.local import LocalLauncher

__all__ = ["Event", "Job", "Launcher", "LocalLauncher", "Share"]
