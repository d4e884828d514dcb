"""spark-submit jobs/audit.py TABLE --config FILE key=value ...: the same as `lis-spark audit`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["audit", *sys.argv[1:]]))
