"""One `dtm run`, timed from inside: `python whole.py RUN.yaml`; prints one line of JSON.

before: seconds until the first sub-model has a worker, imports included. loading: for each sub-model, from then to
its first optimizer step, less one step. driver_cpu_percent: this process's share of a core while sub-models train.
"""

from __future__ import annotations

import json
import sys
import time

STARTED = time.perf_counter()


def main() -> None:
    import dtm
    from dtm.config import read
    from dtm.foundations.launch.places import Places

    marks: dict[str, list[float]] = {}
    training: list[tuple[float, float]] = []
    plain = Places.map

    def watched(self, jobs, *, on_event=lambda event: None, on_done=lambda job, result: None):
        def seen(event):
            now = time.perf_counter()
            if event.job.name.startswith("submodel"):
                if event.kind == "started":
                    marks[event.job.name] = [now]
                elif event.data.get("stage") == "training":
                    marks[event.job.name].append(now)
                    training.append((now, time.process_time()))
            on_event(event)

        return plain(self, jobs, on_event=seen, on_done=on_done)

    Places.map = watched
    dtm.run(read(sys.argv[1]), until="merge", quiet=True)
    steps = {name: (times[-1] - times[1]) / max(1, len(times) - 2) for name, times in marks.items()}
    (first, cpu_first), (last, cpu_last) = training[0], training[-1]
    print(json.dumps({
        "before": min(times[0] for times in marks.values()) - STARTED,
        "loading": [times[1] - times[0] - steps[name] for name, times in marks.items()],
        "steps": sum(len(times) - 1 for times in marks.values()),
        "driver_cpu_percent": 100 * (cpu_last - cpu_first) / (last - first),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
