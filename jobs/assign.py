"""spark-submit jobs/assign.py --config FILE key=value ...: the same as `lis-spark assign`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["assign", *sys.argv[1:]]))
