-- A rejected input row: nothing is lost.
CREATE TABLE IF NOT EXISTS {table} (
  source STRING NOT NULL COMMENT 'Kind and path of the source',
  reason STRING NOT NULL COMMENT 'Name of the rule that the row broke',
  row_json STRING NOT NULL COMMENT 'The row as it was read',
  lis_fingerprint STRING NOT NULL COMMENT 'Fingerprint of the partition',
  date DATE NOT NULL COMMENT 'Day of the row; 1970-01-01 where its time cannot be read'
) USING DELTA
PARTITIONED BY (date)
COMMENT 'Rejected input rows and why'
