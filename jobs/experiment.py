"""spark-submit jobs/experiment.py --config FILE key=value ...: the same as `lis-spark experiment`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["experiment", *sys.argv[1:]]))
