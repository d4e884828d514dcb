"""spark-submit jobs/score.py --config FILE key=value ...: the same as `lis-spark score`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))
