"""spark-submit jobs/run.py --config FILE key=value ...: the same as `lis-spark run`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
