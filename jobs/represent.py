"""spark-submit jobs/represent.py --config FILE key=value ...: the same as `lis-spark represent`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["represent", *sys.argv[1:]]))
