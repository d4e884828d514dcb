"""spark-submit jobs/curate.py --config FILE key=value ...: the same as `lis-spark curate`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["curate", *sys.argv[1:]]))
