"""spark-submit jobs/forget.py --config FILE key=value ...: the same as `lis-spark forget`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["forget", *sys.argv[1:]]))
