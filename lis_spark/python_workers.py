"""Spark's daemon of Python workers, with what our functions import loaded once, before workers are forked from it.

Sessions of our own start it in place of Spark's (``spark.python.daemon.module``); where encoders are configured it
loads what applies them too (``RunConfig.session_settings``). Each worker of Spark's daemon imports libraries for
itself, and after every task it looks through all their objects for garbage and reads the directory of pyspark.zip
anew: .4 s of a core a task where PyTorch is loaded, which is more than most tasks of a small run take.
"""

from __future__ import annotations

import gc
import importlib.machinery
import os
import sys


def _installed_pyspark_first() -> None:
    """Takes pyspark.zip off the path where PySpark is installed too: every task reads a zip's directory anew."""
    zipped = [entry for entry in sys.path if entry.endswith("pyspark.zip")]
    rest = [entry for entry in sys.path if entry not in zipped]
    if zipped and importlib.machinery.PathFinder.find_spec("pyspark", rest) is not None:
        sys.path[:] = rest
        for entry in zipped:
            sys.path_importer_cache.pop(entry, None)


if __name__ == "__main__":
    _installed_pyspark_first()
    import pyspark.daemon

    from lis_spark.config.run import WORKERS_LOAD

    for module in ("lis_spark.pipeline", *filter(None, os.environ.get(WORKERS_LOAD, "").split(","))):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what is loaded is no garbage: workers need not look through it
    pyspark.daemon.manager()
