"""spark-submit jobs/simulate.py --config FILE key=value ...: the same as `lis-spark simulate`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["simulate", *sys.argv[1:]]))
