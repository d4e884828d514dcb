"""spark-submit jobs/read_out.py --config FILE key=value ...: the same as `lis-spark read-out`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["read-out", *sys.argv[1:]]))
