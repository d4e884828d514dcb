"""spark-submit jobs/slots.py --config FILE key=value ...: the same as `lis-spark slots`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["slots", *sys.argv[1:]]))
