"""spark-submit jobs/report.py --config FILE key=value ...: the same as `lis-spark report`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
