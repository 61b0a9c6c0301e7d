"""On the path of a process under test: `FAULT=module:Class.method:n` kills it in the n-th call of that method.

With `FAULT_DRIVER=1` the parent dies with it, as on a machine that loses power.
"""

import importlib.abc
import importlib.util
import os
import signal
import sys


class Planter(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, path: str, count: int) -> None:
        self.module, self.path, self.left = module, path, count

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def run_and_plant(module):
            run(module)
            self.plant(module)

        spec.loader.exec_module = run_and_plant
        return spec

    def plant(self, module) -> None:
        *owners, name = self.path.split(".")
        owner = module
        for part in owners:
            owner = getattr(owner, part)
        original = getattr(owner, name)

        def deadly(*arguments, **settings):
            self.left -= 1
            if self.left == 0:
                if os.environ.get("FAULT_DRIVER"):
                    os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **settings)

        setattr(owner, name, deadly)


if "FAULT" in os.environ:
    module, path, count = os.environ["FAULT"].split(":")
    sys.meta_path.insert(0, Planter(module, path, int(count)))
