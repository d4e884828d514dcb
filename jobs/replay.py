"""spark-submit jobs/replay.py --config FILE key=value ...: the same as `lis-spark replay`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["replay", *sys.argv[1:]]))
