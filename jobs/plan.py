"""spark-submit jobs/plan.py --config FILE key=value ...: the same as `lis-spark plan`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["plan", *sys.argv[1:]]))
