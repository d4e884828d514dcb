"""spark-submit jobs/append.py --config FILE key=value ...: the same as `lis-spark append`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["append", *sys.argv[1:]]))
